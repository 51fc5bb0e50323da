//! A remote that is hosted by another Headwater tells of every push itself: its events are followed, and each is a hint to
//! look. What is told is not believed, and what is missed the poll finds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, RequestBuilder, Response};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::access::{Access, Login};
use super::address::{Remote, Transport};

/// The shortest time from one fetch to the next of a remote that is followed: it tells only of what moved.
pub(super) const SPACING: Duration = Duration::from_millis(200);
/// How events come.
const STREAM: &str = "text/event-stream";
/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the other end may be silent, in which three signs of life should have come.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A stream that ended sooner was none.
const STREAM_TIME_MIN: Duration = Duration::from_secs(10);
/// The bound of the first pause after a failure; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The bound of the longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The events of a remote.
pub(super) struct Events {
    /// Where they are told.
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
        let mut failure_count = 0;
        loop {
            let begun = Instant::now();
            if let Some(request) = self.request().await {
                self.listen(request).await;
            }
            let was_stream = begun.elapsed() >= STREAM_TIME_MIN;
            failure_count = if was_stream { 0 } else { failure_count + 1 };
            sleep(pause(failure_count)).await;
        }
    }

    /// The question, with what is on disk now; none if that cannot be used, of which fetching tells.
    async fn request(&self) -> Option<RequestBuilder> {
        let access = self.access.clone();
        let (login, ca) = tokio::task::spawn_blocking(move || read(&access)).await.ok()??;
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(SILENCE_MAX);
        let http = match ca {
            Some(certificates) => http.tls_certs_only(certificates),
            None => http,
        };
        let request = http.build().ok()?.get(&self.url).header(ACCEPT, STREAM);
        Some(match login {
            Some(Login { username, password }) => request.basic_auth(username, Some(password)),
            None => request,
        })
    }

    /// Hints for as long as it is told of moves.
    async fn listen(&self, request: RequestBuilder) {
        let answer = request.send().await.and_then(Response::error_for_status);
        let Some(mut events) = answer.ok().filter(is_stream) else {
            tracing::debug!(source = &*self.source, "the remote does not tell of events");
            return;
        };
        // Whatever moved before was not heard.
        self.wanted.notify_one();
        tracing::info!(source = &*self.source, "the events of the remote are followed");
        while let Ok(Some(bytes)) = events.chunk().await {
            if !is_comment(&bytes) {
                self.wanted.notify_one();
            }
        }
        tracing::info!(source = &*self.source, "the events of the remote have ended");
    }
}

/// Where a Headwater tells of moves, from the address of one of its repositories.
fn url(remote: &Remote) -> Option<String> {
    let is_http = matches!(remote.transport, Transport::Https | Transport::Http);
    let (base, name) = remote.address.rsplit_once("/-/git/")?;
    let is_name = name.ends_with(".git") && !name.contains('/');
    (is_http && is_name).then(|| format!("{base}/-/events"))
}

fn read(access: &Access) -> Option<(Option<Login>, Option<Vec<Certificate>>)> {
    let login = access.credentials.as_ref().map(|it| it.login().ok());
    let ca = access.ca_file.as_ref().map(|path| {
        let pem = std::fs::read(path).ok()?;
        Certificate::from_pem_bundle(&pem).ok()
    });
    match (login, ca) {
        (Some(None), _) | (_, Some(None)) => None,
        (login, ca) => Some((login.flatten(), ca.flatten())),
    }
}

fn is_stream(answer: &Response) -> bool {
    let content_type = answer.headers().get(CONTENT_TYPE);
    content_type.is_some_and(|it| it.as_bytes().starts_with(STREAM.as_bytes()))
}

/// Whether all that came shows only that the other end is there.
fn is_comment(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.starts_with(b":"))
}

/// Many servers that lost one remote do not come back to it all at once.
fn pause(failure_count: u32) -> Duration {
    let bound = BACKOFF_MIN.saturating_mul(1 << failure_count.min(16)).min(BACKOFF_MAX);
    bound.mul_f64(fastrand::f64())
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
        check("https://a.example/-/git/main.git", Some("https://a.example/-/events"));
        check("http://localhost:8888/-/git/main.git", Some("http://localhost:8888/-/events"));
        check("https://a.example/config/-/git/x.git/", Some("https://a.example/config/-/events"));
        check("https://a.example/team/main.git", None);
        check("https://a.example/-/git/team/main.git", None);
        check("/srv/-/git/main.git", None);
    }

    #[test]
    fn signs_of_life_are_no_hints() {
        assert!(is_comment(b": \n\n"));
        assert!(!is_comment(b"event: move\nid: 1\n"));
        assert!(!is_comment(b": \n\nevent: move\n"));
    }

    #[test]
    fn pauses_are_spread_and_bounded() {
        for _ in 0..100 {
            assert!(pause(0) <= BACKOFF_MIN);
            assert!(pause(u32::MAX) <= BACKOFF_MAX);
        }
    }
}
