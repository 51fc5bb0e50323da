//! Tests of links, paths, changes and sharing in trees.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::object_cache::CACHE_TIDY_AT;
use super::*;
use crate::sync::lock;

/// An object store that derives ids from content and counts listings.
#[derive(Default)]
struct Store {
    objects: Mutex<HashMap<ContentId, Object>>,
    list_count: AtomicU64,
}

#[derive(Clone)]
enum Object {
    Directory(Vec<RawEntry>),
    Bytes(String),
}

impl Store {
    fn put(&self, text: &str, object: Object) -> ContentId {
        let mut bytes = [0; 32];
        for (at, byte) in text.bytes().enumerate() {
            let place: &mut u8 = &mut bytes[at % 32];
            *place = place.wrapping_mul(31).wrapping_add(byte);
        }
        let id = ContentId::from_bytes(&bytes);
        lock(&self.objects).insert(id, object);
        id
    }

    /// Stores files by path. A content of `-> target` makes a link.
    fn directory(&self, files: &BTreeMap<&str, &str>) -> ContentId {
        let mut below: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        let mut entries = Vec::new();
        for (path, content) in files {
            if let Some((name, rest)) = path.split_once('/') {
                below.entry(name).or_default().insert(rest, content);
                continue;
            }
            let (kind, content) = match content.strip_prefix("-> ") {
                Some(target) => (EntryKind::Link, target),
                None => (EntryKind::File, *content),
            };
            let id = self.put(&format!("bytes {content}"), Object::Bytes(content.to_owned()));
            entries.push(RawEntry { name: (*path).into(), kind, id });
        }
        for (name, files) in below {
            entries.push(RawEntry {
                name: name.into(),
                kind: EntryKind::Directory,
                id: self.directory(&files),
            });
        }
        // Any order will do.
        entries.reverse();
        self.put(&format!("directory {entries:?}"), Object::Directory(entries))
    }

    fn get(&self, id: ContentId) -> Result<Object, TreeError> {
        let found = lock(&self.objects).get(&id).cloned();
        found.ok_or_else(|| TreeError(format!("{id} is missing")))
    }
}

impl Objects for Store {
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError> {
        self.list_count.fetch_add(1, Ordering::Relaxed);
        match self.get(id)? {
            Object::Directory(entries) => Ok(entries),
            Object::Bytes(_) => Err(TreeError("no directory".to_owned())),
        }
    }

    fn size(&self, id: ContentId) -> Result<u64, TreeError> {
        Ok(self.read(id)?.len() as u64)
    }

    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError> {
        match self.get(id)? {
            Object::Bytes(text) => Ok(text.into_bytes()),
            Object::Directory(_) => Err(TreeError("no file".to_owned())),
        }
    }
}

struct Fixture {
    store: Arc<Store>,
    cache: Arc<ObjectCache>,
}

impl Fixture {
    fn new() -> Self {
        let store = Arc::new(Store::default());
        let cache = ObjectCache::new(Arc::clone(&store) as Arc<_>);
        Self { store, cache }
    }

    fn tree(&self, files: &[(&str, &str)]) -> Tree {
        let files = files.iter().copied().collect();
        self.cache.tree(self.store.directory(&files))
    }

    fn list_count(&self) -> u64 {
        self.store.list_count.load(Ordering::Relaxed)
    }
}

fn text(tree: &Tree, path: &str) -> Option<String> {
    let file = tree.file(path).expect("reads")?;
    Some(String::from_utf8(tree.bytes(&file).expect("reads")).expect("text"))
}

#[track_caller]
fn check(files: &[(&str, &str)], path: &str, expected: Option<&str>) {
    let found = text(&Fixture::new().tree(files), path);
    assert_eq!(found.as_deref(), expected, "{path:?}");
}

#[test]
fn a_path_names_a_file_or_nothing() {
    let files = [("application.yml", "a"), ("team/orders.yml", "b")];
    check(&files, "application.yml", Some("a"));
    check(&files, "team/orders.yml", Some("b"));
    for nothing in [
        "",
        ".",
        "..",
        "/",
        "team",
        "team/",
        "/application.yml",
        "./application.yml",
        "team/../application.yml",
        "team//orders.yml",
        "application.yml/",
        "application.yml/x",
        "APPLICATION.yml",
        "team\\orders.yml",
        "application.yml\0",
    ] {
        check(&files, nothing, None);
    }
    check(&files, &"x/".repeat(10_000), None);
}

#[test]
fn a_link_leads_to_files_and_directories_inside() {
    let files = [
        ("application.yml", "a"),
        ("team/orders.yml", "b"),
        ("file.yml", "-> team/orders.yml"),
        ("folder", "-> team"),
        ("team/up.yml", "-> ../application.yml"),
        ("team/here.yml", "-> ./orders.yml"),
        ("chain.yml", "-> file.yml"),
        ("deep/er/link", "-> ../../folder"),
    ];
    check(&files, "file.yml", Some("b"));
    check(&files, "folder/orders.yml", Some("b"));
    check(&files, "team/up.yml", Some("a"));
    check(&files, "folder/up.yml", Some("a"));
    check(&files, "team/here.yml", Some("b"));
    check(&files, "chain.yml", Some("b"));
    check(&files, "deep/er/link/orders.yml", Some("b"));
}

#[test]
fn a_link_that_leads_outside_or_nowhere_is_nothing() {
    let long = format!("-> {}application.yml", "./".repeat(3000));
    let files = [
        ("application.yml", "a"),
        ("absolute.yml", "-> /application.yml"),
        ("above.yml", "-> ../application.yml"),
        ("far.yml", "-> team/../../application.yml"),
        ("dangling.yml", "-> nowhere.yml"),
        ("self.yml", "-> self.yml"),
        ("a.yml", "-> b.yml"),
        ("b.yml", "-> a.yml"),
        ("circle", "-> ."),
        ("back.yml", "-> team\\application.yml"),
        ("long.yml", &long),
        ("team/orders.yml", "b"),
    ];
    for (path, _) in &files[1..11] {
        check(&files, path, None);
    }
    check(&files, "circle/circle/application.yml", Some("a"));
    check(&files, &format!("{}application.yml", "circle/".repeat(20)), None);
}

#[test]
fn a_listing_shows_links_as_what_they_lead_to() {
    let tree = Fixture::new().tree(&[
        ("b.yml", "b"),
        ("a/x.yml", "a"),
        ("file", "-> b.yml"),
        ("folder", "-> a"),
        ("outside", "-> ../b.yml"),
    ]);
    let listed = tree.list("").expect("reads").expect("is there");
    let listed: Vec<(&str, EntryKind)> =
        listed.iter().map(|(name, kind)| (&**name, *kind)).collect();
    assert_eq!(
        listed,
        [
            ("a", EntryKind::Directory),
            ("b.yml", EntryKind::File),
            ("file", EntryKind::File),
            ("folder", EntryKind::Directory),
        ]
    );
    assert!(tree.list("folder").expect("reads").is_some());
    assert!(tree.list("b.yml").expect("reads").is_none());
    assert!(tree.list("nowhere").expect("reads").is_none());
}

#[test]
fn a_walk_visits_each_file_once() {
    let tree = Fixture::new().tree(&[
        ("b.yml", "b"),
        ("a/x.yml", "a"),
        ("folder", "-> a"),
        ("circle", "-> ."),
    ]);
    let mut paths = Vec::new();
    tree.walk(&mut |path| paths.push(path.to_owned())).expect("walks");
    assert_eq!(paths, ["a/x.yml", "b.yml"]);
}

fn changes(old: &[(&str, &str)], new: &[(&str, &str)]) -> Changes {
    let fixture = Fixture::new();
    let changes = fixture.tree(new).changes(&fixture.tree(old));
    changes.expect("compares")
}

#[test]
fn changes_name_the_files_and_the_listings() {
    let old = [("a.yml", "1"), ("team/b.yml", "1"), ("gone/c.yml", "1")];
    assert!(changes(&old, &old).is_empty());
    let new = [("a.yml", "2"), ("team/b.yml", "1"), ("team/d.yml", "1")];
    let found = changes(&old, &new);
    assert_eq!(found.files, ["a.yml", "gone/c.yml", "team/d.yml"]);
    assert_eq!(found.listings, ["gone", "team", ""]);
    assert!(!found.links);
}

#[test]
fn a_content_change_alone_changes_no_listing() {
    let found = changes(&[("team/b.yml", "1")], &[("team/b.yml", "2")]);
    assert_eq!(found.files, ["team/b.yml"]);
    assert!(found.listings.is_empty());
}

#[test]
fn a_name_that_changes_its_kind_changes_its_listing() {
    let found = changes(&[("team", "1")], &[("team/b.yml", "1")]);
    assert_eq!(found.files, ["team/b.yml", "team"]);
    assert_eq!(found.listings, ["team", ""]);
}

#[test]
fn added_removed_and_changed_links_are_reported() {
    for (old, new) in [("-> a", "-> b"), ("-> a", "a"), ("a", "-> a")] {
        assert!(changes(&[("x", old)], &[("x", new)]).links);
    }
    assert!(changes(&[("x", "a")], &[("x", "a"), ("y", "-> x")]).links);
    assert!(!changes(&[("x", "-> y"), ("y", "1")], &[("x", "-> y"), ("y", "2")]).links);
}

#[test]
fn the_reserved_directory_is_found_by_its_name_alone() {
    let fixture = Fixture::new();
    let files: &[(&str, &str)] = &[
        ("a.toml", "-> .headwater/plan.toml"),
        ("all", "-> .headwater"),
        (".headwater/plan.toml", "1"),
        (".headwater/deep/x.toml", "1"),
        (".headwater/link.toml", "-> ../b.toml"),
        ("team/.headwater/plan.toml", "2"),
        ("b.toml", "1"),
    ];
    let tree = fixture.tree(files);
    for path in ["a.toml", "all", ".headwater", ".headwater/plan.toml", "team/.headwater"] {
        assert_eq!(tree.kind(path).unwrap(), None, "{path}");
    }
    let listed = tree.list("").unwrap().unwrap();
    let names: Vec<&str> = listed.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["b.toml", "team"]);
    assert!(tree.names_with_prefix("", ".").unwrap().is_empty());
    let Some(ReservedEntry::File(id)) = tree.reserved_entry("plan.toml").unwrap() else {
        panic!("a file");
    };
    assert_eq!(tree.reserved_bytes(id, 1).unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(tree.reserved_bytes(id, 0).unwrap(), None);
    assert_eq!(tree.reserved_entry("deep").unwrap(), Some(ReservedEntry::Other));
    assert_eq!(tree.reserved_entry("link.toml").unwrap(), Some(ReservedEntry::Other));
    assert_eq!(tree.reserved_entry("none.toml").unwrap(), None);
    assert_eq!(fixture.tree(&[("b.toml", "1")]).reserved_entry("plan.toml").unwrap(), None);
    let mut changed = files.to_vec();
    changed[2].1 = "3";
    assert!(fixture.tree(&changed).changes(&tree).unwrap().is_empty());
}

#[test]
fn equal_directories_are_not_read() {
    let fixture = Fixture::new();
    let mut files: Vec<(String, String)> =
        (0..50).map(|team| (format!("team-{team}/a.yml"), format!("{team}"))).collect();
    let tree = |files: &[(String, String)]| {
        let files: Vec<_> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        fixture.tree(&files)
    };
    let old = tree(&files);
    files[7].1 = "changed".to_owned();
    let new = tree(&files);
    let found = new.changes(&old).expect("compares");
    assert_eq!(found.files, ["team-7/a.yml"]);
    assert_eq!(fixture.list_count(), 4);
}

#[test]
fn two_trees_share_equal_files() {
    let fixture = Fixture::new();
    let old = fixture.tree(&[("a.yml", "1"), ("team/b.yml", "1")]);
    let before = old.file("team/b.yml").expect("reads").expect("is there");
    old.documents(&before).expect("reads").expect("parses");
    let new = fixture.tree(&[("a.yml", "2"), ("team/b.yml", "1"), ("team/c.yml", "3")]);
    let after = new.file("team/b.yml").expect("reads").expect("is there");
    new.documents(&after).expect("reads").expect("parses");
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(new.parsed_count(), 1);
}

#[test]
fn dead_entries_are_removed_from_the_cache() {
    let fixture = Fixture::new();
    for round in 0..3 * CACHE_TIDY_AT {
        let text = format!("{round}");
        let tree = fixture.tree(&[("a.yml", &text)]);
        tree.file("a.yml").expect("reads").expect("is there");
    }
    let (directories, files) = fixture.cache.held_counts();
    assert!(files <= CACHE_TIDY_AT);
    assert!(directories <= CACHE_TIDY_AT);
}

#[test]
fn an_unreadable_source_is_an_error_and_not_an_absent_file() {
    let fixture = Fixture::new();
    let missing = fixture.cache.tree(ContentId::from_bytes(b"missing"));
    assert!(missing.file("a.yml").is_err());
    assert!(missing.list("").is_err());
    assert!(missing.walk(&mut |_| {}).is_err());
    assert!(missing.changes(&fixture.tree(&[])).is_err());
}

#[test]
fn a_tree_keeps_the_value_that_it_was_created_with() {
    let fixture = Fixture::new();
    let kept = Arc::new(());
    let root = fixture.tree(&[]).id();
    let tree = fixture.cache.tree_keeping(root, Arc::clone(&kept) as Arc<_>);
    let clone = tree.clone();
    drop(tree);
    assert_eq!(Arc::strong_count(&kept), 2);
    drop(clone);
    assert_eq!(Arc::strong_count(&kept), 1);
}
