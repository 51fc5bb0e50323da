//! The locations of imports: files of the repository, or entries of other stores.
//!
//! A location is parsed as in Spring Boot's `StandardConfigDataLocationResolver`. A location with the scheme of another store
//! is data for the client. The server never opens it, and it is never an error.

use std::sync::Arc;

use super::EXTENSIONS;
use crate::format::Format;
use crate::tree::join;

const OPTIONAL: &str = "optional:";
/// A prefix that is ignored.
const RESOURCE: &str = "resource:";

/// One location of an import, with placeholders resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// The location as it is written. It is part of the names of multi-document files.
    pub(super) text: Arc<str>,
    /// The location without `optional:` and `resource:`.
    path: String,
    /// True if a missing file is no problem.
    pub(super) is_optional: bool,
}

/// A candidate file of a location, inside the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The directory of the file, or its parent with [`Reference::is_pattern`].
    pub(super) directory: String,
    /// True if the file is searched in every subdirectory of `directory`.
    pub(super) is_pattern: bool,
    /// The name of the file.
    pub(super) name: String,
    /// The format in which the file is parsed.
    pub(super) format: Format,
    /// The text of the location.
    pub(super) via: Arc<str>,
}

impl Reference {
    /// The directory for the file's relative imports. A pattern stays a pattern, so all its directories are searched.
    pub(super) fn base(&self) -> String {
        if self.is_pattern {
            join(&self.directory, "*/")
        } else if self.directory.is_empty() {
            String::new()
        } else {
            format!("{}/", self.directory)
        }
    }
}

/// The reason why a location is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocationError {
    /// The location has no known extension and is no folder.
    Extension,
    /// A `*` is not the last folder, or occurs twice.
    Wildcard,
}

/// Splits a value of `spring.config.import` into locations. Locations of other stores are omitted.
pub(super) fn locations(value: &str) -> Result<Vec<Location>, EmptyLocationError> {
    let mut locations = Vec::new();
    let mut is_foreign_list = false;
    for (at, text) in value.split(';').enumerate() {
        let path = text.strip_prefix(OPTIONAL).unwrap_or(text);
        let is_optional = path.len() < text.len();
        let path = path.strip_prefix(RESOURCE).unwrap_or(path);
        if path.trim().is_empty() {
            // A blank value is ignored. In a list, Spring fails on a blank location.
            if value.contains(';') {
                return Err(EmptyLocationError);
            }
            continue;
        }
        if is_foreign(path) {
            is_foreign_list |= at == 0;
            continue;
        }
        // Behind a foreign location it can be a part of that location, so errors are left to the client.
        let is_optional = is_optional || is_foreign_list;
        locations.push(Location { text: text.into(), path: path.to_owned(), is_optional });
    }
    Ok(locations)
}

/// A list of locations contains an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EmptyLocationError;

/// Returns true if a location names another store regardless of the values of its placeholders.
pub(super) fn is_foreign_as_written(text: &str) -> bool {
    let path = text.strip_prefix(OPTIONAL).unwrap_or(text);
    !text.contains(';') && !path.starts_with(RESOURCE) && is_foreign(path)
}

/// Returns true if a location leads out of the repository: it has a scheme, or is absolute.
fn is_foreign(path: &str) -> bool {
    if path.starts_with('/') || path.starts_with(r"\\") {
        return true;
    }
    let Some((scheme, _)) = path.split_once(':') else {
        return false;
    };
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-' | '_' | '*');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_part)
}

impl Location {
    /// Returns true if the location names a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.path.ends_with('/')
    }

    /// Returns true if the location contains an unresolved placeholder.
    pub(super) fn has_placeholder(&self) -> bool {
        self.path.contains("${")
    }

    /// The candidate files of the location for a profile, or without a profile. Highest precedence last. Empty if the location
    /// leaves the tree, or is optional and invalid. `extensions` are the extensions of files in a folder.
    pub(super) fn references(
        &self,
        base: &str,
        names: &[&str],
        profile: Option<&str>,
        extensions: &[&'static str],
    ) -> Result<Vec<Reference>, LocationError> {
        let full = format!("{base}{}", self.path);
        let suffix = profile.map(|profile| format!("-{profile}")).unwrap_or_default();
        let references = if full.ends_with('/') {
            self.folder(&full, names, &suffix, extensions)
        } else {
            self.file(&full, &suffix)
        };
        match references {
            Err(_) if self.is_optional => Ok(Vec::new()),
            references => references,
        }
    }

    fn folder(
        &self,
        folder: &str,
        names: &[&str],
        suffix: &str,
        extensions: &[&'static str],
    ) -> Result<Vec<Reference>, LocationError> {
        let mut references = Vec::new();
        for name in names {
            for extension in extensions.iter().rev() {
                let path = format!("{folder}{name}{suffix}.{extension}");
                references.extend(self.reference(&path, extension)?);
            }
        }
        Ok(references)
    }

    fn file(&self, full: &str, suffix: &str) -> Result<Vec<Reference>, LocationError> {
        let (path, extension) = file(full, suffix).ok_or(LocationError::Extension)?;
        Ok(self.reference(&path, extension)?.into_iter().collect())
    }

    fn reference(&self, path: &str, extension: &str) -> Result<Option<Reference>, LocationError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let pattern = directory.strip_suffix('*');
        let is_pattern = match (path.matches('*').count(), pattern) {
            (0, _) => false,
            (1, Some(_)) => true,
            _ => return Err(LocationError::Wildcard),
        };
        let Some(directory) = clean(pattern.unwrap_or(directory)) else {
            return Ok(None);
        };
        let format = Format::of(&format!("x.{extension}"));
        Ok(format.map(|format| Reference {
            directory,
            is_pattern,
            name: name.to_owned(),
            format,
            via: Arc::clone(&self.text),
        }))
    }
}

/// The path of a location without a trailing slash, and the extension for its format: its own in lower case, or the one of a
/// hint such as `[.yml]`, which is not part of the name.
fn file(full: &str, suffix: &str) -> Option<(String, &'static str)> {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let hinted = full.strip_suffix(']').and_then(|rest| rest.rsplit_once("[."));
    if let Some((root, hint)) = hinted.filter(|(_, hint)| hint.chars().all(is_word)) {
        let (extension, _) =
            EXTENSIONS.iter().find(|(known, _)| hint.eq_ignore_ascii_case(known))?;
        return Some((format!("{root}{suffix}"), extension));
    }
    let (extension, _) =
        EXTENSIONS.iter().find(|(known, _)| ends_with_ignoring_case(full, known))?;
    let mut root = full[..full.len() - extension.len()].chars();
    root.next_back()?;
    Some((format!("{}{suffix}.{extension}", root.as_str()), extension))
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    let at = text.len().checked_sub(end.len());
    at.and_then(|at| text.get(at..)).is_some_and(|found| found.eq_ignore_ascii_case(end))
}

/// A path without `.`, `..` and empty parts, or `None` if it leaves the tree.
fn clean(path: &str) -> Option<String> {
    let mut cleaned: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                cleaned.pop()?;
            }
            name => cleaned.push(name),
        }
    }
    Some(cleaned.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of a value. Folders are searched for `application` and `app` in two formats.
    fn paths(base: &str, value: &str, profile: Option<&str>) -> Vec<String> {
        let mut paths = Vec::new();
        let Ok(locations) = locations(value) else {
            return vec!["Empty".to_owned()];
        };
        for location in locations {
            let names = ["application", "app"];
            match location.references(base, &names, profile, &["properties", "yml"]) {
                Ok(references) => paths.extend(references.iter().map(|reference| {
                    let pattern = if reference.is_pattern { "*/" } else { "" };
                    format!("{}|{pattern}{}", reference.directory, reference.name)
                })),
                Err(error) => paths.push(format!("{error:?}")),
            }
        }
        paths
    }

    #[track_caller]
    fn check(value: &str, expected: &[&str]) {
        assert_eq!(paths("here/", value, None), expected, "{value}");
    }

    #[test]
    fn locations_of_other_stores_are_data() {
        for value in [
            "optional:vault://",
            "optional:consul:",
            "nacos:x.yml",
            "aws-parameterstore:/a/",
            "sm://",
            "s3://bucket/x.yml",
            "kubernetes:",
            "azure-key.vault+x_y:z",
            "file:near.yml",
            "optional:optional:near.yml",
            "/near.yml",
            r"\\server\near.yml",
            r"C:\near.yml",
            "optional:aws-secretsmanager:/a;b;c",
        ] {
            check(value, &[]);
        }
    }

    #[test]
    fn files_folders_and_lists_are_located() {
        check("near.yml", &["here|near.yml"]);
        check("resource:near.yml", &["here|near.yml"]);
        check("optional:resource:near.yml", &["here|near.yml"]);
        check("near.YML", &["here|near.yml"]);
        check("nearyml", &["here|nea.yml"]);
        check("../a.yml;./b/../c.properties", &["|a.yml", "here|c.properties"]);
        check("optional:vault://;near.yml", &["here|near.yml"]);
        check("near.yml; far.yml", &["here|near.yml", "here| far.yml"]);
        check("a:b/near.yml;a/b:near.yml", &["here/a|b:near.yml"]);
        let folder = ["application.yml", "application.properties", "app.yml", "app.properties"];
        check("parts/", &folder.map(|name| format!("here/parts|{name}")).each_ref().map(|s| &**s));
        check("*/", &folder.map(|name| format!("here|*/{name}")).each_ref().map(|s| &**s));
        check("parts/*/x.yml", &["here/parts|*/x.yml"]);
        check("../../x.yml", &[]);
        check("", &[]);
        check("optional:", &[]);
    }

    #[test]
    fn a_hint_sets_the_format_of_a_file() {
        check("plain[.yml]", &["here|plain"]);
        check("a.txt[.properties]", &["here|a.txt"]);
        check("plain[.xyz]", &["Extension"]);
        check("plain[yml]", &["Extension"]);
        assert_eq!(paths("", "plain[.yml]", Some("dev")), ["|plain-dev"]);
        assert_eq!(paths("", "near.yml", Some("dev")), ["|near-dev.yml"]);
        let location = locations("x.yml[.properties]").unwrap().remove(0);
        let references = location.references("", &[], None, &[]).unwrap();
        assert_eq!(references[0].format, Format::Properties);
    }

    #[test]
    fn an_invalid_location_is_an_error_unless_it_is_optional() {
        check("plain", &["Extension"]);
        assert_eq!(paths("", "yml", None), ["Extension"]);
        check("a/*/*/", &["Wildcard"]);
        check("*.yml", &["Wildcard"]);
        check("near.yml;", &["Empty"]);
        check("near.yml;;far.yml", &["Empty"]);
        check("optional:plain", &[]);
        check("optional:a/*/*/", &[]);
    }

    #[test]
    fn a_file_found_by_a_pattern_imports_by_the_pattern() {
        let location = locations("parts/*/x.yml").unwrap().remove(0);
        let base = location.references("", &[], None, &[]).unwrap()[0].base();
        assert_eq!(base, "parts/*/");
        assert_eq!(paths(&base, "y.yml", None), ["parts|*/y.yml"]);
        assert_eq!(paths(&base, "*/y.yml", None), ["Wildcard"]);
    }
}
