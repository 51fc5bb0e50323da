//! Clients of a fleet: who asks all the time, who watches, who pushes.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::fixture::{Address, Reply, Tree, clone, read};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tokens of a fleet.
pub(super) const READ_TOKEN: &str = "read-token-of-a-fleet-4be1";
pub(super) const PUSH_TOKEN: &str = "push-token-of-a-fleet-9c07";

/// An environment of the example configuration.
pub(super) const PATH: &str = "/product/prod";

fn authorization() -> String {
    format!("Bearer {READ_TOKEN}")
}

/// Asks once, on a connection of its own.
#[track_caller]
pub(super) fn get(address: Address, path: &str) -> Reply {
    address.get_with(path, &[("Authorization", &authorization())])
}

/// Asks on one connection until it is over, and gives what was no success. A connection that is closed between two
/// requests is made anew; one that is closed in place of an answer is a failure.
pub(super) fn ask_on(address: Address, over: &AtomicBool, asked: &AtomicU64) -> Vec<String> {
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n",
        authorization()
    );
    let mut stream = address.connect();
    let mut failures = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let reply = match stream.write_all(request.as_bytes()) {
            Ok(()) => read(&mut stream, false),
            Err(error) => {
                failures.push(error.to_string());
                Reply::default()
            }
        };
        asked.fetch_add(1, Ordering::Relaxed);
        if reply.status != 200 {
            failures.push(reply.everything());
            stream = address.connect();
        }
    }
    failures
}

/// The same with a connection for each request.
pub(super) fn ask_anew(address: Address, over: &AtomicBool, asked: &AtomicU64) -> Vec<String> {
    let mut failures = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let reply = get(address, PATH);
        asked.fetch_add(1, Ordering::Relaxed);
        if reply.status != 200 {
            failures.push(reply.everything());
        }
    }
    failures
}

/// An event stream.
pub(super) struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opened from an address of this machine's loopback; gives the status, too.
    pub(super) fn open(address: Address, from: Ipv4Addr) -> (u16, Self) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&address.0.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nAuthorization: {}\r\n\r\n",
            authorization()
        );
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), IpAddr::V4(from));
        let mut stream = Self(BufReader::new(stream));
        let status = stream.line().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        (status.expect("a status"), stream)
    }

    /// The next line, or nothing at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).unwrap();
        (count > 0).then_some(line)
    }

    /// Whether it ends, as long as that may take.
    pub(super) fn ends(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.line().is_none() {
                return true;
            }
        }
        false
    }

    /// Reads on until something is said, as long as that may take.
    #[track_caller]
    pub(super) fn says(&mut self, what: &str) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let line = self.line().expect("the stream goes on");
            if line.contains(what) {
                return;
            }
        }
        panic!("it never says {what}");
    }
}

/// A clone of the shared repository, made by who may push.
#[track_caller]
pub(super) fn working_copy(address: Address, place: &Path) -> Tree {
    let url = format!("http://ada:{PUSH_TOKEN}@{}/-/git/config.git", address.0);
    clone(&url, &place.join("clone"))
}
