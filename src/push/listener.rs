//! Where hooks ask: a socket that only the server's own user can reach, and a key for each push.

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
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::hook::{ACCEPTED, DIRECTORY, REFUSED, SOCKET};
use super::session::Sessions;
use super::updates::Question;
use super::verdict::{self, Verdict};

/// The longest question, in bytes: thousands of references.
const QUESTION_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long a hook may take to ask, and to listen.
const HOOK_MAX: Duration = Duration::from_secs(10);
/// How long to wait when no further descriptor can be had.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket, for as long as this is held.
pub(super) struct Listener(AbortHandle);

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
        // The address of a socket has room for a hundred bytes, and the data directory may be anywhere.
        let here = File::open(&directory)?;
        let address = format!("/proc/self/fd/{}/{SOCKET}", here.as_raw_fd());
        let listener = std::os::unix::net::UnixListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let _within = runtime.enter();
        let listener = UnixListener::from_std(listener)?;
        let listening = runtime.spawn(listen(listener, sessions));
        Ok(Self(listening.abort_handle()))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(listener: UnixListener, sessions: Arc<Sessions>) {
    loop {
        match listener.accept().await {
            // As many as there are pushes; a stranger without a key is gone after one question.
            Ok((hook, _)) => drop(tokio::spawn(answer(hook, Arc::clone(&sessions)))),
            Err(error) => {
                tracing::error!(%error, "hooks cannot ask");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(mut hook: UnixStream, sessions: Arc<Sessions>) {
    let mut text = Vec::new();
    let mut asked = (&mut hook).take(QUESTION_BYTES_MAX + 1);
    let Ok(Ok(_)) = timeout(HOOK_MAX, asked.read_to_end(&mut text)).await else { return };
    let verdict = match text.len() as u64 <= QUESTION_BYTES_MAX {
        true => judge(&text, &sessions).await,
        false => Some(Verdict::refused("too many references in one push")),
    };
    let Some(verdict) = verdict else { return };
    let mut answer = vec![if verdict.is_accepted() { ACCEPTED } else { REFUSED }];
    for line in &verdict.lines {
        answer.extend_from_slice(line.as_bytes());
        answer.push(b'\n');
    }
    // A hook that has gone away has refused, and git moves nothing.
    let _ = timeout(HOOK_MAX, hook.write_all(&answer)).await;
}

async fn judge(text: &[u8], sessions: &Sessions) -> Option<Verdict> {
    let (key, question) = Question::parse(text)?;
    let session = sessions.take(key)?;
    Some(verdict::judge(&session, question).await)
}
