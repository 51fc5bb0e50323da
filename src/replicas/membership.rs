//! The members of a fleet: which replicas live, which are gone, and which of them has the newest revision of a label.
//! Pure: callers pass in the reports and the time.
//!
//! Revisions are opaque, so they have no order of their own. The newest revision of a label is the one that appeared
//! last: a revision that no replica had before, or the next revision of a replica that had the newest. Where a source
//! can read its history, that decides instead which of two revisions came first.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::report::{LabelRevision, ReplicaReport};

/// The most replicas that are remembered at a time.
pub(super) const REPLICA_COUNT_MAX: usize = 1_000;
/// The most labels whose newest revision is remembered.
const LABEL_COUNT_MAX: usize = 256;
/// The time that a gone replica stays listed.
pub(super) const GONE_KEPT: Duration = Duration::from_secs(15 * 60);
/// The most gone replicas that stay listed.
pub(super) const GONE_COUNT_MAX: usize = 100;
/// The most superseded revisions that are remembered for a label.
const SUPERSEDED_COUNT_MAX: usize = 64;

/// All known replicas, this one included.
pub(super) struct Membership {
    own_id: String,
    members: HashMap<String, KnownReplica>,
    orders: HashMap<Option<String>, RevisionOrder>,
    /// The number of reports that were ignored because there was no room for another replica.
    pub(super) left_out_count: u64,
}

/// One replica.
pub(super) struct KnownReplica {
    /// The last report.
    pub(super) report: ReplicaReport,
    /// The time of the last report.
    pub(super) reported: Instant,
    /// The time at which the lease ended, for a gone replica.
    pub(super) gone_since: Option<Instant>,
    /// For each label, the last time at which this replica's revision was the newest. Meaningless while it is the
    /// newest.
    behind_since: HashMap<Option<String>, Instant>,
}

/// The order in which the revisions of a label appeared.
struct RevisionOrder {
    newest: String,
    /// Earlier newest revisions, oldest first, each with the time until which it was the newest.
    superseded: VecDeque<(String, Instant)>,
}

impl RevisionOrder {
    fn superseded_at(&self, revision: &str) -> Option<Instant> {
        self.superseded.iter().find(|(known, _)| known == revision).map(|(_, until)| *until)
    }
}

impl Membership {
    /// Creates the membership as the replica `own_id` sees it, without members.
    pub(super) fn new(own_id: String) -> Self {
        Self { own_id, members: HashMap::new(), orders: HashMap::new(), left_out_count: 0 }
    }

    /// All members, each with its id.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &KnownReplica)> {
        self.members.iter().map(|(id, member)| (id.as_str(), member))
    }

    /// The revisions of a report that no replica has reported before. The history of a source may know that they are
    /// older than the newest.
    pub(super) fn unknown_revisions(&self, report: &ReplicaReport) -> Vec<LabelRevision> {
        let is_unknown = |label: &&LabelRevision| {
            self.orders.get(&label.label).is_some_and(|order| {
                order.newest != label.revision && order.superseded_at(&label.revision).is_none()
            })
        };
        report.labels.iter().filter(is_unknown).cloned().collect()
    }

    /// Records a replica's report. An unknown revision becomes the newest of its label, unless `older` lists it.
    pub(super) fn record(
        &mut self,
        id: &str,
        report: ReplicaReport,
        older: &[LabelRevision],
        now: Instant,
    ) {
        if report.is_leaving {
            self.remove(id, now);
            return;
        }
        if !self.members.contains_key(id) {
            if self.members.len() >= REPLICA_COUNT_MAX {
                self.left_out_count += 1;
                return;
            }
            // A replica that was started again under the same name and address is not missing.
            self.members.retain(|_, it| it.gone_since.is_none() || !it.has_identity_of(&report));
        }
        let before = self.members.remove(id);
        let mut behind_since = HashMap::new();
        for label in &report.labels {
            let name = label.label.as_deref();
            let previous = before.as_ref().and_then(|before| before.report.revision(name));
            let since = before.as_ref().and_then(|it| it.behind_since.get(&label.label)).copied();
            let since = match since.filter(|_| previous == Some(&*label.revision)) {
                Some(since) => since,
                None => self.record_revision(label, previous, older.contains(label), now),
            };
            behind_since.insert(label.label.clone(), since);
        }
        let has_dropped_a_label = before.is_some_and(|before| {
            let mut labels = before.report.labels.iter().map(|it| it.label.as_deref());
            labels.any(|label| report.revision(label).is_none())
        });
        let member = KnownReplica { report, reported: now, gone_since: None, behind_since };
        self.members.insert(id.to_owned(), member);
        if has_dropped_a_label {
            self.drop_lost_revisions(now);
        }
    }

    /// Records that a replica has moved to a revision. Returns the last time at which that revision was the newest.
    fn record_revision(
        &mut self,
        label: &LabelRevision,
        previous: Option<&str>,
        is_older: bool,
        now: Instant,
    ) -> Instant {
        let Some(order) = self.orders.get(&label.label) else {
            if self.orders.len() >= LABEL_COUNT_MAX {
                return now;
            }
            let newest = label.revision.clone();
            let order = RevisionOrder { newest, superseded: VecDeque::new() };
            self.orders.insert(label.label.clone(), order);
            return now;
        };
        let superseded_at = order.superseded_at(&label.revision);
        let follows_newest = previous == Some(&*order.newest);
        let is_new = superseded_at.is_none() && !is_older;
        if order.newest != label.revision && (follows_newest || is_new) {
            self.set_newest(label, now);
        }
        superseded_at.unwrap_or(now)
    }

    /// Makes a revision the newest of its label, because it is known to come after the present newest.
    pub(super) fn set_newest(&mut self, label: &LabelRevision, now: Instant) {
        let order = self.orders.get_mut(&label.label);
        let Some(order) = order.filter(|order| order.newest != label.revision) else {
            return;
        };
        order.superseded.retain(|(known, _)| *known != label.revision);
        let before = std::mem::replace(&mut order.newest, label.revision.clone());
        for member in self.members.values_mut() {
            if member.report.revision(label.label.as_deref()) == Some(&*before) {
                member.behind_since.insert(label.label.clone(), now);
            }
        }
        order.superseded.push_back((before, now));
        if order.superseded.len() > SUPERSEDED_COUNT_MAX {
            order.superseded.pop_front();
        }
    }

    /// The labels of a report that are behind, each with the newest revision.
    pub(super) fn newer_revisions(&self, report: &ReplicaReport) -> Vec<(LabelRevision, String)> {
        let newer = |label: &LabelRevision| {
            let order = self.orders.get(&label.label);
            let order = order.filter(|order| order.newest != label.revision)?;
            Some((label.clone(), order.newest.clone()))
        };
        report.labels.iter().filter_map(newer).collect()
    }

    /// Records that the lease of a replica has ended.
    pub(super) fn mark_gone(&mut self, id: &str, now: Instant) {
        let member = self.members.get(id).filter(|member| member.gone_since.is_none());
        let Some(member) = member else { return };
        if id == self.own_id {
            return;
        }
        let is_replaced = self.members.iter().any(|(other, known)| {
            other != id && known.gone_since.is_none() && known.has_identity_of(&member.report)
        });
        if is_replaced {
            self.members.remove(id);
        } else if let Some(member) = self.members.get_mut(id) {
            member.gone_since = Some(now);
        }
        self.expire(now);
        self.drop_lost_revisions(now);
    }

    /// Marks every replica as gone that is not in `present`, except this one.
    pub(super) fn retain(&mut self, present: &[String], now: Instant) {
        let is_missing = |id: &&String| !present.contains(id);
        let missing: Vec<String> = self.members.keys().filter(is_missing).cloned().collect();
        missing.iter().for_each(|id| self.mark_gone(id, now));
    }

    fn remove(&mut self, id: &str, now: Instant) {
        if self.members.remove(id).is_some() {
            self.drop_lost_revisions(now);
        }
    }

    /// Removes replicas that have been gone for [`GONE_KEPT`], and the earliest of more than [`GONE_COUNT_MAX`].
    pub(super) fn expire(&mut self, now: Instant) {
        let gone = self.members.iter().filter_map(|(id, it)| Some((it.gone_since?, id.clone())));
        let mut gone: Vec<(Instant, String)> = gone.collect();
        gone.sort_unstable();
        let surplus = gone.len().saturating_sub(GONE_COUNT_MAX);
        for (index, (since, id)) in gone.into_iter().enumerate() {
            if index < surplus || now.duration_since(since) >= GONE_KEPT {
                self.members.remove(&id);
            }
        }
    }

    /// Replaces newest revisions that no live replica has. A replica cannot catch up with a revision that only gone
    /// replicas had.
    fn drop_lost_revisions(&mut self, now: Instant) {
        let Self { members, orders, .. } = self;
        let live = || members.values().filter(|member| member.gone_since.is_none());
        let is_served = |label: &Option<String>, revision: &str| {
            live().any(|member| member.report.revision(label.as_deref()) == Some(revision))
        };
        orders.retain(|label, _| {
            live().any(|member| member.report.revision(label.as_deref()).is_some())
        });
        let lost = orders.iter().filter(|(label, order)| !is_served(label, &order.newest));
        let served = lost.filter_map(|(label, order)| {
            let mut superseded = order.superseded.iter().rev();
            let (revision, _) = superseded.find(|(known, _)| is_served(label, known))?;
            Some(LabelRevision { label: label.clone(), revision: revision.clone() })
        });
        let served: Vec<LabelRevision> = served.collect();
        served.iter().for_each(|newest| self.set_newest(newest, now));
    }

    /// Returns for how long a replica's revision of a label has been behind the newest. Zero for the newest.
    pub(super) fn lag(
        &self,
        member: &KnownReplica,
        label: &LabelRevision,
        now: Instant,
    ) -> Duration {
        let order = self.orders.get(&label.label);
        let is_newest = order.is_none_or(|order| order.newest == label.revision);
        match member.behind_since.get(&label.label).filter(|_| !is_newest) {
            Some(since) => now.duration_since(*since),
            None => Duration::ZERO,
        }
    }
}

impl KnownReplica {
    /// Returns true if a report comes from the same name and address: a replica that was started again.
    fn has_identity_of(&self, report: &ReplicaReport) -> bool {
        self.report.name == report.name && self.report.address == report.address
    }
}

#[cfg(test)]
mod tests;
