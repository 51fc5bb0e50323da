//! `{file}` references, and keys and secrets that change while the server runs.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use headwater::settings::SecretsSettings;
use rustix::process::{DumpableBehavior, dumpable_behavior};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::keys::KeyFiles;
use crate::fixture::{Hosted, Reply, Repository, Server, eventually, settings};

/// A directory of secrets as Kubernetes mounts it: each name is a link through `..data`.
pub(crate) struct Mount {
    place: TempDir,
    version: usize,
}

impl Mount {
    pub(crate) fn new(secrets: &[(&str, &str)]) -> Self {
        let mut mount = Self { place: tempfile::tempdir().unwrap(), version: 0 };
        mount.publish(secrets);
        for (name, _) in secrets {
            symlink(format!("..data/{name}"), mount.path().join(name)).unwrap();
        }
        mount
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Replaces all files in one step.
    pub(crate) fn publish(&mut self, secrets: &[(&str, &str)]) {
        self.version += 1;
        let version = format!("..{}", self.version);
        let data = self.path().join(&version);
        std::fs::create_dir(&data).unwrap();
        for (name, text) in secrets {
            std::fs::write(data.join(name), text).unwrap();
        }
        symlink(&version, self.path().join("..tmp")).unwrap();
        std::fs::rename(self.path().join("..tmp"), self.path().join("..data")).unwrap();
    }

    pub(crate) fn settings(&self) -> SecretsSettings {
        SecretsSettings { directory: Some(self.path().to_owned()), ..SecretsSettings::default() }
    }
}

pub(super) fn server(repository: &Repository, secrets: SecretsSettings) -> Server {
    let mut settings = settings(&repository.uri());
    settings.secrets = secrets;
    Server::with(settings)
}

pub(super) fn flat(server: &Server, application: &str) -> Json {
    server.get(&format!("/{application}-none.json")).expect(200).json()
}

pub(super) fn tag(server: &Server, application: &str) -> String {
    let reply = server.get(&format!("/{application}/none")).expect(200);
    reply.header("etag").unwrap().to_owned()
}

/// Waits for an answer with another tag while `change` runs.
pub(super) fn wait_for(server: &Server, application: &str, change: impl FnOnce()) -> Reply {
    let tag = tag(server, application);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let headers = [("If-None-Match", tag.as_str()), ("Prefer", "wait=3155760000")];
            server.get_with(&format!("/{application}/none"), &headers)
        });
        eventually("the long poll waits", || {
            server.get("/metrics").text().contains("headwater_watchers 1")
        });
        change();
        waiting.join().unwrap().expect(200)
    })
}

#[test]
fn a_new_version_of_a_secret_wakes_the_watchers_of_its_environments_only() {
    let before = [("db", "old\n"), ("other", "x"), ("json", r#"{"user": "ada", "port": 5432}"#)];
    let mut mount = Mount::new(&before);
    let repository = Repository::new(
        "//- app.yml\npassword: '{file}:db'\nuser: '{file}:json#user'\nport: '{file}:json#port'\n\
         //- other.yml\na: '{file}:other'\nin: text {file}:db\n//- plain.yml\na: 1\n",
    );
    let server = server(&repository, mount.settings());
    assert_eq!(flat(&server, "app"), json!({"password": "old", "user": "ada", "port": 5432}));
    assert_eq!(flat(&server, "other"), json!({"a": "x", "in": "text {file}:db"}));
    let tags = ["other", "plain"].map(|name| tag(&server, name));
    let changed = wait_for(&server, "app", || {
        mount.publish(&[("db", "new\n"), before[1], before[2]]);
    });
    assert!(changed.text().contains("\"password\":\"new\""), "{}", changed.text());
    assert_eq!(["other", "plain"].map(|name| tag(&server, name)), tags);
    // A server that starts now has the tags of this one.
    let again = self::server(&repository, mount.settings());
    assert_eq!(tag(&again, "app"), tag(&server, "app"));
    for reference in ["{file}:none", "{file}:../db", "{file}:json#none", "{file}:..data"] {
        repository.commit(&format!("//- app.yml\npassword: '{reference}'\n"));
        let expected = json!({"invalid": {"password": "<n/a>"}});
        eventually(reference, || flat(&server, "app") == expected);
        repository.commit("//- app.yml\npassword: '{file}:db'\n");
        eventually("the secret is back", || flat(&server, "app") == json!({"password": "new"}));
    }
}

#[test]
fn a_push_with_a_reference_to_no_secret_is_rejected() {
    let mount = Mount::new(&[("db", "s3cret")]);
    let hosted = Hosted::with("//- app.yml\na: 1\n", |settings| {
        settings.secrets = mount.settings();
    });
    let tree = hosted.clone("work");
    for reference in ["{file}:none", "{file}:../db", "{file}:db#key"] {
        tree.commit(&format!("//- app.yml\npassword: '{reference}'\n"));
        let said = tree.push(&["main"]).fails(&["app.yml:1:11: password: "]);
        assert!(!said.err.contains("s3cret"), "{}", said.err);
        tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    tree.commit("//- app.yml\npassword: '{file}:db'\n");
    tree.push(&["main"]).succeeds();
    assert_eq!(flat(&hosted.server, "app"), json!({"password": "s3cret"}));
}

#[test]
fn a_new_key_opens_without_a_restart_and_an_old_value_stays_open() {
    let [old, new] = [&["old"], &["new"]].map(|it| KeyFiles::passphrases(it));
    let place = tempfile::tempdir().unwrap();
    let key = place.path().join("key");
    let write = |text: &str| {
        let beside = place.path().join("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(&beside, &key).unwrap();
    };
    write("old");
    let file = |name: &str, value: String| format!("//- {name}.yml\npassword: '{value}'\n");
    let repository = Repository::new(&format!(
        "{}{}",
        file("kept", old.seal("s3cret-kept")),
        file("waiting", new.seal("s3cret-new"))
    ));
    let key_files = vec![key.clone()];
    let server = server(&repository, SecretsSettings { key_files, ..SecretsSettings::default() });
    let kept = tag(&server, "kept");
    assert_eq!(flat(&server, "waiting"), json!({"invalid": {"password": "<n/a>"}}));
    let opened = wait_for(&server, "waiting", || write("new"));
    assert!(opened.text().contains("\"password\":\"s3cret-new\""), "{}", opened.text());
    // The old value is open until its file is published anew.
    assert_eq!(tag(&server, "kept"), kept);
    assert_eq!(flat(&server, "kept"), json!({"password": "s3cret-kept"}));
    repository.commit(&file("kept", old.seal("s3cret-again")));
    let expected = json!({"invalid": {"password": "<n/a>"}});
    eventually("the file is published anew", || flat(&server, "kept") == expected);
}

#[test]
fn a_key_or_a_secret_that_cannot_be_read_again_stays_in_use() {
    let keys = KeyFiles::passphrases(&["k"]);
    let mount = Mount::new(&[("db", "s3cret-file")]);
    let place: PathBuf = keys.settings.key_files[0].clone();
    let repository = Repository::new(&format!(
        "//- app.yml\na: '{}'\nb: '{{file}}:db'\n",
        keys.seal("s3cret-key")
    ));
    let mut secrets = keys.settings.clone();
    secrets.directory = Some(mount.path().to_owned());
    let server = server(&repository, secrets);
    let expected = json!({"a": "s3cret-key", "b": "s3cret-file"});
    assert_eq!(flat(&server, "app"), expected);
    let faults = |count: usize| {
        let line = format!("headwater_faults{{kind=\"secret-unreadable\"}} {count}\n");
        server.get("/metrics").expect(200).text().contains(&line)
    };
    assert!(faults(0));
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&place, "another").unwrap();
    eventually("the key is reported", || faults(1));
    std::fs::remove_file(mount.path().join("db")).unwrap();
    eventually("the secret is reported", || faults(2));
    let problems = server.get("/-/problems").expect(200).text();
    for part in ["secret-unreadable", "the keys of the server", "the secret file db"] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
    assert!(!problems.contains("s3cret"), "{problems}");
    assert_eq!(flat(&server, "app"), expected);
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&place, "k\n").unwrap();
    symlink("..data/db", mount.path().join("db")).unwrap();
    eventually("both can be read again", || faults(0));
    assert_eq!(flat(&server, "app"), expected);
}

/// A core file of a server with keys would contain them.
#[test]
fn a_server_with_keys_leaves_no_core_file() {
    let keys = KeyFiles::passphrases(&["k"]);
    let _server = server(&Repository::new("//- app.yml\na: 1\n"), keys.settings.clone());
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
}
