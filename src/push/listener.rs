//! The socket on which hooks ask. Only the server's own user can reach it, and each push has a key.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::hook::{ACCEPTED, DIRECTORY, REJECTED, SOCKET};
use super::rejection::rejected;
use super::session::{HookAnswer, Sessions};
use super::updates::Question;

/// The longest question, in bytes. It has room for thousands of references.
const QUESTION_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The maximum time for a hook to send its question, and again to receive the answer.
const HOOK_MAX: Duration = Duration::from_secs(10);
/// The pause when the system has no further file descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// The open socket. Dropping this stops the listener.
pub(super) struct Listener {
    _task: AbortOnDropHandle<()>,
}

impl Listener {
    pub(super) fn open(
        data: &Path,
        sessions: Arc<Sessions>,
        runtime: &Handle,
    ) -> std::io::Result<Self> {
        let directory = data.join(DIRECTORY);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        match fs::remove_file(directory.join(SOCKET)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The address of a socket has room for about a hundred bytes, and the data directory may have a longer path.
        let here = File::open(&directory)?;
        let address = format!("/proc/self/fd/{}/{SOCKET}", here.as_raw_fd());
        let listener = std::os::unix::net::UnixListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let _within = runtime.enter();
        let listener = UnixListener::from_std(listener)?;
        let listening = runtime.spawn(listen(listener, sessions));
        Ok(Self { _task: AbortOnDropHandle::new(listening) })
    }
}

async fn listen(listener: UnixListener, sessions: Arc<Sessions>) {
    loop {
        match listener.accept().await {
            // There are as many tasks as pushes. A connection without a valid key ends after one question.
            Ok((hook, _)) => drop(tokio::spawn(answer(hook, Arc::clone(&sessions)))),
            Err(error) => {
                tracing::error!(%error, "a hook cannot connect, its push is rejected");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(mut hook: UnixStream, sessions: Arc<Sessions>) {
    let mut text = Vec::new();
    let mut asked = (&mut hook).take(QUESTION_BYTES_MAX + 1);
    let Ok(Ok(_)) = timeout(HOOK_MAX, asked.read_to_end(&mut text)).await else { return };
    let answer = if text.len() as u64 <= QUESTION_BYTES_MAX {
        decide(&text, &sessions).await
    } else {
        let line = rejected("it has too many branches and tags. Push them in parts");
        Some(HookAnswer { is_accepted: false, lines: vec![line] })
    };
    let Some(HookAnswer { is_accepted, lines }) = answer else { return };
    let mut bytes = vec![if is_accepted { ACCEPTED } else { REJECTED }];
    for line in &lines {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    // A hook that has disconnected counts as a rejection, and git moves nothing.
    let _ = timeout(HOOK_MAX, hook.write_all(&bytes)).await;
}

async fn decide(text: &[u8], sessions: &Sessions) -> Option<HookAnswer> {
    let (key, question) = Question::parse(text)?;
    let session = sessions.take(key)?;
    Some(session.answer(question).await)
}
