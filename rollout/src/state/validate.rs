//! What holds in every state that a server has written.

use std::collections::BTreeSet;

use super::{
    Branch, ENTRY_COUNT_MAX, Entry, PAST_COUNT_MAX, Phase, RUNNING_COUNT_MAX, Rollout, State,
    WITHHELD_COUNT_MAX,
};
use crate::plan::{Reach, STAGE_COUNT_MAX};

impl State {
    /// Names the first part that no server writes.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (name, branch) in &self.branches {
            branch.validate(self.number).map_err(|error| format!("branch {name}: {error}"))?;
        }
        for (name, intent) in &self.intents {
            validate_commit(&intent.from)?;
            validate_commit(&intent.to)?;
            let branch = intent.next.validate(intent.number);
            branch.map_err(|error| format!("intent for branch {name}: {error}"))?;
        }
        let count = self.entry_count();
        if count > ENTRY_COUNT_MAX {
            return Err(format!("it has {count} bounds, at most {ENTRY_COUNT_MAX} are possible"));
        }
        Ok(())
    }
}

impl Branch {
    fn validate(&self, number: u64) -> Result<(), String> {
        let counts = [
            ("running rollouts", self.running.len(), RUNNING_COUNT_MAX),
            ("withheld entries", self.withheld.len(), WITHHELD_COUNT_MAX),
        ];
        for (what, count, most) in counts {
            if count > most {
                return Err(format!("it has {count} {what}, at most {most} are possible"));
            }
        }
        let (mut applications, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for rollout in self.entries().map(Entry::rollout) {
            let id = &rollout.id;
            rollout.validate(number).map_err(|error| format!("rollout {id}: {error}"))?;
            if !ids.insert(id) {
                return Err(format!("rollout {id} appears twice"));
            }
            if let Some(name) = rollout.members.keys().find(|name| !applications.insert(*name)) {
                return Err(format!("application {name} has two entries"));
            }
        }
        for rollout in &self.running {
            let is_unknown = |id: &&crate::Name| self.running(id).is_none();
            if let Some(id) = rollout.depends_on.iter().find(is_unknown) {
                return Err(format!("rollout {} depends on {id}, which does not run", rollout.id));
            }
        }
        for (name, past) in &self.past {
            if past.number > number || past.contents.len() > PAST_COUNT_MAX {
                return Err(format!("the past of application {name} is out of range"));
            }
        }
        Ok(())
    }
}

impl Rollout {
    fn validate(&self, number: u64) -> Result<(), String> {
        let digits = self.id.strip_prefix("r-").unwrap_or("");
        if digits.len() != 10 || !is_hexadecimal(digits) {
            return Err("expected r- and ten hexadecimal digits as its id".into());
        }
        if self.number > number {
            let own = self.number;
            return Err(format!("its number {own} is larger than that of the state, {number}"));
        }
        let commits = [&self.from, &self.to];
        commits
            .into_iter()
            .chain(self.members.values().map(|member| &member.stable))
            .try_for_each(|commit| validate_commit(commit))?;
        let stages = &self.plan.stages;
        let all = stages.iter().filter(|stage| stage.reach == Reach::All).count();
        let is_last = stages.last().is_some_and(|stage| stage.reach == Reach::All);
        if !is_last || all > 1 || stages.len() > STAGE_COUNT_MAX {
            return Err("its plan does not end with one stage for all".into());
        }
        if let Phase::Stage(index) = self.phase
            && index >= stages.len()
        {
            return Err(format!("it is in stage {index} of {}", stages.len()));
        }
        if self.plan.by.is_some() && self.stage().is_some() {
            return Err("it is in a stage, and the stages of its plan are not known".into());
        }
        if self.members.is_empty() {
            return Err("it has no application".into());
        }
        Ok(())
    }
}

fn validate_commit(commit: &str) -> Result<(), String> {
    if matches!(commit.len(), 40 | 64) && is_hexadecimal(commit) {
        return Ok(());
    }
    Err("expected commits of 40 or 64 hexadecimal digits".into())
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
