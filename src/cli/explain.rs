//! `headwater explain`: the file and line that set a key, and the values that they override.

use std::collections::HashSet;
use std::process::ExitCode;

use serde_json::json;

use super::colour::{Colours, DIM};
use super::origins::origin;
use super::{OutputForm, environment, output};
use crate::model::{Environment, Property, PropertySource};

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// Key, such as server.port. A key that ends in a dot or a bracket stands for all keys with that prefix
    key: String,
    #[command(flatten)]
    environment: environment::EnvironmentArguments,
    /// Source to read, as in `serve` [default: the sources of headwater.toml, or ./config-repo]
    #[arg(long, env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

pub(super) fn run(arguments: ExplainArguments) -> anyhow::Result<ExitCode> {
    let query = arguments.environment.query();
    let environment = match environment::resolve(&arguments.source, &query)? {
        Ok((environment, _)) => environment,
        Err(reason) => {
            output::complain(reason);
            return Ok(ExitCode::from(1));
        }
    };
    let settings = settings_of(&environment, &arguments.key);
    match arguments.output {
        OutputForm::Json => output::print(&format!("{}\n", as_json(&settings)))?,
        OutputForm::Table => output::print(&as_table(&settings))?,
    }
    if settings.is_empty() {
        output::complain(format_args!(
            "no file sets {} for {}",
            arguments.key,
            environment::name(&query)
        ));
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// All places that set a key, grouped by key, with the effective one first.
fn settings_of<'a>(
    environment: &'a Environment,
    key: &str,
) -> Vec<(&'a Property, &'a PropertySource, bool)> {
    let is_prefix = key.ends_with(['.', '[']);
    let mut found: Vec<(&Property, &PropertySource, bool)> = Vec::new();
    let mut won = HashSet::new();
    for source in &environment.sources {
        for property in source.properties() {
            let matches = *property.key == *key || is_prefix && property.key.starts_with(key);
            if matches {
                let wins = won.insert(&*property.key);
                found.push((property, source, wins));
            }
        }
    }
    found.sort_by(|a, b| a.0.key.cmp(&b.0.key));
    found
}

fn as_json(settings: &[(&Property, &PropertySource, bool)]) -> serde_json::Value {
    settings
        .iter()
        .map(|(property, source, wins)| {
            json!({
                "key": &*property.key,
                "value": property.value.text(),
                "origin": origin(source, property),
                "source": &*source.name,
                "effective": wins,
            })
        })
        .collect()
}

fn as_table(settings: &[(&Property, &PropertySource, bool)]) -> String {
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|(property, source, wins)| {
            vec![
                if *wins { property.key.to_string() } else { "  overrides".to_owned() },
                origin(source, property),
                property.value.text().to_owned(),
            ]
        })
        .collect();
    output::painted_table(&rows, Colours::of_stdout(), |_, column| (column == 1).then_some(DIM))
}
