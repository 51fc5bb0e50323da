//! A running server, asked over HTTP: requests, retries, and what an answer means.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use headwater_client::{Client, Error, RawResponse};
use headwater_wire::{Environment, EnvironmentList, headers};

use super::answer::{AskError, KnownLabel, ReceivedEnvironment, SideAnswer};
use super::text::{ComparedText, segment};
use crate::catalog::Catalog;
use crate::model::{Label, Query};

/// The pause before the first retry. It doubles with each retry.
const PAUSE: Duration = Duration::from_millis(500);

/// The credentials of the client.
pub(super) enum RemoteCredentials {
    None,
    Basic { user: String, password: String },
    TokenFile(PathBuf),
}

/// The time limit and the retries of a request.
#[derive(Clone)]
pub(super) struct RemoteLimits {
    pub(super) timeout: Duration,
    pub(super) retry_count: u32,
    /// Certificates that are trusted beside the system's.
    pub(super) authorities: Option<Vec<u8>>,
}

/// A running server.
pub(super) struct RemoteServer {
    client: Client,
    name: String,
    retry_count: u32,
    /// Sent as `X-Config-Token`.
    pub(super) config_token: Option<String>,
}

impl RemoteServer {
    /// # Errors
    /// When the URL, or what opens the server, cannot be used. Holds no password.
    pub(super) fn new(
        url: &str,
        credentials: RemoteCredentials,
        limits: RemoteLimits,
    ) -> anyhow::Result<Self> {
        // The builder needs an application, which no request of this module uses.
        let builder = Client::builder().url(url).application("application");
        let builder = builder.request_timeout(limits.timeout).connect_timeout(limits.timeout);
        let builder = match credentials {
            RemoteCredentials::None => builder,
            RemoteCredentials::Basic { user, password } => builder.basic(user, password),
            RemoteCredentials::TokenFile(path) => builder.token_file(path),
        };
        let builder = match limits.authorities {
            Some(pem) => builder.root_certificate_pem(pem),
            None => builder,
        };
        let client = builder.build()?;
        let name = client.first_server().to_owned();
        Ok(Self { client, name, retry_count: limits.retry_count, config_token: None })
    }

    /// The URL without credentials.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn environment(
        &self,
        query: &Query,
    ) -> Result<SideAnswer<ReceivedEnvironment>, AskError> {
        let Query { application, profiles, label } = query;
        let mut path = vec![segment(application), profiles.to_string()];
        path.extend(label.name().map(segment));
        let response = self.ask(&path, None, "application/json").await?;
        if response.status() != 200 {
            return Ok(SideAnswer::Refused(response.status()));
        }
        // The parser's message may quote a value.
        let environment: Environment = serde_json::from_slice(response.body())
            .map_err(|_| self.unanswered("an answer that is not an environment in JSON"))?;
        let is_held_back = response.header(headers::HELD_AT).is_some();
        Ok(SideAnswer::Content(ReceivedEnvironment { environment, is_held_back }))
    }

    pub(super) async fn text(
        &self,
        query: &Query,
        text: &ComparedText,
    ) -> Result<SideAnswer<Vec<u8>>, AskError> {
        let (path, option) = text.path(query);
        let accept = match text {
            ComparedText::Flat(_) => "*/*",
            ComparedText::File(_) => "text/plain",
        };
        let response = self.ask(&path, option, accept).await?;
        Ok(match response.status() {
            200 => SideAnswer::Content(response.body().to_vec()),
            status => SideAnswer::Refused(status),
        })
    }

    /// The catalogue of a running Headwater. `None` if it has no such label.
    pub(super) async fn catalog(&self, label: &Label) -> anyhow::Result<Option<KnownLabel>> {
        let path = ["-".to_owned(), "environments".to_owned()];
        let option = label.name().map(|name| format!("label={}", escaped(&segment(name))));
        let response = self.ask(&path, option.as_deref(), "application/json").await;
        let response = response.map_err(|error| anyhow::anyhow!("{}", error.text()))?;
        if response.status() == 404 {
            return Ok(None);
        }
        let listed: Option<EnvironmentList> = serde_json::from_slice(response.body()).ok();
        match listed.filter(|_| response.status() == 200) {
            Some(EnvironmentList { revision, applications, profiles, .. }) => {
                let catalog = Catalog { applications, profiles };
                Ok(Some(KnownLabel { catalog, revision, outside: BTreeSet::new() }))
            }
            None => anyhow::bail!("{} is not a Headwater: /-/environments is missing", self.name),
        }
    }

    /// Requests an answer, with retries.
    async fn ask(
        &self,
        path: &[String],
        option: Option<&str>,
        accept: &str,
    ) -> Result<RawResponse, AskError> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let mut headers = vec![("accept", accept)];
        headers.extend(self.config_token.as_deref().map(|token| ("x-config-token", token)));
        let mut pause = PAUSE;
        for attempt in 0.. {
            let outcome = self.validated(self.client.exchange(&path, option, &headers).await);
            match outcome {
                Err(AskError::Unanswered(_)) if attempt < self.retry_count => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// Rejects an answer that does not come from a configuration server.
    fn validated(&self, answer: Result<RawResponse, Error>) -> Result<RawResponse, AskError> {
        let response = answer.map_err(|error| self.failed(error))?;
        let is_html = response.header("content-type").is_some_and(|it| it.starts_with("text/html"));
        match response.status() {
            401 | 403 => Err(AskError::Fatal(format!(
                "{} rejected the credentials with status {}; set --username and --password-file, --bearer-token-file, or \
                 --token-file for a Headwater",
                self.name,
                response.status()
            ))),
            status @ (300..=399 | 408 | 429 | 502..=504) => {
                Err(self.unanswered(&format!("status {status}")))
            }
            status if is_html && status != 400 => Err(self.unanswered(&format!(
                "an HTML page with status {status}, which a configuration server does not send"
            ))),
            _ => Ok(response),
        }
    }

    fn failed(&self, error: Error) -> AskError {
        match error {
            Error::Deadline(deadline) => {
                let failure = deadline.servers.first().and_then(|server| server.last.as_ref());
                let failure = failure.map_or_else(String::new, ToString::to_string);
                self.unanswered(&failure)
            }
            other => AskError::Fatal(other.to_string()),
        }
    }

    fn unanswered(&self, reason: &str) -> AskError {
        AskError::Unanswered(format!("{} did not answer: {reason}", self.name))
    }
}

/// Escapes a value for a query string.
pub(in crate::cli) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}
