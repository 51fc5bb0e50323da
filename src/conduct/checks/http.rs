//! The requests of checks.

use std::path::PathBuf;

use bytes::Bytes;
use headwater_rollout::check::Measurement;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode};

use super::template::Fill;
use crate::outgoing::{Authorities, Endpoint};
use crate::regular_file;

/// The largest response that is read.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// The largest file with certificate authorities.
const CA_BYTES_MAX: u64 = 1024 * 1024;
/// The largest file with a token.
const TOKEN_BYTES_MAX: u64 = 16 * 1024;

/// An address that a check sends requests to.
#[derive(Debug, Clone)]
pub struct Server {
    /// The host, and the port if the address has one.
    host: String,
    is_tls: bool,
    /// The path with its query. It can contain templates.
    path: String,
    ca_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

impl Server {
    /// Splits an address. Requests to an invalid one fail.
    pub fn new(address: &str, ca_file: Option<PathBuf>, token_file: Option<PathBuf>) -> Self {
        let is_tls = address.starts_with("https:");
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let path = match &rest[at..] {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        Self { host: rest[..at].to_owned(), is_tls, path, ca_file, token_file }
    }

    /// Requests the address. The status is the result.
    pub(super) async fn probe(&self, fill: &Fill<'_>) -> Result<Measurement, String> {
        let path = fill.fill(&self.path)?;
        let (status, _) = self.send(Method::GET, &path, Bytes::new()).await?;
        match status {
            StatusCode::OK => Ok(Measurement::Good),
            status if status.is_client_error() => Ok(Measurement::Bad),
            status => Err(format!("status {}", status.as_u16())),
        }
    }

    /// Sends a form to a path below the address.
    pub(super) async fn post(
        &self,
        path: &str,
        form: String,
    ) -> Result<(StatusCode, Bytes), String> {
        let path = format!("{}{path}", self.path.trim_end_matches('/'));
        self.send(Method::POST, &path, form.into()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let has_form = method == Method::POST;
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body));
        let request = request.as_mut().map_err(|_| "the path is invalid".to_owned())?;
        let headers = request.headers_mut();
        if has_form {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, form);
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
        let (token, authorities) = self.read_files().await?;
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token);
        }
        let authorities = match &authorities {
            Some(pem) => Authorities::Pem(pem),
            None => Authorities::System,
        };
        let authority: Authority =
            self.host.parse().map_err(|_| "the address has an invalid host".to_owned())?;
        let endpoint = Endpoint::new(&authority, self.is_tls.then_some(authorities));
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        let answered = endpoint.send(request.clone(), RESPONSE_BYTES_MAX).await;
        answered.map_err(|error| error.to_string())
    }

    /// The header with the token, and the certificate authorities. Both are read each time, because they are renewed.
    async fn read_files(&self) -> Result<(Option<HeaderValue>, Option<Vec<u8>>), String> {
        let (token_file, ca_file) = (self.token_file.clone(), self.ca_file.clone());
        let read = move || {
            let token = token_file.map(|path| regular_file::read_text(&path, TOKEN_BYTES_MAX));
            let token = token.transpose().map_err(|error| format!("token_file: {error}"))?;
            let header =
                token.map(|token| HeaderValue::try_from(format!("Bearer {}", token.trim())));
            let mut header =
                header.transpose().map_err(|_| "token_file: not a token".to_owned())?;
            header.iter_mut().for_each(|header| header.set_sensitive(true));
            let authorities = ca_file.map(|path| regular_file::read(&path, CA_BYTES_MAX));
            let authorities =
                authorities.transpose().map_err(|error| format!("ca_file: {error}"))?;
            Ok((header, authorities))
        };
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }
}
