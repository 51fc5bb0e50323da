//! A change of the policy, before it takes effect.

use headwater_access::{Policy, Universe, diff};

/// A new policy beside the one in force.
pub struct PolicyChange<'a> {
    old: &'a Policy,
    new: &'a Policy,
}

impl<'a> PolicyChange<'a> {
    pub(super) fn new(old: &'a Policy, new: &'a Policy) -> Self {
        Self { old, new }
    }

    /// The first digits of the digest of the new policy.
    pub fn digest(&self) -> String {
        self.new.digest().short()
    }

    /// What principals may do under one of the policies only, one sentence each. Takes seconds for large policies.
    pub fn difference(&self) -> Vec<String> {
        diff(self.old, self.new, &Universe::of(&[self.old, self.new])).lines()
    }
}
