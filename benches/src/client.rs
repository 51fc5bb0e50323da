//! The least that reads an HTTP/1.1 answer: one kept connection, one request at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A kept connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self { stream, received: vec![0; 256 * 1024] })
    }

    /// One GET; the answer needs a `Content-Length`, or to be chunked in the plainest way.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, None)
    }

    /// The same with a header.
    pub(crate) fn get_with(&mut self, path: &str, header: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, Some(header))
    }

    /// The same without a body.
    pub(crate) fn head(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.ask("HEAD", path, None)
    }

    fn ask(&mut self, method: &str, path: &str, header: Option<&str>) -> anyhow::Result<Answer> {
        let header = header.map(|header| format!("{header}\r\n")).unwrap_or_default();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n{header}\r\n");
        self.stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        loop {
            if let Some(answer) = parse(&self.received[..filled], method == "HEAD")? {
                return Ok(answer);
            }
            if filled == self.received.len() {
                self.received.resize(filled * 2, 0);
            }
            let count = self.stream.read(&mut self.received[filled..])?;
            if count == 0 {
                bail!("the server closed the connection");
            }
            filled += count;
        }
    }
}

fn parse(received: &[u8], without_body: bool) -> anyhow::Result<Option<Answer>> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end])?.to_owned();
    let status = head.get(9..12).context("no status")?.parse()?;
    let mut answer = Answer { status, head, body: Vec::new() };
    if without_body {
        return Ok(Some(answer));
    }
    let body = &received[end + 4..];
    answer.body = match answer.header("content-length") {
        Some(length) => match body.get(..length.parse()?) {
            Some(body) => body.to_vec(),
            None => return Ok(None),
        },
        None if answer.header("transfer-encoding").is_some() => {
            if !body.ends_with(b"0\r\n\r\n") {
                return Ok(None);
            }
            body.to_vec()
        }
        None => Vec::new(),
    };
    Ok(Some(answer))
}
