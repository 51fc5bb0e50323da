//! Single requests whose answers are returned unchanged, for programs that examine servers.

use std::time::{Duration, Instant};

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use crate::client::Client;
use crate::error::{AttemptError, DeadlineError, Error, ServerAttempts};
use crate::fetch::{Attempt, bounded_body};
use crate::http::Request;
use crate::server::Server;

/// The response of a server with any status.
pub struct RawResponse {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl RawResponse {
    /// Returns the status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the value of a header, if it is present and is text. `name` must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the whole body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl Client {
    /// Returns the URL of the first server, without user information.
    pub fn first_server(&self) -> &str {
        self.servers[0].name()
    }

    /// Sends one GET request to the first server and returns the response with any status.
    ///
    /// The client does not repeat the request and follows no redirect. `path` contains the unescaped segments below the
    /// base URL. `query` must already be escaped.
    ///
    /// # Errors
    /// [`Error::Deadline`] with a single failure when no complete response arrived within the request timeout.
    /// [`Error::Settings`] for an invalid header. [`Error::TokenFile`] when the token file cannot be read.
    pub async fn exchange(
        &self,
        path: &[&str],
        query: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<RawResponse, Error> {
        let url = self.servers[0].url_below_base(path);
        let url = query.into_iter().fold(url, |url, query| url.with_query(query));
        let mut request = self.http.get(url);
        for (name, value) in headers {
            let invalid = || {
                Error::Settings(format!(
                    "the value of the header {name} contains characters that a header must not contain"
                ))
            };
            let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
            request = request.header(HeaderName::from_static(name), value);
        }
        self.send_once(request).await
    }

    /// Sends one POST request with a JSON document to the first server and returns the response with any status.
    ///
    /// The client does not repeat the request and follows no redirect. `path` contains the unescaped segments below the
    /// base URL. After [`Error::Deadline`], the server may or may not have received the document.
    ///
    /// # Errors
    /// The errors of [`Client::exchange`].
    pub async fn post(&self, path: &[&str], json: String) -> Result<RawResponse, Error> {
        let media_type = HeaderValue::from_static("application/json");
        let request = self.http.post(self.servers[0].url_below_base(path), json.into());
        let request = request.header(CONTENT_TYPE, media_type.clone()).header(ACCEPT, media_type);
        self.send_once(request).await
    }

    /// Sends a request to the first server, with the credentials.
    async fn send_once(&self, mut request: Request) -> Result<RawResponse, Error> {
        let server = &self.servers[0];
        let own = self.credentials.current_header().await?;
        if let Some(header) = server.credentials().or(own.as_ref()) {
            request = request.header(AUTHORIZATION, header.clone());
        }
        let (limit, begun) = (self.limits.request_timeout, Instant::now());
        let received = timeout(limit, async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = bounded_body(response).await.map_err(failure)?;
            Ok(RawResponse { status, headers, body })
        });
        let received = received.await.unwrap_or(Err(AttemptError::Timeout(limit)));
        received.map_err(|failure| self.unanswered(server, begun.elapsed(), failure))
    }

    fn unanswered(&self, server: &Server, waited: Duration, failure: AttemptError) -> Error {
        let server = server.name().to_owned();
        let last = ServerAttempts { server, attempt_count: 1, last: Some(failure) };
        let deadline = self.limits.request_timeout;
        DeadlineError { deadline, waited, servers: vec![last], last_known_good: None }.into()
    }
}

/// Extracts the failure of reading a body. `bounded_body` returns no final error.
fn failure(attempt: Attempt) -> AttemptError {
    match attempt {
        Attempt::Again { failure, .. } => failure,
        Attempt::Final(_) => AttemptError::BadAnswer("it was refused"),
    }
}
