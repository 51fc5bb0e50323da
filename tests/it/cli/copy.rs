//! `headwater copy` between all kinds of sources: nobody is configured otherwise afterwards, and what cannot be copied
//! leaves everything as it was.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{Said, refuses, type_in};
use crate::fixture::{Cluster, Hosted, Repository, directory};

const SHOP: &str = "\
//- application.yml
shared: everywhere
list: [1, two, 3.0]
---
spring.config.activate.on-profile: dev
debug: true
//- orders.yml
name: Orders
port: 8080
//- orders-dev.properties
port=8081
price=1e3
//- cart/application.toml
answer = 42
//- notes.txt
not configuration
//- empty.yml
";

/// Makes prefixes that nobody else has.
static PREFIX_COUNT: AtomicUsize = AtomicUsize::new(0);

/// A prefix in a cluster that nobody else has.
fn prefix() -> String {
    format!("copy-{}", PREFIX_COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Where copies are made in, with the cluster that they are made to.
struct Bed {
    place: TempDir,
    cluster: Arc<Cluster>,
}

impl Bed {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap(), cluster: Cluster::shared() }
    }

    fn etcd(&self) -> String {
        self.cluster.uri(&prefix())
    }

    fn headwater(&self, arguments: &[&str]) -> Said {
        type_in(self.place.path(), arguments)
    }

    /// Copies; all environments are verified.
    #[track_caller]
    fn copy(&self, arguments: &[&str]) -> Said {
        let said = self.headwater(&[&["copy"], arguments].concat());
        assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(" verified"), "{}", said.err);
        said
    }

    /// Exit code 1 and this reason; where one is expected of each file, on stdout.
    #[track_caller]
    fn says_no(&self, arguments: &[&str], parts: &[&str]) {
        let said = self.headwater(&[&["copy"], arguments].concat());
        assert_eq!(said.code, Some(1), "{arguments:?}: {}{}", said.out, said.err);
        for part in parts {
            let found = said.out.contains(part) || said.err.contains(part);
            assert!(found, "{part}: {}{}", said.out, said.err);
        }
    }

    /// What services are given: keys and values of each source in order.
    #[track_caller]
    fn answers(&self, source: &str) -> Vec<Value> {
        ["orders/dev", "orders/default", "cart/dev", "unknown/dev"]
            .into_iter()
            .map(|asked| {
                let (application, profile) = asked.split_once('/').unwrap();
                let arguments = ["get", application, profile, "--source", source];
                let said = self.headwater(&[&arguments[..], &["--output", "json"]].concat());
                assert_eq!(said.code, Some(0), "{source}: {}", said.err);
                let answer: Value = serde_json::from_str(&said.out).unwrap();
                let sources = answer["propertySources"].as_array().unwrap();
                sources.iter().map(|source| source["source"].clone()).collect()
            })
            .collect()
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).display().to_string()
    }

    /// What lies where copies are made.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.place.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn git(repository: &str, arguments: &[&str]) -> String {
    let output = Command::new("git").args(["-C", repository]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn an_older_revision_in_etcd_is_put_back_by_a_copy_of_itself() {
    let bed = Bed::new();
    let (shop, etcd) = (directory(SHOP), bed.etcd());
    let from = shop.path().display().to_string();
    bed.copy(&[&from, &etcd]);
    let good = bed.answers(&etcd);
    std::fs::write(shop.path().join("orders.yml"), "port: 1\n").unwrap();
    let before = bed.headwater(&["copy", &etcd, &bed.path("before"), "--output", "json"]);
    let before: Value = serde_json::from_str(&before.out).unwrap();
    let revision = before["from"]["revision"].as_str().unwrap();
    bed.copy(&[&from, &etcd]);
    assert_ne!(bed.answers(&etcd), good);
    bed.copy(&[&etcd, &etcd, "--label", revision, "--to-label", "main"]);
    assert_eq!(bed.answers(&etcd), good);
}

#[test]
fn every_kind_of_source_is_copied_to_every_kind() {
    let bed = Bed::new();
    let folder = directory(SHOP);
    let repository = Repository::new(SHOP);
    let in_etcd = bed.etcd();
    bed.copy(&[&repository.uri(), &in_etcd]);
    let folder = folder.path().display().to_string();
    for (at, from) in [&folder, &repository.uri(), &in_etcd].into_iter().enumerate() {
        let before = bed.answers(from);
        for to in [bed.path(&format!("{at}")), bed.path(&format!("{at}.git")), bed.etcd()] {
            let said = bed.copy(&[from, &to]);
            assert_eq!(said.err, "copied 6 files, 6 environments verified\n", "{from} {to}");
            assert_eq!(bed.answers(&to), before, "{from} {to}");
        }
    }
    assert_eq!(bed.names(), ["0", "0.git", "1", "1.git", "2", "2.git"]);
}

/// Files as people have them.
fn odd(repository: &Repository) {
    let large: Vec<u8> = (0..2_500_000_u32).map(|at| (at % 251) as u8).collect();
    let utf_16: Vec<u8> = "\u{feff}größe: 7\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    repository.commit_bytes(
        "main",
        &[
            ("empty.yml", Some(b"")),
            ("no-newline.yml", Some(b"a: 1")),
            ("wide.yml", Some(&utf_16)),
            ("latin.properties", Some(b"gr\xf6\xdfe=7\n")),
            ("broken.yml", Some(b"gr\xf6\xdfe: [\n")),
            ("large.bin", Some(&large)),
            ("with space/größe-日本.yml", Some("a: ö\n".as_bytes())),
            ("deep/er/and/deeper/x.yml", Some(b"a: 1\n")),
        ],
    );
    repository.commit_link("linked.yml", "no-newline.yml");
    repository.commit_link("with space/nowhere.yml", "../../outside.yml");
}

#[test]
fn nothing_is_lost_on_the_way_round() {
    let bed = Bed::new();
    let repository = Repository::new(SHOP);
    odd(&repository);
    let [first, second] = [bed.etcd(), bed.etcd()];
    let (folder, back, last) = (bed.path("folder"), bed.path("back.git"), bed.path("last.git"));
    bed.copy(&[&repository.uri(), &first]);
    // By way of etcd every byte and every link comes back; by way of a directory what links lead to.
    bed.copy(&[&first, &back]);
    let tree = |repository: &str| git(repository, &["rev-parse", "main^{tree}"]);
    assert_eq!(tree(&back), tree(&repository.uri()));
    assert_eq!(git(&back, &["fsck", "--full", "--strict"]), "");
    let before = bed.answers(&first);
    let said = bed.copy(&[&first, &folder]);
    assert!(said.err.contains("13 files and 2 links, "), "{}", said.err);
    assert!(said.err.contains(" broken in both"), "{}", said.err);
    // A link to nowhere is nothing that could be read of a directory.
    bed.says_no(
        &[&folder, &last],
        &["with space/nowhere.yml: is a symbolic link to a missing file"],
    );
    std::fs::remove_file(Path::new(&folder).join("with space/nowhere.yml")).unwrap();
    bed.copy(&[&folder, &last]);
    bed.copy(&[&last, &second]);
    assert_eq!(bed.answers(&second), before);
    let content = |name: &str| std::fs::read(Path::new(&folder).join(name)).unwrap();
    assert_eq!(content("latin.properties"), b"gr\xf6\xdfe=7\n");
    assert_eq!(content("no-newline.yml"), b"a: 1");
    let link = Path::new(&folder).join("linked.yml").read_link().unwrap();
    assert_eq!(link, Path::new("no-newline.yml"));
}

#[test]
fn what_is_there_already_is_left_alone_and_what_changed_follows_it() {
    let bed = Bed::new();
    for to in [bed.path("a.git"), bed.etcd(), bed.path("folder")] {
        let repository = Repository::new(SHOP);
        let report = || {
            let arguments = ["copy", &repository.uri(), &to, "--replace", "--output", "json"];
            let said = bed.headwater(&arguments);
            assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
            serde_json::from_str::<Value>(&said.out).unwrap()
        };
        let first = report();
        assert_eq!((&first["outcome"], &first["files"]), (&"copied".into(), &6.into()));
        assert_eq!((&first["environments"], &first["different"]), (&6.into(), &0.into()));
        let second = report();
        assert_eq!((&second["outcome"], &second["to"]), (&"same".into(), &first["to"]));
        repository.commit("//- payments.yml\na: 1\n");
        let third = report();
        assert_eq!((&third["outcome"], &third["files"]), (&"copied".into(), &7.into()));
        assert_ne!(third["to"]["revision"], first["to"]["revision"]);
    }
    // The new commit follows the one before.
    let log = git(&bed.path("a.git"), &["log", "--format=%s", "main"]);
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.lines().all(|line| line.starts_with("Copy main at ")), "{log}");
    assert_eq!(bed.names(), ["a.git", "folder"]);
}

#[test]
fn a_directory_with_files_is_replaced_whole_or_not_at_all() {
    let bed = Bed::new();
    let (repository, to) = (Repository::new(SHOP), bed.path("folder"));
    std::fs::create_dir(&to).unwrap();
    let old = Path::new(&to).join("old.yml");
    std::fs::write(&old, "a: 1").unwrap();
    bed.says_no(&[&repository.uri(), &to], &["--replace"]);
    bed.says_no(&[&repository.uri(), old.to_str().unwrap()], &["not a directory"]);
    assert!(old.exists());
    bed.copy(&[&repository.uri(), &to, "--replace"]);
    assert!(!old.exists() && Path::new(&to).join("orders.yml").exists());
    // An empty one is no obstacle, and a link leads to the directory that is replaced.
    std::fs::create_dir(bed.path("empty")).unwrap();
    bed.copy(&[&repository.uri(), &bed.path("empty")]);
    std::os::unix::fs::symlink("folder", bed.path("link")).unwrap();
    repository.commit("//- payments.yml\na: 1\n");
    bed.copy(&[&repository.uri(), &bed.path("link"), "--replace"]);
    assert!(Path::new(&to).join("payments.yml").exists());
    assert_eq!(bed.names(), ["empty", "folder", "link"]);
}

#[test]
fn labels_are_named_and_renamed() {
    let bed = Bed::new();
    let repository = Repository::new(SHOP);
    let first = repository.commit("//- payments.yml\na: 1\n");
    repository.commit_on("feature/x", "//- payments.yml\na: 2\n");
    repository.tag("v1", &first);
    let (uri, etcd) = (repository.uri(), bed.etcd());
    bed.copy(&[&uri, &etcd, "--label", "feature/x"]);
    bed.copy(&[&uri, &etcd, "--label", "v1"]);
    bed.copy(&[&uri, &etcd, "--label", &first, "--to-label", "old"]);
    bed.says_no(&[&uri, &etcd, "--label", &first], &["--to-label"]);
    bed.says_no(&[&uri, &etcd, "--label", "nowhere"], &["unknown label nowhere"]);
    bed.says_no(&[&uri, &etcd, "--label", "main,v1"], &["one label"]);
    let said = bed.headwater(&["copy", &uri, &etcd, "--label", "nowhere", "--output", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["outcome"]), (Some(1), &"refused".into()));
    assert_eq!((&report["reason"], said.err.as_str()), (&"unknown label nowhere".into(), ""));
    bed.says_no(&[&uri, &etcd, "--to-label", "HEAD"], &["name of a label"]);
    let other = bed.path("other.git");
    bed.says_no(&[&uri, &other, "--to-label", "a..b"], &["name of a branch"]);
    bed.copy(&[&etcd, &other, "--label", "feature/x", "--to-label", "main"]);
    bed.copy(&[&etcd, &other, "--label", "old"]);
    let branches = git(&other, &["for-each-ref", "--format=%(refname:short)"]);
    assert_eq!(branches, "main\nold");
    assert_eq!(git(&other, &["symbolic-ref", "HEAD"]), "refs/heads/main");
    assert_eq!(git(&other, &["show", "main:payments.yml"]), "a: 2");
    // The root of a directory is what a repository has by default.
    let folder = directory(SHOP);
    git(&other, &["symbolic-ref", "HEAD", "refs/heads/trunk"]);
    bed.copy(&[folder.path().to_str().unwrap(), &other]);
    assert_eq!(git(&other, &["show", "trunk:orders.yml"]), "name: Orders\nport: 8080");
    // One of its folders may be a label, which nothing else can have.
    let folder = directory("//- application.yml\na: 1\n//- prod/application.yml\na: 2\n");
    let folder = folder.path().to_str().unwrap().to_owned();
    bed.says_no(&[&folder, &etcd, "--label", "prod"], &["prod is a folder", "Only a directory"]);
    bed.copy(&[&folder, &bed.path("folder"), "--label", "prod"]);
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_path() {
    let bed = Bed::new();
    let repository = Repository::new("//- application.yml\na: 1\n//- team/..hidden.yml\na: 2\n");
    let (uri, folder) = (repository.uri(), bed.path("folder"));
    bed.says_no(&[&uri, &folder], &["team/..hidden.yml: begins with two dots", "nothing was"]);
    bed.copy(&[&uri, &bed.path("copy.git")]);
    let tree = format!(
        "160000 commit {}\tteam-config\n100644 blob {}\tbad\\name.yml\n",
        git(&uri, &["rev-parse", "main"]),
        git(&uri, &["rev-parse", "main:application.yml"]),
    );
    let file = bed.place.path().join("tree");
    std::fs::write(&file, tree).unwrap();
    let made = Command::new("git")
        .args(["-C", &uri, "mktree", "--missing"])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    let tree = String::from_utf8(made.stdout).unwrap();
    let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    let commit = [&identity[..], &["commit-tree", "-m", "Odd", tree.trim()]].concat();
    let commit = git(&uri, &commit);
    git(&uri, &["update-ref", "refs/heads/odd", &commit]);
    for to in [bed.path("odd"), bed.path("odd.git"), bed.etcd()] {
        let parts = ["team-config: is a submodule", "bad\\name.yml: has a name"];
        bed.says_no(&[&uri, &to, "--label", "odd"], &parts);
    }
    assert_eq!(bed.names(), ["copy.git", "tree"]);
}

#[test]
fn what_a_directory_does_not_serve_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let bed = Bed::new();
    let folder = directory("//- application.yml\na: 1\n//- run.sh\necho\n");
    let (path, from) = (folder.path(), folder.path().to_str().unwrap());
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path.join(name)).unwrap();
    link("application.yml", "inside.yml");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path.join("run.sh"), mode).unwrap();
    let copied = bed.path("copied");
    bed.copy(&[from, &copied]);
    // What a link leads to is what is served of it; who may run a file is nothing that is served.
    let found = std::fs::symlink_metadata(Path::new(&copied).join("inside.yml")).unwrap();
    assert!(found.is_file());
    assert_eq!(std::fs::read(Path::new(&copied).join("run.sh")).unwrap(), b"echo\n");
    link("/etc/hostname", "outside.yml");
    link("nowhere.yml", "dangling.yml");
    link(".", "round");
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    std::fs::write(path.join(std::ffi::OsStr::from_bytes(b"bad\xff.yml")), "a: 1").unwrap();
    for to in [bed.path("x"), bed.path("x.git"), bed.etcd()] {
        bed.says_no(
            &[from, &to],
            &[
                "outside.yml: is a symbolic link to a missing file or out of the directory\n",
                "dangling.yml: is a symbolic link to a missing file or out of the directory\n",
                "round: is a symbolic link that forms a cycle\n",
                "socket: is neither a file nor a directory\n",
                "bad\u{fffd}.yml: has a name that is not plain text\n",
            ],
        );
    }
    assert_eq!(bed.names(), ["copied"]);
}

#[test]
fn whoever_would_be_configured_otherwise_is_named_and_nothing_is_moved() {
    let bed = Bed::new();
    let repository = Repository::new(
        "//- application.yml\na: 1\n//- main/orders.yml\npassword: hunter2\n//- other/orders.yml\npassword: 5\n",
    );
    let (uri, to) = (repository.uri(), bed.etcd());
    let settings = format!("[[source]]\nuri = \"{uri}\"\nsearch_paths = [\"{{label}}\"]\n");
    std::fs::write(bed.place.path().join("settings.toml"), settings).unwrap();
    let config = ["--config", "settings.toml"];
    for to in [bed.path("new.git"), bed.path("a.git"), to.clone()] {
        let is_there = to.ends_with("a.git");
        if is_there {
            bed.copy(&[&[&*uri, &to, "--to-label", "other"], &config[..]].concat()[..2]);
        }
        let arguments = [&[&*uri, &to, "--to-label", "other"], &config[..]].concat();
        let said = bed.headwater(&[&["copy"], &arguments[..]].concat());
        assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
        let line = "orders/default: has other/orders.yml (document 1) where main/orders.yml (document 1) was\n";
        assert!(said.out.ends_with(line), "{}", said.out);
        assert!(said.err.contains("nothing was copied: 1 of 2 environments"), "{}", said.err);
        assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"));
    }
    assert_eq!(
        git(&bed.path("a.git"), &["for-each-ref", "--format=%(refname)"]),
        "refs/heads/main"
    );
    assert_eq!(bed.names(), ["a.git", "settings.toml"]);
    let said = bed.headwater(&["check", &to, "--label", "other"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), "headwater: unknown label other\n"));
    // A directory lays the folder of the label over the rest.
    let (folder, config) = (bed.path("folder"), [&config[..], &["--output", "json"]].concat());
    let said = bed.headwater(&[&["copy", &uri, &folder], &config[..]].concat());
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

#[test]
fn what_others_hold_is_not_written_to() {
    let bed = Bed::new();
    let repository = Repository::new(SHOP);
    let work = bed.path("work");
    git(bed.place.path().to_str().unwrap(), &["clone", "--quiet", &repository.uri(), "work"]);
    repository.commit("//- payments.yml\na: 1\n");
    bed.says_no(&[&repository.uri(), &work], &["main is checked out", "--to-label"]);
    git(&work, &["worktree", "add", "--quiet", "-b", "linked", &bed.path("linked")]);
    bed.says_no(&[&repository.uri(), &work, "--to-label", "linked"], &["linked is checked out"]);
    bed.copy(&[&repository.uri(), &work, "--to-label", "copied"]);
    let refused = |to: &str, parts: &[&str]| {
        refuses(&bed.headwater(&["copy", &repository.uri(), to]), parts);
    };
    refused("hosted:main", &["not written to", "/-/git/main.git"]);
    refused("https://git.example.org/x.git", &["push that"]);
    refused("etcd://ada:hunter2@127.0.0.1:1/x", &["credentials_file"]);
    refused("etcd://127.0.0.1:1/x", &["is unreachable"]);
    refused(&bed.path("no/such/place"), &["cannot be written"]);
    // Files that somebody put by hand.
    let prefix = prefix();
    bed.cluster.put(&format!("{prefix}/v1/files/main/orders.yml"), b"a: 1");
    let etcd = bed.cluster.uri(&prefix);
    bed.says_no(&[&repository.uri(), &etcd], &["written by hand", "delete them first"]);
    bed.copy(&[&repository.uri(), &etcd, "--to-label", "other"]);
    bed.copy(&[&etcd, &bed.path("by-hand")]);
    assert_eq!(std::fs::read(bed.path("by-hand/orders.yml")).unwrap(), b"a: 1");
}

#[test]
fn a_repository_elsewhere_is_mirrored_for_as_long_as_it_is_read() {
    let bed = Bed::new();
    let hosted = Hosted::new(SHOP);
    let said = bed.copy(&[&hosted.url(), &bed.etcd()]);
    assert_eq!(said.err, "copied 6 files, 6 environments verified\n");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{closed}/config.git");
    refuses(&bed.headwater(&["copy", &gone, &bed.path("x.git")]), &["unavailable"]);
    // What this machine hosts is read in place.
    let data = hosted.repository().path.ancestors().nth(2).unwrap().to_owned();
    let settings = format!("data = \"{}\"\n", data.display());
    std::fs::write(bed.place.path().join("headwater.toml"), settings).unwrap();
    bed.copy(&["hosted:main", &bed.path("copy.git")]);
    assert_eq!(bed.names(), ["copy.git", "headwater.toml"]);
}

#[test]
fn of_two_copies_to_one_branch_one_says_that_the_other_was_faster() {
    use headwater::source::files::{Content, Files};
    use headwater::source::git::write::{CommitDraft, CommitWriteError};
    let repository = Repository::new(SHOP);
    let files = |text: &'static str| -> Files {
        [("a.yml".to_owned(), Content::File(text.as_bytes().into()))].into()
    };
    for branch in ["main", "new"] {
        let draft =
            |text| CommitDraft::write(&repository.path(), branch, &files(text), "Copy").unwrap();
        let (first, second) = (draft("a: 1"), draft("a: 2"));
        let id = first.commit();
        first.publish().unwrap();
        let refused = second.publish().unwrap_err();
        assert!(matches!(&refused, CommitWriteError::Moved(name) if name == branch), "{refused}");
        assert_eq!(git(&repository.uri(), &["rev-parse", branch]), id);
    }
}

#[test]
fn twenty_thousand_files_are_copied_in_bounded_time() {
    const TIME_MAX: Duration = Duration::from_secs(120);
    let bed = Bed::new();
    let folder = tempfile::tempdir().unwrap();
    for at in 0..20_000 {
        std::fs::write(folder.path().join(format!("service{at}.yml")), format!("port: {at}\n"))
            .unwrap();
    }
    let from = folder.path().to_str().unwrap();
    let begun = Instant::now();
    let etcd = bed.etcd();
    for [from, to] in [[from, &*etcd], [&*etcd, &*bed.path("large.git")]] {
        let said = bed.copy(&[from, to]);
        assert_eq!(said.err, "copied 20000 files, 20001 environments verified\n");
        println!("{to} after {:?}", begun.elapsed());
    }
    assert!(begun.elapsed() < TIME_MAX, "{:?}", begun.elapsed());
}
