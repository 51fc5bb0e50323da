//! Trees of files as immutable objects, each under the SHA-256 of its value. Pure.
//!
//! A directory is a list of its entries. A long list is divided into sixteen lists by the hash of the names, and these are
//! divided again. A change of one file therefore rewrites the file and a few small lists. All lists are text, so that an
//! operator can follow them with etcdctl.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use super::keys::{hex, is_path, parse_id};
use crate::model::ContentId;
use crate::source::files::Content;

/// The largest value that is written, in bytes: etcd accepts requests of 1.5 MB.
pub(super) const OBJECT_BYTES_MAX: usize = 1024 * 1024;
/// The most entries of one list.
const ENTRY_COUNT_MAX: usize = 128;
/// The number of lists that a long list is divided into.
const FAN_OUT: usize = 16;
/// The most divisions of a list.
const DIVISION_COUNT_MAX: usize = 16;
/// The largest file that is published, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest line of a commit, in characters.
const LINE_LENGTH_MAX: usize = 200;

/// The kind of an object that a list references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ObjectKind {
    File,
    /// A file that is larger than one value. Its object lists the pieces.
    Pieces,
    Link,
    Directory,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListEntry {
    pub(super) name: Box<str>,
    pub(super) kind: ObjectKind,
    pub(super) id: ContentId,
}

/// The stored form of a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DirectoryList {
    Entries(Vec<ListEntry>),
    /// Lists by the hash of the names. Empty lists are left out.
    Divided(Vec<ContentId>),
}

/// A revision of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommitObject {
    pub(super) tree: ContentId,
    pub(super) parent: Option<ContentId>,
    /// The time of the commit, in seconds since 1970.
    pub(super) seconds: i64,
    pub(super) author: String,
    pub(super) subject: String,
    /// Distinguishes it from commits with the same content.
    pub(super) nonce: String,
}

/// The objects of one tree, by id.
pub(super) type Bundle = HashMap<ContentId, Bytes>;

/// The id of a value.
pub(super) fn id_of(value: &[u8]) -> ContentId {
    ContentId::from_bytes(digest(&SHA256, value).as_ref())
}

/// Converts files into objects, and returns them with the id of the root. Equal files always make equal objects.
///
/// # Errors
/// The first path that a tree may not hold, with the reason.
pub(super) fn tree(files: &BTreeMap<String, Content>) -> Result<(ContentId, Bundle), String> {
    let mut root = DirectoryBuilder::default();
    for (path, content) in files {
        if !is_path(path) {
            return Err(format!("{path:?} is not a valid path of a file"));
        }
        root.place(path, content).map_err(|why| format!("{path}: {why}"))?;
    }
    let mut objects = Bundle::new();
    let root = root.write(&mut objects);
    Ok((root, objects))
}

#[derive(Default)]
struct DirectoryBuilder<'a>(BTreeMap<&'a str, BuilderEntry<'a>>);

enum BuilderEntry<'a> {
    Directory(DirectoryBuilder<'a>),
    Content(&'a Content),
}

impl<'a> DirectoryBuilder<'a> {
    fn place(&mut self, path: &'a str, content: &'a Content) -> Result<(), &'static str> {
        let Some((name, rest)) = path.split_once('/') else {
            let (Content::File(bytes) | Content::Link(bytes)) = content;
            if bytes.len() > FILE_BYTES_MAX {
                return Err("is larger than 64 MiB");
            }
            return match self.0.insert(path, BuilderEntry::Content(content)) {
                None => Ok(()),
                Some(_) => Err("is both a file and a directory"),
            };
        };
        let item = self
            .0
            .entry(name)
            .or_insert_with(|| BuilderEntry::Directory(DirectoryBuilder::default()));
        match item {
            BuilderEntry::Directory(directory) => directory.place(rest, content),
            BuilderEntry::Content(_) => Err("has a file in place of a directory in its path"),
        }
    }

    fn write(&self, objects: &mut Bundle) -> ContentId {
        let entries = self.0.iter().map(|(name, item)| {
            let (kind, id) = match item {
                BuilderEntry::Directory(directory) => {
                    (ObjectKind::Directory, directory.write(objects))
                }
                BuilderEntry::Content(Content::Link(target)) => {
                    (ObjectKind::Link, keep(objects, target.clone()))
                }
                BuilderEntry::Content(Content::File(bytes)) => file(bytes, objects),
            };
            ListEntry { name: (*name).into(), kind, id }
        });
        let entries: Vec<ListEntry> = entries.collect();
        list(&entries, 0, objects)
    }
}

fn keep(objects: &mut Bundle, value: Bytes) -> ContentId {
    let id = id_of(&value);
    objects.entry(id).or_insert(value);
    id
}

fn file(bytes: &Bytes, objects: &mut Bundle) -> (ObjectKind, ContentId) {
    if bytes.len() <= OBJECT_BYTES_MAX {
        return (ObjectKind::File, keep(objects, bytes.clone()));
    }
    let mut text = "pieces\n".to_owned();
    for at in (0..bytes.len()).step_by(OBJECT_BYTES_MAX) {
        let piece = bytes.slice(at..bytes.len().min(at + OBJECT_BYTES_MAX));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", hex(keep(objects, piece)));
    }
    (ObjectKind::Pieces, keep(objects, text.into()))
}

fn list(entries: &[ListEntry], division: usize, objects: &mut Bundle) -> ContentId {
    if entries.len() <= ENTRY_COUNT_MAX || division == DIVISION_COUNT_MAX {
        let mut text = "entries\n".to_owned();
        for ListEntry { name, kind, id } in entries {
            let kind = match kind {
                ObjectKind::File => "file",
                ObjectKind::Pieces => "pieces",
                ObjectKind::Link => "link",
                ObjectKind::Directory => "directory",
            };
            let _ = writeln!(text, "{kind} {} {name}", hex(*id));
        }
        return keep(objects, text.into());
    }
    let mut parts: [Vec<ListEntry>; FAN_OUT] = Default::default();
    for entry in entries {
        let hash = id_of(entry.name.as_bytes());
        let byte = hash.as_bytes()[division / 2];
        let part = if division.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
        parts[usize::from(part)].push(entry.clone());
    }
    let mut text = "divided\n".to_owned();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let _ = writeln!(text, "{}", hex(list(part, division + 1, objects)));
    }
    keep(objects, text.into())
}

/// Parses a directory or a part of one.
pub(super) fn parse_list(value: &[u8]) -> Option<DirectoryList> {
    let text = std::str::from_utf8(value).ok()?;
    if let Some(lines) = text.strip_prefix("divided\n") {
        return Some(DirectoryList::Divided(ids(lines)?));
    }
    let lines = text.strip_prefix("entries\n")?.lines();
    Some(DirectoryList::Entries(lines.map(entry).collect::<Option<_>>()?))
}

fn entry(line: &str) -> Option<ListEntry> {
    let mut parts = line.splitn(3, ' ');
    let kind = match parts.next()? {
        "file" => ObjectKind::File,
        "pieces" => ObjectKind::Pieces,
        "link" => ObjectKind::Link,
        "directory" => ObjectKind::Directory,
        _ => return None,
    };
    let id = parse_id(parts.next()?)?;
    let name = parts.next().filter(|name| !name.contains('/') && is_path(name))?;
    Some(ListEntry { name: name.into(), kind, id })
}

/// Parses the list of the pieces of a large file.
pub(super) fn parse_pieces(value: &[u8]) -> Option<Vec<ContentId>> {
    ids(std::str::from_utf8(value).ok()?.strip_prefix("pieces\n")?)
}

fn ids(lines: &str) -> Option<Vec<ContentId>> {
    lines.lines().map(parse_id).collect()
}

impl CommitObject {
    /// The stored form.
    pub(super) fn to_value(&self) -> Bytes {
        let line = |text: &str| -> String {
            text.chars().filter(|c| !c.is_control()).take(LINE_LENGTH_MAX).collect()
        };
        let mut text = format!("commit\ntree {}\n", hex(self.tree));
        if let Some(parent) = self.parent {
            let _ = writeln!(text, "parent {}", hex(parent));
        }
        let (author, subject, nonce) = (line(&self.author), line(&self.subject), &self.nonce);
        let seconds = self.seconds;
        let _ =
            write!(text, "seconds {seconds}\nnonce {nonce}\nauthor {author}\nsubject {subject}\n");
        text.into()
    }

    /// Parses the stored form.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut lines = text.strip_prefix("commit\n")?.lines().peekable();
        let tree = parse_id(lines.next()?.strip_prefix("tree ")?)?;
        let parent = match lines.peek()?.strip_prefix("parent ") {
            Some(parent) => {
                lines.next();
                Some(parse_id(parent)?)
            }
            None => None,
        };
        let seconds = lines.next()?.strip_prefix("seconds ")?.parse().ok()?;
        let nonce = lines.next()?.strip_prefix("nonce ")?.to_owned();
        let author = lines.next()?.strip_prefix("author ")?.to_owned();
        let subject = lines.next()?.strip_prefix("subject ")?.to_owned();
        Some(Self { tree, parent, seconds, author, subject, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> BTreeMap<String, Content> {
        let file = |text: &str| Content::File(Bytes::copy_from_slice(text.as_bytes()));
        texts.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn many(count: usize) -> BTreeMap<String, Content> {
        let names: Vec<(String, String)> =
            (0..count).map(|at| (format!("service-{at}.yml"), format!("a: {at}"))).collect();
        let texts: Vec<(&str, &str)> = names.iter().map(|(a, b)| (&**a, &**b)).collect();
        files(&texts)
    }

    #[test]
    fn the_same_files_are_the_same_objects() {
        let (first, objects) = tree(&files(&[("a.yml", "a: 1"), ("team/b.yml", "b: 1")])).unwrap();
        let (second, _) = tree(&files(&[("team/b.yml", "b: 1"), ("a.yml", "a: 1")])).unwrap();
        assert_eq!(first, second);
        assert_eq!(objects.len(), 4);
        assert!(objects.iter().all(|(id, value)| id_of(value) == *id));
        let DirectoryList::Entries(entries) = parse_list(&objects[&first]).unwrap() else {
            panic!()
        };
        assert_eq!(entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["a.yml", "team"]);
        assert_eq!(entries[1].kind, ObjectKind::Directory);
    }

    #[test]
    fn one_file_of_20000_moves_a_few_small_objects() {
        let before = many(20_000);
        let mut after = before.clone();
        after.extend(files(&[("service-7.yml", "a: changed")]));
        let ((_, before), (_, after)) = (tree(&before).unwrap(), tree(&after).unwrap());
        let moved: Vec<usize> = after
            .iter()
            .filter(|(id, _)| !before.contains_key(*id))
            .map(|(_, value)| value.len())
            .collect();
        assert!(moved.len() <= 5, "{moved:?}");
        assert!(moved.iter().sum::<usize>() < 32 * 1024, "{moved:?}");
    }

    #[test]
    fn a_large_file_is_kept_in_pieces() {
        let bytes = Bytes::from(vec![7; 2 * OBJECT_BYTES_MAX + 1]);
        let content = [("large.bin".to_owned(), Content::File(bytes))];
        let (root, objects) = tree(&content.into_iter().collect()).unwrap();
        assert!(objects.values().all(|value| value.len() <= OBJECT_BYTES_MAX));
        let DirectoryList::Entries(entries) = parse_list(&objects[&root]).unwrap() else {
            panic!()
        };
        let pieces = parse_pieces(&objects[&entries[0].id]).unwrap();
        let total: usize = pieces.iter().map(|id| objects[id].len()).sum();
        assert_eq!(
            (entries[0].kind, pieces.len(), total),
            (ObjectKind::Pieces, 3, 2 * OBJECT_BYTES_MAX + 1)
        );
    }

    #[test]
    fn invalid_paths_are_rejected() {
        for path in ["", "/a", "a/", "../a", "a/./b", "a\\b", "a\n", ".git/config"] {
            assert!(tree(&files(&[(path, "")])).is_err(), "{path:?}");
        }
        assert!(
            tree(&files(&[("a", ""), ("a/b", "")]))
                .unwrap_err()
                .contains("a file in place of a directory")
        );
    }

    #[test]
    fn malformed_objects_are_not_parsed() {
        let id = "0".repeat(64);
        for text in ["", "entries", "other\n", "entries\nfile 00 a\n", "divided\nx\n"] {
            assert_eq!(parse_list(text.as_bytes()), None, "{text}");
        }
        for line in ["file {} ..", "file {} a/b", "file {} ", "pipe {} a", "file {}"] {
            let text = format!("entries\n{}\n", line.replace("{}", &id));
            assert_eq!(parse_list(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_list(b"entries\n\xff"), None);
        assert_eq!(CommitObject::parse(b"commit\ntree x\n"), None);
        assert_eq!(CommitObject::parse(format!("commit\ntree {id}\n").as_bytes()), None);
    }

    #[test]
    fn a_commit_is_read_as_it_was_written() {
        for parent in [None, Some(id_of(b"parent"))] {
            let commit = CommitObject {
                tree: id_of(b"tree"),
                parent,
                seconds: 1_700_000_000,
                author: "Ann Example".to_owned(),
                subject: String::new(),
                nonce: "ab".to_owned(),
            };
            assert_eq!(CommitObject::parse(&commit.to_value()), Some(commit));
        }
    }
}
