//! `headwater check` as people use it: in a checkout, in a bare repository, and as the hook of somebody else's repository,
//! with real git on the other side.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{Repository, command, directory, files};

/// Stands where a secret could, and is never said.
const CANARY: &str = "s3cr3t";

const SHOP: &str = "\
//- application.yml
log: info
//- orders.yml
server:
  port: 8080
//- orders-prod.yml
server:
  port: 8081
//- orders.schema.json
{\"properties\": {\"server\": {\"properties\": {\"port\": {\"type\": \"integer\"}}}}}
";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    #[track_caller]
    fn from(output: Output) -> Self {
        let said = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!said.err.contains("panicked"), "{}", said.err);
        assert!(
            !said.out.contains(CANARY) && !said.err.contains(CANARY),
            "{}{}",
            said.out,
            said.err
        );
        said
    }
}

fn check(place: &Path, arguments: &[&str]) -> Said {
    let mut command = command(place);
    command.arg("check").args(arguments);
    command.output().unwrap().into()
}

fn git(place: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(arguments)
        .current_dir(place)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", place)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap()
}

#[track_caller]
fn done(place: &Path, arguments: &[&str]) -> String {
    let output = git(place, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A bare repository whose hook is `headwater check --pre-receive`, and a clone.
struct Hosted {
    directory: TempDir,
}

impl Hosted {
    fn new(settings: &str, fixture: &str) -> Self {
        let hosted = Self { directory: tempfile::tempdir().unwrap() };
        let place = hosted.directory.path();
        done(place, &["init", "-q", "--bare", "-b", "main", "config.git"]);
        done(place, &["-c", "init.defaultBranch=main", "clone", "-q", "config.git", "clone"]);
        hosted.write(fixture);
        hosted.commit();
        assert!(hosted.push(&["HEAD:refs/heads/main"]).status.success());
        std::fs::write(place.join("config.git/headwater.toml"), settings).unwrap();
        let hook = place.join("config.git/hooks/pre-receive");
        let binary = env!("CARGO_BIN_EXE_headwater");
        std::fs::write(&hook, format!("#!/bin/sh\nexec {binary} check --pre-receive\n")).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        hosted
    }

    fn clone(&self) -> PathBuf {
        self.directory.path().join("clone")
    }

    fn write(&self, fixture: &str) {
        for (path, bytes) in files(fixture) {
            let path = self.clone().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn commit(&self) {
        done(&self.clone(), &["add", "-A"]);
        done(&self.clone(), &["commit", "-q", "-m", "change"]);
    }

    fn push(&self, references: &[&str]) -> Output {
        git(&self.clone(), &[&["push", "origin"], references].concat())
    }

    fn tip(&self) -> String {
        done(&self.directory.path().join("config.git"), &["rev-parse", "main"])
    }

    /// What the hook said in `git push`, and whether main moved.
    #[track_caller]
    fn change(&self, fixture: &str) -> (bool, Vec<String>) {
        self.write(fixture);
        self.pushed()
    }

    #[track_caller]
    fn pushed(&self) -> (bool, Vec<String>) {
        self.commit();
        let before = self.tip();
        let output = self.push(&["HEAD:refs/heads/main"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains(CANARY), "{text}");
        let lines = text.lines().filter_map(|line| line.strip_prefix("remote: "));
        let moved = self.tip() != before;
        assert_eq!(output.status.success(), moved, "{text}");
        (moved, lines.map(|line| line.trim_end().to_owned()).collect())
    }

    fn undo(&self) {
        done(&self.clone(), &["reset", "-q", "--hard", "HEAD~1"]);
    }
}

#[track_caller]
fn said(found: &(bool, Vec<String>), moved: bool, expected: &[&str]) {
    assert_eq!(found.1, expected, "{:#?}", found.1);
    assert_eq!(found.0, moved);
}

#[test]
fn a_hook_elsewhere_refuses_and_accepts_in_the_words_of_a_push() {
    let hosted = Hosted::new("", SHOP);
    said(
        &hosted.change("//- orders-prod.yml\nserver:\n  port: s3cr3t\n"),
        false,
        &[
            "orders-prod.yml:2:9: server.port: must be of type integer \
             (orders.schema.json/properties/server/properties/port/type)",
            "checked 1 file, 1 environment: 1 problem",
            "push rejected, no branch was updated. Fix the problems above, commit, and push again",
        ],
    );
    // What was refused is not kept: its objects went with the quarantine.
    let objects = done(&hosted.directory.path().join("config.git"), &["count-objects", "-v"]);
    hosted.undo();
    said(
        &hosted.change("//- orders-prod.yml\nserver: [s3cr3t\n"),
        false,
        &[
            "orders-prod.yml:1:9: brackets do not match",
            "checked 1 file, 1 environment: 1 problem",
            "push rejected, no branch was updated. Fix the problems above, commit, and push again",
        ],
    );
    let after = done(&hosted.directory.path().join("config.git"), &["count-objects", "-v"]);
    assert_eq!(objects, after);
    hosted.undo();
    said(
        &hosted.change("//- orders-prod.yml\nserver:\n  port: 9090\nurl: s3cr3t${HOST}\n"),
        true,
        &[
            "warning: orders-prod.yml:3:6: url: contains a ${…} without a value in this environment and without a default",
            "changes 1 environment:",
            "  orders/prod  changed server.port; added url",
            "checked 1 file, 1 environment: no problem, 1 warning",
        ],
    );
}

#[test]
fn a_hook_refuses_what_git_lets_through_and_nobody_should_check_out() {
    let hosted = Hosted::new("", SHOP);
    let link = hosted.clone().join("billing.yml");
    symlink("/etc/passwd", &link).unwrap();
    let last = [
        "checked 0 files, 0 environments: 1 problem",
        "push rejected, no branch was updated. Fix the problems above, commit, and push again",
    ];
    let refused = |path_and_reason: &str| {
        let (moved, lines) = hosted.pushed();
        assert!(!moved);
        assert_eq!(lines[0], path_and_reason);
        assert_eq!(lines.last().unwrap(), last[1]);
        hosted.undo();
    };
    refused(
        "billing.yml: is a symbolic link without a target in this repository, and is not served: commit the file itself",
    );
    hosted.write("//- Orders.yml\na: 1\n");
    refused("Orders.yml: differs from orders.yml only in case or in how accents are written");
    hosted.write("//- caf\u{e9}.yml\na: 1\n//- cafe\u{301}.yml\nb: 1\n");
    refused(
        "caf\u{e9}.yml: differs from cafe\u{301}.yml only in case or in how accents are written",
    );
    hosted.write("//- a\\b.yml\na: 1\n");
    let name = "has a name that is not plain text (no control characters, no backslash, UTF-8), and is not served";
    refused(&format!("a\\b.yml: {name}"));
    std::fs::write(hosted.clone().join("new\nline.yml"), "a: 1\n").unwrap();
    refused(&format!("new\\nline.yml: {name}"));
    let big = std::fs::File::create(hosted.clone().join("big.bin")).unwrap();
    big.set_len(17 * 1024 * 1024).unwrap();
    refused("big.bin: has 17825792 bytes, and a file may have at most 16777216");
    // An executable file does no harm.
    hosted.write("//- run.yml\na: 1\n");
    let file = hosted.clone().join("run.yml");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(hosted.pushed().0);
}

/// Adds a submodule to the index of a clone and commits it.
fn add_submodule(place: &Path, path: &str) {
    let commit = done(place, &["rev-parse", "HEAD"]);
    done(place, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
    done(place, &["commit", "-q", "-m", "submodule"]);
}

#[test]
fn a_hook_warns_of_entries_that_no_source_looks_for() {
    let hosted = Hosted::new("", SHOP);
    let clone = hosted.clone();
    let accepted = |warning: &str| {
        let (moved, lines) = hosted.pushed();
        assert!(moved, "{lines:#?}");
        assert_eq!(lines[0], format!("warning: {warning}"));
    };
    symlink("/etc/hosts", clone.join("hosts")).unwrap();
    let link = "is a symbolic link without a target in this repository, and is not served: commit the file itself";
    accepted(&format!("hosts: {link}"));
    std::fs::create_dir_all(clone.join("scripts")).unwrap();
    symlink("../../elsewhere.yml", clone.join("scripts/orders.yml")).unwrap();
    accepted(&format!("scripts/orders.yml: {link}"));
    hosted.write("//- README.md\na\n//- readme.md\nb\n");
    accepted("readme.md: differs from README.md only in case or in how accents are written");
    hosted.write("//- docs/a.yml\na: 1\n//- docs/A.yml\nb: 1\n");
    accepted("docs/a.yml: differs from A.yml only in case or in how accents are written");
    hosted.write("//- back\\slash.txt\na\n");
    let name = "has a name that is not plain text (no control characters, no backslash, UTF-8), and is not served";
    accepted(&format!("back\\slash.txt: {name}"));
    std::fs::create_dir_all(clone.join("lib")).unwrap();
    std::fs::File::create(clone.join("lib/big.jar")).unwrap().set_len(17 * 1024 * 1024).unwrap();
    accepted("lib/big.jar: has 17825792 bytes, and a file may have at most 16777216");
    add_submodule(&clone, "vendor");
    let output = hosted.push(&["HEAD:refs/heads/main"]);
    let text = String::from_utf8(output.stderr).unwrap();
    let submodule = "is a submodule: its files are in another repository, and are not served";
    assert!(
        output.status.success() && text.contains(&format!("warning: vendor: {submodule}")),
        "{text}"
    );
    // A link that is served as what it leads to is nothing to speak of.
    symlink("orders.yml", clone.join("cart.yml")).unwrap();
    let (moved, lines) = hosted.pushed();
    assert!(moved && !lines.iter().any(|line| line.contains("cart.yml")), "{lines:#?}");
}

#[test]
fn a_hook_refuses_what_stands_in_the_way_of_a_search_path() {
    let settings =
        "[[source]]\nuri = \"x\"\nsearch_paths = [\"teams/{application}\", \"shared\"]\n";
    let hosted = Hosted::new(settings, SHOP);
    let clone = hosted.clone();
    add_submodule(&clone, "shared");
    let output = hosted.push(&["HEAD:refs/heads/main"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("shared: is a submodule"), "{text}");
    hosted.undo();
    std::fs::create_dir_all(clone.join("teams")).unwrap();
    symlink("../../outside", clone.join("teams/orders")).unwrap();
    let (moved, lines) = hosted.pushed();
    assert!(!moved && lines[0].starts_with("teams/orders: is a symbolic link"), "{lines:#?}");
    hosted.undo();
    // Inside the repository a link may stand for a directory that is searched.
    hosted.write("//- elsewhere/orders.yml\nserver:\n  port: 9\n");
    std::fs::create_dir_all(clone.join("teams")).unwrap();
    symlink("../elsewhere", clone.join("teams/orders")).unwrap();
    let (moved, lines) = hosted.pushed();
    assert!(moved, "{lines:#?}");
}

#[test]
fn a_hook_judges_each_branch_and_lets_tags_and_deletions_pass() {
    let hosted = Hosted::new("", SHOP);
    hosted.write("//- orders.yml\nserver:\n  port: [s3cr3t\n");
    hosted.commit();
    // A tag that leads to it is not a branch.
    assert!(hosted.push(&["HEAD:refs/tags/v1"]).status.success());
    let new = hosted.push(&["HEAD:refs/heads/side"]);
    let text = String::from_utf8(new.stderr).unwrap();
    assert!(!new.status.success() && text.contains("orders.yml:2:9: "), "{text}");
    hosted.undo();
    hosted.write("//- billing.yml\na: 1\n");
    hosted.commit();
    // Beside the default branch, a new one brings what differs.
    let new = hosted.push(&["HEAD:refs/heads/side", "HEAD:refs/heads/other"]);
    let text = String::from_utf8(new.stderr).unwrap();
    assert!(new.status.success(), "{text}");
    for line in ["side:", "other:", "checked 1 file, 1 environment: no problem"] {
        assert!(text.contains(&format!("remote: {line}")), "{line}: {text}");
    }
    assert!(hosted.push(&[":refs/heads/side"]).status.success());
}

#[test]
fn a_hook_follows_the_settings_beside_it() {
    let settings = "[push]\nstrict = true\nchecks = \"warn\"\n\n[[source]]\nuri = \".\"\nsearch_paths = [\"{application}\"]\n";
    let hosted = Hosted::new(settings, "//- orders/orders.yml\nport: 1\n");
    said(
        &hosted.change("//- orders/orders.yml\nport: ${S3CR3T_PORT}\n"),
        true,
        &[
            "orders/orders.yml:1:7: port: contains a ${…} without a value in this environment and without a default",
            "changes 1 environment:",
            "  orders/default  changed port",
            "checked 1 file, 1 environment: 1 problem",
            "accepted in spite of that, because push.checks = warn",
        ],
    );
}

#[test]
fn a_hook_that_is_told_nonsense_refuses() {
    let repository = Repository::new(SHOP);
    for (input, part) in [("nonsense\n", "old new reference"), ("0 1\n", "old new reference")] {
        let mut command = command(&repository.path());
        command.args(["check", "--pre-receive"]).stdin(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains(part), "{}", said.err);
    }
    let mut elsewhere = command(repository.around());
    elsewhere.args(["check", "--pre-receive"]).stdin(std::process::Stdio::null());
    assert_eq!(Said::from(elsewhere.output().unwrap()).code, Some(2));
}

#[test]
fn a_checkout_and_a_bare_repository_are_checked_alike() {
    let repository = Repository::new(SHOP);
    repository.commit_on("side", "//- orders.yml\nserver:\n  port: s3cr3t\n");
    let clone = repository.around().join("clone");
    done(repository.around(), &["clone", "-q", "-b", "side", &repository.uri(), "clone"]);
    done(&clone, &["branch", "-q", "base", "origin/main"]);
    let expected = "orders.yml:2:9: server.port: must be of type integer \
                    (orders.schema.json/properties/server/properties/port/type)\n";
    for (place, arguments) in [
        (repository.around(), ["config.git", "--label", "side", "--base", "main"]),
        (&clone, [".", "--label", "side", "--base", "base"]),
    ] {
        let said = check(place, &arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(1), expected), "{}", said.err);
        assert_eq!(said.err, "checked 1 file, 2 environments: 1 problem\n");
    }
    let fine = check(repository.around(), &["config.git", "--label", "main", "--base", "side"]);
    assert_eq!((fine.code, fine.out.as_str()), (Some(0), ""));
    assert_eq!(
        fine.err,
        "changes 1 environment:\n  orders/default  changed server.port\nchecked 1 file, 2 environments: no problem\n"
    );
}

#[test]
fn a_hook_checks_environments_that_find_a_changed_file_through_links() {
    let settings = "[[source]]\nuri = \"x\"\nsearch_paths = [\"services\"]\n";
    let hosted = Hosted::new(settings, SHOP);
    let clone = hosted.clone();
    hosted.write("//- real/cart.yml\nspring.config.import: more.yml\n//- real/more.yml\na: 1\n");
    symlink("real", clone.join("services")).unwrap();
    let (moved, lines) = hosted.pushed();
    assert!(moved, "{lines:#?}");
    // The file itself, and a file that it imports.
    hosted.write("//- real/cart.yml\nspring.config.import: more.yml\nb: [\n");
    let (moved, lines) = hosted.pushed();
    assert!(!moved && lines[0].starts_with("services/cart.yml:2:4:"), "{lines:#?}");
    hosted.undo();
    hosted.write("//- real/more.yml\na: [\n");
    let (moved, lines) = hosted.pushed();
    assert!(!moved && lines[0].starts_with("services/more.yml:1:4:"), "{lines:#?}");
}

#[test]
fn a_hook_warns_of_toml_files_that_the_source_ignores() {
    let settings = "[[source]]\nuri = \"x\"\ntoml = false\n";
    let hosted = Hosted::new(settings, SHOP);
    let ignored = "is ignored, because this source does not read .toml files: set toml = true for the source, \
                   or write the file in another format";
    hosted.write("//- orders-prod.toml\na = 1\n//- Cargo.toml\n[package]\nname = \"x\"\n");
    let (moved, lines) = hosted.pushed();
    assert!(moved, "{lines:#?}");
    assert_eq!(lines[0], format!("warning: orders-prod.toml: {ignored}"));
    assert!(!lines.iter().any(|line| line.contains("Cargo.toml")), "{lines:#?}");
}

#[test]
fn a_directory_is_checked_with_search_paths_strictly_and_for_programs() {
    let place = directory("//- files/team/orders/orders.yml\nport: ${S3CR3T_PORT}\n");
    let lenient = check(place.path(), &["files", "--search-path", "*/{application}"]);
    assert_eq!(lenient.code, Some(0), "{}", lenient.err);
    let found = "team/orders/orders.yml:1:7: port: contains a ${…} without a value in this environment and without a default\n";
    assert_eq!(lenient.out, format!("warning: {found}"));
    let strict = check(place.path(), &["files", "--search-path", "*/{application}", "--strict"]);
    assert_eq!((strict.code, strict.out.as_str()), (Some(1), found));
    let arguments = ["files", "--search-path", "*/{application}", "--output", "json"];
    let json: Value = serde_json::from_str(&check(place.path(), &arguments).out).unwrap();
    assert_eq!(json["warnings"][0]["key"], "port");
    assert_eq!(json["problems"], Value::Array(Vec::new()));
}

/// The first block of a language in the page about checks.
#[track_caller]
fn shown(page: &str, language: &str) -> String {
    let (_, after) = page.split_once(&format!("```{language}\n")).expect("a block");
    after.split("```").next().unwrap().to_owned()
}

#[test]
fn the_page_about_checks_shows_what_works() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check-changes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let schema = shown(&page, "json");
    let good = "server.port: ${PORT:8080}\nserver.compression.enabled: 'on'\nshop.currency: EUR\n";
    let bad = "server.port: 80\nshop.currency: s3cr3t\nshop.more: s3cr3t\n";
    for (text, problem_count) in [(good, 0), (bad, 3)] {
        let settings = shown(&page, "toml");
        let place = directory(&format!(
            "//- headwater.toml\n{settings}\n//- orders.yml\n{text}\n//- orders.schema.json\n{schema}"
        ));
        let said = check(place.path(), &[]);
        assert_eq!(said.out.lines().count(), problem_count, "{}{}", said.out, said.err);
    }
    assert!(page.contains("```sh\ngit fetch origin main:base\n"));
}

#[test]
fn a_schema_is_served_as_a_file_and_never_as_configuration() {
    let repository = Repository::new(SHOP);
    let server = crate::fixture::Server::start(&repository.uri());
    let file = server.get("/orders/prod/main/orders.schema.json").expect(200);
    assert!(file.text().contains("properties"));
    let environment = server.get("/orders/prod").expect(200).text();
    assert!(!environment.contains("schema"), "{environment}");
}

#[test]
fn a_plan_of_rollouts_is_checked_in_a_checkout() {
    let plan = "[plan.x]\nstages = [\"1\", \"all\"]\nbake = \"soon\"\n";
    let place = directory(&format!("{SHOP}//- .headwater/rollout.toml\n{plan}"));
    let said = check(place.path(), &["."]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains(".headwater/rollout.toml:3:8: bake: "), "{}", said.out);
    assert!(said.err.contains("3 files"), "the plan is no configuration file: {}", said.err);
    let place =
        directory(&format!("{SHOP}//- .headwater/rollout.toml\n[limits]\napplications = 1\n"));
    let said = check(place.path(), &["."]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}
