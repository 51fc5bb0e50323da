//! What is wrong with the keys of a source, for people: keys that mean nothing, and labels that lead nowhere. Names of keys are
//! told, made harmless, and never a value.

use std::sync::Arc;

use headwater_etcd::{Connection, Fault};

use super::Inner;
use super::held::{Held, Strange};
use crate::model::{Origin, Problem};
use crate::sync::lock;

/// The most that is told.
const PROBLEM_COUNT_MAX: usize = 100;
/// How many of them the log names.
const LOGGED_COUNT_MAX: usize = 3;
/// How much of the name of a key is told, in characters.
const KEY_LENGTH_MAX: usize = 300;
/// What is wrong with a prefix that is not ours.
pub(super) const OF_OTHERS: &str =
    "the prefix holds other keys, and none of ours: it belongs to something else";

impl Inner {
    /// Looks at all keys, and says in the log what is wrong with them where that is news.
    pub(super) async fn judge(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        let judged = tokio::task::spawn_blocking(move || inner.found(&lock(&inner.held))).await;
        let Ok(mut problems) = judged else { return };
        if lock(&self.held).is_empty() && self.belongs_to_others().await {
            problems.insert(0, problem(self.keys.around().as_bytes(), OF_OTHERS));
        }
        self.tell(problems);
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.is_judged, true));
    }

    fn tell(&self, problems: Vec<Problem>) {
        let before = std::mem::replace(&mut *lock(&self.problems), problems.clone());
        if problems == before {
            return;
        }
        let named: Vec<String> =
            problems.iter().take(LOGGED_COUNT_MAX).map(Problem::to_string).collect();
        let (source, count) = (self.name(), problems.len());
        match problems.is_empty() {
            true => tracing::info!(source, "the keys in etcd are in order again"),
            false => tracing::warn!(
                source,
                count,
                problems = named.join("; "),
                "keys in etcd cannot be used"
            ),
        }
    }

    fn found(self: &Arc<Self>, held: &Held) -> Vec<Problem> {
        let strangers = held.strangers().map(|(key, why)| {
            problem(
                key,
                match why {
                    Strange::Name => "is no key that is known here, and is passed over",
                    Strange::Value => "does not hold what its name says, and is passed over",
                },
            )
        });
        let mut problems: Vec<Problem> = strangers.take(PROBLEM_COUNT_MAX).collect();
        for label in held.labels() {
            if problems.len() >= PROBLEM_COUNT_MAX {
                break;
            }
            let found = held.label(label).map_err(|why| why.0).and_then(|found| {
                found.map(|found| self.member(held, label, found)).transpose().map_err(|why| why.0)
            });
            if let Err(why) = found {
                let key = match held.is_published(label) {
                    true => self.keys.reference(label),
                    false => self.keys.files(label),
                };
                problems.push(problem(key.as_bytes(), &format!("{why}: the label is not served")));
            }
        }
        problems
    }

    async fn belongs_to_others(&self) -> bool {
        match self.cluster.connect().await {
            Ok(mut connection) => self.is_of_others(&mut connection).await.unwrap_or(false),
            // That it is away is told elsewhere.
            Err(_) => false,
        }
    }

    /// Whether the prefix holds keys, and none of them is Headwater's.
    pub(super) async fn is_of_others(&self, connection: &mut Connection) -> Result<bool, Fault> {
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
