//! A server that sends scripted replies, byte by byte.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_client::{Builder, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// The reply to one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Sends this text and closes the connection. `{wanted}` in it stands for the minimum revision of the request.
    WithRevision(String),
    /// Sends these bytes and keeps the connection open.
    Hang(Vec<u8>),
    /// Sends the first bytes, waits for the notification, sends the others, and keeps the connection open.
    Then(Vec<u8>, Arc<Notify>, Vec<u8>),
    /// Sends the first reply to a request for a stream, and the other one to every other request.
    ByForm(Box<Reply>, Box<Reply>),
    /// Sends chunks until the client closes the connection.
    Endless,
}

/// The server. It ends with the runtime of its test.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server with these replies. The last one repeats.
    pub(crate) async fn start(replies: impl Into<Vec<Reply>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (replies, seen) = (replies.into(), requests.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let reply = replies[number.min(replies.len() - 1)].clone();
                tokio::spawn(converse(stream, reply, seen.clone()));
            }
        });
        Server { url, requests }
    }

    /// Returns the heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn converse(mut stream: TcpStream, reply: Reply, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let reply = match reply {
        Reply::ByForm(stream, _) if head.contains("text/event-stream") => *stream,
        Reply::ByForm(_, other) => *other,
        reply => reply,
    };
    let wanted = head.lines().find_map(|line| line.strip_prefix("headwater-min-revision: "));
    let wanted = wanted.unwrap_or_default().to_owned();
    seen.lock().unwrap().push(head);
    // The client may have closed the connection.
    match reply {
        Reply::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Reply::WithRevision(text) => {
            drop(stream.write_all(text.replace("{wanted}", &wanted).as_bytes()).await);
        }
        Reply::Hang(bytes) => {
            drop(stream.write_all(&bytes).await);
            std::future::pending::<()>().await;
        }
        Reply::ByForm(..) => unreachable!("the reply was selected above"),
        Reply::Then(first, told, others) => {
            drop(stream.write_all(&first).await);
            told.notified().await;
            drop(stream.write_all(&others).await);
            std::future::pending::<()>().await;
        }
        Reply::Endless => {
            let chunk = [b"10000\r\n", " ".repeat(0x10000).as_bytes(), b"\r\n"].concat();
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut alive = stream.write_all(head).await.is_ok();
            while alive {
                alive = stream.write_all(&chunk).await.is_ok();
            }
        }
    }
}

pub(crate) fn response(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    Reply::Bytes(text.into_bytes())
}

pub(crate) fn ok(body: &Value) -> Reply {
    response("200 OK", "Content-Type: application/json\r\n", &body.to_string())
}

pub(crate) fn status(status: &str) -> Reply {
    response(status, "", "")
}

/// Returns the environment of `product` and `prod`.
pub(crate) fn product() -> Value {
    json!({
        "name": "product", "profiles": ["prod"], "label": null, "version": "c0ffee", "state": "",
        "propertySources": [
            {"name": "product-prod.yml", "source": {"shop.max-items": 20, "shop.currencies[0]": "CHF"}},
            {"name": "application.yml", "source": {
                "shop.name": "corner", "shop.max-items": 5, "shop.greeting": "hello from ${shop.name}",
                "shop.currencies[0]": "EUR", "shop.currencies[1]": "USD",
            }},
        ],
    })
}

/// Returns a client for `product` and `prod` with a short deadline.
pub(crate) fn client<const N: usize>(servers: [&Server; N]) -> Builder {
    Client::builder()
        .urls(servers.map(|server| server.url.as_str()))
        .application("product")
        .profiles(["prod"])
        .deadline(Duration::from_secs(10))
}

/// Returns a URL on which no server listens.
pub(crate) async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
