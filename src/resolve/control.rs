//! The control properties of a document, which decide how an environment is assembled: conditions, imports, profiles.
//!
//! A document is scanned once. The result refers to properties by index.

use super::property_name::{self, Element};
use crate::model::{Document, Origin, Position, Problem, Property, items};

/// The reason why a document with a condition cannot have a property.
pub(super) const CONDITIONAL: &str = "not allowed in a document with an activation condition";

/// A property that decides which documents an environment consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Import,
    OnProfile,
    OnCloudPlatform,
    /// The selector of Spring Boot before 2.4.
    Legacy,
    Include,
    Active,
    Default,
    Group,
    CloudPlatform,
}

impl Control {
    const ALL: [Self; 9] = [
        Self::Import,
        Self::OnProfile,
        Self::OnCloudPlatform,
        Self::Legacy,
        Self::Include,
        Self::Active,
        Self::Default,
        Self::Group,
        Self::CloudPlatform,
    ];

    /// The canonical name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Import => "spring.config.import",
            Self::OnProfile => "spring.config.activate.on-profile",
            Self::OnCloudPlatform => "spring.config.activate.on-cloud-platform",
            Self::Legacy => "spring.profiles",
            Self::Include => "spring.profiles.include",
            Self::Active => "spring.profiles.active",
            Self::Default => "spring.profiles.default",
            Self::Group => "spring.profiles.group",
            Self::CloudPlatform => "spring.main.cloud-platform",
        }
    }

    /// The problem with this property at a place.
    pub(super) fn problem(self, origin: Origin, message: &str) -> Problem {
        Problem { origin, key: Some(self.name().into()), message: message.to_owned() }
    }
}

/// The part of a key behind the name of its control.
#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyPlace {
    /// Nothing.
    Whole,
    /// The index of a list item.
    Item(usize),
    /// Something below an item, or brackets without a number. No list can bind it.
    Unbound(String),
}

/// A control property in a document.
#[derive(Debug, Clone)]
struct ControlProperty {
    control: Control,
    /// The name of a profile group. Empty for other controls.
    group: String,
    place: KeyPlace,
    /// True if the key is spelled as [`Control::name`] is.
    is_canonical: bool,
    /// The index of the property.
    property: usize,
}

/// The control properties of one document.
#[derive(Debug, Clone, Default)]
pub(super) struct Controls(Vec<ControlProperty>);

/// A list as Spring binds it: one comma-separated text or indexed keys.
#[derive(Debug)]
pub(super) enum ControlList<'d> {
    /// One property, whose text is split at commas.
    Text(&'d Property),
    /// The items in order.
    Items(Vec<&'d Property>),
    /// An item that cannot be bound, because an earlier item is missing or it is not a text.
    Unbound(Position),
}

impl<'d> ControlList<'d> {
    /// The position of the first property.
    pub(super) fn position(&self) -> Option<Position> {
        match self {
            Self::Text(property) => Some(property.position),
            Self::Items(properties) => properties.first().map(|property| property.position),
            Self::Unbound(position) => Some(*position),
        }
    }

    /// The values as they are written.
    pub(super) fn raw(&self) -> Vec<&'d str> {
        match self {
            Self::Text(property) => items(property.value.text()).collect(),
            Self::Items(properties) => properties.iter().map(|item| item.value.text()).collect(),
            Self::Unbound(_) => Vec::new(),
        }
    }
}

impl Controls {
    /// Finds the controls of a document.
    pub(super) fn of(document: &Document) -> Self {
        let mut found = Vec::new();
        for (index, property) in document.properties.iter().enumerate() {
            // A cheap test first: all controls begin with this word, and most keys do not.
            if property_name::strip(&property.key, "spring").is_some() {
                let controls = Control::ALL.iter();
                found.extend(
                    controls.filter_map(|control| ControlProperty::of(*control, property, index)),
                );
            }
        }
        Self(found)
    }

    /// The property with exactly this name. The canonical spelling wins.
    pub(super) fn text<'d>(
        &self,
        document: &'d Document,
        control: Control,
    ) -> Option<&'d Property> {
        self.place(document, control, "", &KeyPlace::Whole)
    }

    /// The list with this name.
    pub(super) fn list<'d>(
        &self,
        document: &'d Document,
        control: Control,
    ) -> Option<ControlList<'d>> {
        self.list_of(document, control, "")
    }

    /// The groups of profiles, each once, in the order of the document.
    pub(super) fn groups<'d>(&self, document: &'d Document) -> Vec<(&str, ControlList<'d>)> {
        let mut groups: Vec<(&str, ControlList<'d>)> = Vec::new();
        for found in self.0.iter().filter(|found| found.control == Control::Group) {
            if !groups.iter().any(|(name, _)| *name == found.group)
                && let Some(list) = self.list_of(document, Control::Group, &found.group)
            {
                groups.push((&found.group, list));
            }
        }
        groups
    }

    /// The property with this name, or the first item of its list. Spring looks for these two where it forbids a property.
    pub(super) fn forbidden<'d>(
        &self,
        document: &'d Document,
        control: Control,
    ) -> Option<&'d Property> {
        self.text(document, control)
            .or_else(|| self.place(document, control, "", &KeyPlace::Item(0)))
    }

    fn list_of<'d>(
        &self,
        document: &'d Document,
        control: Control,
        group: &str,
    ) -> Option<ControlList<'d>> {
        if let Some(whole) = self.place(document, control, group, &KeyPlace::Whole) {
            return Some(ControlList::Text(whole));
        }
        let items: Vec<&Property> = (0..)
            .map_while(|index| self.place(document, control, group, &KeyPlace::Item(index)))
            .collect();
        let mine = self.0.iter().filter(|found| found.control == control && found.group == group);
        let unbound = mine.filter(|found| match &found.place {
            KeyPlace::Whole => false,
            KeyPlace::Item(index) => *index >= items.len(),
            KeyPlace::Unbound(item) => !(0..items.len()).any(|index| index.to_string() == *item),
        });
        if let Some(found) = unbound.min_by_key(|found| found.property) {
            return Some(ControlList::Unbound(document.properties[found.property].position));
        }
        (!items.is_empty()).then_some(ControlList::Items(items))
    }

    fn place<'d>(
        &self,
        document: &'d Document,
        control: Control,
        group: &str,
        place: &KeyPlace,
    ) -> Option<&'d Property> {
        let found = self.0.iter().filter(|found| {
            found.control == control && found.group == group && found.place == *place
        });
        let found = found.min_by_key(|found| (!found.is_canonical, found.property))?;
        document.properties.get(found.property)
    }
}

impl ControlProperty {
    fn of(control: Control, property: &Property, index: usize) -> Option<Self> {
        let rest = property_name::strip(&property.key, control.name())?;
        let (group, rest) = match control {
            Control::Group => split_group(&rest)?,
            _ => (String::new(), &rest[..]),
        };
        let place = match rest {
            [] => KeyPlace::Whole,
            [item] if item.is_indexed => match item.index() {
                Some(index) => KeyPlace::Item(index),
                None => KeyPlace::Unbound(item.text.to_owned()),
            },
            [item, ..] if item.is_indexed => KeyPlace::Unbound(item.text.to_owned()),
            _ => return None,
        };
        let is_canonical = property.key.starts_with(control.name());
        Some(Self { control, group, place, is_canonical, property: index })
    }
}

/// Splits the name of a group, which ends before a number in brackets, from the rest.
fn split_group<'r, 'e>(rest: &'r [Element<'e>]) -> Option<(String, &'r [Element<'e>])> {
    let end = rest.iter().position(|element| element.index().is_some()).unwrap_or(rest.len());
    let name: Vec<&str> = rest[..end].iter().map(|element| element.text).collect();
    (end > 0).then(|| (name.join("."), &rest[end..]))
}
