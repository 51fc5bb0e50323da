//! HTTP requests to one server, sent with hyper. This module does not retry.
//!
//! Each request has its own connection, which ends with the response. Frequent requests are streams or long polls, so
//! that a connection pool would gain nothing. Redirects are not followed, because they could carry the credentials to
//! another server. The proxy variables of the environment are not used: they describe the way to external hosts, and a
//! configuration server is internal.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::AttemptError;
use crate::server::Url;
#[cfg(feature = "rustls")]
use crate::tls::Tls;

/// The time after which the next address of a host is tried in parallel.
const HEAD_START: Duration = Duration::from_millis(300);
const USER_AGENT_VALUE: HeaderValue =
    HeaderValue::from_static(concat!("headwater-client/", env!("CARGO_PKG_VERSION")));

/// The transport for requests to all servers.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) connect_timeout: Duration,
    /// `None` when no server URL is https.
    #[cfg(feature = "rustls")]
    pub(crate) tls: Option<Tls>,
}

impl Http {
    pub(crate) fn get(&self, url: Url) -> Request {
        self.request(Method::GET, url)
    }

    pub(crate) fn head(&self, url: Url) -> Request {
        self.request(Method::HEAD, url)
    }

    pub(crate) fn put(&self, url: Url, body: Bytes) -> Request {
        Request { body, ..self.request(Method::PUT, url) }
    }

    pub(crate) fn post(&self, url: Url, body: Bytes) -> Request {
        Request { body, ..self.request(Method::POST, url) }
    }

    fn request(&self, method: Method, url: Url) -> Request {
        let headers = HeaderMap::from_iter([
            (USER_AGENT, USER_AGENT_VALUE),
            (CONNECTION, HeaderValue::from_static("close")),
        ]);
        Request { http: self.clone(), method, url, headers, body: Bytes::new() }
    }

    /// Connects to the host of `url`, with TLS for https.
    async fn connect(&self, url: &Url) -> Result<Connection, AttemptError> {
        let stream = tcp(url.host(), url.port()).await.map_err(|error| broken(&error))?;
        // A request is small and is sent in one piece.
        stream.set_nodelay(true).map_err(|error| broken(&error))?;
        #[cfg(feature = "rustls")]
        if let Some(tls) = self.tls.as_ref().filter(|_| url.is_https()) {
            let stream = tls.connect(url.host(), stream).await.map_err(|error| broken(&error))?;
            return Connection::over(stream).await;
        }
        Connection::over(stream).await
    }
}

/// A request that has not been sent yet.
pub(crate) struct Request {
    http: Http,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// Sets a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.insert(name, value);
        self
    }

    /// Sets a header, unless the text contains characters that a header must not contain.
    pub(crate) fn text(self, name: HeaderName, text: &str) -> Request {
        match HeaderValue::from_str(text) {
            Ok(value) => self.header(name, value),
            Err(_) => self,
        }
    }

    /// Sends the request and waits for the head of the response. Only the time for connecting is limited here. The caller
    /// limits the rest.
    pub(crate) async fn send(self) -> Result<Response, AttemptError> {
        let limit = self.http.connect_timeout;
        let connected = timeout(limit, self.http.connect(&self.url)).await;
        let connected = connected.map_err(|_| {
            AttemptError::Connection(format!("no connection within {} ms", limit.as_millis()))
        });
        let Connection { mut sender, task } = connected??;
        let mut request = hyper::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.url.target()?;
        *request.headers_mut() = self.headers;
        request.headers_mut().insert(HOST, self.url.authority()?);
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (head, body) = answer.into_parts();
        Ok(Response { head, body, _task: task })
    }
}

/// A response whose body may not have arrived yet.
pub(crate) struct Response {
    head: Parts,
    body: Incoming,
    /// Drives the connection. Dropping it closes the connection.
    _task: JoinSet<()>,
}

impl Response {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Returns the announced length of the body.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Returns the next piece of the body, or `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, AttemptError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    task: JoinSet<()>,
}

impl Connection {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Connection, AttemptError> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // The task needs no result: the sender of the request receives every error of the connection.
        let mut task = JoinSet::new();
        task.spawn(async { drop(connection.await) });
        Ok(Connection { sender, task })
    }
}

/// Connects to the first address of a host that accepts. The addresses are tried in order, each [`HEAD_START`] after the
/// one before or as soon as that one has failed.
async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut addresses = lookup_host((host, port)).await?.collect::<Vec<SocketAddr>>().into_iter();
    let mut attempts = JoinSet::new();
    let mut last = std::io::Error::other("the host name of the server has no address");
    loop {
        match addresses.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => {}
            },
            () = sleep(HEAD_START), if addresses.len() > 0 => {}
        }
    }
}

/// Describes an error by its innermost cause. The outer ones only say that a request failed.
fn broken(error: &(dyn std::error::Error + 'static)) -> AttemptError {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    AttemptError::Connection(cause.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn all_addresses_of_a_host_are_tried() {
        // `localhost` may also have an IPv6 address, on which nothing listens.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(tcp("localhost", port).await.unwrap().peer_addr().unwrap().port(), port);
        drop(listener);
        assert!(tcp("localhost", port).await.is_err());
    }
}
