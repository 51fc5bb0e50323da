//! What one look at the table shows about an instance.

use super::{Sides, Situated};
use crate::fleet::{Acknowledgement, InstanceHealth, Outcome};

/// What one look shows. Two clients with one name are one instance.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Observation {
    /// The index of the instance, for its attributes.
    pub(super) index: usize,
    /// The index of the client with a bad report, for its reason.
    pub(super) bad_index: usize,
    pub(super) is_connected: bool,
    /// True if the instance has ever acknowledged that it uses a configuration.
    pub(super) is_witness: bool,
    /// True if the rollout gives the candidate to the instance, whatever it reports.
    pub(super) is_canary: bool,
    /// False if the sides of the environment are not known, so that the acknowledgement has no meaning.
    pub(super) has_sides: bool,
    /// True if the present run has acknowledged any configuration.
    pub(super) has_acknowledged: bool,
    pub(super) acknowledged: Acknowledged,
    pub(super) is_down: bool,
    pub(super) is_up: bool,
    pub(super) down_count: u32,
    pub(super) restart_count: u32,
    /// Milliseconds since 1970. Only compared for equality, because the clock of the host can be set back.
    pub(super) last_seen: i64,
    /// The time of the first request with the rejection of the candidate, likewise.
    pub(super) rejected_at: Option<i64>,
}

/// What the last acknowledgement says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// It uses the candidate. Of two clients, both do.
    pub(super) accepts_candidate: bool,
    pub(super) rejects_candidate: bool,
    /// It uses another content, such as the stable one.
    pub(super) accepts_other: bool,
    pub(super) rejects_other: bool,
}

impl Acknowledged {
    /// Reads an acknowledgement. `None` if the instance follows a variant of the answer that is the same on both sides.
    ///
    /// An instance that has rejected an earlier candidate still uses the content before it.
    fn of(acknowledgement: &Acknowledgement, sides: &Sides, is_witness: bool) -> Option<Self> {
        let Acknowledgement { digest, outcome, .. } = acknowledgement;
        let is_candidate = sides.candidate.contains(digest);
        let is_stable = sides.stable.contains(digest);
        if is_candidate && is_stable {
            return None;
        }
        let uses_former = is_witness && !is_candidate && !is_stable;
        let is_applied = *outcome == Outcome::Applied || uses_former;
        Some(Self {
            accepts_candidate: is_candidate && is_applied,
            rejects_candidate: is_candidate && !is_applied,
            accepts_other: !is_candidate && is_applied,
            rejects_other: !is_candidate && !is_applied,
        })
    }

    fn merged(self, other: Self) -> Self {
        Self {
            accepts_candidate: self.accepts_candidate && other.accepts_candidate,
            rejects_candidate: self.rejects_candidate || other.rejects_candidate,
            accepts_other: self.accepts_other || other.accepts_other,
            rejects_other: self.rejects_other || other.rejects_other,
        }
    }
}

/// Returns true if no instance of the environment receives another content.
fn are_equal(sides: &Sides) -> bool {
    let Sides { stable, candidate } = sides;
    stable == candidate
        || stable.iter().all(|digest| candidate.contains(digest))
            && candidate.iter().all(|digest| stable.contains(digest))
}

impl Observation {
    /// Reads the entry of an instance. `None` if the rollout does not change what the instance receives. It would never
    /// acknowledge the candidate, and would look silent.
    pub(super) fn of(own: &Situated<'_>, index: usize, is_canary: bool) -> Option<Self> {
        let Situated { instance, sides } = own;
        if sides.is_some_and(are_equal) {
            return None;
        }
        let known = sides.zip(instance.applied.as_ref());
        let acknowledged =
            known.map(|(sides, own)| Acknowledged::of(own, sides, instance.is_witness));
        let acknowledged = match acknowledged {
            Some(None) => return None,
            acknowledged => acknowledged.flatten().unwrap_or_default(),
        };
        let since = instance.since.as_millisecond();
        Some(Self {
            index,
            bad_index: index,
            is_connected: instance.is_connected(),
            is_witness: instance.is_witness,
            is_canary,
            has_sides: sides.is_some(),
            has_acknowledged: instance.applied.is_some(),
            acknowledged,
            is_down: instance.health == Some(InstanceHealth::Down),
            is_up: instance.health == Some(InstanceHealth::Up),
            down_count: instance.down_count,
            restart_count: instance.restart_count,
            last_seen: instance.last_seen.as_millisecond(),
            rejected_at: acknowledged.rejects_candidate.then_some(since),
        })
    }

    /// Combines the observations of two clients with one name. A bad report of either counts, and the rest is that of
    /// those that are connected.
    pub(super) fn merged(self, other: Self) -> Self {
        let (mut own, other) =
            if other.is_connected && !self.is_connected { (other, self) } else { (self, other) };
        if other.acknowledged.rejects_candidate || other.is_down {
            own.bad_index = other.bad_index;
        }
        if own.is_connected == other.is_connected {
            own.acknowledged = own.acknowledged.merged(other.acknowledged);
            own.has_acknowledged |= other.has_acknowledged;
            own.is_up |= other.is_up;
        } else {
            own.acknowledged.rejects_candidate |= other.acknowledged.rejects_candidate;
        }
        own.has_sides |= other.has_sides;
        own.is_witness |= other.is_witness;
        own.is_down |= other.is_down;
        own.down_count = own.down_count.max(other.down_count);
        own.restart_count = own.restart_count.max(other.restart_count);
        own.last_seen = own.last_seen.max(other.last_seen);
        own.rejected_at = own.rejected_at.max(other.rejected_at);
        own
    }
}
