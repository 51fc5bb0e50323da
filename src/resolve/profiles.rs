//! The accepted profiles (docs/protocol.md#73-profiles) and the properties that may not set them
//! (docs/protocol.md#82-forbidden-keys).

use std::collections::{HashMap, HashSet};

use super::activation::origin;
use super::contributions::Contributions;
use super::control::Control;
use crate::model::{Origin, Problem};

/// The most profiles that includes and groups may add up to.
const ACCEPTED_COUNT_MAX: usize = 4_096;

/// The requested and included profiles, with the known groups.
pub(super) struct ProfileSet {
    profiles: Vec<String>,
    groups: HashMap<String, Vec<String>>,
    /// The origin of the last property that added profiles.
    added_at: Option<Origin>,
}

impl ProfileSet {
    pub(super) fn new(requested: Vec<String>) -> Self {
        Self { profiles: requested, groups: HashMap::new(), added_at: None }
    }

    pub(super) fn include(&mut self, profiles: Vec<String>, at: Origin) {
        self.profiles.extend(profiles);
        self.added_at = Some(at);
    }

    /// Adds a group. The first definition of a group ranks highest and wins.
    pub(super) fn group(&mut self, name: &str, members: Vec<String>, at: Origin) {
        self.groups.entry(name.to_owned()).or_insert(members);
        self.added_at = Some(at);
    }

    /// The profiles in order, each followed by the members of its group.
    pub(super) fn expand(self) -> Result<Vec<String>, Problem> {
        let mut accepted: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        let mut stack: Vec<String> = self.profiles.into_iter().rev().collect();
        while let Some(profile) = stack.pop() {
            if !seen.insert(profile.clone()) {
                continue;
            }
            if let Some(at) =
                self.added_at.as_ref().filter(|_| accepted.len() >= ACCEPTED_COUNT_MAX)
            {
                let message = format!(
                    "includes and groups add up to more than {ACCEPTED_COUNT_MAX} profiles"
                );
                return Err(Control::Include.problem(at.clone(), &message));
            }
            let members = self.groups.get(&profile).into_iter().flatten();
            stack.extend(members.rev().cloned());
            accepted.push(profile);
        }
        Ok(accepted)
    }
}

/// Rejects the selector of Spring Boot before 2.4, and properties that set profiles in a profile-specific file.
pub(super) fn check_forbidden(
    contributions: &Contributions,
    ignores_profiles: bool,
) -> Result<(), Problem> {
    const IN_SPECIFIC: [Control; 3] = [Control::Include, Control::Active, Control::Default];
    for id in contributions.in_order() {
        let Some(content) = &contributions.get(id).content else { continue };
        let refused = |control: Control, message: &str| match content
            .controls
            .forbidden(content.document(), control)
        {
            Some(found) => {
                Err(control.problem(origin(&content.file.path, found.position), message))
            }
            None => Ok(()),
        };
        refused(Control::Legacy, "replaced by spring.config.activate.on-profile")?;
        if content.is_specific && !ignores_profiles {
            for control in IN_SPECIFIC {
                refused(control, "not allowed in a profile-specific file")?;
            }
        }
    }
    Ok(())
}
