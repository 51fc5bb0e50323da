//! Load from connections that send different requests. wrk gives all connections of a thread the same ones.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use memchr::memmem::Finder;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::process::Server;

/// The threads that send requests.
const THREAD_COUNT: usize = 2;
/// The longest time between two answers.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The requests of several connections to one server, and the figures of the rounds.
pub(super) struct PrincipalLoad<'a> {
    server: &'a Server,
    requests: Vec<Vec<u8>>,
    pub(super) rates: Vec<f64>,
    pub(super) cpu_micros: Vec<f64>,
}

impl<'a> PrincipalLoad<'a> {
    /// Each connection repeats one of the requests.
    pub(super) fn new(server: &'a Server, requests: Vec<Vec<u8>>) -> Self {
        Self { server, requests, rates: Vec::new(), cpu_micros: Vec::new() }
    }

    pub(super) fn round(&mut self, seconds: u64) -> anyhow::Result<()> {
        let before = self.server.cpu_seconds()?;
        let begun = Instant::now();
        let until = begun + Duration::from_secs(seconds);
        let address = self.server.address;
        let chunk = self.requests.len().div_ceil(THREAD_COUNT);
        let counts: anyhow::Result<Vec<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .requests
                .chunks(chunk)
                .map(|requests| scope.spawn(move || repeat(address, requests, until)))
                .collect();
            threads.into_iter().map(|it| it.join().expect("a thread panicked")).collect()
        });
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let count = counts?.iter().sum::<u64>() as f64;
        self.rates.push(count / begun.elapsed().as_secs_f64());
        self.cpu_micros.push((self.server.cpu_seconds()? - before) * 1e6 / count);
        Ok(())
    }

    pub(super) fn forget(&mut self) {
        self.rates.clear();
        self.cpu_micros.clear();
    }
}

/// One connection with its request, and the bytes of the answer that is arriving.
struct Connection<'r> {
    stream: TcpStream,
    request: &'r [u8],
    received: Vec<u8>,
}

/// Connects a client for each request and sends it. Returns the time until the last one has its answer.
pub(super) fn answer_each(address: SocketAddr, requests: &[Vec<u8>]) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let (mut poll, mut connections) = connect(address, requests)?;
    let end_of_head = Finder::new(b"\r\n\r\n");
    let (mut events, mut buffer) = (Events::with_capacity(1_024), vec![0; 64 * 1024]);
    let mut left = connections.len();
    while left > 0 {
        wait(&mut poll, &mut events)?;
        for event in &events {
            let connection = &mut connections[event.token().0];
            if connection.receive(&mut buffer, &end_of_head)? {
                connection.received.clear();
                left -= 1;
            }
        }
    }
    Ok(begun.elapsed())
}

/// Waits for the next bytes of an answer.
fn wait(poll: &mut Poll, events: &mut Events) -> anyhow::Result<()> {
    poll.poll(events, Some(ANSWER_MAX))?;
    if events.is_empty() {
        bail!("no answer for {ANSWER_MAX:?}");
    }
    Ok(())
}

/// Connects a client for each request, and sends the requests.
fn connect(
    address: SocketAddr,
    requests: &[Vec<u8>],
) -> anyhow::Result<(Poll, Vec<Connection<'_>>)> {
    let poll = Poll::new()?;
    let mut connections = Vec::with_capacity(requests.len());
    for (number, request) in requests.iter().enumerate() {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        stream.write_all(request)?;
        connections.push(Connection { stream, request, received: Vec::new() });
    }
    Ok((poll, connections))
}

/// Repeats one request on each connection until then. Returns the number of answers.
fn repeat(address: SocketAddr, requests: &[Vec<u8>], until: Instant) -> anyhow::Result<u64> {
    let (mut poll, mut connections) = connect(address, requests)?;
    let end_of_head = Finder::new(b"\r\n\r\n");
    let (mut events, mut buffer) = (Events::with_capacity(1_024), vec![0; 64 * 1024]);
    let mut count = 0;
    while Instant::now() < until {
        wait(&mut poll, &mut events)?;
        for event in &events {
            count += connections[event.token().0].advance(&mut buffer, &end_of_head)?;
        }
    }
    Ok(count)
}

impl Connection<'_> {
    /// Reads all that is there, and sends the request again after each answer. Returns the number of answers.
    fn advance(&mut self, buffer: &mut [u8], end_of_head: &Finder<'_>) -> anyhow::Result<u64> {
        let mut count = 0;
        while self.receive(buffer, end_of_head)? {
            count += 1;
            self.received.clear();
            self.stream.write_all(self.request)?;
        }
        Ok(count)
    }

    /// Reads until the answer is whole. Returns false if the rest has not arrived.
    fn receive(&mut self, buffer: &mut [u8], end_of_head: &Finder<'_>) -> anyhow::Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            if is_whole(&self.received, end_of_head)? {
                return Ok(true);
            }
        }
    }
}

/// Returns true for a whole answer.
///
/// # Errors
/// When the answer is not 200, or has no length.
fn is_whole(received: &[u8], end_of_head: &Finder<'_>) -> anyhow::Result<bool> {
    let Some(end) = end_of_head.find(received) else {
        return Ok(false);
    };
    let head = std::str::from_utf8(&received[..end])?;
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("expected 200: {head}");
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    let length: usize = length.context("an answer without a length")?.parse()?;
    Ok(received.len() >= end + 4 + length)
}
