//! The values of placeholders in conditions and imports, from the documents that are loaded already.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use super::ResolveError;
use super::activation::{Condition, Context, Platform, origin};
use super::contributions::{ContributionId, Contributions, LoadedDocument};
use super::control::{CONDITIONAL, Control, ControlList};
use super::location::is_foreign_as_written;
use crate::model::{Origin, Problem, Property, Query, items};
use crate::placeholder::{Resolver, ValueSource};

/// The most conditions with placeholders that are evaluated for the binding of one document.
const CONDITION_COUNT_MAX: usize = 100;

/// The properties that are visible in a phase.
#[derive(Clone)]
pub(super) struct VisibleProperties<'a> {
    contributions: &'a Contributions,
    query: &'a Query,
    context: Context<'a>,
    /// The document that is being bound. It sees its own properties.
    itself: Option<ContributionId>,
    decisions: &'a ActivationCache,
    /// Set when a placeholder refers to a key that a document with a condition defines.
    refused: RefCell<Option<Problem>>,
}

/// Results that one binding computes once.
#[derive(Default)]
pub(super) struct ActivationCache {
    /// All documents, highest precedence first.
    order: OnceCell<Vec<ContributionId>>,
    /// The activation of unbound documents. `None` while the condition is being evaluated.
    counts: RefCell<HashMap<ContributionId, Option<bool>>>,
}

impl<'a> VisibleProperties<'a> {
    pub(super) fn to(
        contributions: &'a Contributions,
        query: &'a Query,
        context: Context<'a>,
        itself: Option<ContributionId>,
        decisions: &'a ActivationCache,
    ) -> Self {
        Self { contributions, query, context, itself, decisions, refused: RefCell::default() }
    }

    /// The condition of a document, if it has one.
    pub(super) fn condition(
        &self,
        content: &LoadedDocument,
    ) -> Result<Option<Condition>, ResolveError> {
        let (controls, document) = (&content.controls, content.document());
        let list = controls.list(document, Control::OnProfile);
        let profiles = match &list {
            Some(list) => Some(self.list(content, list, Control::OnProfile)?),
            None => None,
        };
        let platform = match controls.text(document, Control::OnCloudPlatform) {
            Some(property) => self.wanted_platform(content, property)?,
            None => None,
        };
        if profiles.is_none() && platform.is_none() {
            return Ok(None);
        }
        let position = list.as_ref().and_then(ControlList::position);
        let origin = Origin { file: Arc::clone(&content.file.path), position };
        Ok(Some(Condition { platform, profiles: profiles.unwrap_or_default(), origin }))
    }

    fn wanted_platform(
        &self,
        content: &LoadedDocument,
        property: &Property,
    ) -> Result<Option<Platform>, ResolveError> {
        let at = origin(&content.file.path, property.position);
        let text = self.resolve(property.value.text(), at.clone(), Control::OnCloudPlatform)?;
        if text.is_empty() {
            return Ok(None);
        }
        match Platform::parse(&text) {
            Some(platform) => Ok(Some(platform)),
            None => Err(Control::OnCloudPlatform.problem(at, "unknown cloud platform").into()),
        }
    }

    /// The import values of a document with placeholders resolved. Locations of other stores are omitted, because the client
    /// resolves their placeholders.
    pub(super) fn imports(&self, content: &LoadedDocument) -> Result<Vec<String>, ResolveError> {
        let Some(list) = content.controls.list(content.document(), Control::Import) else {
            return Ok(Vec::new());
        };
        self.values(content, &list, Control::Import, &|raw| is_foreign_as_written(raw))
    }

    /// The values of a list with placeholders resolved.
    pub(super) fn list(
        &self,
        content: &LoadedDocument,
        list: &ControlList<'_>,
        control: Control,
    ) -> Result<Vec<String>, ResolveError> {
        self.values(content, list, control, &|_| false)
    }

    fn values(
        &self,
        content: &LoadedDocument,
        list: &ControlList<'_>,
        control: Control,
        is_omitted: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, ResolveError> {
        let at = |property: &Property| origin(&content.file.path, property.position);
        match list {
            ControlList::Text(property) => {
                let raw = property.value.text();
                let wanted = split(raw).into_iter().filter(|item| !is_omitted(item.trim()));
                let wanted = wanted.collect::<Vec<_>>().join(",");
                let resolved = self.resolve(&wanted, at(property), control)?;
                Ok(items(&resolved).map(str::to_owned).collect())
            }
            ControlList::Items(properties) => properties
                .iter()
                .map(|property| (property.value.text(), at(property)))
                .filter(|(raw, _)| !raw.is_empty() && !is_omitted(raw))
                .map(|(raw, at)| self.resolve(raw, at, control))
                .collect(),
            ControlList::Unbound(position) => {
                let message = "an item of the list is not a text, or an earlier item is missing";
                Err(control.problem(origin(&content.file.path, *position), message).into())
            }
        }
    }

    /// Resolves the placeholders of a text. A placeholder without a value stays.
    pub(super) fn resolve(
        &self,
        text: &str,
        at: Origin,
        control: Control,
    ) -> Result<String, ResolveError> {
        if !text.contains("${") {
            return Ok(text.to_owned());
        }
        let resolved = Resolver::new(self, text.len()).text(text);
        if let Some(refused) = self.refused.take() {
            return Err(refused.into());
        }
        resolved.map_err(|error| control.problem(at, &error.to_string()).into())
    }

    /// Returns true if the document of a contribution is active.
    fn counts(&self, id: ContributionId) -> Result<bool, ResolveError> {
        let contribution = self.contributions.get(id);
        if self.itself == Some(id) {
            return Ok(true);
        }
        let Some(content) = contribution.content.as_ref().filter(|_| contribution.bound.is_none())
        else {
            return Ok(contribution.is_active(self.context)?);
        };
        let list = content.controls.list(content.document(), Control::OnProfile);
        if !list.is_some_and(|list| list.raw().iter().any(|raw| raw.contains("${"))) {
            return self.decide(id, content);
        }
        let known = self.decisions.counts.borrow().get(&id).copied();
        if let Some(Some(counts)) = known {
            return Ok(counts);
        }
        let count = self.decisions.counts.borrow().len();
        if known.is_some() || count >= CONDITION_COUNT_MAX {
            let at = Origin { file: Arc::clone(&content.file.path), position: None };
            let message = format!(
                "conditions depend on each other, in a circle or in a chain of more than {CONDITION_COUNT_MAX}"
            );
            return Err(Control::OnProfile.problem(at, &message).into());
        }
        self.decisions.counts.borrow_mut().insert(id, None);
        let counts = self.decide(id, content)?;
        self.decisions.counts.borrow_mut().insert(id, Some(counts));
        Ok(counts)
    }

    /// Decides whether an unbound document is active.
    fn decide(&self, id: ContributionId, content: &LoadedDocument) -> Result<bool, ResolveError> {
        let inner = Self { itself: Some(id), refused: RefCell::default(), ..self.clone() };
        match inner.condition(content)? {
            Some(condition) => Ok(condition.holds(self.context)?),
            None => Ok(true),
        }
    }

    fn find(&self, key: &str) -> Result<Option<&'a str>, ResolveError> {
        let mut found = match key {
            // The original sets this property for each request, above all files.
            "spring.profiles.active" => Some(&*self.query.profiles),
            _ => None,
        };
        let order = self.decisions.order.get_or_init(|| self.contributions.in_order());
        for id in order.iter().copied() {
            let Some(content) = &self.contributions.get(id).content else { continue };
            let Some(property) = content.document().get(key) else { continue };
            if !self.counts(id)? {
                let at = origin(&content.file.path, property.position);
                let key = Some(Arc::clone(&property.key));
                let message = format!("{CONDITIONAL}: an import or a condition refers to it");
                return Err(Problem { origin: at, key, message }.into());
            }
            found = found.or(Some(property.value.text()));
        }
        Ok(found)
    }
}

impl ValueSource for VisibleProperties<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        if self.refused.borrow().is_some() {
            return None;
        }
        match self.find(key) {
            Ok(found) => found,
            Err(ResolveError::Problem(problem)) => {
                self.refused.borrow_mut().get_or_insert(problem);
                None
            }
            // Documents are in memory, so nothing is read here.
            Err(ResolveError::Tree(_)) => None,
        }
    }

    fn byte_count(&self) -> usize {
        0
    }
}

/// Splits a comma-separated list. A comma in a placeholder belongs to its item.
fn split(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut start, mut open_count) = (0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' => open_count += 1,
            '}' => open_count = open_count.saturating_sub(1),
            ',' if open_count == 0 => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    items
}
