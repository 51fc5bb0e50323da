//! The files of a directory of secrets, kept in memory.
//!
//! A file that is removed or becomes unusable keeps its last value, because a Secret that is mounted anew is gone for a moment.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use headwater_secrets::SecretText;
use headwater_secrets::sealed::SealKeyring;

use crate::model::Scalar;
use crate::regular_file;
use crate::reveal::{Lookup, Reference, scalar_of_json};
use crate::sync::{read, write};

/// The largest file, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The most files that are read.
const FILE_COUNT_MAX: usize = 1_000;
/// The link that Kubernetes replaces to publish all files of a Secret in one step.
const DATA_LINK: &str = "..data";
/// The most attempts to read all files between two replacements of this link.
const ATTEMPT_COUNT_MAX: usize = 3;
/// What a fault says of a file that keeps its last value.
const STAYS: &str = "its last value stays in use";

/// The files of a directory by their names, each with its text or the reason why it cannot be read.
type FoundFiles = HashMap<String, Result<SecretText, String>>;

/// A directory of secrets.
pub(super) struct SecretDirectory {
    path: PathBuf,
    files: RwLock<Arc<BTreeMap<String, SecretFile>>>,
}

/// One file that was read at least once.
#[derive(Clone)]
struct SecretFile {
    /// Without the last line break.
    text: Arc<SecretText>,
    version: Arc<str>,
    /// The reason why the text is an earlier one.
    fault: Option<Cow<'static, str>>,
}

impl SecretDirectory {
    /// Reads the files of a directory.
    ///
    /// # Errors
    /// When the directory cannot be read. A file that cannot be read is missing.
    pub(super) fn read(path: &Path, keys: &SealKeyring) -> io::Result<Self> {
        let found = read_files(path)?;
        let files = found.into_iter().filter_map(|(name, text)| {
            let text = text.ok()?;
            let version = keys.fingerprint(text.expose().as_bytes()).into();
            Some((name, SecretFile { text: Arc::new(text), version, fault: None }))
        });
        Ok(Self { path: path.to_owned(), files: RwLock::new(Arc::new(files.collect())) })
    }

    /// Reads the files again. Returns true if one has another value than before.
    pub(super) fn read_again(&self, keys: &SealKeyring) -> bool {
        let mut files = BTreeMap::clone(&read(&self.files));
        let mut found = match read_files(&self.path) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "the directory of secrets cannot be read: all values stay in use");
                HashMap::new()
            }
        };
        let mut is_new = false;
        for (name, file) in &mut files {
            file.fault = match found.remove(name) {
                Some(Ok(text)) => {
                    if text != *file.text {
                        file.version = keys.fingerprint(text.expose().as_bytes()).into();
                        file.text = Arc::new(text);
                        is_new = true;
                    }
                    None
                }
                Some(Err(reason)) => Some(format!("{reason}, {STAYS}").into()),
                None => Some(format!("it is gone, {STAYS}").into()),
            };
        }
        for (name, text) in found {
            let Ok(text) = text else { continue };
            let version = keys.fingerprint(text.expose().as_bytes()).into();
            files.insert(name, SecretFile { text: Arc::new(text), version, fault: None });
            is_new = true;
        }
        *write(&self.files) = Arc::new(files);
        is_new
    }

    /// The files that keep an earlier value, with the reason.
    pub(super) fn faults(&self) -> BTreeMap<String, String> {
        let files = read(&self.files);
        let fault = |(name, file): (&String, &SecretFile)| {
            Some((format!("the secret file {name}"), file.fault.as_ref()?.to_string()))
        };
        files.iter().filter_map(fault).collect()
    }

    /// Returns the value of a file, or of a key in a file with a JSON object.
    pub(super) fn look_up(&self, name: &str, key: Option<&str>) -> Lookup {
        let Some(file) = read(&self.files).get(name).cloned() else {
            return Lookup::Missing(
                "the directory of secrets has no file of this name that can be read".into(),
            );
        };
        let value = match key {
            None => Scalar::String(file.text.expose().into()),
            Some(key) => match scalar_of(file.text.expose(), key) {
                Some(value) => value,
                None => {
                    return Lookup::Missing(
                        "the secret file is no JSON object with a text, a number or a truth value at this key".into(),
                    );
                }
            },
        };
        Lookup::Found { value, version: file.version }
    }
}

/// The scalar at a key of a JSON object.
fn scalar_of(text: &str, key: &str) -> Option<Scalar> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    scalar_of_json(object.get(key)?)
}

/// Reads all files of a directory between two replacements of the link to its data.
fn read_files(directory: &Path) -> io::Result<FoundFiles> {
    let data = || std::fs::read_link(directory.join(DATA_LINK)).ok();
    let mut before = data();
    for _ in 1..ATTEMPT_COUNT_MAX {
        let found = read_files_once(directory)?;
        let after = data();
        if before == after {
            return Ok(found);
        }
        before = after;
    }
    read_files_once(directory)
}

fn read_files_once(directory: &Path) -> io::Result<FoundFiles> {
    let root = directory.canonicalize()?;
    let mut files = HashMap::new();
    for entry in std::fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let path = root.join(&name);
        let is_named = Reference::parse(&format!("{{file}}:{name}")).is_ok();
        if !is_named || path.is_dir() || files.len() >= FILE_COUNT_MAX {
            continue;
        }
        files.insert(name, read_file(&root, &path));
    }
    Ok(files)
}

/// Reads a file without its last line break. A link must stay in the directory.
fn read_file(root: &Path, path: &Path) -> Result<SecretText, String> {
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    if !real.starts_with(root) {
        return Err("it is a link out of the directory".to_owned());
    }
    let file = regular_file::open_without_link(&real).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(SecretText::new(line.strip_suffix('\r').unwrap_or(line)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(directory: &SecretDirectory, name: &str, key: Option<&str>) -> Option<String> {
        match directory.look_up(name, key) {
            Lookup::Found { value, .. } => Some(value.text().to_owned()),
            Lookup::Missing(_) | Lookup::Pending => None,
        }
    }

    #[test]
    fn files_are_read_and_links_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("other"), "s3cret").unwrap();
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("plain"), "text\r\n").unwrap();
        std::fs::write(at("json"), r#"{"a": "x", "n": 1.5, "t": true, "m": {}}"#).unwrap();
        std::fs::write(at("large"), vec![b'x'; 64 * 1024 + 1]).unwrap();
        std::fs::write(at("binary"), b"\xff").unwrap();
        std::fs::write(at(".hidden"), "x").unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        symlink(outside.path().join("other"), at("link")).unwrap();
        symlink("plain", at("inside")).unwrap();
        let directory = SecretDirectory::read(place.path(), &SealKeyring::default()).unwrap();
        for (name, key, expected) in [
            ("plain", None, Some("text")),
            ("inside", None, Some("text")),
            ("json", Some("a"), Some("x")),
            ("json", Some("n"), Some("1.5")),
            ("json", Some("t"), Some("true")),
            ("json", Some("m"), None),
            ("json", Some("none"), None),
            ("plain", Some("a"), None),
            ("large", None, None),
            ("binary", None, None),
            (".hidden", None, None),
            ("directory", None, None),
            ("link", None, None),
        ] {
            assert_eq!(found(&directory, name, key).as_deref(), expected, "{name} {key:?}");
        }
    }

    #[test]
    fn a_swap_of_the_data_link_is_one_change_and_a_lost_file_keeps_its_value() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for (version, text) in [("..1", "old"), ("..2", "new")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("a"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a", at("a")).unwrap();
        let keys = SealKeyring::default();
        let directory = SecretDirectory::read(place.path(), &keys).unwrap();
        let first = directory.look_up("a", None);
        assert!(!directory.read_again(&keys));
        symlink("..2", at("..tmp")).unwrap();
        std::fs::rename(at("..tmp"), at("..data")).unwrap();
        assert!(directory.read_again(&keys));
        assert_eq!(found(&directory, "a", None).as_deref(), Some("new"));
        assert_ne!(directory.look_up("a", None), first);
        assert!(directory.faults().is_empty());
        std::fs::remove_file(at("a")).unwrap();
        assert!(!directory.read_again(&keys));
        assert_eq!(found(&directory, "a", None).as_deref(), Some("new"));
        assert_eq!(directory.faults().len(), 1);
    }
}
