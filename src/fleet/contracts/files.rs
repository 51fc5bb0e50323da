//! The files of contracts in the data directory, one for each contract. Blocking.
//!
//! A file is replaced as a whole. A file that cannot be read is ignored with a line in the log, and a file that cannot be
//! written is written again after the next change. Contracts protect configuration, and losing one loses nothing else.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use headwater_wire::Contract;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FILE_BYTES_MAX;
use crate::model::{Label, Query};
use crate::sync::lock;

/// The ending of the files.
const ENDING: &str = ".json";
/// The ending of a file that is being written.
const UNFINISHED: &str = ".new";

/// The directory of the contracts.
pub(super) struct ContractFiles {
    directory: PathBuf,
    /// Locking: held while a file is replaced or removed. Two writers of one contract would use the same unfinished file.
    changing: Mutex<()>,
}

/// The content of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredContract {
    pub(super) contract: Contract,
    #[serde(with = "seconds")]
    pub(super) last_seen: Timestamp,
    pub(super) environments: Vec<StoredEnvironment>,
}

/// An environment in which instances named the contract.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredEnvironment {
    profiles: String,
    label: Option<String>,
    pub(super) accepted: bool,
}

impl StoredEnvironment {
    pub(super) fn new(query: &Query, accepted: bool) -> Self {
        let label = query.label.name().map(str::to_owned);
        Self { profiles: query.profiles.to_string(), label, accepted }
    }

    pub(super) fn query(&self, application: &Arc<str>) -> Query {
        let label = self.label.as_deref();
        Query {
            application: Arc::clone(application),
            profiles: self.profiles.as_str().into(),
            label: label.map_or(Label::Default, |label| Label::Named(label.into())),
        }
    }
}

impl ContractFiles {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, changing: Mutex::default() }
    }

    /// Reads all files, the most recently used contracts first.
    pub(super) fn read_all(&self) -> Vec<StoredContract> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, "the directory of contracts cannot be read");
                return Vec::new();
            }
        };
        let mut contracts = Vec::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(UNFINISHED) {
                // Left by a server that was killed.
                let _ = fs::remove_file(&path);
            } else if let Some(digest) = name.strip_suffix(ENDING) {
                match read(&path, digest) {
                    Ok(stored) => contracts.push(stored),
                    Err(error) => {
                        tracing::warn!(name, %error, "a file of a contract is ignored");
                    }
                }
            }
        }
        contracts.sort_by_key(|stored| std::cmp::Reverse(stored.last_seen));
        contracts
    }

    pub(super) fn write(&self, stored: &StoredContract) {
        if let Err(error) = self.replace(stored) {
            tracing::warn!(%error, "a contract cannot be written to the data directory");
        }
    }

    fn replace(&self, stored: &StoredContract) -> io::Result<()> {
        let _changing = lock(&self.changing);
        let name = format!("{}{ENDING}", stored.contract.digest);
        let unfinished = self.directory.join(format!("{name}{UNFINISHED}"));
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(stored)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.directory.join(name))?;
        File::open(&self.directory)?.sync_all()
    }

    pub(super) fn remove(&self, digest: &str) {
        let _changing = lock(&self.changing);
        match fs::remove_file(self.directory.join(format!("{digest}{ENDING}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a file of a contract cannot be removed");
            }
            _ => {}
        }
    }
}

/// Timestamps as seconds.
mod seconds {
    use jiff::Timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(at.as_second())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_second(i64::deserialize(from)?).map_err(D::Error::custom)
    }
}

fn read(path: &Path, digest: &str) -> io::Result<StoredContract> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut text = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(invalid("it is too large".to_owned()));
    }
    let stored: StoredContract = serde_json::from_slice(&text)?;
    let contract = Contract::parse(stored.contract.to_json().as_bytes());
    let contract = contract.map_err(|error| invalid(error.to_string()))?;
    if contract.digest != digest {
        return Err(invalid("its name is not the digest of the contract".to_owned()));
    }
    Ok(StoredContract { contract, ..stored })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_one_contract_do_not_disturb_each_other() {
        let place = tempfile::tempdir().unwrap();
        let files = ContractFiles::new(place.path().to_owned());
        let contract = Contract::new("product".to_owned(), None, vec![], vec![]).unwrap();
        let write = || {
            for _ in 0..50 {
                let (contract, last_seen) = (contract.clone(), Timestamp::UNIX_EPOCH);
                let stored = StoredContract { contract, last_seen, environments: vec![] };
                files.replace(&stored).unwrap();
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| {
                scope.spawn(write);
            });
        });
        assert_eq!(files.read_all().len(), 1);
    }
}
