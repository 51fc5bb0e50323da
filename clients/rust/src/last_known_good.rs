//! The last-known-good copy: a file from which a service starts while no server is reachable.
//!
//! The copy exists only when it is enabled. It is used only when it is a regular file that belongs to the user of the
//! process and is accessible to no other user, when its checksum is correct, and when it is for the same application,
//! profiles and label and from one of the configured servers. Every other file is left unchanged and reported.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headwater_wire::Environment;
use serde::{Deserialize, Serialize};

use crate::error::LastKnownGoodError;
use crate::server::Query;

#[cfg(unix)]
mod files;
#[cfg(not(unix))]
#[path = "last_known_good/no_files.rs"]
mod files;
#[cfg(unix)]
#[cfg(test)]
mod tests;

/// The largest file: an environment of the largest size with escaped characters, and the other members of the record.
const LENGTH_MAX: usize = 2 * crate::fetch::BODY_LENGTH_MAX;
const MAGIC: &str = "headwater last known good 1 ";
/// The length of the first line: the magic, the checksum in hexadecimal and a line feed.
const HEAD_LENGTH: usize = MAGIC.len() + 64 + 1;

/// The copy for one query.
#[derive(Debug, Clone)]
pub(crate) struct LastKnownGood {
    directory: PathBuf,
    file: String,
    query: Query,
    /// Set when only released candidates are written.
    is_deferred: bool,
}

/// A verified copy.
#[derive(Debug)]
pub(crate) struct StoredCopy {
    pub(crate) environment: Environment,
    pub(crate) epochs: Option<String>,
    pub(crate) server: String,
    pub(crate) written: SystemTime,
}

/// The content of the file after its first line.
#[derive(Serialize, Deserialize)]
struct Record<E> {
    application: String,
    profiles: String,
    label: Option<String>,
    server: String,
    written_unix_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epochs: Option<String>,
    environment: E,
}

impl LastKnownGood {
    pub(crate) fn new(directory: PathBuf, query: &Query) -> LastKnownGood {
        LastKnownGood {
            directory,
            file: file_name(query),
            query: query.clone(),
            is_deferred: false,
        }
    }

    /// Returns the same copy, which only receives released candidates.
    pub(crate) fn deferred(self) -> LastKnownGood {
        LastKnownGood { is_deferred: true, ..self }
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.is_deferred
    }

    /// Writes the copy atomically and durably. Blocks.
    pub(crate) fn write(
        &self,
        environment: &Environment,
        epochs: Option<&str>,
        server: &str,
    ) -> Result<(), LastKnownGoodError> {
        let Query { application, profiles, label } = self.query.clone();
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let written_unix_seconds = age.as_secs();
        let record = Record {
            application,
            profiles,
            label,
            server: server.to_owned(),
            written_unix_seconds,
            epochs: epochs.map(str::to_owned),
            environment,
        };
        let io = |error: serde_json::Error| LastKnownGoodError::Io {
            path: self.path(),
            problem: error.to_string(),
        };
        let body = serde_json::to_vec(&record).map_err(io)?;
        let mut bytes = format!("{MAGIC}{}\n", checksum(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        files::replace(&self.directory, &self.file, &bytes)
    }

    /// Reads and verifies the copy. It must come from one of these servers. Blocks.
    pub(crate) fn read(&self, servers: &[&str]) -> Result<StoredCopy, LastKnownGoodError> {
        let bytes = files::read(&self.directory, &self.file, LENGTH_MAX)?;
        let record = self.verified(&bytes)?;
        let foreign = |what| Err(LastKnownGoodError::Foreign { path: self.path(), what });
        match record {
            Record { application, .. } if application != self.query.application => {
                foreign("application")
            }
            Record { profiles, .. } if profiles != self.query.profiles => foreign("profiles"),
            Record { label, .. } if label != self.query.label => foreign("label"),
            Record { server, .. } if !servers.contains(&server.as_str()) => foreign("server"),
            Record { server, written_unix_seconds, epochs, environment, .. } => {
                let written = UNIX_EPOCH
                    .checked_add(Duration::from_secs(written_unix_seconds))
                    .unwrap_or(UNIX_EPOCH);
                let epochs = epochs.filter(|epochs| crate::fetch::are_epochs(epochs));
                Ok(StoredCopy { environment, epochs, server, written })
            }
        }
    }

    /// Verifies the checksum before it parses the content.
    fn verified(&self, bytes: &[u8]) -> Result<Record<Environment>, LastKnownGoodError> {
        let damaged = |problem| LastKnownGoodError::Damaged { path: self.path(), problem };
        let (head, body) =
            bytes.split_at_checked(HEAD_LENGTH).ok_or_else(|| damaged("it is too short"))?;
        let rest = head
            .strip_prefix(MAGIC.as_bytes())
            .ok_or_else(|| damaged("its first line is not that of a copy"))?;
        if rest.strip_suffix(b"\n") != Some(checksum(body).as_bytes()) {
            return Err(damaged("its checksum is wrong"));
        }
        serde_json::from_slice(body).map_err(|_| damaged("it does not contain an environment"))
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }
}

/// Returns the name of the file for a query. The names of the query are hashed, so that they cannot lead out of the
/// directory or collide.
fn file_name(query: &Query) -> String {
    let label = query.label.as_deref().map_or_else(|| "-".to_owned(), |label| format!("={label}"));
    let name = format!("{}\0{}\0{label}", query.application, query.profiles);
    format!("{}.headwater", &checksum(name.as_bytes())[..32])
}

fn checksum(bytes: &[u8]) -> String {
    hmac_sha256::Hash::hash(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
