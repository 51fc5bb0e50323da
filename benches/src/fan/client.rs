//! Thousands of watchers in one thread: connections that are read as they come, each until a mark is seen.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::bail;
use memchr::memmem::Finder;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

/// How many connections one source address has: it has only so many ports.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;
/// How long everybody may take to see a mark.
const SEEN_MAX: Duration = Duration::from_secs(60);

/// Connections that wait for the same marks.
pub(crate) struct Watchers {
    poll: Poll,
    watchers: Vec<Watcher>,
    buffer: Vec<u8>,
}

struct Watcher {
    stream: TcpStream,
    /// What came last, in case a mark is cut.
    tail: Vec<u8>,
    has_seen: bool,
}

impl Watchers {
    /// So many connections, on each of which a request was sent.
    pub(crate) fn connect(
        address: SocketAddr,
        count: usize,
        request: &[u8],
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut watchers = Vec::with_capacity(count);
        for number in 0..count {
            let mut stream = connect(address, number / CONNECTIONS_PER_ADDRESS)?;
            stream.write_all(request)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            watchers.push(Watcher { stream, tail: Vec::new(), has_seen: false });
        }
        Ok(Self { poll, watchers, buffer: vec![0; 256 * 1024] })
    }

    /// Reads until everybody has seen a mark; gives the milliseconds from `begun` until each had.
    pub(crate) fn see(&mut self, mark: &[u8], begun: Instant) -> anyhow::Result<Vec<f64>> {
        let finder = Finder::new(mark);
        let mut seen = Vec::with_capacity(self.watchers.len());
        self.watchers.iter_mut().for_each(|watcher| watcher.has_seen = false);
        let mut events = Events::with_capacity(1_024);
        while seen.len() < self.watchers.len() {
            self.poll.poll(&mut events, Some(Duration::from_secs(1)))?;
            for event in &events {
                let watcher = &mut self.watchers[event.token().0];
                if watcher.read(&mut self.buffer, &finder)? {
                    seen.push(begun.elapsed().as_secs_f64() * 1e3);
                }
            }
            if begun.elapsed() > SEEN_MAX {
                bail!("{} of {} saw it", seen.len(), self.watchers.len());
            }
        }
        Ok(seen)
    }

    /// Reads whatever comes until then.
    pub(crate) fn read_until(&mut self, mut over: impl FnMut() -> bool) -> anyhow::Result<()> {
        let finder = Finder::new(b"no event has this");
        let mut events = Events::with_capacity(1_024);
        while !over() {
            self.poll.poll(&mut events, Some(Duration::from_millis(20)))?;
            for event in &events {
                self.watchers[event.token().0].read(&mut self.buffer, &finder)?;
            }
        }
        Ok(())
    }
}

impl Watcher {
    /// Reads all that is there; whether the mark was in it for the first time.
    fn read(&mut self, buffer: &mut [u8], finder: &Finder<'_>) -> anyhow::Result<bool> {
        let mut sees = false;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("a stream has ended"),
                Ok(count) if self.has_seen => self.keep(&buffer[..count], finder),
                Ok(count) => {
                    let bytes = &buffer[..count];
                    let begin = &bytes[..count.min(finder.needle().len())];
                    let seam = [&self.tail, begin].concat();
                    self.has_seen = finder.find(&seam).or_else(|| finder.find(bytes)).is_some();
                    sees |= self.has_seen;
                    self.keep(bytes, finder);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(sees),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(&mut self, bytes: &[u8], finder: &Finder<'_>) {
        self.tail.clear();
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(finder.needle().len())..]);
    }
}

/// A connection from one of this machine's own addresses. It leaves nothing behind when it is closed: otherwise the next
/// round would find no free ports.
fn connect(address: SocketAddr, source: usize) -> anyhow::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let last = u8::try_from(source + 1)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0).into())?;
    socket.connect(&address.into())?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}
