//! The environment that a command is about: from its arguments, a source or a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_client::{Builder, Client};

use super::{output, sources};
use crate::access::{Caller, Policy};
use crate::model::{
    Document, Environment, Label, Position, Property, PropertySource, Query, Scalar, Value,
};
use crate::server;
use crate::store::{AnswerError, Content, Store};

/// The environment that a command is about.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct EnvironmentArguments {
    /// Name of the service
    pub(super) application: String,
    /// Its profiles, separated by commas
    #[arg(default_value = "default")]
    pub(super) profiles: String,
    /// Branch, tag, full commit id or folder
    #[arg(long, short)]
    pub(super) label: Option<String>,
}

impl EnvironmentArguments {
    pub(super) fn query(&self) -> Query {
        Query {
            application: self.application.as_str().into(),
            profiles: self.profiles.as_str().into(),
            label: self.label.as_deref().map_or(Label::Default, |name| Label::Named(name.into())),
        }
    }
}

/// The server that a command asks about itself, and not for an environment.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ServerArguments {
    /// URL of the server. Of several, separated by commas, the first that answers
    #[arg(
        long,
        env = "HEADWATER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8888",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// File with the token that the server requires
    #[arg(long, env = "HEADWATER_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

impl ServerArguments {
    /// A client of the server. No environment is asked for, so that any name will do.
    pub(super) fn client(&self) -> Builder {
        self.client_of(&self.url)
    }

    /// A client for each of the servers, in their order.
    pub(super) fn clients(&self) -> impl Iterator<Item = Builder> {
        self.url.iter().map(|url| self.client_of(std::slice::from_ref(url)))
    }

    fn client_of(&self, urls: &[String]) -> Builder {
        let unused = EnvironmentArguments {
            application: "application".to_owned(),
            profiles: "default".to_owned(),
            label: None,
        };
        client(&unused, urls, self.token_file.as_deref())
    }
}

/// The identity under which servers list a command that follows an environment.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct IdentityArguments {
    /// Name under which servers list this instance. It stays the same after a restart [default: the host name]
    #[arg(long, value_name = "NAME", env = "HEADWATER_INSTANCE")]
    instance: Option<String>,
    /// Attributes that servers list with this instance, such as version=1.4,zone=eu-1
    #[arg(long, value_name = "PAIRS", env = "HEADWATER_ATTRIBUTES")]
    attributes: Option<String>,
}

impl IdentityArguments {
    /// Sets the identity of a client.
    pub(super) fn apply(&self, mut builder: Builder) -> Builder {
        if let Some(name) = &self.instance {
            builder = builder.instance(name);
        }
        match &self.attributes {
            Some(attributes) => builder.attributes(attributes),
            None => builder,
        }
    }
}

/// The reason why a query has no environment.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvironmentError {
    /// The label or the name is unknown.
    #[error("{0}")]
    Unmatched(String),
    /// A file of the environment is broken, and so is every revision before.
    #[error("{0}")]
    Broken(String),
}

impl EnvironmentError {
    /// No file belongs to the environment.
    pub(super) fn unmatched(query: &Query) -> Self {
        Self::Unmatched(format!("no property source for {}", name(query)))
    }
}

/// Resolves a query as the server would, without a server. Returns the environment and its revision.
pub(super) fn resolve(
    source: &[String],
    query: &Query,
) -> anyhow::Result<Result<(Environment, String), EnvironmentError>> {
    let settings = sources::settings(source)?;
    let runtime = sources::runtime()?;
    let store = Store::new(
        sources::open(&settings, &runtime)?,
        server::answer_settings(&settings),
        Policy::Open,
        runtime.handle().clone(),
    );
    let handle = match runtime.block_on(store.answer(&Caller::Operator, query)) {
        Ok(handle) => handle,
        Err(error @ AnswerError::UnknownLabel(_)) => {
            return Ok(Err(EnvironmentError::Unmatched(error.to_string())));
        }
        Err(error) => return Err(error.into()),
    };
    let current = handle.current();
    if let Some(held) = current.answer.held_revisions().next() {
        output::complain(format_args!("held back at {}: {}", held.revision, held.problem));
    }
    if let Some(served) = current.served() {
        return Ok(Ok((served.environment.clone(), current.revision.to_string())));
    }
    Ok(Err(match &*current.answer.content {
        Content::Broken(problem) => EnvironmentError::Broken(problem.to_string()),
        Content::UnknownLabel => EnvironmentError::Unmatched("unknown label".to_owned()),
        Content::Environment(_) | Content::Empty => EnvironmentError::unmatched(query),
    }))
}

/// The environment of a server's answer, without the places of its values.
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
            sops: None,
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

/// `orders/prod`, and the label if it is named.
pub(super) fn name(query: &Query) -> String {
    let label = query.label.name().map_or_else(String::new, |label| format!(" of {label}"));
    format!("{}/{}{label}", query.application, query.profiles)
}

/// A client for an environment, with a token if there is one.
pub(super) fn client(
    environment: &EnvironmentArguments,
    urls: &[String],
    token_file: Option<&Path>,
) -> Builder {
    let mut builder = Client::builder()
        .urls(urls)
        .application(&environment.application)
        .profiles(environment.profiles.split(','));
    if let Some(label) = &environment.label {
        builder = builder.label(label);
    }
    match token_file {
        Some(path) => builder.token_file(path),
        None => builder,
    }
}
