//! Events of a remote that another Headwater hosts. Each event is a hint to fetch. The content of an event is not trusted,
//! and the poll finds a change whose event was missed.

use std::sync::Arc;
use std::time::Duration;

use headwater_client::Client;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::access::{Access, Login};
use crate::regular_file;
use crate::source::remote::{Remote, Transport};

/// The shortest time between two fetches of a followed remote, which sends events for real changes only.
pub(super) const SPACING: Duration = Duration::from_millis(200);
/// The lifetime of one client. The next client reads changed credentials and certificates.
const CLIENT_TIME: Duration = Duration::from_secs(600);
/// The largest file of certificates, in bytes.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The application of the client, which requests no environment but needs a name.
const APPLICATION: &str = "mirror";

/// The events of a remote.
pub(super) struct RemoteEvents {
    /// The URL of the server.
    url: String,
    access: Access,
    /// Wakes the keeper of the mirror.
    wanted: Arc<Notify>,
    /// The name of the source in the log.
    source: Arc<str>,
}

impl RemoteEvents {
    /// The events of a remote, if its address is that of a repository hosted by Headwater.
    pub(super) fn of(
        remote: &Remote,
        access: &Access,
        wanted: &Arc<Notify>,
        source: &Arc<str>,
    ) -> Option<Self> {
        let url = url(remote)?;
        let (wanted, source) = (Arc::clone(wanted), Arc::clone(source));
        Some(Self { url, access: access.clone(), wanted, source })
    }

    /// Follows the events until the future is dropped.
    pub(super) async fn follow(self) {
        let mut is_known = false;
        loop {
            // The keeper reports faults of the files when it fetches.
            let Some(client) = self.client().await else {
                sleep(CLIENT_TIME).await;
                continue;
            };
            let mut moves = client.change_hints();
            let listening = async {
                loop {
                    moves.next().await;
                    self.wanted.notify_one();
                    if !std::mem::replace(&mut is_known, true) {
                        tracing::info!(
                            source = &*self.source,
                            "the events of the remote are followed"
                        );
                    }
                }
            };
            // Jitter, so that many servers do not reconnect at the same time.
            let spread = CLIENT_TIME.mul_f64(0.9 + 0.2 * fastrand::f64());
            let _: Result<(), _> = timeout(spread, listening).await;
        }
    }

    /// Builds a client with the present credentials and certificates.
    async fn client(&self) -> Option<Client> {
        let (access, url) = (self.access.clone(), self.url.clone());
        tokio::task::spawn_blocking(move || {
            let mut builder = Client::builder().url(url).application(APPLICATION);
            if let Some(credentials) = &access.credentials {
                let Login { username, password } = credentials.login().ok()?;
                builder = builder.basic(username, password);
            }
            if let Some(ca_file) = &access.ca_file {
                let pem = regular_file::read(ca_file, PEM_BYTES_MAX).ok()?;
                builder = builder.root_certificate_pem(pem).only_own_root_certificates();
            }
            builder.build().ok()
        })
        .await
        .ok()?
    }
}

/// The URL of the server, from the address of one of its repositories.
fn url(remote: &Remote) -> Option<String> {
    let is_http = matches!(remote.transport, Transport::Https | Transport::Http);
    let (base, name) = remote.address.rsplit_once("/-/git/")?;
    let is_name = name.ends_with(".git") && !name.contains('/');
    (is_http && is_name).then(|| base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: Option<&str>) {
        assert_eq!(url(&Remote::parse(address).unwrap()).as_deref(), expected);
    }

    #[test]
    fn repositories_of_headwater_are_known_by_their_address() {
        check("https://a.example/-/git/main.git", Some("https://a.example"));
        check("http://localhost:8888/-/git/main.git", Some("http://localhost:8888"));
        check("https://a.example/config/-/git/x.git/", Some("https://a.example/config"));
        check("https://a.example/team/main.git", None);
        check("https://a.example/-/git/team/main.git", None);
        check("/srv/-/git/main.git", None);
    }
}
