//! The rules of a policy about the content of files: values that have to be sealed, sealed texts and links of other areas.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Check, FindingSeverity, sealed, sealed_text};
use crate::areas::Permission;
use crate::model::{Document, Origin, Position, Problem, Property, Value};
use crate::resolve;
use crate::snapshot::Member;
use crate::tree::{EntryKind, Tree, TreeError, join};

/// The most files that are searched for a sealed text.
const SEARCHED_FILE_COUNT_MAX: usize = 50_000;
/// Every file with a sealed value contains one of these.
const MARKERS: [&str; 3] = ["{cipher}", "{sealed}", "ENC["];

const PLAIN: &str =
    "the policy requires a sealed value for this key: seal it with headwater seal or /encrypt";
const MALFORMED: &str = "the policy requires a sealed value for this key, and the text behind the marker is none: seal the value with headwater \
     seal or /encrypt";
const COPIED: &str =
    "this sealed text is already in a file of another area: seal the value anew for this file";
const LINK: &str = "is a symbolic link to a file of another area, and is treated as absent there: commit a file of its own";

/// The files of the older revision with sealed texts, by the texts.
#[derive(Default)]
pub struct SealedTexts(Option<HashMap<String, Vec<Arc<str>>>>);

impl Check<'_> {
    /// Checks the new values of a changed configuration file.
    pub(super) fn values(
        &mut self,
        member: &Member,
        before: Option<&Member>,
        path: &str,
        documents: &[Document],
    ) -> Result<(), TreeError> {
        if !member.areas.exist() {
            return Ok(());
        }
        let was = match before {
            Some(before) => documents_of(&before.tree, path)?,
            None => None,
        };
        let was = was.as_deref().unwrap_or_default();
        self.plain_values(member, path, documents, was);
        self.copied_values(member, before, path, documents, was)
    }

    fn plain_values(
        &mut self,
        member: &Member,
        path: &str,
        documents: &[Document],
        was: &[Document],
    ) {
        let known: HashSet<(&str, &str)> =
            plain(was).map(|property| (&*property.key, property.value.text())).collect();
        for property in plain(documents) {
            let permission = member.areas.plain_value(path, &property.key);
            let is_new = !known.contains(&(&*property.key, property.value.text()));
            if is_new && let Some(severity) = severity(permission) {
                let is_marked = matches!(property.value, Value::Sealed(_));
                let message = if is_marked { MALFORMED } else { PLAIN };
                let problem = problem(path, Some((&property.key, property.position)), message);
                self.add(severity, problem, None);
            }
        }
    }

    /// Checks that no new sealed text is one of another area. A caller that may open the one file could open the other.
    fn copied_values(
        &mut self,
        member: &Member,
        before: Option<&Member>,
        path: &str,
        documents: &[Document],
        was: &[Document],
    ) -> Result<(), TreeError> {
        let known: HashSet<String> = sealed(was).map(|(_, text)| normal(text)).collect();
        let new: Vec<(&Property, String)> = sealed(documents)
            .map(|(property, text)| (property, normal(text)))
            .filter(|(_, text)| !known.contains(text))
            .collect();
        let Some(before) = before.filter(|_| !new.is_empty()) else {
            return Ok(());
        };
        let mut texts = std::mem::take(&mut self.sealed_texts);
        for (property, text) in new {
            let others = texts.files(before, &text)?;
            let denied = others.iter().map(|other| member.areas.sharing(path, other));
            if let Some(severity) = denied.into_iter().find_map(severity) {
                let problem = problem(path, Some((&property.key, property.position)), COPIED);
                self.add(severity, problem, None);
            }
        }
        self.sealed_texts = texts;
        Ok(())
    }

    /// Checks that the links that a change adds lead to files of their own areas. An environment without the file in its
    /// own files would not show it.
    pub(super) fn links(
        &mut self,
        member: &Member,
        before: Option<&Member>,
    ) -> Result<(), TreeError> {
        if !member.areas.exist() {
            return Ok(());
        }
        let older = before.map_or(&member.tree, |before| &before.tree);
        let known: HashSet<(String, String)> = match before {
            Some(before) => {
                let links = before.tree.all_links(&before.tree)?.into_iter();
                links.map(|(link, target, _)| (link, target)).collect()
            }
            None => HashSet::new(),
        };
        for (link, target, found) in member.tree.all_links(older)? {
            let permission = link_permission(member, &link, &target, found);
            // A link without a target that the policy permits is a finding about its entry.
            let is_judged = found.is_some() || permission == Permission::Denied;
            if is_judged
                && let Some(severity) = severity(permission)
                && !known.contains(&(link.clone(), target))
            {
                self.add(severity, problem(&link, None, LINK), None);
            }
        }
        Ok(())
    }
}

/// Decides about a link by the names of the link and its target, so that a pusher does not learn whether a file of
/// another area exists.
pub(super) fn link_permission(
    member: &Member,
    link: &str,
    target: &str,
    found: Option<EntryKind>,
) -> Permission {
    // A directory belongs to the applications that own a file in it.
    let is_directory = found == Some(EntryKind::Directory);
    let inside = |path: &str| if is_directory { join(path, "x") } else { path.to_owned() };
    member.areas.sharing(&inside(link), &inside(target))
}

impl SealedTexts {
    /// The files of a member that contain a sealed text. Reads each file once.
    fn files(&mut self, member: &Member, text: &str) -> Result<Vec<Arc<str>>, TreeError> {
        if self.0.is_none() {
            self.0 = Some(read_texts(member)?);
        }
        let files = self.0.as_ref().and_then(|texts| texts.get(text));
        Ok(files.cloned().unwrap_or_default())
    }
}

fn read_texts(member: &Member) -> Result<HashMap<String, Vec<Arc<str>>>, TreeError> {
    let mut paths: Vec<Arc<str>> = Vec::new();
    member.tree.walk(&mut |path| {
        if paths.len() < SEARCHED_FILE_COUNT_MAX && resolve::is_configuration(&member.layout, path)
        {
            paths.push(path.into());
        }
    })?;
    let mut texts: HashMap<String, Vec<Arc<str>>> = HashMap::new();
    for path in paths {
        let Some(file) = member.tree.file(&path)? else { continue };
        let bytes = member.tree.bytes(&file)?;
        if !MARKERS.iter().any(|marker| holds(&bytes, marker.as_bytes())) {
            continue;
        }
        let Ok(documents) = member.tree.documents(&file)? else { continue };
        for (_, text) in sealed(&documents) {
            texts.entry(normal(text)).or_default().push(Arc::clone(&path));
        }
    }
    Ok(texts)
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn documents_of(tree: &Tree, path: &str) -> Result<Option<Arc<[Document]>>, TreeError> {
    let Some(file) = tree.file(path)? else { return Ok(None) };
    Ok(tree.documents(&file)?.ok())
}

/// The values that anyone who reads the file can read. A text that only begins with a marker is one of them.
fn plain(documents: &[Document]) -> impl Iterator<Item = &Property> {
    let properties = documents.iter().flat_map(|document| &document.properties);
    properties.filter(|property| match &property.value {
        Value::Plain(_) => {
            let text = property.value.text();
            !text.is_empty() && !is_placeholder(text)
        }
        Value::Sealed(text) => !sealed_text::has_shape(text),
        Value::Opened(_) => false,
    })
}

/// Returns true for a text such as `${DB_PASSWORD}`, which the client resolves. A default would be a plain value.
fn is_placeholder(text: &str) -> bool {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|name| !name.contains([':', '{', '}']))
}

/// A sealed text without what can differ while the same value opens: prefixes, letter case and padding.
fn normal(text: &str) -> String {
    let mut rest = text.trim();
    while let Some((_, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        rest = after.trim();
    }
    rest.trim_end_matches('=').to_ascii_lowercase()
}

fn severity(permission: Permission) -> Option<FindingSeverity> {
    match permission {
        Permission::Allowed => None,
        Permission::WouldDeny => Some(FindingSeverity::Warning),
        Permission::Denied => Some(FindingSeverity::Problem),
    }
}

fn problem(path: &str, place: Option<(&Arc<str>, Position)>, message: &str) -> Problem {
    Problem {
        origin: Origin { file: path.into(), position: place.map(|(_, position)| position) },
        key: place.map(|(key, _)| Arc::clone(key)),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_is_recognised_in_other_spellings() {
        let text = "{cipher}{key:new}ABCD==";
        for other in ["{cipher}abcd", "{cipher}{key:old}{name:x}aBcD=", " {cipher} ABCD"] {
            assert_eq!(normal(other), normal(text), "{other}");
        }
        assert_ne!(normal("{cipher}abce"), normal(text));
    }

    #[test]
    fn a_placeholder_with_a_default_is_a_plain_value() {
        assert!(is_placeholder("${DB_PASSWORD}"));
        for text in ["${DB_PASSWORD:hunter2}", "${a}${b}", "x${a}", "hunter2", "${a"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
