//! The fixture repositories of the oracle, built as `tests/oracle/record.py` builds them: the same commit ids everywhere.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const WHO: &str = "Headwater Fixture <fixture@headwater.invalid>";
const EPOCH: u64 = 1_700_000_000;
const FLAGS: [&str; 6] = ["base64", "crlf", "latin-1", "no-newline", "symlink", "delete"];

struct File {
    path: String,
    flags: Vec<String>,
    lines: Vec<String>,
}

enum Step {
    Branch(String),
    Tag(String),
    AnnotatedTag(String, String),
    Commit(String, Vec<File>),
}

/// Makes the bare repository of a fixture.
pub(crate) fn build(text: &str, bare: &Path) {
    let steps = parse(text);
    let first = match &steps[0] {
        Step::Branch(name) => name.clone(),
        _ => "main".to_owned(),
    };
    git(&["init", "-q", "--bare", &format!("--initial-branch={first}"), bare.to_str().unwrap()]);
    let mut import = command(&["fast-import", "--quiet"])
        .current_dir(bare)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(&stream(&steps, &first)).unwrap();
    assert!(import.wait().unwrap().success());
}

/// Runs git as nobody in particular.
pub(crate) fn git(arguments: &[&str]) {
    assert!(command(arguments).status().unwrap().success(), "git {arguments:?}");
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut in_file = false;
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if line.starts_with("//# ") && steps.is_empty() {
            continue;
        }
        if let Some(directive) = line.strip_prefix("//= ") {
            in_file = false;
            let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
            steps.push(match word {
                "branch" => Step::Branch(rest.to_owned()),
                "tag" => Step::Tag(rest.to_owned()),
                "annotated-tag" => {
                    let (name, message) = rest.split_once(' ').unwrap();
                    Step::AnnotatedTag(name.to_owned(), message.to_owned())
                }
                "commit" => Step::Commit(rest.to_owned(), Vec::new()),
                other => panic!("unknown directive {other}"),
            });
            continue;
        }
        let Some(Step::Commit(_, files)) = steps.last_mut() else {
            assert!(line.is_empty(), "text outside of a file: {line}");
            continue;
        };
        if let Some(header) = line.strip_prefix("//- ") {
            let mut words: Vec<&str> = header.split(' ').collect();
            let mut flags = Vec::new();
            while words.len() > 1 && FLAGS.contains(words.last().unwrap()) {
                flags.push(words.pop().unwrap().to_owned());
            }
            files.push(File { path: words.join(" "), flags, lines: Vec::new() });
            in_file = true;
        } else if in_file {
            files.last_mut().unwrap().lines.push(line.to_owned());
        }
    }
    steps
}

impl File {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    fn content(&self) -> Vec<u8> {
        if self.has("base64") {
            return super::base64(&self.lines.concat());
        }
        if self.has("symlink") {
            return self.lines.join("\n").into_bytes();
        }
        let mut text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        if self.has("no-newline") {
            text.pop();
        }
        if self.has("crlf") {
            text = text.replace('\n', "\r\n");
        }
        if self.has("latin-1") {
            text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
        } else {
            text.into_bytes()
        }
    }
}

fn stream(steps: &[Step], first: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut tips: HashMap<String, u64> = HashMap::new();
    let (mut branch, mut marks) = (first.to_owned(), 0);
    let when = |number: u64| format!("{WHO} {} +0000", EPOCH + 60 * number);
    for step in steps {
        match step {
            Step::Branch(name) => {
                if let (None, Some(tip)) = (tips.get(name), tips.get(&branch).copied()) {
                    tips.insert(name.clone(), tip);
                    writeln!(out, "reset refs/heads/{name}\nfrom :{tip}\n").unwrap();
                }
                branch = name.clone();
            }
            Step::Tag(name) => {
                writeln!(out, "reset refs/tags/{name}\nfrom :{}\n", tips[&branch]).unwrap();
            }
            Step::AnnotatedTag(name, message) => {
                let (tip, when) = (tips[&branch], when(marks - 1));
                writeln!(out, "tag {name}\nfrom :{tip}\ntagger {when}").unwrap();
                data(&mut out, format!("{message}\n").as_bytes());
            }
            Step::Commit(message, files) => {
                let when = when(marks);
                marks += 1;
                writeln!(out, "commit refs/heads/{branch}\nmark :{marks}").unwrap();
                writeln!(out, "author {when}\ncommitter {when}").unwrap();
                data(&mut out, format!("{message}\n").as_bytes());
                if let Some(tip) = tips.insert(branch.clone(), marks) {
                    writeln!(out, "from :{tip}").unwrap();
                }
                for file in files {
                    let path = file.path.replace('\\', "\\\\").replace('"', "\\\"");
                    if file.has("delete") {
                        writeln!(out, "D \"{path}\"").unwrap();
                        continue;
                    }
                    let mode = if file.has("symlink") { "120000" } else { "100644" };
                    writeln!(out, "M {mode} inline \"{path}\"").unwrap();
                    data(&mut out, &file.content());
                }
            }
        }
    }
    out
}

fn data(out: &mut Vec<u8>, payload: &[u8]) {
    writeln!(out, "data {}", payload.len()).unwrap();
    out.extend_from_slice(payload);
    out.push(b'\n');
}

/// The working tree of a fixture, for the sources that are plain directories.
pub(crate) fn check_out(bare: &Path, directory: &Path) {
    git(&["clone", "-q", bare.to_str().unwrap(), directory.to_str().unwrap()]);
    fs::remove_dir_all(directory.join(".git")).unwrap();
}
