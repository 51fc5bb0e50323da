//! What the verbs share: where configuration comes from, and how it is laid out for people.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use headwater_client::{Builder, Client};
use tokio::runtime::Runtime;

use crate::model::{
    Document, Environment, Label, Position, Property, PropertySource, Query, Scalar, Value,
};
use crate::server;
use crate::settings::{Flags, Settings};
use crate::source::Source;
use crate::store::{Content, Store};

/// How much of a revision people are shown, in characters.
const REVISION_LENGTH: usize = 10;

/// What to ask for.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Asked {
    /// The service
    pub(super) application: String,
    /// Its profiles, separated by commas
    #[arg(default_value = "default")]
    pub(super) profiles: String,
    /// Branch, tag, full commit id or folder
    #[arg(long, short)]
    pub(super) label: Option<String>,
}

impl Asked {
    pub(super) fn query(&self) -> Query {
        Query {
            application: self.application.as_str().into(),
            profiles: self.profiles.as_str().into(),
            label: self.label.as_deref().map_or(Label::Default, |name| Label::Named(name.into())),
        }
    }
}

/// A runtime for one command.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")
}

/// The settings for a command that reads a source itself.
pub(super) fn settings(source: &[String]) -> anyhow::Result<Settings> {
    Ok(Settings::load(Flags { source: source.to_vec(), ..Flags::default() })?)
}

/// Opens what the settings name. What has to be followed to be read is followed as long as the runtime is there.
pub(super) fn open(settings: &Settings, runtime: &Runtime) -> anyhow::Result<Arc<dyn Source>> {
    Ok(runtime.block_on(server::open_source(settings))?)
}

/// Resolves a query as the server would, without a server.
pub(super) fn resolve(
    source: &[String],
    query: &Query,
) -> anyhow::Result<Result<(Environment, String), String>> {
    let settings = settings(source)?;
    let runtime = runtime()?;
    let store = Store::new(
        open(&settings, &runtime)?,
        server::additions(&settings),
        crate::access::Policy::Open,
        runtime.handle().clone(),
    );
    let caller = crate::access::Caller::Operator;
    let reader = match runtime.block_on(store.answer(&caller, query)) {
        Ok(reader) => reader,
        Err(error @ crate::store::AnswerError::UnknownLabel(_)) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let reading = reader.current();
    let answer = reading.answer;
    if let Some(held) = answer.held().next() {
        eprintln!("headwater: held back at {}: {}", held.revision, held.problem);
    }
    Ok(match &answer.content {
        Content::Environment(served) => {
            Ok((served.environment.clone(), reading.revision.to_string()))
        }
        Content::Broken(problem) => Err(problem.to_string()),
        Content::UnknownLabel => Err("unknown label".to_owned()),
        Content::Empty => Err("no property source".to_owned()),
    })
}

/// What a server answered, in our own words. Places are not in it.
pub(super) fn from_wire(environment: &headwater_wire::Environment) -> Environment {
    let property = |(key, value): (&String, &serde_json::Value)| Property {
        key: key.as_str().into(),
        value: Value::Plain(match value {
            serde_json::Value::Bool(value) => Scalar::Bool(*value),
            serde_json::Value::Number(number) => Scalar::Integer(number.to_string().into()),
            serde_json::Value::String(text) => Scalar::String(text.as_str().into()),
            other => Scalar::String(other.to_string().into()),
        }),
        position: Position { line: 1, column: 1 },
    };
    let source = |source: &headwater_wire::PropertySource| PropertySource {
        name: source.name.as_str().into(),
        file: None,
        documents: Arc::new([Document {
            properties: source.source.iter().map(property).collect(),
        }]),
        index: 0,
    };
    Environment {
        application: environment.name.as_str().into(),
        profiles: environment.profiles.join(",").into(),
        label: environment
            .label
            .as_deref()
            .map_or(Label::Default, |name| Label::Named(name.into())),
        sources: environment.property_sources.iter().map(source).collect(),
    }
}

/// A client for what was asked, of servers that may want a token.
pub(super) fn client(asked: &Asked, urls: &[String], token_file: Option<&Path>) -> Builder {
    let mut builder = Client::builder()
        .urls(urls)
        .application(&asked.application)
        .profiles(asked.profiles.split(','));
    if let Some(label) = &asked.label {
        builder = builder.label(label);
    }
    match token_file {
        Some(path) => builder.token_file(path),
        None => builder,
    }
}

/// Writes to stdout; a reader that has gone away, as `head` does, ends the output and is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(text).map(|_| ())
}

/// Writes to stdout at once; gives whether there is still a reader.
pub(super) fn write(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// Columns as wide as their widest cell; the last one runs free.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The beginning of a revision, or of each of several.
pub(super) fn short(revision: &str) -> String {
    let parts = revision.split(',').map(|part| part.chars().take(REVISION_LENGTH).collect());
    one_line(&parts.collect::<Vec<String>>().join(","))
}

/// A value on one line: control characters, which could rewrite a terminal, are escaped.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped: Box<dyn Iterator<Item = char>> = match c.is_control() {
                true => Box::new(c.escape_default()),
                false => Box::new(std::iter::once(c)),
            };
            escaped
        })
        .collect()
}
