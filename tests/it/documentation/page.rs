//! The pages of the project, as a reader of Markdown sees them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Directories with nothing of ours in them.
const FOREIGN: [&str; 4] = ["target", "node_modules", ".git", "headwater-data"];

/// One Markdown file.
pub(super) struct Page {
    /// From the root of the repository.
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) links: Vec<String>,
    /// Of the headings, as GitHub makes them.
    pub(super) anchors: Vec<String>,
    pub(super) blocks: Vec<Block>,
    /// Code in the middle of text.
    pub(super) codes: Vec<String>,
}

/// A block of code.
pub(super) struct Block {
    /// Empty for one that is only indented.
    pub(super) language: String,
    pub(super) text: String,
    /// The text of the heading above it.
    pub(super) heading: String,
    line: usize,
}

impl Block {
    /// Where it stands.
    pub(super) fn place(&self, page: &Page) -> String {
        format!("{}:{}", page.name(), self.line)
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of Rust below a directory.
pub(crate) fn rust_files(directory: &str) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![root().join(directory)]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                Some(extension) if extension == "rs" => files.push(path),
                _ if path.is_dir() => open.push(path),
                _ => {}
            }
        }
    }
    files
}

/// All of them.
pub(super) fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = directory.join(&name);
            if entry.file_type().unwrap().is_dir() {
                if !FOREIGN.contains(&name.as_str()) {
                    open.push(path);
                }
            } else if name.ends_with(".md") {
                pages.push(Page::read(path));
            }
        }
    }
    assert!(pages.len() > 10, "only {} pages", pages.len());
    pages
}

impl Page {
    /// Reads one, by its path from the root of the repository.
    pub(super) fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let (mut links, mut anchors, mut blocks, mut codes) = (vec![], vec![], vec![], vec![]);
        let mut known = BTreeMap::<String, usize>::new();
        let (mut heading, mut block) = (None::<String>, None::<Block>);
        let mut above = String::new();
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            if let (Some(heading), Event::Text(part) | Event::Code(part)) = (&mut heading, &event) {
                heading.push_str(part);
            }
            match event {
                Event::Start(Tag::Link { dest_url, .. }) => links.push(dest_url.into_string()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    above = heading.take().expect("a heading");
                    let slug = slug(&above);
                    let count = known.entry(slug.clone()).or_default();
                    anchors.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
                    *count += 1;
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    block = Some(Block {
                        language: match kind {
                            CodeBlockKind::Fenced(language) => language.into_string(),
                            CodeBlockKind::Indented => String::new(),
                        },
                        text: String::new(),
                        heading: above.clone(),
                        line: text[..range.start].matches('\n').count() + 1,
                    });
                }
                Event::End(TagEnd::CodeBlock) => blocks.extend(block.take()),
                Event::Text(part) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&part);
                    }
                }
                Event::Code(code) => codes.push(code.into_string()),
                _ => {}
            }
        }
        Self { path, text, links, anchors, blocks, codes }
    }

    /// Its path, to be shown.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// A heading as an anchor.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}
