//! `headwater explain`: which file and line sets a key, and what it overrides.

use std::collections::HashSet;
use std::process::ExitCode;

use serde_json::json;

use super::{Output, output};
use crate::model::{Environment, Origin, Property, PropertySource};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The key; one that ends in a dot or a bracket stands for all that begin with it
    key: String,
    #[command(flatten)]
    asked: output::Asked,
    /// Where configuration comes from [default: what headwater.toml says, or ./config-repo]
    #[arg(long, env = "HEADWATER_SOURCE", hide_env_values = true, value_delimiter = ',')]
    source: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let query = arguments.asked.query();
    let environment = match output::resolve(&arguments.source, &query)? {
        Ok((environment, _)) => environment,
        Err(reason) => {
            eprintln!("headwater: {reason}");
            return Ok(ExitCode::from(1));
        }
    };
    let settings = settings_of(&environment, &arguments.key);
    match arguments.output {
        Output::Json => output::print(&format!("{}\n", as_json(&settings)))?,
        Output::Table => output::print(&as_table(&settings))?,
    }
    if settings.is_empty() {
        eprintln!("headwater: nothing sets {}", arguments.key);
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Every place that sets a key, the winner first; grouped by key in the order in which they are found.
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

fn origin(property: &Property, source: &PropertySource) -> String {
    match &source.file {
        Some(file) => Origin { file: file.clone(), position: Some(property.position) }.to_string(),
        None => source.name.to_string(),
    }
}

fn as_json(settings: &[(&Property, &PropertySource, bool)]) -> serde_json::Value {
    settings
        .iter()
        .map(|(property, source, wins)| {
            json!({
                "key": &*property.key,
                "value": property.value.text(),
                "origin": origin(property, source),
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
                origin(property, source),
                output::one_line(property.value.text()),
            ]
        })
        .collect();
    output::table(&rows)
}
