//! A server that answers requests for rollouts with recorded documents, so that no rollout has to run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// A request as the server received it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Such as `GET /-/rollouts`.
    pub(super) line: String,
    pub(super) head: String,
    pub(super) body: String,
}

/// The server. It ends when it is dropped.
pub(super) struct StandIn {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    /// A server that answers each request by a function of its line.
    pub(super) fn new(answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, is_over) =
            (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (received, over) = (Arc::clone(&requests), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A client that disconnects has no request.
                let Some(request) = read(&stream) else { continue };
                let (status, document) = answer(&request.line);
                received.lock().unwrap().push(request);
                write(stream, status, &document);
            }
        });
        Self { address, requests, is_over, thread: Some(thread) }
    }

    /// A server with these rollouts, and with one answer to every command.
    pub(super) fn with(rollouts: Vec<Value>, command: (u16, Value)) -> Self {
        Self::new(move |line| {
            if line == "GET /-/rollouts" {
                return (200, json!({"rollouts": rollouts}));
            }
            if line.starts_with("POST ") {
                return command.clone();
            }
            let id = line.strip_prefix("GET /-/rollouts/").unwrap_or_default();
            let found = rollouts.iter().find(|rollout| rollout["id"] == id);
            found.map_or_else(|| problem(404, "no such rollout"), |own| (200, own.clone()))
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The bodies of the commands.
    pub(super) fn commands(&self) -> Vec<Value> {
        let requests = self.requests().into_iter();
        let posts = requests.filter(|request| request.line.starts_with("POST "));
        posts.map(|request| serde_json::from_str(&request.body).expect("JSON")).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread. If it has ended, the connection is refused.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The answer for an error.
pub(super) fn problem(status: u16, detail: &str) -> (u16, Value) {
    (status, json!({"type": "about:blank", "title": "…", "status": status, "detail": detail}))
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request { line, head, body: String::from_utf8(body).ok()? })
}

fn write(mut stream: TcpStream, status: u16, document: &Value) {
    let body = document.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    // The client may have ended.
    drop(stream.write_all(answer.as_bytes()));
}
