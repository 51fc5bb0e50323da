//! The clients that are programs of their own: how they are found, started and read.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::oracle;

/// What must be there, below the root of the repository.
const PARTS: [&str; 4] = [
    "tests/clients/spring-boot/target/classes/client/ConfigClient.class",
    "tests/clients/spring-boot/target/lib",
    "tests/clients/node/node_modules/cloud-config-client",
    "target/test-deps/venv/bin/python",
];

/// Whether the clients can be run, see [`crate::fixture::installed`].
#[track_caller]
pub(crate) fn installed() -> bool {
    crate::fixture::installed(&PARTS)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// One run of a client, as `tests/clients/cases.json` describes it and `tests/oracle/record.py` does it.
pub(crate) struct Program {
    client: String,
    name: String,
    profiles: String,
    label: Option<String>,
    keys: String,
    arguments: Vec<String>,
    import: &'static str,
}

/// How it ended.
pub(crate) struct Output {
    pub(crate) code: Option<i64>,
    /// The JSON line that it printed, with the recording's tokens in it; null if there is none.
    pub(crate) line: Value,
    pub(crate) error: String,
}

impl Program {
    pub(crate) fn of(run: &Value) -> Self {
        let text = |name: &str| run[name].as_str().unwrap().to_owned();
        let arguments = run["arguments"].as_array().into_iter().flatten();
        Self {
            client: text("client"),
            name: text("name"),
            profiles: text("profiles"),
            label: run["label"].as_str().map(str::to_owned),
            keys: text("keys"),
            arguments: arguments.map(|text| text.as_str().unwrap().to_owned()).collect(),
            import: "configserver:",
        }
    }

    /// Lets a Spring application start without its server.
    pub(crate) fn optional(&mut self) {
        self.import = "optional:configserver:";
        self.arguments.push("--spring.cloud.config.fail-fast=false".to_owned());
    }

    /// Gives the client the name of another application.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Adds arguments of a Spring application.
    pub(crate) fn add(&mut self, arguments: &[String]) {
        self.arguments.extend_from_slice(arguments);
    }

    pub(crate) fn start(&self, url: &str) -> Output {
        let place = tempfile::tempdir().unwrap();
        let mut command = match self.client.as_str() {
            "spring-boot" => self.spring_boot(url),
            "node" => self.script("node", "tests/clients/node/show.js", url),
            "python" => {
                let python = root().join("target/test-deps/venv/bin/python");
                self.script(python.to_str().unwrap(), "tests/clients/python/show.py", url)
            }
            other => panic!("no client {other}"),
        };
        let output = settle(&mut command, place.path()).output().unwrap();
        let line = oracle::neutral(&output.stdout);
        Output {
            code: output.status.code().map(i64::from),
            line: if line.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&line).unwrap()
            },
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn spring_boot(&self, url: &str) -> Command {
        let target = root().join("tests/clients/spring-boot/target");
        let mut command = Command::new("java");
        command
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"])
            .arg(format!("{0}/classes:{0}/lib/*", target.display()))
            .arg("client.ConfigClient")
            .arg(format!("--spring.config.import={}{url}", self.import))
            .arg(format!("--spring.application.name={}", self.name))
            .arg(format!("--show={}", self.keys));
        if !self.profiles.is_empty() {
            command.arg(format!("--spring.profiles.active={}", self.profiles));
        }
        if let Some(label) = &self.label {
            command.arg(format!("--spring.cloud.config.label={label}"));
        }
        command.args(&self.arguments);
        command
    }

    fn script(&self, interpreter: &str, script: &str, url: &str) -> Command {
        let mut command = Command::new(interpreter);
        command.arg(root().join(script)).args([url, &self.name, &self.profiles]);
        command.arg(self.label.as_deref().unwrap_or("-")).arg(&self.keys);
        command
    }
}

/// An empty directory to run in, and nothing of this process's own settings.
fn settle<'a>(command: &'a mut Command, place: &Path) -> &'a mut Command {
    command.env_clear().current_dir(place).env("HOME", place);
    for name in ["PATH", "JAVA_HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8").env("TZ", "UTC")
}
