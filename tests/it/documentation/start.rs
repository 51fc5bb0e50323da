//! `docs/start.md` and `docs/concepts.md`: what they show is what happens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::commands;
use super::page::{Page, root};
use super::typed::{blocks, say, shell, shop};
use crate::cli::watch::Running;
use crate::fixture::eventually;

const PAGE: &str = "docs/start.md";

/// Stands in for cargo: what it would compile is an example of the client crate, compiled already.
const CARGO: &str = "#!/bin/sh\ncase \"$1\" in\n    build|add) ;;\n    new) mkdir -p \"$2\" ;;\n    run) exec \"$EXAMPLE\" ;;\n    *) exit 1 ;;\nesac\n";

/// Somebody who reads the page, with a terminal for each thing that goes on.
struct Reader {
    place: TempDir,
    server: String,
    serving: Running,
}

impl Reader {
    fn begin() -> Self {
        let place = shop();
        let bin = place.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("cargo"), CARGO).unwrap();
        fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut begin = shell(place.path(), None, &blocks(PAGE, "Start a server", "sh")[0]);
        // The port of the page may be somebody's.
        begin.env("HEADWATER_LISTEN", "127.0.0.1:0");
        let serving = Running::spawn(begin);
        let server = listening(&serving);
        Self { place, server, serving }
    }

    fn shell(&self, typed: &str) -> Command {
        let mut shell = shell(self.place.path(), Some(&self.server), typed);
        shell.env("EXAMPLE", example());
        shell
    }

    /// Types a block that ends; gives what was said.
    fn say(&self, typed: &str) -> Result<String, String> {
        say(self.shell(typed))
    }
}

/// The address on which a server says that it listens.
pub(super) fn listening(serving: &Running) -> String {
    let mut server = None;
    eventually("the server listens", || {
        let said = serving.err();
        let url = said.split_once("\"url\":\"http://").map(|(_, rest)| rest.split_once('"'));
        server = url.flatten().map(|(address, _)| address.to_owned());
        server.is_some()
    });
    server.expect("an address")
}

/// The service of the page. `scripts/test` builds it with everything else; who runs one test only waits for it once.
fn example() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_headwater"));
    let example = binary.with_file_name("examples").join("start");
    if !example.exists() {
        let cargo = std::env::var_os("CARGO").expect("tests are run by cargo");
        let arguments = ["build", "--quiet", "--package", "headwater-client", "--example", "start"];
        let built = Command::new(cargo).args(arguments).current_dir(root()).status();
        assert!(built.expect("cargo").success() && example.exists(), "the example is not built");
    }
    example
}

/// What a page shows of git's words: each line is said, however git fills it up.
#[track_caller]
pub(super) fn shows(said: &str, shown: &str) {
    for line in shown.lines() {
        assert!(said.lines().any(|known| known.trim_end() == line), "{line:?} in\n{said}");
    }
}

#[test]
fn five_minutes_are_what_the_page_says() {
    let reader = Reader::begin();
    let asked = reader.say(&blocks(PAGE, "Start a server", "sh")[1]).unwrap();
    assert!(asked.starts_with("{\"name\":\"product\""), "{asked}");
    assert!(
        asked.contains("catalogue.discount-percent     product-prod.yml:5:21      10\n"),
        "{asked}"
    );

    let service = blocks(PAGE, "Write a service in Rust", "sh");
    reader.say(&service[0]).unwrap();
    let service = Running::spawn(reader.shell(&service[1]));
    service.says(&blocks(PAGE, "Write a service in Rust", "text")[0]);

    let others = blocks(PAGE, "Connect any other program", "sh");
    let program = Running::spawn(reader.shell(&others[0]));
    program.says("10 % off\n");
    let stream = Running::spawn(reader.shell(&others[1]));
    stream.says("\"catalogue.discount-percent\":10");
    eventually("all three watch", || {
        let metrics = reader.say("curl -sS http://127.0.0.1:8888/metrics").unwrap();
        metrics.contains("\nheadwater_watchers 3\n")
    });

    let changes = blocks(PAGE, "Change the configuration", "sh");
    let told = blocks(PAGE, "Change the configuration", "text");
    shows(&reader.say(&changes[0]).unwrap(), &told[0]);
    service.says("15 % off from now on\n");
    program.says("15 % off\n");
    stream.says("\"catalogue.discount-percent\":15");

    let refused = reader.say(&format!("cd shop\n{}", changes[1])).unwrap_err();
    shows(&refused, &told[1]);
    program.stop();
    assert!(!reader.serving.err().contains("panicked"));
}

#[test]
fn explain_says_what_the_page_shows() {
    let place = shop();
    for shown in blocks("docs/concepts.md", "Find the origin of a value", "console") {
        let said = shown.lines().filter(|line| !line.starts_with("$ "));
        let said: String = said.flat_map(|line| [line, "\n"]).collect();
        assert_eq!(say(shell(place.path(), None, &commands::typed(&shown))), Ok(said));
    }
}

#[test]
fn the_words_of_the_concepts_are_the_ones_of_the_program() {
    let page = Page::read("docs/concepts.md").text;
    for word in [
        "application",
        "profile",
        "label",
        "property source",
        "environment",
        "origin",
        "snapshot",
        "revision",
        "digest",
        "watcher",
        "composite",
        "held back",
        "known environments",
        "precedence",
        "source",
    ] {
        assert!(page.contains(&format!("\n| **{word}** | ")), "{word} is not explained");
    }
}
