//! The form of the pages: their length and width, the numbers of decisions, and a map that names what exists.

use std::collections::BTreeSet;
use std::fs;

use super::none;
use super::page::{Page, pages, root};
use super::rows;

/// The longest that a page of the first hour may be, in lines.
const LINE_COUNT_MAX: [(&str, usize); 2] = [("README.md", 130), ("ARCHITECTURE.md", 200)];
/// The longest line of a page, in characters. Tables and blocks of code are excepted.
const LINE_LENGTH_MAX: usize = 160;
/// The file with the locks of a hosted repository.
const LOCKS: &str = "src/push/locks.rs";

#[test]
fn the_first_pages_are_short() {
    none(LINE_COUNT_MAX.into_iter().filter_map(|(page, most)| {
        let count = Page::read(page).text.lines().count();
        (count > most).then(|| format!("{page} has {count} lines, expected at most {most}"))
    }));
}

#[test]
fn lines_of_pages_are_short() {
    none(pages().iter().flat_map(|page| {
        long_lines(&page.text).map(|number| {
            let name = page.name();
            format!("{name}:{number}: more than {LINE_LENGTH_MAX} characters")
        })
    }));
}

/// The numbers of the lines that are too long.
fn long_lines(text: &str) -> impl Iterator<Item = usize> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        is_code ^= line.trim_start().starts_with("```");
        let is_free = is_code || line.trim_start().starts_with('|');
        (!is_free && line.chars().count() > LINE_LENGTH_MAX).then_some(index + 1)
    })
}

#[test]
fn long_lines_are_found_outside_tables_and_code() {
    let long = "x".repeat(LINE_LENGTH_MAX + 1);
    let text = format!("{long}\n| {long}\n```sh\n{long}\n```\n{long}\n");
    assert_eq!(long_lines(&text).collect::<Vec<_>>(), [1, 6]);
    assert_eq!(long_lines(&"ä".repeat(LINE_LENGTH_MAX)).count(), 0);
}

#[test]
fn the_map_names_every_room_and_only_paths_that_exist() {
    let page = Page::read("ARCHITECTURE.md");
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let directories: BTreeSet<String> = entries
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let is_path = |code: &str| {
        let first = code.split('/').next().expect("a part");
        code.contains('/') && directories.contains(first)
    };
    let paths: BTreeSet<&str> =
        page.codes.iter().map(String::as_str).filter(|code| is_path(code)).collect();
    assert!(paths.len() > 30, "only {} paths are named", paths.len());
    let missing = paths.iter().filter(|path| !root().join(path).exists());
    none(missing.map(|path| format!("ARCHITECTURE.md names {path}, which does not exist")));

    let modules = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = modules
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    let unnamed = modules.map(|name| format!("src/{name}.rs"));
    let unnamed = unnamed.filter(|path| !paths.contains(path.as_str()));
    none(unnamed.map(|path| format!("the map in ARCHITECTURE.md lacks {path}")));
}

#[test]
fn the_locks_of_a_push_are_named_as_in_the_code() {
    let code = fs::read_to_string(root().join(LOCKS)).unwrap();
    let rows = rows("ARCHITECTURE.md", "A push: locks and durability");
    let names = rows.iter().filter_map(|row| row[0].strip_prefix('`')?.strip_suffix('`'));
    let names: Vec<&str> = names.collect();
    assert!(!names.is_empty(), "no lock is listed");
    let unknown = names.into_iter().filter(|name| !code.contains(&format!(" {name}: ")));
    none(unknown.map(|name| format!("{LOCKS} has no field {name}")));
}

#[test]
fn decisions_are_numbered_and_have_three_parts() {
    let directory = root().join("docs/decisions");
    let names = fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.filter(|name| name != "README.md").collect();
    assert!(!names.is_empty(), "there are no decisions");
    for (index, name) in names.iter().enumerate() {
        let number = format!("{:04}-", index + 1);
        assert!(name.starts_with(&number), "{name}: expected the number {number}");
        let page = Page::read(format!("docs/decisions/{name}"));
        let parts: Vec<&str> =
            page.text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(parts, ["Context", "Decision", "Consequences"], "{name}");
    }
}
