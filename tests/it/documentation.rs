//! The pages keep what they promise: links lead somewhere, code is what the program takes, and what they tell people to
//! type is typed here.

mod commands;
mod differences;
mod house;
mod moving;
mod operating;
mod page;
mod rollouts;
mod start;
mod threats;
mod typed;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use headwater::format::{self, Format};
use headwater::settings::{Flags, Settings};
use headwater_rollout::plan::PlanFile;

use self::page::{Block, Page, pages};
pub(crate) use self::page::{root, rust_files};
pub(crate) use self::typed::blocks;

/// What would only mean something on one machine, or to whoever wrote it.
const OUT_OF_PLACE: [&str; 5] = ["/root/", "/work/", "/home/", "worktree", "TODO"];

/// Languages of blocks. `text` is what a program says, or a drawing.
const LANGUAGES: [&str; 18] = [
    "console",
    "dockerfile",
    "go",
    "http",
    "ini",
    "java",
    "js",
    "jinja",
    "json",
    "nginx",
    "properties",
    "python",
    "rust",
    "sh",
    "text",
    "toml",
    "xml",
    "yaml",
];

/// The page that `cargo test` compiles as it stands.
const COMPILED_PAGE: &str = "clients/rust/README.md";

/// All that is wrong, at once.
#[track_caller]
fn none(problems: impl IntoIterator<Item = String>) {
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// The rows of the tables below a heading, without their heads. Cells are as written.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let page = Page::read(page);
    let (_, section) = page.text.split_once(&format!("\n## {heading}\n")).expect("the heading");
    table_rows(section.split("\n## ").next().unwrap())
}

/// The rows of all tables of a page.
fn all_rows(page: &str) -> Vec<Vec<String>> {
    table_rows(&Page::read(page).text)
}

fn table_rows(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let rows = lines.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect());
    let rows: Vec<Vec<String>> = rows.collect();
    let is_divider = |row: &Vec<String>| row[0].starts_with("---");
    assert!(rows.iter().any(is_divider), "no table");
    let heads = rows.iter().skip(1).map(is_divider).chain([false]);
    let heads: Vec<bool> = heads.collect();
    let rows = rows.into_iter().zip(heads);
    rows.filter(|(row, is_head)| !is_head && !is_divider(row)).map(|(row, _)| row).collect()
}

/// The pages that a reader reaches from the README. Pages below `tests` describe fixtures, and those below `.github` are
/// forms.
fn pages_for_people() -> Vec<Page> {
    let is_inside = |page: &Page| ["tests", ".github"].iter().any(|it| page.path.starts_with(it));
    pages().into_iter().filter(|page| !is_inside(page)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let links = pages.iter().flat_map(|page| page.links.iter().map(move |link| (page, link)));
    none(links.filter_map(|(page, link)| {
        let why = lost(&pages, page, link)?;
        Some(format!("{}: {link} {why}", page.name()))
    }));
}

/// What is wrong with a link.
fn lost(pages: &[Page], page: &Page, link: &str) -> Option<&'static str> {
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    if target.contains("://") {
        return None;
    }
    let path = beside(page, target);
    if !root().join(&path).exists() {
        return Some("leads nowhere");
    }
    if anchor.is_empty() {
        return None;
    }
    let other = pages.iter().find(|page| page.path == path);
    let known = other.is_some_and(|other| other.anchors.iter().any(|known| known == anchor));
    (!known).then_some("is no heading")
}

/// The path of a link, from the root of the repository.
fn beside(page: &Page, target: &str) -> PathBuf {
    if target.is_empty() {
        return page.path.clone();
    }
    let mut path = PathBuf::new();
    for part in page.path.parent().expect("a file").join(target).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: {target} climbs", page.name()),
            part => path.push(part),
        }
    }
    path
}

/// Comments cite the rules of the protocol and the decisions of the project as `docs/<page>.md#<heading>`.
#[test]
fn every_page_that_a_comment_cites_has_the_heading() {
    let pages = pages();
    let directories = ["src", "etcd", "clients", "tests", "benches"];
    let files: Vec<PathBuf> = directories.iter().flat_map(|it| rust_files(it)).collect();
    let mut citation_count = 0;
    let problems = files.iter().flat_map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        let cited: Vec<String> = comments(&text).flat_map(citations).collect();
        citation_count += cited.len();
        let broken = cited.into_iter().filter(|cited| !is_heading(&pages, cited));
        broken.map(|cited| format!("{}: {cited}", file.display())).collect::<Vec<_>>()
    });
    none(problems.collect::<Vec<_>>());
    assert!(citation_count > 30, "only {citation_count} citations");
    assert!(!is_heading(&pages, "docs/protocol.md#no-such-heading"));
    assert!(!is_heading(&pages, "docs/no-such-page.md"));
}

/// The text of the comments in a file of Rust, line by line.
fn comments(text: &str) -> impl Iterator<Item = &str> {
    // `//-` begins a file in a fixture.
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    lines.filter(|line| !line.starts_with('-'))
}

/// The pages below `docs` that a comment names, each with the heading.
fn citations(comment: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_/.#".contains(c);
    let words = comment.split(|c: char| !is_part(c));
    let words = words.map(|word| word.trim_end_matches('.').trim_start_matches("../"));
    words
        .filter(|word| word.starts_with("docs/") && word.contains(".md"))
        .map(str::to_owned)
        .collect()
}

fn is_heading(pages: &[Page], cited: &str) -> bool {
    let (path, heading) =
        cited.split_once('#').map_or((cited, None), |(path, heading)| (path, Some(heading)));
    let page = pages.iter().find(|page| page.path == Path::new(path));
    page.is_some_and(|page| {
        heading.is_none_or(|heading| page.anchors.iter().any(|anchor| anchor == heading))
    })
}

/// A reader who begins with the README reaches every page for users.
#[test]
fn every_page_is_reached_from_the_first_one() {
    let pages = pages();
    let mut reached = BTreeSet::from([PathBuf::from("README.md")]);
    let mut open: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(path) = open.pop() {
        let page = pages.iter().find(|page| page.path == path).expect("a page");
        let targets = page.links.iter().map(|link| link.split('#').next().unwrap());
        for target in targets.filter(|target| target.ends_with(".md") && !target.contains("://")) {
            let path = beside(page, target);
            if reached.insert(path.clone()) {
                open.push(path);
            }
        }
    }
    let lost = pages_for_people().into_iter().filter(|page| !reached.contains(&page.path));
    none(lost.map(|page| format!("no link leads to {}", page.name())));
}

/// Asks something of every block.
#[track_caller]
fn of_blocks(mut check: impl FnMut(&Page, &Block) -> Result<(), String>) {
    let pages = pages_for_people();
    let blocks = pages.iter().flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
    none(blocks.filter_map(|(page, block)| {
        let error = check(page, block).err()?;
        Some(format!("{}: {error}", block.place(page)))
    }));
}

#[test]
fn every_block_says_what_it_is() {
    of_blocks(|_, block| {
        let language = block.language.split(',').next().expect("a part");
        let known = LANGUAGES.contains(&language);
        known.then_some(()).ok_or_else(|| format!("a block is {language:?}"))
    });
}

#[test]
fn nothing_is_said_that_is_out_of_place() {
    none(pages().iter().flat_map(|page| {
        let found = OUT_OF_PLACE.into_iter().filter(|words| page.text.contains(words));
        found.map(|words| format!("{} says {words:?}", page.name()))
    }));
}

#[test]
fn blocks_of_data_are_what_they_say() {
    of_blocks(|_, block| match block.language.as_str() {
        "json" => serde_json::from_str::<serde_json::Value>(&block.text)
            .map(drop)
            .map_err(|error| error.to_string()),
        "yaml" => parses(Format::Yaml, block),
        "properties" => parses(Format::Properties, block),
        "toml" => is_settings(block),
        _ => Ok(()),
    });
}

fn parses(format: Format, block: &Block) -> Result<(), String> {
    format::parse(format, block.text.as_bytes()).map(drop).map_err(|error| format!("{error:?}"))
}

/// A block of TOML is settings of the server, unless it is a policy, a plan of rollouts or the manifest of a service.
fn is_settings(block: &Block) -> Result<(), String> {
    if block.text.starts_with(&format!("# {}\n", PlanFile::PATH)) {
        let plan = PlanFile::parse(PlanFile::PATH, block.text.as_bytes(), &["errors"]);
        return plan.map(drop).map_err(|error| error.to_string());
    }
    let is_part = ["[[area]]", "[[principal]]"].iter().any(|begin| block.text.starts_with(begin));
    if is_part || block.text.starts_with("version = 1\n") {
        let version = if is_part { "version = 1\n" } else { "" };
        let text = format!("{version}{}", block.text);
        let policy = headwater_access::Policy::parse("policy.toml", text.as_bytes());
        return policy.map(drop).map_err(|error| error.to_string());
    }
    if ["[dependencies]", "[package]"].iter().any(|begin| block.text.starts_with(begin)) {
        return toml::from_str::<toml::Table>(&block.text)
            .map(drop)
            .map_err(|error| error.to_string());
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("headwater.toml");
    std::fs::write(&path, &block.text).unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    Settings::load(flags).map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_command_is_one_that_the_program_takes() {
    let mut count = 0;
    of_blocks(|_, block| {
        let typed = match block.language.as_str() {
            "sh" => block.text.clone(),
            "console" => commands::typed(&block.text),
            _ => return Ok(()),
        };
        let commands = commands::of_headwater(&typed);
        count += commands.len();
        commands.iter().try_for_each(|words| commands::parse(words))
    });
    assert!(count > 30, "only {count} were found");
}

#[test]
fn what_is_said_in_passing_are_verbs_and_flags_that_there_are() {
    none(pages_for_people().iter().flat_map(|page| {
        let codes = page.codes.iter().filter(|code| code.starts_with("headwater "));
        let wrong: Vec<_> = codes.filter_map(|code| commands::mentions(code).err()).collect();
        wrong.into_iter().map(|error| format!("{}: {error}", page.name()))
    }));
}

/// A block of Rust stands in an example too, which is compiled, but for blanks and the commas that the formatter adds.
#[test]
fn every_block_of_rust_is_compiled() {
    let examples = root().join("clients/rust/examples");
    let examples: Vec<String> = std::fs::read_dir(examples)
        .unwrap()
        .map(|entry| bare(&std::fs::read_to_string(entry.unwrap().path()).unwrap()))
        .collect();
    of_blocks(|page, block| {
        let is_rust = block.language.starts_with("rust");
        if !is_rust || page.path == Path::new(COMPILED_PAGE) {
            return Ok(());
        }
        let code = bare(&block.text);
        let compiled = examples.iter().any(|example| example.contains(&code));
        compiled.then_some(()).ok_or_else(|| "no example has this".to_owned())
    });
}

fn bare(code: &str) -> String {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    code.replace(",}", "}").replace(",)", ")")
}
