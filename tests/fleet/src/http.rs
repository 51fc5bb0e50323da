//! As much of HTTP as it takes to ask and to listen.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long an answer may take. A server on a machine with much other work needs a part of a second.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The revision that it is of.
    pub(crate) fn revision(&self) -> Option<&str> {
        self.header("headwater-revision")
    }
}

/// A connection that is kept.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Reply> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: fleet\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let (status, headers) = read_head(&mut self.0)?;
        let mut reply = Reply { status, headers, body: String::new() };
        let length = reply.header("content-length").context("no length")?.parse()?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        reply.body = String::from_utf8(body)?;
        Ok(reply)
    }
}

/// Asks once, on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<Reply> {
    Connection::open(address)?.get(path)
}

fn read_head(stream: &mut impl BufRead) -> Result<(u16, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            bail!("closed without an answer");
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)).context("no status")?;
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Ok((status.parse()?, headers.collect()))
}

/// A stream of events. It speaks HTTP/1.0, in which a stream is not cut into chunks.
pub(crate) struct Events {
    stream: BufReader<TcpStream>,
    /// The line that is being read.
    line: Vec<u8>,
}

/// What a look at a stream gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A line that was complete.
    Line(String),
    /// Nothing for as long as was waited.
    Nothing,
    /// The end.
    End,
}

impl Events {
    /// Listens to a path; each look at it waits that long.
    ///
    /// # Errors
    ///
    /// Also when the server says anything else than 200.
    pub(crate) fn open(
        address: SocketAddr,
        path: &str,
        last_event_id: Option<&str>,
        look: Duration,
    ) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let last = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.0\r\nHost: fleet\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        (&stream).write_all(request.as_bytes())?;
        let mut stream = BufReader::new(stream);
        let (status, _) = read_head(&mut stream)?;
        if status != 200 {
            bail!("status {status}");
        }
        stream.get_ref().set_read_timeout(Some(look))?;
        Ok(Self { stream, line: Vec::new() })
    }

    /// What comes next.
    pub(crate) fn next(&mut self) -> Heard {
        match self.stream.read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.ends_with(b"\n") => {
                let line = std::mem::take(&mut self.line);
                Heard::Line(String::from_utf8_lossy(&line).trim_end().to_owned())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Heard::Nothing
            }
            _ => Heard::End,
        }
    }
}
