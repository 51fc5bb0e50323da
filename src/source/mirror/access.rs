//! Credentials for a remote: a user name with a password or token, or an ssh key, and a private certificate authority.
//!
//! Invariant: no credential is on a command line, in the environment of a child process, in an address or in a message. Git
//! receives a password through a pipe, when it asks for it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::regular_file;

/// The largest file with a user name and a password, in bytes.
const CREDENTIALS_BYTES_MAX: u64 = 16 * 1024;

/// The credentials and trusted certificates for a remote.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The login for `https://`, and for `http://` on this machine.
    pub credentials: Option<Credentials>,
    /// The files for ssh.
    pub ssh: Option<SshFiles>,
    /// Trusted certificates (PEM), in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The origin of a user name and a password or token.
#[derive(Clone)]
pub enum Credentials {
    /// A file of two lines, the user name and the password, read for every fetch.
    File(PathBuf),
    /// The values themselves.
    Known {
        /// The user name.
        username: String,
        /// The password or token.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// A user name with its password or token, each of one line.
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password or token.
    pub password: String,
}

/// The files that ssh requires.
#[derive(Debug, Clone)]
pub struct SshFiles {
    /// The private key, readable for its owner alone.
    pub key: PathBuf,
    /// The trusted hosts, as in `~/.ssh/known_hosts`.
    pub known_hosts: PathBuf,
}

impl Credentials {
    /// The answer of the credential helper to git. Blocking.
    ///
    /// # Errors
    /// As [`Credentials::login`].
    pub(super) fn answer(&self) -> Result<String, String> {
        let Login { username, password } = self.login()?;
        Ok(format!("username={username}\npassword={password}\n"))
    }

    /// The user name and the password. Blocking.
    ///
    /// # Errors
    /// The fault of the file, without its path or content.
    pub fn login(&self) -> Result<Login, String> {
        match self {
            Self::Known { username, password } => login(username, password),
            Self::File(path) => {
                let text = read(path)?;
                let mut lines = text.lines();
                match (lines.next(), lines.next(), lines.all(|line| line.trim().is_empty())) {
                    (Some(username), Some(password), true) => {
                        login(username.trim(), password.trim())
                    }
                    _ => Err(
                        "credentials_file must have two lines, a user name and a password or token"
                            .to_owned(),
                    ),
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    regular_file::read_text(path, CREDENTIALS_BYTES_MAX).map_err(|error| {
        match error.raw_os_error() {
            Some(_) => format!("credentials_file cannot be read: {}", error.kind()),
            None => format!("credentials_file cannot be read: {error}"),
        }
    })
}

fn login(username: &str, password: &str) -> Result<Login, String> {
    let is_one_line = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    if is_one_line(username) && is_one_line(password) {
        Ok(Login { username: username.to_owned(), password: password.to_owned() })
    } else {
        Err("the user name and the password of the remote must each be one line that is not empty"
            .to_owned())
    }
}

impl SshFiles {
    /// The ssh command for git, which ignores all configuration of the user.
    ///
    /// # Errors
    /// When a path contains a character with a special meaning in ssh or a shell.
    pub(super) fn command(&self) -> Result<String, String> {
        const OPTIONS: [&str; 13] = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "PasswordAuthentication=no",
            "KbdInteractiveAuthentication=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
        ];
        let (key, known_hosts) = (plain(&self.key)?, plain(&self.known_hosts)?);
        let options: Vec<String> = OPTIONS.iter().map(|option| format!("-o {option}")).collect();
        Ok(format!(
            "ssh -F /dev/null {} -o 'UserKnownHostsFile=\"{known_hosts}\"' -i '{key}'",
            options.join(" ")
        ))
    }
}

/// The absolute path, if it has no special characters for a shell, in quotes, or for the options of ssh.
fn plain(path: &Path) -> Result<String, String> {
    let absolute = std::path::absolute(path).ok();
    let text = absolute.as_deref().and_then(Path::to_str).filter(|text| {
        !text.contains(['\'', '"', '\\', '%', '$', '~', '`']) && !text.chars().any(char::is_control)
    });
    let refusal = "ssh_key_file and known_hosts_file: the path must not contain quotes, %, $, ~ or a backslash, because ssh interprets them";
    text.map(str::to_owned).ok_or_else(|| refusal.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("credentials");
        std::fs::write(&path, text).unwrap();
        let found = Credentials::File(path).answer();
        match expected {
            Ok(answer) => assert_eq!(found.as_deref(), Ok(answer)),
            Err(part) => {
                let error = found.unwrap_err();
                assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_of_credentials_has_two_lines() {
        check("ada\nhunter2\n", Ok("username=ada\npassword=hunter2\n"));
        check("ada\r\nhunter2 \r\n\r\n", Ok("username=ada\npassword=hunter2\n"));
        check("hunter2\n", Err("two lines"));
        check("ada\nhunter2\nhunter2\n", Err("two lines"));
        check("\nhunter2\n", Err("empty"));
        check("ada\nhunter2\u{0}\n", Err("one line"));
        let error = Credentials::File("/dev/null".into()).answer().unwrap_err();
        assert_eq!(error, "credentials_file cannot be read: not a regular file");
        let error = Credentials::File("/nowhere/hunter2".into()).answer().unwrap_err();
        assert_eq!(error, "credentials_file cannot be read: entity not found");
    }

    #[test]
    fn paths_mean_themselves_to_ssh() {
        let command = |key: &str| {
            SshFiles { key: key.into(), known_hosts: "/etc/known hosts".into() }.command()
        };
        let good = command("/srv/my key").unwrap();
        assert!(
            good.ends_with("-o 'UserKnownHostsFile=\"/etc/known hosts\"' -i '/srv/my key'"),
            "{good}"
        );
        for key in ["/x'y", "/x\"y", "/%h", "/${HOME}", "/x\ny", "~/.ssh/id"] {
            assert!(command(key).is_err(), "{key}");
        }
    }
}
