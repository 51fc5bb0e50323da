//! A server that answers as it is told, for what real servers do only when they are broken.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// Answers each connection by a function of the head of its request. Ends when it is dropped.
pub(super) struct Fake {
    pub(super) url: String,
    address: std::net::SocketAddr,
    is_over: Arc<AtomicBool>,
    request_count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(super) fn new(answer: impl Fn(&str, TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_over, request_count) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&request_count));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let head = head(&stream);
                answer(&head, stream);
            }
        });
        let url = format!("http://{address}");
        Self { url, address, is_over, request_count, thread: Some(thread) }
    }

    /// The same answer to every request.
    pub(super) fn always(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::new(move |_, mut stream| drop(stream.write_all(answer.as_bytes())))
    }

    pub(super) fn request_count(&self) -> usize {
        self.request_count.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread; if it has ended, nobody listens.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn head(stream: &TcpStream) -> String {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    // A connection without a request is one more answer.
    while lines.read_line(&mut head).is_ok_and(|count| count > 2) {}
    head
}

/// A whole answer.
pub(super) fn answer(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
