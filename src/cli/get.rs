//! `headwater get`: the configuration of a service, from a running server or directly from a source.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use headwater_client::{Client, Error};
use headwater_wire::EnvironmentList;

use super::colour::{Colours, DIM};
use super::compare::{escaped, segment};
use super::environment::{self, EnvironmentError};
use super::origins::{self, origin};
use super::{output, sources};
use crate::catalog::Catalog;
use crate::model::{Environment, Query, SHARED_APPLICATION};
use crate::placeholder::{EnvironmentValues, Resolver};
use crate::render::flat::{self, PlaceholderMode};
use crate::render::{self, Representation};

/// The time after which a server without an answer is a failure.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most known applications that are listed to a user whose request matches nothing.
const LISTED_COUNT_MAX: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct GetArguments {
    #[command(flatten)]
    environment: environment::EnvironmentArguments,
    /// Read this source, as in `serve`, instead of asking a server
    #[arg(long, value_delimiter = ',')]
    source: Vec<String>,
    /// URL of the server
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        conflicts_with = "source"
    )]
    url: String,
    /// File with the token that the server requires
    #[arg(long, env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Accept an answer without a property source
    #[arg(long)]
    allow_empty: bool,
    /// Keep ${...} placeholders unresolved
    #[arg(long)]
    raw: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: GetForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GetForm {
    /// A table of the effective values, with file, line and column
    Table,
    /// The environment as the server returns it
    Json,
    /// The effective values as YAML
    Yaml,
    /// The effective values as properties
    Properties,
}

/// An environment, or the reason why there is none.
type GetResult = Result<(Environment, String), EnvironmentError>;

pub(super) fn run(arguments: GetArguments) -> anyhow::Result<ExitCode> {
    let query = arguments.environment.query();
    let found = if arguments.source.is_empty() {
        from_server(&arguments, &query)?
    } else {
        environment::resolve(&arguments.source, &query)?
    };
    let (environment, revision) = match found {
        Ok(found) => found,
        Err(reason) => return Ok(fail(&arguments, &query, &reason)),
    };
    if environment.sources.is_empty() && !arguments.allow_empty {
        return Ok(fail(&arguments, &query, &EnvironmentError::unmatched(&query)));
    }
    let placeholders = if arguments.raw { PlaceholderMode::Keep } else { PlaceholderMode::Resolve };
    match arguments.output {
        GetForm::Table => {
            output::print(&table(&environment, placeholders)?)?;
            note_unknown_application(&arguments, &query);
            Ok(())
        }
        GetForm::Json => {
            let rendered = render::json(&environment, Representation::V1, &revision, None);
            output::print(&(String::from_utf8(rendered.bytes)? + "\n"))
        }
        GetForm::Yaml => output::print_form(&flat::yaml(&environment, placeholders)?),
        GetForm::Properties => {
            output::print_form(&(flat::properties(&environment, placeholders)? + "\n"))
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Asks a running server. An answer that is a no is the inner error.
fn from_server(arguments: &GetArguments, query: &Query) -> anyhow::Result<GetResult> {
    let client = client(arguments)?;
    let configuration = match client.connect_blocking() {
        Ok(configuration) => configuration,
        Err(error @ (Error::NotFound { .. } | Error::Empty { .. })) => {
            return Ok(Err(EnvironmentError::Unmatched(error.to_string())));
        }
        Err(error) => return Err(error.into()),
    };
    let revision = configuration.revision().unwrap_or_default().to_owned();
    let mut environment = environment::from_wire(configuration.environment());
    if arguments.output == GetForm::Table {
        let locate = origins::locate(&client, query, &revision, &mut environment);
        sources::runtime()?.block_on(locate);
    }
    Ok(Ok((environment, revision)))
}

fn client(arguments: &GetArguments) -> anyhow::Result<Client> {
    let urls = std::slice::from_ref(&arguments.url);
    let builder =
        environment::client(&arguments.environment, urls, arguments.token_file.as_deref());
    Ok(builder.deadline(DEADLINE).allow_empty(true).build()?)
}

/// Reports that there is no environment, and what the user can do about it.
fn fail(arguments: &GetArguments, query: &Query, reason: &EnvironmentError) -> ExitCode {
    match reason {
        EnvironmentError::Broken(_) => output::complain(reason),
        EnvironmentError::Unmatched(_) => {
            let known = catalog(arguments, query);
            output::complain(format_args!("{reason}. {}", advice(query, known)));
        }
    }
    ExitCode::from(1)
}

/// Tells a person at a terminal that only shared properties were found: the name may be misspelt.
fn note_unknown_application(arguments: &GetArguments, query: &Query) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let Some(known) = catalog(arguments, query) else { return };
    let names = || query.application.split(',').map(str::trim);
    if names().all(|name| name != SHARED_APPLICATION && !known.applications.contains(name)) {
        output::complain(format_args!(
            "no file is named after {}: these are shared properties only. {}",
            query.application,
            advice(query, Some(known))
        ));
    }
}

/// The known environments. `None` if the source or the server does not list them.
fn catalog(arguments: &GetArguments, query: &Query) -> Option<Catalog> {
    if arguments.source.is_empty() {
        catalog_of_server(arguments, query)
    } else {
        sources::catalog_of_source(&arguments.source, &query.label)
    }
}

/// The catalogue of a Headwater. Another server has none.
fn catalog_of_server(arguments: &GetArguments, query: &Query) -> Option<Catalog> {
    let read = async || -> anyhow::Result<Catalog> {
        let label = query.label.name().map(|label| format!("label={}", escaped(&segment(label))));
        let accept = [("accept", "application/json")];
        let path = ["-", "environments"];
        let answer = client(arguments)?.exchange(&path, label.as_deref(), &accept).await?;
        let listed: EnvironmentList = serde_json::from_slice(answer.body())?;
        let EnvironmentList { applications, profiles, .. } = listed;
        Ok(Catalog { applications, profiles })
    };
    sources::runtime().and_then(|runtime| runtime.block_on(read())).ok()
}

/// The next step for a user whose request matched nothing.
fn advice(query: &Query, known: Option<Catalog>) -> String {
    let Some(Catalog { applications, profiles }) = known else {
        let named = "Name a branch, a tag, a full commit id or a folder with --label";
        let unnamed = "Check the name, the profiles and the rights of the token";
        return query.label.name().map_or(unnamed, |_| named).to_owned();
    };
    let (what, names) = if applications.contains(&*query.application) {
        ("profiles", profiles)
    } else {
        ("applications", applications)
    };
    let listed: Vec<&str> = names.iter().take(LISTED_COUNT_MAX).map(String::as_str).collect();
    match (listed.len(), names.len() - listed.len()) {
        (0, _) => format!("The repository has no {what} at this label"),
        (_, 0) => format!("Known {what}: {}", listed.join(", ")),
        (_, more) => format!("Known {what}: {} and {more} more", listed.join(", ")),
    }
}

/// Every effective key with the place that sets it and its value, sorted.
fn table(environment: &Environment, placeholders: PlaceholderMode) -> anyhow::Result<String> {
    // Sources are ordered by precedence, so the first value of a key is the effective one.
    let mut effective = BTreeMap::new();
    for source in &environment.sources {
        for property in source.properties() {
            effective.entry(&*property.key).or_insert((property, source));
        }
    }
    let lookup = EnvironmentValues::new(environment);
    let mut rows = Vec::with_capacity(effective.len());
    for (key, (property, source)) in effective {
        let text = property.value.text();
        let text = match placeholders {
            PlaceholderMode::Keep => text.into(),
            PlaceholderMode::Resolve => Resolver::new(&lookup, text.len()).value(text)?,
        };
        rows.push(vec![key.to_owned(), origin(source, property), text.into()]);
    }
    let colours = Colours::of_stdout();
    Ok(output::painted_table(&rows, colours, |_, column| (column == 1).then_some(DIM)))
}
