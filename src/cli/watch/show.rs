//! Prints an event: as text for people, or as a line of JSON for programs.

use std::fmt::Write;

use headwater_client::Configuration;
use serde_json::{Value, json};

use super::WatchArguments;
use crate::change::Change;
use crate::cli::{OutputForm, difference, environment, output};

/// A change, or the state at the start.
pub(super) struct WatchEvent<'a> {
    kind: &'static str,
    old: Option<&'a Configuration>,
    new: Option<&'a Configuration>,
    change: Change,
}

/// The state of the reader of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputReader {
    Read,
    NobodyReads,
}

impl<'a> WatchEvent<'a> {
    /// The configuration at the start.
    pub(super) fn current(new: &'a Configuration) -> Self {
        Self { kind: "current", old: None, new: Some(new), change: Change::default() }
    }

    pub(super) fn change(old: &'a Configuration, new: &'a Configuration, change: Change) -> Self {
        Self { kind: "change", old: Some(old), new: Some(new), change }
    }

    /// The servers have no such configuration any more. The last one stays valid.
    pub(super) fn gone(old: Option<&'a Configuration>) -> Self {
        Self { kind: "gone", old, new: None, change: Change::default() }
    }

    /// Every key that differs.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let Change { added, removed, changed } = &self.change;
        [added, removed, changed].into_iter().flatten().map(|key| &**key)
    }

    fn line(&self, arguments: &WatchArguments) -> String {
        let environment = &arguments.environment;
        let mut event = json!({
            "time": now(),
            "event": self.kind,
            "application": environment.application,
            "profiles": environment.profiles,
            "label": environment.label,
        });
        if let Some(new) = self.new {
            event["revision"] = new.revision().into();
            event["digest"] = new.digest().into();
        }
        if self.kind == "change" {
            difference::add_keys(&mut event, &self.change);
        }
        if let Some(new) = self.new.filter(|_| arguments.values) {
            event["environment"] = serde_json::to_value(new.environment()).unwrap_or(Value::Null);
        }
        format!("{event}\n")
    }

    fn text(&self, arguments: &WatchArguments) -> String {
        let revision = self.new.or(self.old).and_then(Configuration::revision);
        let mut text = format!("{}  {}  ", now(), output::short(revision.unwrap_or("-")));
        match self.kind {
            "change" => {
                text.push_str(&difference::summary(&self.change));
                text.push('\n');
                let environments = (self.old.zip(self.new)).map(|(old, new)| {
                    [old, new].map(|side| environment::from_wire(side.environment()))
                });
                let shown = environments.as_ref().filter(|_| arguments.values);
                let values = shown.map(|[old, new]| (old, new));
                text.push_str(&difference::lines(&self.change, values, "  "));
            }
            "gone" => text.push_str("gone: the servers have no such configuration any more\n"),
            _ => {
                let count = self.new.map_or(0, |new| new.properties().count());
                // Writing to a string cannot fail.
                let _ = writeln!(text, "current, {}", difference::plural(count, "key"));
            }
        }
        text
    }
}

/// Prints an event and flushes it.
pub(super) fn print(
    arguments: &WatchArguments,
    event: &WatchEvent<'_>,
) -> anyhow::Result<OutputReader> {
    let text = match arguments.output {
        OutputForm::Json => event.line(arguments),
        OutputForm::Table => event.text(arguments),
    };
    Ok(if output::write(&text)? { OutputReader::Read } else { OutputReader::NobodyReads })
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
