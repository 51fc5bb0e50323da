//! Remotes: a repository elsewhere, copied in the background and served from the copy. Real git on both sides, and hosts
//! that do not behave.

pub(crate) mod access;
mod content;
mod follow;
pub(crate) mod host;
mod hostile;
mod origin;
mod outage;
mod reported;
mod rewind;
mod serving;
mod ssh;

use std::path::PathBuf;

use tempfile::TempDir;

use crate::fixture::{Address, Child, Reply, eventually};

/// A directory with the settings of a server and what it keeps, for as many lives as it has.
struct Home {
    place: TempDir,
}

impl Home {
    /// The text of a settings file; `{place}` in it is the directory itself.
    fn new(settings: &str) -> Self {
        let home = Self { place: tempfile::tempdir().expect("a temporary directory") };
        home.write(
            "headwater.toml",
            &settings.replace("{place}", &home.place().display().to_string()),
        );
        home
    }

    /// For one remote that is asked every second.
    fn of(uri: &str) -> Self {
        Self::new(&format!("[[source]]\nuri = \"{uri}\"\npoll_seconds = 1\n"))
    }

    fn place(&self) -> &std::path::Path {
        self.place.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.place().join(name), text).expect("written");
    }

    fn serve(&self) -> Child {
        self.serve_with(&[])
    }

    fn serve_with(&self, variables: &[(&str, &str)]) -> Child {
        let config = self.place().join("headwater.toml");
        let data = self.place().join("data");
        let arguments =
            ["--config", config.to_str().expect("text"), "--data", data.to_str().expect("text")];
        Child::serve_with(&arguments, variables)
    }

    /// The one copy.
    fn copy(&self) -> PathBuf {
        let copies = std::fs::read_dir(self.place().join("data/mirrors")).expect("the mirrors");
        let copies = copies.map(|entry| entry.expect("an entry").path());
        let mut copies = copies.filter(|path| path.extension().is_some_and(|it| it == "git"));
        let copy = copies.next().expect("a copy");
        assert!(copies.next().is_none(), "one copy");
        copy
    }
}

/// Waits until an environment has a value.
#[track_caller]
fn comes(server: &Address, path: &str, key: &str, value: &str) -> Reply {
    let mut last = Reply::default();
    eventually(&format!("{path}: {key} = {value}"), || {
        last = server.get(path);
        last.status == 200 && value_of(&last, key).as_deref() == Some(value)
    });
    last
}

/// The value of a key in the first source that has it, as text.
fn value_of(reply: &Reply, key: &str) -> Option<String> {
    let environment = reply.json();
    let sources = environment["propertySources"].as_array()?.clone();
    sources.iter().find_map(|source| match &source["source"][key] {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    })
}

/// How the first remote stands, by the details of health.
fn remote(server: &Address) -> serde_json::Value {
    let health = server.get("/actuator/health").json();
    health["components"]["configServer"]["details"]["remotes"][0].clone()
}

/// Whether the first remote failed with a sentence of ours; git's own words follow it.
fn failed(server: &Address, sentence: &str) -> bool {
    remote(server)["error"].as_str().is_some_and(|error| error.starts_with(sentence))
}

/// A call of the hook, with a body of its own.
fn hook(server: &Address, headers: &str, body: &str) -> Reply {
    let request = format!(
        "POST /monitor HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    server.send(request.as_bytes())
}
