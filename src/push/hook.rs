//! The hook that git runs before references move, which is this program under another name. It reports the push to the
//! server, prints the server's lines and exits with the server's decision. It decides nothing by itself.

use std::fs::{self, DirBuilder};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::options::{OPTION_BYTES_MAX, OPTION_COUNT_MAX};

/// The hook's name in git.
const NAME: &str = "pre-receive";
/// The directory in which git looks for the hook, below the data directory.
const HOOKS: &str = "hooks";
/// The environment variable with the key of this push.
pub(super) const KEY: &str = "HEADWATER_PUSH_KEY";
/// The environment variable in which git names the quarantine directory.
const QUARANTINE: &str = "GIT_QUARANTINE_PATH";
/// The environment variable in which git counts the options of the push.
const OPTION_COUNT: &str = "GIT_PUSH_OPTION_COUNT";
/// The beginning of the environment variables in which git hands over the options. Their numbers follow.
const OPTION_PREFIX: &str = "GIT_PUSH_OPTION_";
/// The directory of the socket, below the data directory.
pub(super) const DIRECTORY: &str = "push";
/// The socket's name in that directory.
pub(super) const SOCKET: &str = "socket";
/// The socket's path from a repository. An absolute path may be too long for the address of a socket.
const SOCKET_FROM_REPOSITORY: &str = "../../push/socket";
/// The answer that accepts a push. Lines for the pusher follow it.
pub(super) const ACCEPTED: u8 = b'0';
/// The answer that rejects a push. Lines for the pusher follow it.
pub(super) const REJECTED: u8 = b'1';

/// The line for the pusher when the server does not answer the hook.
const NO_ANSWER: &str =
    "push rejected, no branch was updated: the server does not answer its hook. Push again";

/// Returns true if git started this process as the hook of a push to this server. The process's name and the key tell.
pub fn is_called() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == NAME))
        && std::env::var_os(KEY).is_some()
}

/// Runs the hook.
pub fn run() -> ExitCode {
    match ask() {
        Ok(code) => code,
        Err(_) => {
            // A failed write cannot be reported. The exit code rejects the push in any case.
            let _ = writeln!(std::io::stderr(), "{NO_ANSWER}");
            ExitCode::FAILURE
        }
    }
}

fn ask() -> std::io::Result<ExitCode> {
    use std::os::unix::ffi::OsStrExt;
    let mut server = UnixStream::connect(SOCKET_FROM_REPOSITORY)?;
    let mut question = Vec::new();
    for variable in [KEY, QUARANTINE] {
        let value = std::env::var_os(variable).unwrap_or_default();
        question.extend_from_slice(value.as_bytes());
        question.push(b'\n');
    }
    add_options(&mut question);
    std::io::stdin().lock().read_to_end(&mut question)?;
    server.write_all(&question)?;
    server.shutdown(std::net::Shutdown::Write)?;
    let mut decision = [0];
    server.read_exact(&mut decision)?;
    std::io::copy(&mut server, &mut std::io::stderr())?;
    Ok(match decision[0] {
        ACCEPTED => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Appends the number of options, and a line for each of the first ones. A longer option is cut behind the limit, and a
/// line break in an option becomes a character that the server rejects.
fn add_options(question: &mut Vec<u8>) {
    let count = std::env::var(OPTION_COUNT).ok().and_then(|count| count.parse::<usize>().ok());
    let count = count.unwrap_or(0);
    question.extend_from_slice(format!("{count}\n").as_bytes());
    for number in 0..count.min(OPTION_COUNT_MAX) {
        let option = std::env::var_os(format!("{OPTION_PREFIX}{number}")).unwrap_or_default();
        let option = option.to_string_lossy();
        let characters = option.chars().take(OPTION_BYTES_MAX + 1);
        let line: String = characters
            .map(|it| if it == '\n' { char::REPLACEMENT_CHARACTER } else { it })
            .collect();
        question.extend_from_slice(line.as_bytes());
        question.push(b'\n');
    }
}

/// Creates the directory in which git looks for hooks, with this hook only. Without `program`, the hook is the running
/// program.
pub(super) fn install(data: &Path, program: Option<&Path>) -> std::io::Result<PathBuf> {
    let program = program.map_or_else(std::env::current_exe, |program| Ok(program.to_owned()))?;
    let hooks = data.join(HOOKS);
    let set_mode = |mode| fs::set_permissions(&hooks, PermissionsExt::from_mode(mode));
    if hooks.exists() {
        // The previous server left this directory read-only.
        set_mode(0o700)?;
        fs::remove_dir_all(&hooks)?;
    }
    DirBuilder::new().mode(0o700).create(&hooks)?;
    symlink(program, hooks.join(NAME))?;
    set_mode(0o500)?;
    Ok(hooks)
}
