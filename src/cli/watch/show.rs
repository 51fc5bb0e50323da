//! One event as people read it, and as programs do: a line of JSON.

use std::fmt::Write;

use headwater_client::Configuration;
use serde_json::{Value, json};

use super::Arguments;
use crate::change::Change;
use crate::cli::{Output, difference, output};

/// Something to tell.
pub(super) struct Event<'a> {
    kind: &'static str,
    old: Option<&'a Configuration>,
    new: Option<&'a Configuration>,
    change: Change,
}

/// Whether anybody reads what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Read,
    NobodyReads,
}

impl<'a> Event<'a> {
    /// What is there at the start.
    pub(super) fn current(new: &'a Configuration) -> Self {
        Self { kind: "current", old: None, new: Some(new), change: Change::default() }
    }

    pub(super) fn change(old: &'a Configuration, new: &'a Configuration, change: Change) -> Self {
        Self { kind: "change", old: Some(old), new: Some(new), change }
    }

    /// There is nothing any more; what was there last still counts.
    pub(super) fn gone(old: Option<&'a Configuration>) -> Self {
        Self { kind: "gone", old, new: None, change: Change::default() }
    }

    /// Every key that differs.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let Change { added, removed, changed } = &self.change;
        [added, removed, changed].into_iter().flatten().map(|key| &**key)
    }

    fn line(&self, arguments: &Arguments) -> String {
        let asked = &arguments.asked;
        let mut event = json!({
            "time": now(),
            "event": self.kind,
            "application": asked.application,
            "profiles": asked.profiles,
            "label": asked.label,
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

    fn text(&self, arguments: &Arguments) -> String {
        let revision = self.new.or(self.old).and_then(Configuration::revision);
        let mut text = format!("{}  {}  ", now(), output::short(revision.unwrap_or("-")));
        match self.kind {
            "change" => {
                text.push_str(&difference::summary(&self.change));
                text.push('\n');
                let environments = (self.old.zip(self.new))
                    .map(|(old, new)| [old, new].map(|side| output::from_wire(side.environment())));
                let shown = environments.as_ref().filter(|_| arguments.values);
                let values = shown.map(|[old, new]| (old, new));
                text.push_str(&difference::lines(&self.change, values, "  "));
            }
            "gone" => text.push_str("gone: the servers do not know it any more\n"),
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
pub(super) fn print(arguments: &Arguments, event: &Event<'_>) -> anyhow::Result<Told> {
    let text = match arguments.output {
        Output::Json => event.line(arguments),
        Output::Table => event.text(arguments),
    };
    Ok(if output::write(&text)? { Told::Read } else { Told::NobodyReads })
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
