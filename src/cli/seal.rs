//! `headwater seal`: seals a value, makes a seal key, or seals the `{cipher}` values of a checkout anew.

mod input;
mod migrate;
mod new_key;
mod rewrite;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use headwater_secrets::sealed::{Place, SealKeyring};

use super::output;
use crate::model::SHARED_APPLICATION;
use crate::reveal::SHARED_AREA;
use crate::server;
use crate::settings::{Flags, SecretsSettings, Settings};

#[derive(Debug, clap::Args)]
pub(super) struct SealArguments {
    /// Property that will have the value, such as db.password. The value is read from standard input, or from the
    /// terminal without showing it
    #[arg(required_unless_present_any = ["new_key", "migrate"])]
    key: Option<String>,
    /// Application whose files will contain the value [default: application, for the files that all applications share.
    /// With --migrate: the application in the name of each file]
    #[arg(long = "for", value_name = "APPLICATION")]
    application: Option<String>,
    /// File with the seal key [default: the first of secrets.seal_key_files in the settings]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Settings file [default: headwater.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    /// Make a seal key and write it to this new file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "application", "key_file", "migrate"])]
    new_key: Option<PathBuf>,
    /// Id of the new key, which each value names [default: the name of the file]
    #[arg(long, requires = "new_key")]
    id: Option<String>,
    /// Seal the {cipher} values of these files and directories anew, in place. The keys for {cipher} are those of the
    /// settings
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "key")]
    migrate: Vec<PathBuf>,
}

pub(super) fn run(arguments: SealArguments) -> anyhow::Result<ExitCode> {
    let SealArguments { key, application, key_file, config, new_key, id, migrate } = arguments;
    if let Some(path) = new_key {
        return new_key::run(&path, id.as_deref());
    }
    let area = application.as_deref().map(area);
    if !migrate.is_empty() {
        let settings = secrets_settings(config)?;
        let keys = server::read_keys(&settings)?;
        let bound = seal_keys(key_file, || Ok(settings))?;
        return migrate::run(&migrate, area, &keys.cipher, &bound);
    }
    let key = key.ok_or_else(|| anyhow!("the property is missing"))?;
    let keys = seal_keys(key_file, || secrets_settings(config))?;
    let text = input::read(&key)?;
    let place = Place { area: area.unwrap_or(SHARED_AREA), key: &key };
    output::print(&format!("{}\n", keys.seal(text.expose(), &place)?))?;
    Ok(ExitCode::SUCCESS)
}

/// The area of an application. The files of `application` belong to all applications.
fn area(application: &str) -> &str {
    if application == SHARED_APPLICATION { SHARED_AREA } else { application }
}

fn secrets_settings(config: Option<PathBuf>) -> anyhow::Result<SecretsSettings> {
    Ok(Settings::load(Flags { config, ..Flags::default() })?.secrets)
}

/// The seal keys: that of the flag, or those of the settings.
fn seal_keys(
    file: Option<PathBuf>,
    settings: impl FnOnce() -> anyhow::Result<SecretsSettings>,
) -> anyhow::Result<SealKeyring> {
    let files = match file {
        Some(file) => vec![file],
        None => settings()?.seal_key_files,
    };
    if files.is_empty() {
        bail!(
            "no seal key: name its file with --key-file, or in secrets.seal_key_files of the settings. headwater seal \
             --new-key FILE makes one"
        );
    }
    Ok(server::read_seal_keys(&files)?)
}
