//! What is known of all replicas: who is there, who was, and who has the newest revision of a label. Nothing here talks to
//! anybody; it is told what happens and what time it is.
//!
//! Revisions have no order that can be seen. The newest one of a label is the one that came last: one that nobody had
//! before, or the one that a replica goes on to that had the newest. Where a source knows its history, that says
//! better which of two was there before.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::report::{At, Report};

/// The most replicas that are known at a time, and the most labels of which it is known who has the newest revision.
pub(super) const REPLICA_COUNT_MAX: usize = 1_000;
const LABEL_COUNT_MAX: usize = 256;
/// How long a replica is listed that is gone, and how many of them.
pub(super) const GONE_KEPT: Duration = Duration::from_secs(15 * 60);
pub(super) const GONE_COUNT_MAX: usize = 100;
/// How many revisions of a label are remembered that were the newest.
const PAST_COUNT_MAX: usize = 64;

/// All replicas that are known, this one among them.
pub(super) struct Known {
    own: String,
    replicas: HashMap<String, Seen>,
    lines: HashMap<Option<String>, Line>,
    /// How many reports came from replicas that there was no room for.
    pub(super) left_out_count: u64,
}

/// A replica.
pub(super) struct Seen {
    /// What it said last.
    pub(super) report: Report,
    /// When it said so.
    pub(super) reported: Instant,
    /// When its lease ended.
    pub(super) gone: Option<Instant>,
    /// For each label when what it has was the newest for the last time; of no meaning while it is the newest.
    behind: HashMap<Option<String>, Instant>,
}

/// The revisions of a label.
struct Line {
    newest: String,
    /// What was the newest, and until when.
    past: VecDeque<(String, Instant)>,
}

impl Line {
    fn until(&self, revision: &str) -> Option<Instant> {
        self.past.iter().find(|(known, _)| known == revision).map(|(_, until)| *until)
    }
}

impl Known {
    /// Nobody yet. `own` is the replica that knows.
    pub(super) fn new(own: String) -> Self {
        Self { own, replicas: HashMap::new(), lines: HashMap::new(), left_out_count: 0 }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.replicas.iter().map(|(id, seen)| (id.as_str(), seen))
    }

    /// What a report says of labels that nobody was known to be at: the history of a source may know it to be older than
    /// what there is.
    pub(super) fn unheard_of(&self, report: &Report) -> Vec<At> {
        let is_new = |at: &&At| {
            let line = self.lines.get(&at.label);
            line.is_some_and(|line| {
                line.newest != at.revision && line.until(&at.revision).is_none()
            })
        };
        report.labels.iter().filter(is_new).cloned().collect()
    }

    /// A replica says something of itself. Of what nobody had before, all is the newest that is not in `older`.
    pub(super) fn take(&mut self, id: &str, report: Report, older: &[At], now: Instant) {
        if report.is_leaving {
            self.remove(id, now);
            return;
        }
        if !self.replicas.contains_key(id) {
            if self.replicas.len() >= REPLICA_COUNT_MAX {
                self.left_out_count += 1;
                return;
            }
            // What is started again in its place is not missing.
            self.replicas.retain(|_, seen| seen.gone.is_none() || !seen.is_called_as(&report));
        }
        let before = self.replicas.remove(id);
        let mut behind = HashMap::new();
        for at in &report.labels {
            let label = at.label.as_deref();
            let was = before.as_ref().and_then(|seen| seen.report.revision(label));
            let since = before.as_ref().and_then(|seen| seen.behind.get(&at.label)).copied();
            let since = match since.filter(|_| was == Some(&*at.revision)) {
                Some(since) => since,
                None => self.arrive(at, was, older.contains(at), now),
            };
            behind.insert(at.label.clone(), since);
        }
        let lets_go = before.is_some_and(|seen| {
            let mut labels = seen.report.labels.iter().map(|at| at.label.as_deref());
            labels.any(|label| report.revision(label).is_none())
        });
        self.replicas.insert(id.to_owned(), Seen { report, reported: now, gone: None, behind });
        if lets_go {
            self.fall_back(now);
        }
    }

    /// A replica has come to a revision. Gives when that was the newest for the last time.
    fn arrive(&mut self, at: &At, was: Option<&str>, is_older: bool, now: Instant) -> Instant {
        let Some(line) = self.lines.get(&at.label) else {
            if self.lines.len() >= LABEL_COUNT_MAX {
                return now;
            }
            let line = Line { newest: at.revision.clone(), past: VecDeque::new() };
            self.lines.insert(at.label.clone(), line);
            return now;
        };
        let until = line.until(&at.revision);
        let goes_on = was == Some(&*line.newest);
        if line.newest != at.revision && (goes_on || until.is_none() && !is_older) {
            self.advance(at, now);
        }
        until.unwrap_or(now)
    }

    /// This revision is the newest one of its label from now on, because it is known to come after the one that was.
    pub(super) fn advance(&mut self, to: &At, now: Instant) {
        let Some(line) = self.lines.get_mut(&to.label).filter(|it| it.newest != to.revision) else {
            return;
        };
        line.past.retain(|(known, _)| *known != to.revision);
        let before = std::mem::replace(&mut line.newest, to.revision.clone());
        for seen in self.replicas.values_mut() {
            if seen.report.revision(to.label.as_deref()) == Some(&*before) {
                seen.behind.insert(to.label.clone(), now);
            }
        }
        line.past.push_back((before, now));
        if line.past.len() > PAST_COUNT_MAX {
            line.past.pop_front();
        }
    }

    /// The labels of which a replica does not have the newest revision, each with that.
    pub(super) fn newer_than(&self, report: &Report) -> Vec<(At, String)> {
        let newer = |at: &At| {
            let line = self.lines.get(&at.label).filter(|line| line.newest != at.revision)?;
            Some((at.clone(), line.newest.clone()))
        };
        report.labels.iter().filter_map(newer).collect()
    }

    /// The lease of a replica has ended.
    pub(super) fn gone(&mut self, id: &str, now: Instant) {
        let Some(seen) = self.replicas.get(id).filter(|seen| seen.gone.is_none()) else { return };
        if id == self.own {
            return;
        }
        let is_replaced = self.replicas.iter().any(|(other, known)| {
            other != id && known.gone.is_none() && known.is_called_as(&seen.report)
        });
        if is_replaced {
            self.replicas.remove(id);
        } else if let Some(seen) = self.replicas.get_mut(id) {
            seen.gone = Some(now);
        }
        self.forget(now);
        self.fall_back(now);
    }

    /// Those and no others are there, besides this one.
    pub(super) fn only(&mut self, there: &[String], now: Instant) {
        let missing = |id: &&String| !there.contains(id);
        let missing: Vec<String> = self.replicas.keys().filter(missing).cloned().collect();
        missing.iter().for_each(|id| self.gone(id, now));
    }

    fn remove(&mut self, id: &str, now: Instant) {
        if self.replicas.remove(id).is_some() {
            self.fall_back(now);
        }
    }

    /// Forgets those who are gone for long, and the first of too many.
    pub(super) fn forget(&mut self, now: Instant) {
        let mut gone: Vec<(Instant, String)> =
            self.replicas.iter().filter_map(|(id, seen)| Some((seen.gone?, id.clone()))).collect();
        gone.sort_unstable();
        let too_many = gone.len().saturating_sub(GONE_COUNT_MAX);
        for (at, (since, id)) in gone.into_iter().enumerate() {
            if at < too_many || now.duration_since(since) >= GONE_KEPT {
                self.replicas.remove(&id);
            }
        }
    }

    /// What only those had who are not there any more is not the newest; nobody could come to it.
    fn fall_back(&mut self, now: Instant) {
        let Self { replicas, lines, .. } = self;
        let has = |label: &Option<String>, revision: &str| {
            let mut live = replicas.values().filter(|seen| seen.gone.is_none());
            live.any(|seen| seen.report.revision(label.as_deref()) == Some(revision))
        };
        lines.retain(|label, _| {
            let mut live = replicas.values().filter(|seen| seen.gone.is_none());
            live.any(|seen| seen.report.revision(label.as_deref()).is_some())
        });
        let lost = lines.iter().filter(|(label, line)| !has(label, &line.newest));
        let back = lost.filter_map(|(label, line)| {
            let (revision, _) = line.past.iter().rev().find(|(known, _)| has(label, known))?;
            Some(At { label: label.clone(), revision: revision.clone() })
        });
        let back: Vec<At> = back.collect();
        back.iter().for_each(|to| self.advance(to, now));
    }

    /// For how long what a replica has of a label has not been the newest; zero if it is.
    pub(super) fn lag(&self, seen: &Seen, at: &At, now: Instant) -> Duration {
        let is_newest = self.lines.get(&at.label).is_none_or(|line| line.newest == at.revision);
        match seen.behind.get(&at.label).filter(|_| !is_newest) {
            Some(since) => now.duration_since(*since),
            None => Duration::ZERO,
        }
    }
}

impl Seen {
    fn is_called_as(&self, report: &Report) -> bool {
        self.report.name == report.name && self.report.address == report.address
    }
}

#[cfg(test)]
mod tests;
