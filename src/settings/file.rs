//! `headwater.toml` as it is written.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    AccessSettings, AuditSettings, ClientAuth, FleetSettings, MemorySettings, MonitorSettings,
    PushSettings, RolloutSettings, SecretsSettings, SettingsError, ShareSettings, SourceSettings,
    TracingSettings, WatchSettings,
};

/// The file that is read when no other is named.
const DEFAULT_NAME: &str = "headwater.toml";

/// The settings of a file. A setting that is missing is `None` or its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SettingsFile {
    pub(super) listen: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) tls_client_ca: Option<PathBuf>,
    pub(super) tls_client_auth: Option<ClientAuth>,
    pub(super) tls_client_crl: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) workers: Option<usize>,
    pub(super) accept_empty: Option<bool>,
    pub(super) fail_on_composite_error: Option<bool>,
    pub(super) data: Option<PathBuf>,
    pub(super) access: AccessSettings,
    pub(super) audit: AuditSettings,
    pub(super) push: PushSettings,
    pub(super) rollout: RolloutSettings,
    pub(super) memory: MemorySettings,
    pub(super) watch: WatchSettings,
    pub(super) monitor: MonitorSettings,
    pub(super) share: ShareSettings,
    pub(super) fleet: FleetSettings,
    pub(super) secrets: SecretsSettings,
    pub(super) tracing: TracingSettings,
    pub(super) overrides: toml::Table,
    pub(super) source: Vec<SourceSettings>,
}

/// Reads the named file, or `headwater.toml` if it exists.
pub(super) fn load(path: Option<&Path>) -> Result<SettingsFile, SettingsError> {
    match path {
        Some(path) => read(path),
        None if Path::new(DEFAULT_NAME).exists() => read(Path::new(DEFAULT_NAME)),
        None => Ok(SettingsFile::default()),
    }
}

fn read(path: &Path) -> Result<SettingsFile, SettingsError> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError(vec![format!("{name}: {error}")]))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        SettingsError(vec![format!("{name}:{line}: {}", without_value(error.message()))])
    })
}

/// Removes the quoted value from a message about a wrong type, because the value may be a secret.
fn without_value(message: &str) -> String {
    let quoted = message.strip_prefix("invalid ").and_then(|_| {
        let (before, _) = message.split_once(['"', '`'])?;
        let (_, after) = message.rsplit_once(", expected ")?;
        Some(format!("{}, expected {after}", before.trim_end()))
    });
    quoted.unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Settings};

    fn error(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headwater.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Settings::load(flags).unwrap_err().to_string()
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let unknown = error("listen = \"127.0.0.1:1\"\nlisten_on = 1\n");
        assert!(unknown.contains("headwater.toml:2: unknown field `listen_on`"), "{unknown}");
        let unknown = error("[[source]]\nuri = \"x\"\nserach_paths = []\n");
        assert!(unknown.contains(":3: unknown field `serach_paths`"), "{unknown}");
    }

    #[test]
    fn values_of_the_wrong_type_are_not_quoted() {
        for (text, message) in [
            ("overrides = \"hunter2\"", "invalid type: string, expected a map"),
            ("workers = \"a\\\", expected hunter2\"", "invalid type: string, expected usize"),
            ("listen = 4711", "invalid type: integer, expected a string"),
        ] {
            let error = error(text);
            assert!(error.ends_with(&format!("headwater.toml:1: {message}")), "{error}");
        }
    }
}
