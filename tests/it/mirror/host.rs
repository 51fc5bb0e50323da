//! A git host: smart HTTP by git's own `http-backend`, on a loopback port, with the manners that a host may have.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::fixture::Repository;

/// How a host behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it should.
    #[default]
    Good,
    /// Closes every connection at once.
    Away,
    /// Takes a request and never answers.
    Silent,
    /// Answers with a redirect.
    Redirect(String),
    /// Begins every answer and cuts it off.
    Cut,
    /// Lists its references, and then sends a pack that never ends.
    Endless,
    /// Refuses, and repeats what it was sent.
    Echo,
    /// Answers with what is no git.
    Html,
}

/// A git host that serves one directory. Ends when it is dropped.
pub(crate) struct Host {
    address: SocketAddr,
    scheme: &'static str,
    inner: Arc<Inner>,
    accepting: Option<JoinHandle<()>>,
}

struct Inner {
    root: PathBuf,
    login: Option<String>,
    manner: Mutex<Manner>,
    is_over: AtomicBool,
    request_count: AtomicUsize,
    sent_count: AtomicUsize,
}

impl Host {
    /// The repository's host, for everyone.
    pub(super) fn of(repository: &Repository) -> Self {
        Self::start(repository.around(), None, None)
    }

    /// Asks for a user name and a password.
    pub(crate) fn with_login(repository: &Repository, username: &str, password: &str) -> Self {
        let login = STANDARD.encode(format!("{username}:{password}"));
        Self::start(repository.around(), Some(format!("Basic {login}")), None)
    }

    /// Speaks TLS.
    pub(super) fn with_tls(repository: &Repository, config: ServerConfig) -> Self {
        Self::start(repository.around(), None, Some(Arc::new(config)))
    }

    fn start(root: &Path, login: Option<String>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let inner = Arc::new(Inner {
            root: root.to_owned(),
            login,
            manner: Mutex::default(),
            is_over: AtomicBool::new(false),
            request_count: AtomicUsize::new(0),
            sent_count: AtomicUsize::new(0),
        });
        let address = listener.local_addr().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::clone(&inner);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (inner, tls) = (Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || inner.connection(stream, tls));
            }
        });
        Self { address, scheme, inner, accepting: Some(accepting) }
    }

    /// The address of the fixture's repository.
    pub(crate) fn uri(&self) -> String {
        let Self { scheme, address, .. } = self;
        format!("{scheme}://localhost:{}/config.git", address.port())
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.inner.manner.lock().expect("the manner") = manner;
    }

    /// How many requests came.
    pub(super) fn request_count(&self) -> usize {
        self.inner.request_count.load(Ordering::Relaxed)
    }

    /// How many bytes of a pack without an end were sent.
    pub(super) fn sent_count(&self) -> usize {
        self.inner.sent_count.load(Ordering::Relaxed)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.inner.is_over.store(true, Ordering::Relaxed);
        // Wakes the one who accepts.
        let _ = TcpStream::connect(self.address);
        self.accepting.take().map(JoinHandle::join);
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Inner {
    /// One request; whatever goes wrong ends the connection.
    fn connection(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let manner = self.manner.lock().expect("the manner").clone();
        if manner == Manner::Away {
            return;
        }
        let mut raw = stream.try_clone().expect("a handle");
        // A client that gives up is part of the tests.
        match tls {
            Some(tls) => {
                let session = ServerConnection::new(tls).expect("a session");
                let mut stream = StreamOwned::new(session, stream);
                let _ = self.answer(&mut stream, &manner);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
            None => drop(self.answer(&mut raw, &manner)),
        }
        let _ = raw.shutdown(Shutdown::Both);
    }

    fn answer(&self, stream: &mut dyn Stream, manner: &Manner) -> std::io::Result<()> {
        let Some(request) = read(stream)? else { return Ok(()) };
        self.request_count.fetch_add(1, Ordering::Relaxed);
        let is_pack = request.path.ends_with("/git-upload-pack") && request.method == "POST";
        let wants_pack = is_pack && find(&request.body, b"command=fetch");
        match manner {
            Manner::Silent => {
                let mut buffer = [0; 64];
                while stream.read(&mut buffer)? > 0 {}
                Ok(())
            }
            Manner::Redirect(location) => write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            Manner::Cut => write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\
                 Content-Length: 4096\r\nConnection: close\r\n\r\n001e# service=git-upl"
            ),
            Manner::Html => write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>Please log in</p>"
            ),
            Manner::Echo => {
                let body = format!("{:?}", request.headers);
                write!(
                    stream,
                    "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                )
            }
            Manner::Endless if wants_pack => self.endless(stream, &request.body),
            _ if self
                .login
                .as_ref()
                .is_some_and(|login| request.header("authorization") != login) =>
            {
                write!(
                    stream,
                    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\n\
                     Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
            }
            _ => self.backend(stream, &request),
        }
    }

    /// A pack of a great many blobs, one after the other, in the second version of the protocol.
    fn endless(&self, stream: &mut dyn Stream, asked: &[u8]) -> std::io::Result<()> {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\nConnection: close\r\n\r\n",
        )?;
        if !find(asked, b"0009done\n") {
            stream.write_all(b"0014acknowledgments\n000aready\n0001")?;
        }
        stream.write_all(b"000dpackfile\n")?;
        let mut pack = b"PACK\0\0\0\x02\0\x04\0\0".to_vec();
        // A stored block of 16 KiB that nothing can be packed from: type blob, its size, zlib without compression.
        let size = 16_384_usize;
        let mut blob = vec![
            0x80 | 0x30 | (size & 15) as u8,
            0x80 | (size >> 4 & 127) as u8,
            (size >> 11) as u8,
        ];
        blob.extend([0x78, 0x01, 0x01, 0x00, 0x40, 0xff, 0xbf]);
        blob.extend(std::iter::repeat_n(0, size));
        // Of 16,384 zeros: a stays 1, b grows by 1 with each.
        blob.extend((16_384_u32 << 16 | 1).to_be_bytes());
        for _ in 0..3 {
            pack.extend(&blob);
        }
        loop {
            let packet = format!("{:04x}", pack.len() + 5);
            stream.write_all(packet.as_bytes())?;
            stream.write_all(&[1])?;
            stream.write_all(&pack)?;
            self.sent_count.fetch_add(pack.len(), Ordering::Relaxed);
            pack.clear();
            for _ in 0..3 {
                pack.extend(&blob);
            }
        }
    }

    fn backend(&self, stream: &mut dyn Stream, request: &Request) -> std::io::Result<()> {
        let mut backend = Command::new("git")
            .arg("http-backend")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a path"))
            .env("HOME", &self.root)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", &request.path)
            .env("QUERY_STRING", &request.query)
            .env("CONTENT_TYPE", request.header("content-type"))
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
            .env("GIT_PROTOCOL", request.header("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        backend.stdin.take().expect("its input").write_all(&request.body)?;
        let mut output = Vec::new();
        backend.stdout.take().expect("its output").read_to_end(&mut output)?;
        backend.wait()?;
        let end = output.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.ok_or(std::io::ErrorKind::InvalidData)?;
        let head = String::from_utf8_lossy(&output[..end]).into_owned();
        let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
        write!(stream, "HTTP/1.1 {}\r\n", status.unwrap_or("200 OK"))?;
        for line in head.lines().filter(|line| !line.starts_with("Status:")) {
            write!(stream, "{line}\r\n")?;
        }
        write!(stream, "Connection: close\r\n\r\n")?;
        stream.write_all(&output[end + 4..])
    }
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Reads a request; none where the connection ends before one.
fn read(stream: &mut dyn Stream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut parts = line.split(' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}
