//! `headwater get`: what a service would be configured with, from a running server or straight from a source.

use std::process::ExitCode;

use clap::ValueEnum;

use super::output;
use crate::model::Environment;
use crate::render::{self, Representation, flat};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asked: output::Asked,
    /// Read a source instead of asking a server
    #[arg(long, value_delimiter = ',')]
    source: Vec<String>,
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
    let _ = arguments;
    Ok(ExitCode::SUCCESS)
}

#[allow(dead_code)]
fn print(environment: &Environment, form: Form) -> anyhow::Result<()> {
    let text = match form {
        Form::Table => String::new(),
        Form::Json => {
            let rendered = render::json(environment, Representation::V1, "", None);
            String::from_utf8_lossy(&rendered.bytes).into_owned() + "\n"
        }
        Form::Yaml => flat::yaml(environment, flat::Placeholders::Resolve)?,
        Form::Properties => flat::properties(environment, flat::Placeholders::Resolve)? + "\n",
    };
    output::print(&text)
}
