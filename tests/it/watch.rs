//! Long polls and event streams over real connections, each clause of the watch contract by itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::{Repository, Server, eventually};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const SHOP: &str = "//- application.yml\nshared: 1\n//- cart.yml\na: 1\n//- order.yml\nb: 1\n";

fn shop() -> (Repository, Server) {
    let repository = Repository::new(SHOP);
    let server = Server::start(&repository.uri());
    (repository, server)
}

/// A stream of events, read as it comes.
struct Events(BufReader<TcpStream>);

#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: String,
    retry: String,
}

impl Events {
    fn open(server: &Server, path: &str, headers: &str) -> Self {
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
    fn next(&mut self) -> Option<Event> {
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

#[test]
fn a_stream_begins_with_the_present_and_tells_every_change_of_its_own() {
    let (repository, server) = shop();
    let mut events = Events::open(&server, "/cart/default", "");
    let head = events.head();
    for part in [
        "http/1.1 200",
        "content-type: text/event-stream",
        "cache-control: no-cache",
        "x-accel-buffering: no",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    let retry: u64 = events.next().unwrap().retry.parse().unwrap();
    assert!((1_000..5_000).contains(&retry));
    let (first, environment) = events.environment();
    let plain = server.get("/cart/default").expect(200);
    assert_eq!(first.data, plain.text(), "the event carries what a GET answers");
    assert_eq!(environment["propertySources"][0]["source"]["a"], 1);

    repository.commit("//- order.yml\nb: 2\n");
    repository.commit("//- cart-prod.yml\nfor: others\n");
    repository.commit("//- cart.yml\n# a comment\na:   1\n");
    let revision = repository.commit("//- cart.yml\na: 2\n");
    let (second, environment) = events.environment();
    assert_eq!(environment["propertySources"][0]["source"]["a"], 2, "nothing came between");
    assert_eq!(second.id.split('.').next().unwrap(), revision);

    let revision = repository.commit("//- application.yml\nshared: 2\n");
    let (third, _) = events.environment();
    assert!(third.id.starts_with(&revision));
}

#[test]
fn a_stream_resumes_where_it_ended() {
    let (repository, server) = shop();
    let (first, _) = Events::open(&server, "/cart/default", "").after_head().environment();
    // Nothing of its own has changed: the next event is the next change.
    repository.commit("//- order.yml\nb: 2\n");
    let last = format!("Last-Event-ID: {}\r\n", first.id);
    let mut resumed = Events::open(&server, "/cart/default", &last).after_head();
    assert!(!resumed.next().unwrap().retry.is_empty());
    let revision = repository.commit("//- cart.yml\na: 2\n");
    assert!(resumed.environment().0.id.starts_with(&revision));
    // Something has changed since: it is told at once, on another server too.
    let other = Server::start(&repository.uri());
    let (missed, _) = Events::open(&other, "/cart/default", &last).after_head().environment();
    assert!(missed.id.starts_with(&revision));
}

#[test]
fn a_server_that_is_behind_says_so_and_never_tells_something_older() {
    let (_repository, server) = shop();
    let unknown = format!("Last-Event-ID: {}.{}\r\n", "f".repeat(40), "0".repeat(64));
    let head = Events::open(&server, "/cart/default", &unknown).head();
    assert!(head.contains("http/1.1 503"), "{head}");
    assert!(head.contains("retry-after"), "{head}");
}

#[test]
fn a_deleted_branch_ends_its_streams_with_gone() {
    let (repository, server) = shop();
    repository.commit_on("feature", "//- cart.yml\na: 9\n");
    let mut events = Events::open(&server, "/cart/default/feature", "").after_head();
    events.environment();
    let path = repository.path();
    let deleted = std::process::Command::new("git")
        .args(["--git-dir", path.to_str().unwrap(), "update-ref", "-d", "refs/heads/feature"])
        .status();
    assert!(deleted.unwrap().success());
    assert_eq!(events.next().unwrap().name, "gone");
    assert_eq!(events.next(), None);
    server.get("/cart/default/feature").expect(404);
}

#[test]
fn a_bad_file_tells_watchers_nothing_and_its_repair_does() {
    let (repository, server) = shop();
    let mut events = Events::open(&server, "/cart/default", "").after_head();
    events.environment();
    repository.commit("//- cart.yml\na: [\n");
    let revision = repository.commit("//- cart.yml\na: 3\n");
    assert!(events.environment().0.id.starts_with(&revision));
}

#[test]
fn watchers_are_counted_and_those_who_left_are_gone() {
    let (_repository, server) = shop();
    let watchers = || {
        let metrics = server.get("/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("headwater_watchers ")).unwrap();
        line.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut events = Events::open(&server, "/cart/default", "").after_head();
        events.environment();
        streams.push(events);
    }
    assert_eq!(watchers(), 20);
    drop(streams);
    eventually("all have left", || watchers() == 0);
}

#[test]
fn a_server_that_stops_ends_its_streams() {
    let (_repository, server) = shop();
    let mut events = Events::open(&server, "/cart/default", "").after_head();
    events.environment();
    drop(server);
    assert_eq!(events.next(), None);
}

#[test]
fn a_long_poll_answers_as_soon_as_the_digest_differs() {
    let (repository, server) = shop();
    let tag = server.get("/cart/default").expect(200).header("etag").unwrap().to_owned();
    let asked = |wait: &str| {
        let headers = [("If-None-Match", tag.as_str()), ("Prefer", wait)];
        server.get_with("/cart/default", &headers)
    };
    let unchanged = asked("wait=0").expect(304);
    assert_eq!(unchanged.header("preference-applied"), Some("wait=0"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| asked("wait=3155760000"));
        let watching = || {
            let metrics = server.get("/metrics").text();
            metrics.lines().any(|line| line == "headwater_watchers 1")
        };
        eventually("the long poll waits", watching);
        repository.commit("//- order.yml\nb: 2\n");
        let revision = repository.commit("//- cart.yml\na: 2\n");
        let changed = waiting.join().unwrap().expect(200);
        assert_eq!(changed.header("headwater-revision"), Some(revision.as_str()));
        assert_eq!(changed.header("preference-applied"), Some("wait=45"));
        assert!(changed.text().contains("\"a\":2"));
    });
    // Who has something else is answered at once, and HEAD never waits.
    asked("wait=30").expect(200);
    server
        .ask("HEAD", "/cart/default", &[("If-None-Match", "*"), ("Prefer", "wait=30")])
        .expect(304);
}

impl Events {
    fn after_head(mut self) -> Self {
        let head = self.head();
        assert!(head.contains("http/1.1 200"), "{head}");
        self
    }
}
