//! The hook that git runs before references move: this program under another name. It tells the server what was pushed,
//! shows what the server says, and ends as the server decided. It decides nothing by itself.

use std::fs::{self, DirBuilder};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What git calls it.
const NAME: &str = "pre-receive";
/// The directory that git looks for it in, below the data directory.
const HOOKS: &str = "hooks";
/// The variable with the key of this push.
pub(super) const KEY: &str = "HEADWATER_PUSH_KEY";
/// Where git says that it keeps what arrived.
const QUARANTINE: &str = "GIT_QUARANTINE_PATH";
/// The directory of the socket, below the data directory.
pub(super) const DIRECTORY: &str = "push";
/// The socket, in that directory.
pub(super) const SOCKET: &str = "socket";
/// The same as it is seen from a repository: a path from the root may be too long for a socket.
const SOCKET_FROM_REPOSITORY: &str = "../../push/socket";
/// The answer to a push that is taken; the lines for the person follow.
pub(super) const ACCEPTED: u8 = b'0';
/// The answer to one that is not.
pub(super) const REFUSED: u8 = b'1';

/// Whether this process was started by git to be the hook: by its name, for a push of this server.
pub fn is_called() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == NAME))
        && std::env::var_os(KEY).is_some()
}

/// Is the hook.
pub fn run() -> ExitCode {
    match ask() {
        Ok(code) => code,
        Err(_) => {
            // The pusher cannot be told more, and git can be told no better.
            let _ = writeln!(std::io::stderr(), "the server does not answer: nothing was moved");
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

/// Makes the directory that git looks for hooks in, with nothing but this one in it. Without a program it is this one.
pub(super) fn install(data: &Path, program: Option<&Path>) -> std::io::Result<PathBuf> {
    let program = program.map_or_else(std::env::current_exe, |program| Ok(program.to_owned()))?;
    let hooks = data.join(HOOKS);
    let set_mode = |mode| fs::set_permissions(&hooks, PermissionsExt::from_mode(mode));
    if hooks.exists() {
        // Of the server before, which closed it.
        set_mode(0o700)?;
        fs::remove_dir_all(&hooks)?;
    }
    DirBuilder::new().mode(0o700).create(&hooks)?;
    symlink(program, hooks.join(NAME))?;
    set_mode(0o500)?;
    Ok(hooks)
}
