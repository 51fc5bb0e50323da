//! A way between two processes that can be cut, or fall silent as a network does whose packets are lost.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;

/// Passes on what comes to its own port.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    way: Arc<Way>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Connections are closed, and new ones are at once.
    Cut,
    /// Connections stay, and nothing comes out of them.
    Silent,
    Over,
}

struct Way {
    state: Mutex<State>,
    changed: Condvar,
    /// Both ends of every connection since the last cut.
    ends: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// To an address.
    pub(crate) fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let way = Arc::new(Way {
            state: Mutex::new(State::Open),
            changed: Condvar::new(),
            ends: Mutex::default(),
        });
        let accepting = Arc::clone(&way);
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.state() == State::Over {
                    return;
                }
                let (way, Ok(stream)) = (Arc::clone(&accepting), stream) else { continue };
                // Who is not let through is closed.
                std::thread::spawn(move || way.join(stream, target));
            }
        });
        Ok(Self { address, way, listening: Some(listening) })
    }

    /// Nothing comes through any more, and everybody is told.
    pub(crate) fn cut(&self) {
        self.way.set(State::Cut);
        self.way.close();
    }

    /// Nothing comes through any more, and nobody is told.
    pub(crate) fn silence(&self) {
        self.way.set(State::Silent);
    }

    /// Everything comes through again.
    pub(crate) fn mend(&self) {
        self.way.set(State::Open);
    }
}

impl Way {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State {
        *self.lock()
    }

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    fn close(&self) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for end in ends.drain(..) {
            // It may be closed already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// What it is once it is not silent.
    fn after_silence(&self) -> State {
        let state = self.changed.wait_while(self.lock(), |state| *state == State::Silent);
        *state.unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: Arc<Self>, near: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        if self.after_silence() != State::Open {
            return Ok(());
        }
        let far = TcpStream::connect(target)?;
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            let way = Arc::clone(&self);
            std::thread::spawn(move || way.pass_on(from, to));
        }
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).extend([near, far]);
        if self.state() == State::Cut {
            self.close();
        }
        Ok(())
    }

    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if self.after_silence() != State::Open || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        self.after_silence();
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Both);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.set(State::Over);
        self.way.close();
        // Wakes the one who listens.
        drop(TcpStream::connect(self.address));
        self.listening.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_said_into_the_silence_arrives_after_it_and_nothing_after_a_cut() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Proxy::to(server.local_addr().expect("an address")).expect("a proxy");
        let mut near = TcpStream::connect(proxy.address).expect("connected");
        let mut far = server.accept().expect("a connection").0;
        far.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut buffer = [0; 2];
        near.write_all(b"ab").expect("sent");
        far.read_exact(&mut buffer).expect("open");
        proxy.silence();
        near.write_all(b"cd").expect("sent");
        far.read_exact(&mut buffer).expect_err("silent");
        proxy.mend();
        far.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        far.read_exact(&mut buffer).expect("mended");
        assert_eq!(&buffer, b"cd");
        proxy.cut();
        assert_eq!(far.read(&mut buffer).expect("closed"), 0);
    }
}
