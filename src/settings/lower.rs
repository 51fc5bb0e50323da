//! Combines flags, file and defaults into the settings of a server, and checks them.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::access::Surroundings;
use super::described::default;
use super::file::SettingsFile;
use super::secret::{login, variable};
use super::{ClientCertificateSettings, Flags, Settings, SettingsError, overrides, source};

/// The table of settings that stand before all tables.
const TOP: &str = "";

/// A flag wins over the file, and the file over the default.
pub(super) fn lower(flags: Flags, file: SettingsFile) -> Result<Settings, SettingsError> {
    let mut problems = Vec::new();
    let settings = Settings {
        listen: listen(flags.listen.or(file.listen), &mut problems),
        prefix: prefix(flags.prefix.or(file.prefix), &mut problems),
        tls: tls(flags.tls_cert.or(file.tls_cert), flags.tls_key.or(file.tls_key), &mut problems),
        client_certificates: ClientCertificateSettings::new(
            (file.tls_client_ca, file.tls_client_crl),
            file.tls_client_auth,
        ),
        token_file: flags.token_file.or(file.token_file),
        workers: flags.workers.or(file.workers),
        accept_empty: flags
            .accept_empty
            .or(file.accept_empty)
            .unwrap_or_else(|| default(TOP, "accept_empty")),
        fail_on_composite_error: flags
            .fail_on_composite_error
            .or(file.fail_on_composite_error)
            .unwrap_or_else(|| default(TOP, "fail_on_composite_error")),
        // Commands other than `serve` have no flag for it and read the variable here.
        data: flags
            .data
            .or_else(|| variable("HEADWATER_DATA").map(PathBuf::from))
            .or(file.data)
            .unwrap_or_else(|| default(TOP, "data")),
        sources: source::combine(&flags.source, file.source, flags.seed, flags.toml, &mut problems),
        overrides: if flags.overrides.is_empty() {
            overrides::flatten(&file.overrides, &mut problems)
        } else {
            overrides::pairs(&flags.overrides, &mut problems)
        },
        access: file.access,
        audit: file.audit,
        push: file.push.with(flags.push_token_file, &mut problems),
        rollout: file.rollout.with(flags.rollout_default, &mut problems),
        is_forgetting_rollouts: false,
        monitor: file.monitor.with(flags.monitor_secret_file, &mut problems),
        share: file.share.with(flags.share, flags.replica, &mut problems),
        fleet: file.fleet,
        secrets: file.secrets.with(&mut problems),
        tracing: file.tracing,
        memory: file.memory,
        watch: file.watch,
        git_login: login(["HEADWATER_GIT_USERNAME", "HEADWATER_GIT_PASSWORD"], &mut problems),
        etcd_login: login(["HEADWATER_ETCD_USERNAME", "HEADWATER_ETCD_PASSWORD"], &mut problems),
    };
    let around = Surroundings {
        sources: &settings.sources,
        listen: settings.listen,
        has_tls: settings.tls.is_some(),
        has_token: settings.token_file.is_some(),
        has_push_token: settings.push.token.is_some() || settings.push.token_file.is_some(),
    };
    settings.access.check(&around, &mut problems);
    settings.audit.check(&mut problems);
    settings.client_certificates.check(&settings, &mut problems);
    settings.tracing.check(&mut problems);
    if settings.workers == Some(0) {
        problems.push("workers: expected at least 1, got 0".to_owned());
    }
    if problems.is_empty() { Ok(settings) } else { Err(SettingsError(problems)) }
}

fn listen(text: Option<String>, problems: &mut Vec<String>) -> SocketAddr {
    let text = text.unwrap_or_else(|| default(TOP, "listen"));
    text.parse().unwrap_or_else(|_| {
        problems.push(format!(
            "listen: expected an address and port such as {}, got {text:?}",
            default::<String>(TOP, "listen")
        ));
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

fn prefix(text: Option<String>, problems: &mut Vec<String>) -> String {
    let text = text.unwrap_or_else(|| default(TOP, "prefix"));
    let prefix = text.trim_end_matches('/').to_owned();
    if !prefix.is_empty() && !prefix.starts_with('/') {
        problems.push(format!("prefix: expected a path that begins with a slash, got {prefix:?}"));
    }
    prefix
}

fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    problems: &mut Vec<String>,
) -> Option<(PathBuf, PathBuf)> {
    if certificate.is_some() != key.is_some() {
        problems.push("tls_cert and tls_key must be set together".to_owned());
    }
    certificate.zip(key)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::settings::default_file;

    /// Loads the settings in the text of a file, without flags. The error is its message.
    pub(in crate::settings) fn load(text: &str) -> Result<Settings, String> {
        lower(Flags::default(), toml::from_str(text).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_printed_default_is_the_default() {
        assert_eq!(load(&default_file()).unwrap(), load("").unwrap());
    }

    #[test]
    fn all_problems_come_at_once() {
        let error =
            load("listen = \"x\"\nprefix = \"p\"\ntls_cert = \"c\"\n[[source]]\n").unwrap_err();
        for part in ["listen", "prefix", "tls_cert", "uri is missing"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
