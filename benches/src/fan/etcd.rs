//! etcd, with one watcher on each connection: as much of HTTP/2 and of its protocol as that takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::process::Server;

const KEY: &[u8] = b"orders";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
const ACKNOWLEDGED: u8 = 1;
/// What each side may send before it is told to go on: as much as can be said.
const WINDOW: u32 = 0x7fff_ffff;

/// What a watcher is answered first: that it is created.
pub(crate) const CREATED: &[u8] = b"\x18\x01";

/// etcd with its data below a directory.
pub(crate) fn start(work: &Path) -> anyhow::Result<Server> {
    let free = || anyhow::Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let (address, peer) = (free()?, free()?);
    let data = work.join("etcd");
    let _ = std::fs::remove_dir_all(&data);
    let (url, peer) = (format!("http://{address}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(&data).args(["--logger", "zap", "--log-level", "fatal"]);
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    Server::start(command, address, "/health")
}

/// What a watcher sends.
pub(crate) fn watch() -> Vec<u8> {
    // WatchRequest { create_request: { key } }
    let create = field(1, &field(1, KEY));
    [preface(), call("/etcdserverpb.Watch/Watch", &create, 0)].concat()
}

/// A connection to put values through.
pub(crate) struct Puts {
    stream: TcpStream,
    next_stream: u32,
}

impl Puts {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(&preface())?;
        Ok(Self { stream, next_stream: 1 })
    }

    /// Puts a value; does not wait for the answer, which comes after the watchers'.
    pub(crate) fn put(&mut self, value: &[u8]) -> anyhow::Result<()> {
        // PutRequest { key, value }
        let put = [field(1, KEY), field(2, value)].concat();
        let mut bytes = call("/etcdserverpb.KV/Put", &put, END_STREAM);
        renumber(&mut bytes, self.next_stream)?;
        self.next_stream += 2;
        self.stream.write_all(&bytes)?;
        Ok(())
    }

    /// Reads what has been answered so far.
    pub(crate) fn drain(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 64 * 1024];
        let count = self.stream.read(&mut buffer)?;
        (count > 0).then_some(()).context("etcd has closed the connection")
    }
}

fn preface() -> Vec<u8> {
    let initial_window = [&4_u16.to_be_bytes()[..], &WINDOW.to_be_bytes()].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &initial_window),
        frame(SETTINGS, ACKNOWLEDGED, 0, &[]),
        frame(WINDOW_UPDATE, 0, 0, &(WINDOW - 65_535).to_be_bytes()),
    ]
    .concat()
}

/// A call on stream 1 with one message.
fn call(path: &str, message: &[u8], flags: u8) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "bench"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal that is not to be remembered.
        headers.push(0);
        for text in [name, value] {
            headers.push(u8::try_from(text.len()).unwrap_or(0));
            headers.extend_from_slice(text.as_bytes());
        }
    }
    let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let body = [&[0][..], &length, message].concat();
    [frame(HEADERS, END_HEADERS, 1, &headers), frame(DATA, flags, 1, &body)].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Gives all frames another stream.
fn renumber(frames: &mut [u8], stream: u32) -> anyhow::Result<()> {
    let mut at = 0;
    while at < frames.len() {
        let length = [0, frames[at], frames[at + 1], frames[at + 2]];
        frames[at + 5..at + 9].copy_from_slice(&stream.to_be_bytes());
        at += 9 + usize::try_from(u32::from_be_bytes(length))?;
    }
    Ok(())
}

/// A field of bytes in a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap_or(0));
    field.extend_from_slice(bytes);
    field
}
