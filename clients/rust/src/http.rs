//! HTTP to one server, by hyper: a request, and its answer as it comes. It knows nothing of retries.
//!
//! Each request has a connection of its own, which ends with the answer: what is asked often is a stream, or waits for long.
//! Redirects are not followed, for credentials must not follow them, and no proxy is used: a configuration server is not
//! behind the one to the outside.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
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

use crate::error::Failure;
use crate::server::Url;
#[cfg(feature = "rustls")]
use crate::tls::Tls;

/// How long one address of a name is tried alone, before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(300);
const NAME: HeaderValue =
    HeaderValue::from_static(concat!("headwater-client/", env!("CARGO_PKG_VERSION")));

/// How servers are reached.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) connect_timeout: Duration,
    /// None where no server is asked by https.
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

    fn request(&self, method: Method, url: Url) -> Request {
        let headers = HeaderMap::from_iter([
            (USER_AGENT, NAME),
            (CONNECTION, HeaderValue::from_static("close")),
        ]);
        Request { http: self.clone(), method, url, headers }
    }

    /// A connection of the kind that the URL names.
    async fn connect(&self, url: &Url) -> Result<Connection, Failure> {
        let stream = tcp(url.host(), url.port()).await.map_err(|error| broken(&error))?;
        // A request is small and goes out whole.
        stream.set_nodelay(true).map_err(|error| broken(&error))?;
        #[cfg(feature = "rustls")]
        if let Some(tls) = self.tls.as_ref().filter(|_| url.is_https()) {
            let stream = tls.connect(url.host(), stream).await.map_err(|error| broken(&error))?;
            return Connection::over(stream).await;
        }
        Connection::over(stream).await
    }
}

/// A request that is about to be sent.
pub(crate) struct Request {
    http: Http,
    method: Method,
    url: Url,
    headers: HeaderMap,
}

impl Request {
    /// Adds a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.insert(name, value);
        self
    }

    /// Adds a header, unless it is a text that none can hold.
    pub(crate) fn text(self, name: HeaderName, text: &str) -> Request {
        match HeaderValue::from_str(text) {
            Ok(value) => self.header(name, value),
            Err(_) => self,
        }
    }

    /// Sends it and waits for the beginning of the answer. The caller bounds the time; that of connecting is bounded here.
    pub(crate) async fn send(self) -> Result<Response, Failure> {
        let limit = self.http.connect_timeout;
        let connected = timeout(limit, self.http.connect(&self.url)).await;
        let connected = connected.map_err(|_| {
            Failure::Connection(format!("no connection within {} ms", limit.as_millis()))
        });
        let Connection { mut sender, task } = connected??;
        let mut request = hyper::Request::new(Empty::new());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.url.target()?;
        *request.headers_mut() = self.headers;
        request.headers_mut().insert(HOST, self.url.authority()?);
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (head, body) = answer.into_parts();
        Ok(Response { head, body, _task: task })
    }
}

/// An answer, as far as it has come.
pub(crate) struct Response {
    head: Parts,
    body: Incoming,
    /// The connection ends when this is dropped.
    _task: JoinSet<()>,
}

impl Response {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// How long the body says it is.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    task: JoinSet<()>,
}

impl Connection {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Connection, Failure> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // What goes wrong there is told to whoever waits for the answer.
        let mut task = JoinSet::new();
        task.spawn(async { drop(connection.await) });
        Ok(Connection { sender, task })
    }
}

/// Connects to the first address of a name that answers. They are tried in order, each a moment after the one before.
async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut addresses = lookup_host((host, port)).await?.collect::<Vec<SocketAddr>>().into_iter();
    let mut attempts = JoinSet::new();
    let mut last = std::io::Error::other("the name of the server has no address");
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

/// The innermost cause: the outer ones only say that a request failed.
fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Failure::Connection(cause.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_name_is_tried_at_all_its_addresses() {
        // Where the name stands for an address of the sixth version too, nobody listens there.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(tcp("localhost", port).await.unwrap().peer_addr().unwrap().port(), port);
        drop(listener);
        assert!(tcp("localhost", port).await.is_err());
    }
}
