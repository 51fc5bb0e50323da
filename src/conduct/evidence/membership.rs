//! The members of running rollouts that the instances of an environment belong to.

use std::collections::HashMap;

use headwater_rollout::Name;
use headwater_rollout::bucket::bucket;
use headwater_rollout::state::{Branch, Entry, Member, OTHERS};

use crate::fleet::Instance;
use crate::model::Query;

/// One member of one running rollout.
pub(super) struct Seat<'b> {
    member: &'b Member,
    admitted: Vec<(Name, Name)>,
}

/// The members of a branch by application.
pub(super) struct Membership<'b> {
    /// In the order of the running rollouts, and of the members of each.
    seats: Vec<Seat<'b>>,
    /// The index of the seat of an application, or of [`OTHERS`]. `None` if its content is withheld.
    by_application: HashMap<&'b str, Option<usize>>,
}

impl<'b> Membership<'b> {
    pub(super) fn of(branch: &'b Branch) -> Self {
        let mut membership = Self { seats: Vec::new(), by_application: HashMap::new() };
        for entry in branch.entries() {
            let rollout = entry.rollout();
            for (name, member) in &rollout.members {
                let seat = matches!(entry, Entry::Running(_)).then_some(membership.seats.len());
                membership.by_application.entry(name).or_insert(seat);
                if seat.is_some() {
                    let admitted = rollout.admitted();
                    membership.seats.push(Seat { member, admitted });
                }
            }
        }
        membership
    }

    pub(super) fn seats(&self) -> &[Seat<'b>] {
        &self.seats
    }

    /// Finds the indices of the seats of an environment, each once. Returns true if the content of one of its
    /// applications is withheld, so that none of its instances receives a candidate.
    pub(super) fn find(&self, query: &Query, found: &mut Vec<usize>) -> bool {
        found.clear();
        let mut is_withheld = false;
        for application in query.application_names() {
            let own = self.by_application.get(application);
            match own.or_else(|| self.by_application.get(OTHERS)) {
                Some(Some(seat)) if !found.contains(seat) => found.push(*seat),
                Some(None) => is_withheld = true,
                Some(Some(_)) | None => {}
            }
        }
        is_withheld
    }
}

impl Seat<'_> {
    /// Returns true if the instance of a key is a canary.
    pub(super) fn includes(&self, instance: &Instance, key: u64) -> bool {
        let has = |(name, value): &(Name, Name)| instance.attributes.get(name) == Some(&**value);
        self.member.bound.includes(bucket(key, self.member.salt))
            || self.member.named.contains(&key)
            || self.admitted.iter().any(has)
    }
}
