//! Re-reads the files of the settings when the operator asks for it with HUP: tokens, webhook secrets, policy, certificate and
//! key, keys for sealed values, and secrets.
//!
//! Credentials of remotes and of etcd are not here: their files are read for every fetch and every connection.

use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web;
use tokio::sync::watch;

use super::policy::Following;
use super::tls::Reloading;
use super::{StartError, read_secret, secrets_in};
use crate::http::{Http, Token};
use crate::settings::Settings;

/// The files that are re-read.
#[derive(Clone)]
struct SettingsFiles {
    token: Option<PathBuf>,
    push_token: Option<PathBuf>,
    monitor_secrets: Option<PathBuf>,
}

/// Re-reads the files at each request, for as long as the server runs.
pub(super) async fn follow(
    settings: &Settings,
    http: &web::Data<Http>,
    tls: Option<&Reloading>,
    policy: Option<&Following>,
    mut requests: watch::Receiver<()>,
) {
    let files = SettingsFiles {
        token: settings.token_file.clone(),
        push_token: settings.push.token_file.clone().filter(|_| settings.push.token.is_none()),
        monitor_secrets: settings.monitor.secret_file.clone(),
    };
    while requests.changed().await.is_ok() {
        if let Some(tls) = tls {
            tls.read_again();
        }
        if let Some(policy) = policy {
            policy.read_again();
        }
        if let Some(files) = &http.encryption.files {
            files.read_again();
        }
        let (files, http) = (files.clone(), Arc::clone(http));
        // A file system that hangs must not delay the stop of the server. A panic leaves the files unread.
        let _ = tokio::task::spawn_blocking(move || files.read(&http)).await;
    }
    std::future::pending().await
}

impl SettingsFiles {
    /// Reads each file again. The previous content stays valid for a file that cannot be used.
    fn read(&self, http: &Http) {
        let results = [
            token("token file", self.token.as_ref(), http.token.as_ref()),
            token("push token file", self.push_token.as_ref(), http.push_token.as_ref()),
            self.read_monitor_secrets(http),
        ];
        let (mut read_count, mut failed_count) = (0, 0);
        for result in results.into_iter().flatten() {
            match result {
                Ok(()) => read_count += 1,
                Err(error) => {
                    failed_count += 1;
                    tracing::error!(%error, "a file was not re-read: its previous content stays valid");
                }
            }
        }
        tracing::info!(read_count, failed_count, "files of the settings re-read");
    }

    fn read_monitor_secrets(&self, http: &Http) -> Option<Result<(), StartError>> {
        let text = read_secret("monitor secret file", self.monitor_secrets.as_ref()?);
        Some(text.map(|text| http.monitor.replace_secrets(secrets_in(&text))))
    }
}

/// Re-reads a token. `None` if no file is configured.
fn token(
    what: &'static str,
    path: Option<&PathBuf>,
    token: Option<&Token>,
) -> Option<Result<(), StartError>> {
    let (path, token) = path.zip(token)?;
    Some(read_secret(what, path).map(|text| token.replace(&text)))
}
