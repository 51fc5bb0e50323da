//! A remote that is hosted by another Headwater tells of every push itself: its events are followed, and each is a hint to
//! look. What is told is not believed, and what is missed the poll finds.

use std::sync::Arc;
use std::time::Duration;

use headwater_client::Client;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::access::{Access, Login};
use super::address::{Remote, Transport};

/// The shortest time from one fetch to the next of a remote that is followed: it tells only of what moved.
pub(super) const SPACING: Duration = Duration::from_millis(200);
/// How long it is followed by one client: other credentials and certificates are taken up by the next one.
const CLIENT_TIME: Duration = Duration::from_secs(600);
/// The client asks for no environment, but has to be for one.
const APPLICATION: &str = "mirror";

/// The events of a remote.
pub(super) struct Events {
    /// The server.
    url: String,
    access: Access,
    /// Somebody is to look.
    wanted: Arc<Notify>,
    /// The remote as it is shown.
    source: Arc<str>,
}

impl Events {
    /// The events of a remote, if its address is that of a repository which a Headwater hosts.
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

    /// Follows them until it is dropped.
    pub(super) async fn follow(self) {
        let mut is_known = false;
        loop {
            // What is wrong with the files is told by those who fetch.
            let Some(client) = self.client().await else {
                sleep(CLIENT_TIME).await;
                continue;
            };
            let mut moves = client.moves();
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
            // Many servers do not come back all at once.
            let spread = CLIENT_TIME.mul_f64(0.9 + 0.2 * fastrand::f64());
            let _: Result<(), _> = timeout(spread, listening).await;
        }
    }

    /// A client with what is on the disk now.
    async fn client(&self) -> Option<Client> {
        let (access, url) = (self.access.clone(), self.url.clone());
        tokio::task::spawn_blocking(move || {
            let mut builder = Client::builder().url(url).application(APPLICATION);
            if let Some(credentials) = &access.credentials {
                let Login { username, password } = credentials.login().ok()?;
                builder = builder.basic(username, password);
            }
            if let Some(ca_file) = &access.ca_file {
                let pem = std::fs::read(ca_file).ok()?;
                builder = builder.root_certificate_pem(pem).only_own_root_certificates();
            }
            builder.build().ok()
        })
        .await
        .ok()?
    }
}

/// The server, from the address of one of its repositories.
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
