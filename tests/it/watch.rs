//! Long polls and event streams over real connections, each clause of the watch contract by itself.

mod holds;
mod limits;
mod moves;
mod poll;
mod proxies;
mod quiet;
mod revision;
mod rewind;
mod rollouts;
mod slow;
mod storm;
mod stream;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::{Address, Repository, Server};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const SHOP: &str = "//- application.yml\nshared: 1\n//- cart.yml\na: 1\n//- order.yml\nb: 1\n";

fn shop() -> (Repository, Server) {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    (repository, server)
}

/// A stream of events, read as it comes.
pub(crate) struct Events(BufReader<TcpStream>);

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    id: String,
    pub(crate) data: String,
    retry: String,
}

impl Events {
    pub(crate) fn open(server: Address, path: &str, headers: &str) -> Self {
        let mut stream = server.connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Self(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The status and the headers.
    fn head(&mut self) -> String {
        let mut head = String::new();
        loop {
            match self.line() {
                line if line.is_empty() => return head,
                line => head.push_str(&(line.to_lowercase() + "\n")),
            }
        }
    }

    /// The next chunk, or nothing at the end of the stream.
    fn chunk(&mut self) -> Option<String> {
        let size = usize::from_str_radix(&self.line(), 16).ok()?;
        let mut chunk = vec![0; size];
        self.0.read_exact(&mut chunk).unwrap();
        self.line();
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    /// The next event that is no comment; the server sends each in one chunk.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let chunk = self.chunk()?;
            let mut event = Event::default();
            for line in chunk.lines() {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
                match field {
                    "event" => event.name = value,
                    "id" => event.id = value,
                    "data" => event.data.push_str(&value),
                    "retry" => event.retry = value,
                    _ => {}
                }
            }
            if event != Event::default() {
                return Some(event);
            }
        }
    }

    /// The next event of an environment.
    fn environment(&mut self) -> (Event, serde_json::Value) {
        loop {
            let event = self.next().expect("the stream goes on");
            if event.name == "environment" {
                let data = serde_json::from_str(&event.data).unwrap();
                return (event, data);
            }
        }
    }
}

impl Events {
    /// Past the head of an answer that is a stream.
    pub(crate) fn after_head(mut self) -> Self {
        let head = self.head();
        assert!(head.contains("http/1.1 200"), "{head}");
        self
    }
}

/// How many watchers a server counts.
fn watchers(server: Address) -> u64 {
    metric(server, "headwater_watchers")
}

/// A figure of `/metrics`.
fn metric(server: Address, name: &str) -> u64 {
    let text = server.get("/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a figure").parse().unwrap()
}
