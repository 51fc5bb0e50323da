//! `headwater get`: what a service would be configured with, from a running server or straight from a source.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use headwater_client::Error;

use super::output;
use crate::model::Environment;
use crate::placeholder::{Lookup, Resolver};
use crate::render::flat::{self, Placeholders};
use crate::render::{self, Representation};

/// How long a server is asked before giving up.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: output::Asked,
    /// Read this source instead of asking a server
    #[arg(long, value_delimiter = ',')]
    source: Vec<String>,
    /// The server to ask
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        conflicts_with = "source"
    )]
    url: String,
    /// File with the token that the server wants
    #[arg(long, env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Accept an answer without any property source
    #[arg(long)]
    allow_empty: bool,
    /// Leave ${...} as it is
    #[arg(long)]
    raw: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A table of the effective values for people
    Table,
    /// The Environment as the server answers it
    Json,
    /// The effective values as YAML
    Yaml,
    /// The effective values as properties
    Properties,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let found = match arguments.source.is_empty() {
        true => from_server(&arguments)?,
        false => output::resolve(&arguments.source, &arguments.asked.query())?,
    };
    let (environment, revision) = match found {
        Ok(found) => found,
        Err(reason) => {
            eprintln!("headwater: {reason}");
            return Ok(ExitCode::from(1));
        }
    };
    if environment.sources.is_empty() && !arguments.allow_empty {
        eprintln!("headwater: no property source for {}", arguments.asked.application);
        return Ok(ExitCode::from(1));
    }
    let placeholders = if arguments.raw { Placeholders::Keep } else { Placeholders::Resolve };
    output::print(&match arguments.output {
        Form::Table => table(&environment, placeholders)?,
        Form::Json => {
            let rendered = render::json(&environment, Representation::V1, &revision, None);
            String::from_utf8(rendered.bytes)? + "\n"
        }
        Form::Yaml => flat::yaml(&environment, placeholders)?,
        Form::Properties => flat::properties(&environment, placeholders)? + "\n",
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks a running server; an answer that is a no is the inner error.
fn from_server(arguments: &Arguments) -> anyhow::Result<Result<(Environment, String), String>> {
    let urls = std::slice::from_ref(&arguments.url);
    let builder = output::client(&arguments.asked, urls, arguments.token_file.as_deref())
        .deadline(DEADLINE)
        .allow_empty(true);
    match builder.connect_blocking() {
        Ok(configuration) => {
            let revision = configuration.revision().unwrap_or_default().to_owned();
            Ok(Ok((output::from_wire(configuration.environment()), revision)))
        }
        Err(error @ (Error::NotFound { .. } | Error::Empty { .. })) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Every effective key with its value and the source it comes from, sorted.
fn table(environment: &Environment, placeholders: Placeholders) -> anyhow::Result<String> {
    // Highest precedence first: who comes first has it.
    let mut effective = BTreeMap::new();
    for source in &environment.sources {
        for property in source.properties() {
            effective.entry(&*property.key).or_insert((&property.value, &*source.name));
        }
    }
    let lookup = Lookup::new(environment);
    let mut rows = Vec::with_capacity(effective.len());
    for (key, (value, source)) in effective {
        let text = match placeholders {
            Placeholders::Keep => value.text().into(),
            Placeholders::Resolve => {
                Resolver::new(&lookup, value.text().len()).value(value.text())?
            }
        };
        rows.push(vec![key.to_owned(), output::one_line(&text), source.to_owned()]);
    }
    Ok(output::table(&rows))
}
