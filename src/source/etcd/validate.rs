//! Validation of the keys of a source: unknown keys and labels that cannot be read. Problems contain escaped names of keys and
//! never a value.

use std::sync::Arc;

use headwater_etcd::{Connection, EtcdError};

use super::EtcdInner;
use super::keyspace::{Keyspace, UnknownKeyReason};
use crate::model::{Origin, Problem};
use crate::sync::lock;

/// The most problems that are reported.
const PROBLEM_COUNT_MAX: usize = 100;
/// The most problems in one log line.
const LOGGED_COUNT_MAX: usize = 3;
/// The longest part of the name of a key in a problem, in characters.
const KEY_LENGTH_MAX: usize = 300;
/// The problem of a prefix that another program uses.
pub(super) const FOREIGN_PREFIX: &str = "the prefix has keys and none of Headwater's: another program uses it. Configure another prefix";

impl EtcdInner {
    /// Validates all keys, and logs their problems if they have changed.
    pub(super) async fn validate(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        let validated =
            tokio::task::spawn_blocking(move || inner.find_problems(&lock(&inner.keyspace))).await;
        let Ok(mut problems) = validated else { return };
        if lock(&self.keyspace).is_empty() && self.has_foreign_prefix().await {
            problems.insert(0, problem(self.keys.around().as_bytes(), FOREIGN_PREFIX));
        }
        self.record_problems(problems);
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.is_validated, true));
    }

    /// Replaces the reported problems, and logs them if they have changed.
    fn record_problems(&self, problems: Vec<Problem>) {
        let before = std::mem::replace(&mut *lock(&self.problems), problems.clone());
        if problems == before {
            return;
        }
        let named: Vec<String> =
            problems.iter().take(LOGGED_COUNT_MAX).map(Problem::to_string).collect();
        let (source, count) = (self.name(), problems.len());
        if problems.is_empty() {
            tracing::info!(source, "the keys in etcd are in order again");
        } else {
            let problems = named.join("; ");
            tracing::warn!(source, count, problems, "keys in etcd cannot be used");
        }
    }

    fn find_problems(self: &Arc<Self>, keyspace: &Keyspace) -> Vec<Problem> {
        let unknown_keys = keyspace.unknown_keys().map(|(key, why)| {
            problem(
                key,
                match why {
                    UnknownKeyReason::Name => "is an unknown key and is ignored",
                    UnknownKeyReason::Value => {
                        "has a value that does not match the hash in its name, and is ignored"
                    }
                },
            )
        });
        let mut problems: Vec<Problem> = unknown_keys.take(PROBLEM_COUNT_MAX).collect();
        for label in keyspace.labels() {
            if problems.len() >= PROBLEM_COUNT_MAX {
                break;
            }
            let found = keyspace.label(label).map_err(|why| why.0).and_then(|found| {
                found
                    .map(|found| self.member(keyspace, label, found))
                    .transpose()
                    .map_err(|why| why.0)
            });
            if let Err(why) = found {
                let key = if keyspace.is_published(label) {
                    self.keys.reference(label)
                } else {
                    self.keys.files(label)
                };
                problems.push(problem(key.as_bytes(), &format!("{why}. The label is not served")));
            }
        }
        problems
    }

    async fn has_foreign_prefix(&self) -> bool {
        match self.cluster.connect().await {
            Ok(mut connection) => self.is_foreign(&mut connection).await.unwrap_or(false),
            // The keeper reports an outage.
            Err(_) => false,
        }
    }

    /// Returns whether the prefix has keys and none of them is Headwater's.
    pub(super) async fn is_foreign(&self, connection: &mut Connection) -> Result<bool, EtcdError> {
        if !connection.has_any(&self.keys.around()).await? {
            return Ok(false);
        }
        for ours in self.keys.ours() {
            if connection.has_any(&ours).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn problem(key: &[u8], message: &str) -> Problem {
    let key = String::from_utf8_lossy(key);
    let shown: String = key.chars().flat_map(char::escape_debug).take(KEY_LENGTH_MAX).collect();
    Problem {
        origin: Origin { file: shown.into(), position: None },
        key: None,
        message: message.to_owned(),
    }
}
