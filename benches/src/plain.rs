//! What a hosted repository is measured beside: a bare one whose post-receive hook syncs the file system, over the same
//! transport.
//!
//! The strictest yardstick is a front of our own that does nothing but start git; nginx with fcgiwrap and git's own
//! `http-backend` is what one would really have.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::process::{Server, free_address};
use crate::repository::git;

/// What git calls the hook, which is this program under another name: nothing starts faster.
const HOOK: &str = "post-receive";
/// Where Debian has what speaks git's protocol behind a web server.
const HTTP_BACKEND: &str = "/usr/lib/git-core/git-http-backend";

/// Whether git started this program as the hook.
pub(crate) fn is_hook() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == HOOK))
}

/// Syncs the file system of the repository that git works in.
pub(crate) fn sync() -> anyhow::Result<()> {
    Ok(rustix::fs::syncfs(File::open(".")?)?)
}

/// Settings as strict about what arrives as Headwater's, no housekeeping after a push, and the hook.
pub(crate) fn prepare(repository: &Path) -> anyhow::Result<()> {
    for setting in ["receive.fsckObjects=true", "receive.autogc=false", "http.receivepack=true"] {
        let (key, value) = setting.split_once('=').context("no setting")?;
        git(repository, &["config", key, value])?;
    }
    let hooks = repository.join("hooks");
    let _ = fs::remove_dir_all(&hooks);
    fs::create_dir(&hooks)?;
    symlink(std::env::current_exe()?, hooks.join(HOOK))?;
    Ok(())
}

/// Answers pushes into a repository by starting git and nothing else, until the process ends.
pub(crate) fn front(repository: PathBuf) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let repository = repository.clone();
            // A connection that breaks is noticed by the push that needed it.
            std::thread::spawn(move || drop(converse(&stream, &repository)));
        }
    });
    Ok(address)
}

fn converse(stream: &TcpStream, repository: &Path) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head)?;
        let (kind, answer) = if head.starts_with("GET ") {
            ("advertisement", advertise(repository)?)
        } else {
            let mut body = vec![0; content_length(&head)?];
            reader.read_exact(&mut body)?;
            ("result", receive(repository, &body)?)
        };
        let mut all = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-{kind}\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        )
        .into_bytes();
        all.extend_from_slice(&answer);
        (&*stream).write_all(&all)?;
    }
}

fn content_length(head: &str) -> anyhow::Result<usize> {
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    Ok(line.context("no Content-Length")?.parse()?)
}

fn advertise(repository: &Path) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new("git");
    command.args(["receive-pack", "--http-backend-info-refs"]).arg(repository);
    let mut answer = b"001f# service=git-receive-pack\n0000".to_vec();
    answer.extend_from_slice(&command.output()?.stdout);
    Ok(answer)
}

fn receive(repository: &Path, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new("git");
    command.args(["receive-pack", "--stateless-rpc"]).arg(repository);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    child.stdin.take().context("no input")?.write_all(body)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("git receive-pack failed");
    }
    Ok(output.stdout)
}

/// nginx, fcgiwrap and `git http-backend`.
pub(crate) struct Usual {
    pub(crate) nginx: Server,
    fcgiwrap: Child,
}

impl Usual {
    /// Serves the repositories of a directory below `/git/`. Nothing where it is not installed.
    pub(crate) fn start(work: &Path, repositories: &Path) -> anyhow::Result<Option<Self>> {
        let address = free_address()?;
        let mut command = Command::new("fcgiwrap");
        command.args(["-c", "2", "-s"]).arg(format!("tcp:{address}"));
        let Ok(fcgiwrap) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            return Ok(None);
        };
        fs::create_dir_all(work.join("nginx"))?;
        fs::write(work.join("nginx/file.json"), "{}")?;
        let location = format!(
            "location ~ ^/git(/.*)$ {{\n\
               client_max_body_size 0; fastcgi_pass {address};\n\
               fastcgi_param SCRIPT_FILENAME {HTTP_BACKEND}; fastcgi_param PATH_INFO $1;\n\
               fastcgi_param GIT_PROJECT_ROOT {repositories}; fastcgi_param GIT_HTTP_EXPORT_ALL 1;\n\
               fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;\n\
               fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;\n\
             }}",
            repositories = repositories.display(),
        );
        let nginx = Server::nginx(work, &location, "/file.json")?;
        Ok(Some(Self { nginx, fcgiwrap }))
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.fcgiwrap.kill();
        let _ = self.fcgiwrap.wait();
    }
}
