//! The copy on disk with which a service starts while no server can be reached.
//!
//! It exists only if it was asked for. What is read must be a plain file of our own that nobody else can write, with a
//! checksum that is right, for exactly this application, profiles and label, and from one of the configured servers.
//! Anything else is left alone and said.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_wire::Environment;
use serde::{Deserialize, Serialize};

use crate::server::Query;

#[cfg(unix)]
mod files;
#[cfg(not(unix))]
#[path = "last_known_good/no_files.rs"]
mod files;
#[cfg(unix)]
#[cfg(test)]
mod tests;

/// An environment of the largest size, its escapes and what stands around it.
const LENGTH_MAX: usize = 2 * crate::fetch::BODY_LENGTH_MAX;
const MAGIC: &str = "headwater last known good 1 ";
/// The magic, the checksum in hex and a line break.
const HEAD_LENGTH: usize = MAGIC.len() + 64 + 1;

/// Why there is no usable last known good copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LastKnownGoodProblem {
    /// None was ever written.
    #[error("there is none in {}", .0.display())]
    Absent(PathBuf),
    /// The file or its directory is open to others, a link, or not a file at all.
    #[error("{} cannot be trusted: {problem}", path.display())]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is not what was written.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file belongs to another question or another server.
    #[error("{} is of another {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// `application`, `profiles`, `label` or `server`.
        what: &'static str,
    },
    /// The file system did not do what it was asked.
    #[error("{}: {problem}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
}

/// The copy of one question, in a directory that is ours alone.
#[derive(Debug, Clone)]
pub(crate) struct LastKnownGood {
    directory: PathBuf,
    file: String,
    query: Query,
}

/// A copy that may be used.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) environment: Environment,
    pub(crate) server: String,
    pub(crate) written: SystemTime,
}

/// What is in the file behind its first line.
#[derive(Serialize, Deserialize)]
struct Record<E> {
    application: String,
    profiles: String,
    label: Option<String>,
    server: String,
    written_unix_seconds: u64,
    environment: E,
}

impl LastKnownGood {
    pub(crate) fn new(directory: PathBuf, query: &Query) -> LastKnownGood {
        LastKnownGood { directory, file: file_name(query), query: query.clone() }
    }

    /// Writes the copy: whole or not at all, also across a power cut. Blocks.
    pub(crate) fn write(
        &self,
        environment: &Environment,
        server: &str,
    ) -> Result<(), LastKnownGoodProblem> {
        let Query { application, profiles, label } = self.query.clone();
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let written_unix_seconds = age.as_secs();
        let record = Record {
            application,
            profiles,
            label,
            server: server.to_owned(),
            written_unix_seconds,
            environment,
        };
        let io = |error: serde_json::Error| LastKnownGoodProblem::Io {
            path: self.path(),
            problem: error.to_string(),
        };
        let body = serde_json::to_vec(&record).map_err(io)?;
        let mut bytes = format!("{MAGIC}{}\n", checksum(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        files::replace(&self.directory, &self.file, &bytes)
    }

    /// Reads the copy, if it may be used for one of these servers. Blocks.
    pub(crate) fn read(&self, servers: &[&str]) -> Result<Copy, LastKnownGoodProblem> {
        let bytes = files::read(&self.directory, &self.file, LENGTH_MAX)?;
        let record = self.verified(&bytes)?;
        let foreign = |what| Err(LastKnownGoodProblem::Foreign { path: self.path(), what });
        match record {
            Record { application, .. } if application != self.query.application => {
                foreign("application")
            }
            Record { profiles, .. } if profiles != self.query.profiles => foreign("profiles"),
            Record { label, .. } if label != self.query.label => foreign("label"),
            Record { server, .. } if !servers.contains(&server.as_str()) => foreign("server"),
            Record { server, written_unix_seconds, environment, .. } => {
                let written = UNIX_EPOCH
                    .checked_add(Duration::from_secs(written_unix_seconds))
                    .unwrap_or(UNIX_EPOCH);
                Ok(Copy { environment, server, written })
            }
        }
    }

    /// Nothing is parsed before the checksum is right.
    fn verified(&self, bytes: &[u8]) -> Result<Record<Environment>, LastKnownGoodProblem> {
        let damaged = |problem| LastKnownGoodProblem::Damaged { path: self.path(), problem };
        let (head, body) =
            bytes.split_at_checked(HEAD_LENGTH).ok_or_else(|| damaged("it is too short"))?;
        let rest = head
            .strip_prefix(MAGIC.as_bytes())
            .ok_or_else(|| damaged("it begins with something else"))?;
        if rest.strip_suffix(b"\n") != Some(checksum(body).as_bytes()) {
            return Err(damaged("its checksum is wrong"));
        }
        serde_json::from_slice(body).map_err(|_| damaged("it holds no environment"))
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }
}

/// One name for one question. Names are hashed, so that none can lead out of the directory or run into another.
fn file_name(query: &Query) -> String {
    let label = query.label.as_deref().map_or_else(|| "-".to_owned(), |label| format!("={label}"));
    let question = format!("{}\0{}\0{label}", query.application, query.profiles);
    format!("{}.headwater", &checksum(question.as_bytes())[..32])
}

fn checksum(bytes: &[u8]) -> String {
    hmac_sha256::Hash::hash(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
