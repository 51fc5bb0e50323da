//! The lines of a push on rollouts: what is held, what is served at once and why, and what stays held. Pure.
//!
//! A push that stages nothing and touches nothing held has no line, except that a change without an instance to try it on
//! names what a service has to do for a canary.

use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::event::{Event, EventKind};
use headwater_rollout::open::{AtOnce, Fate, Headcount, Opened};
use headwater_rollout::plan::{Plan, Reach, Size, Stage};
use headwater_rollout::state::{Branch, OTHERS, Phase, Rollout, State, Withheld};
use headwater_rollout::words;

/// The most applications that a line names.
const NAMED_COUNT_MAX: usize = 5;

/// What a push does to the rollouts of one branch.
pub(super) struct RolloutLines<'p> {
    pub(super) branch: &'p str,
    /// The state before the push.
    pub(super) before: &'p State,
    pub(super) opened: &'p Opened,
    /// The instances of an application, as they were when the push was decided.
    pub(super) headcount: &'p dyn Fn(&str) -> Headcount,
    /// Returns true for an application that the pusher may read. Lines name no other one, and nothing that its instances
    /// report.
    pub(super) is_visible: &'p dyn Fn(&str) -> bool,
    /// True if the push changes environments of the branch and plans have stages for them.
    pub(super) could_stage: bool,
}

impl RolloutLines<'_> {
    /// What the push holds, to follow `published main at …; `: `held for product: rollout r-7f3a2c91d0, 1 of 12 first,
    /// 10 s, then all`.
    pub(super) fn held(&self) -> Option<String> {
        let rollout = self.rollout()?;
        let (who, id) = (self.members(rollout), &rollout.id);
        let path = path(&rollout.plan, rollout.expected);
        Some(match rollout.phase {
            Phase::Waiting => format!("held for {who}: rollout {id}, after the freeze: {path}"),
            Phase::Trying | Phase::Stage(_) => format!("held for {who}: rollout {id}, {path}"),
        })
    }

    /// The lines beside [`RolloutLines::held`].
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines_with(Event::to_string)
    }

    /// The lines with a sentence for each event.
    fn lines_with(&self, sentence: impl Fn(&Event) -> String) -> Vec<String> {
        if self.opened.fates.is_empty() {
            let why = self.could_stage.then(|| AtOnce::NoInstance.to_string());
            return why.into_iter().collect();
        }
        let mut lines: Vec<String> =
            self.reasons().iter().filter_map(|it| self.served(it)).collect();
        lines.extend(self.staying());
        lines.extend(self.events().map(sentence));
        let state = self.opened.next.as_ref().unwrap_or(self.before);
        lines.extend(state.branch(self.branch).into_iter().flat_map(|own| self.still_held(own)));
        lines
    }

    /// The lines of a dry run: what a push would hold, and the stages of its plan with what they can detect.
    pub(super) fn rehearsal(&self) -> Vec<String> {
        let mut lines = self.lines_with(rehearsed);
        if let Some(rollout) = self.rollout() {
            let (who, plan) = (self.members(rollout), &rollout.plan);
            lines.push(format!("would be held for {who}, with plan {}:", plan.name));
            let stages = words::describe(plan, rollout.expected);
            lines.extend(stages.iter().map(|line| format!("  {line}")));
        }
        lines
    }

    fn rollout(&self) -> Option<&Rollout> {
        let id = self.opened.rollout.as_ref()?;
        self.opened.next.as_ref()?.branch(self.branch)?.running(id)
    }

    /// Each reason for which an application is served at once, in the order of the first one.
    fn reasons(&self) -> Vec<&AtOnce> {
        let mut reasons: Vec<&AtOnce> = Vec::new();
        for (_, fate) in &self.opened.fates {
            if let Fate::AtOnce(why) = fate
                && !reasons.contains(&why)
            {
                reasons.push(why);
            }
        }
        reasons
    }

    /// The line on the applications that are served at once for a reason. `None` if a push without rollouts would have done
    /// the same.
    fn served(&self, why: &AtOnce) -> Option<String> {
        match why {
            AtOnce::Plan(_) if !self.has_left_an_entry(why) => return None,
            AtOnce::Stable if !self.has_left_an_entry(why) && !self.could_be_staged(why) => {
                return None;
            }
            AtOnce::NoInstance if !self.has_left_an_entry(why) => return Some(why.to_string()),
            _ => {}
        }
        Some(format!("served at once: {}: {why}", self.listed(self.served_for(why))))
    }

    fn served_for<'s>(&'s self, why: &'s AtOnce) -> impl Iterator<Item = &'s Name> {
        let is_served = move |fate: &Fate| matches!(fate, Fate::AtOnce(own) if own == why);
        self.opened.fates.iter().filter(move |(_, fate)| is_served(fate)).map(|(name, _)| name)
    }

    /// Returns true if an application was held before the push, and is not any more.
    fn has_left_an_entry(&self, why: &AtOnce) -> bool {
        let branch = self.before.branch(self.branch);
        self.served_for(why).any(|name| branch.is_some_and(|own| own.has_own_entry(name)))
    }

    /// Returns true if an application has instances on which a change of it could be tried.
    fn could_be_staged(&self, why: &AtOnce) -> bool {
        self.served_for(why).any(|name| (self.headcount)(name).acknowledging > 0)
    }

    /// The lines on applications that go with a rollout for all applications.
    fn staying(&self) -> Vec<String> {
        let stays = self.opened.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Stays(_)));
        let stays = stays.filter(|(name, _)| (self.is_visible)(name));
        stays.map(|(name, fate)| format!("{name}: {fate}")).collect()
    }

    /// The lines on content that stays withheld.
    fn still_held(&self, branch: &Branch) -> Vec<String> {
        let is_visible = |own: &&Withheld| self.are_visible(own.rollout.applications());
        let withheld = branch.withheld.iter().filter(is_visible).cloned().collect();
        words::still_held(&Branch { withheld, ..Branch::default() })
    }

    /// The lines on other rollouts that end or lose applications, and on a freeze.
    fn events(&self) -> impl Iterator<Item = &Event> {
        self.opened.events.iter().filter(|event| match &event.kind {
            EventKind::Superseded { applications, .. } | EventKind::Released { applications } => {
                self.are_visible(applications)
            }
            EventKind::Waiting { .. } => true,
            _ => false,
        })
    }

    /// The applications of a rollout.
    fn members(&self, rollout: &Rollout) -> String {
        if rollout.members.contains_key(OTHERS) {
            return "every application".to_owned();
        }
        self.listed(rollout.applications())
    }

    fn are_visible<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> bool {
        names.into_iter().all(|name| (self.is_visible)(name))
    }

    fn listed<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> String {
        let is_visible = |name: &&str| (self.is_visible)(name);
        let names = names.into_iter().map(|name| &**name);
        let (visible, hidden): (Vec<&str>, Vec<&str>) = names.partition(is_visible);
        listed(&visible, hidden.len())
    }
}

/// An event that a dry run does not cause. The id of a rollout that it would open is left out, because another one follows.
fn rehearsed(event: &Event) -> String {
    let Event { rollout, kind } = event;
    match kind {
        EventKind::Superseded { next, .. } => {
            let text = kind.to_string();
            let text = text.strip_suffix(&format!(" by {next}")).unwrap_or(&text);
            format!("{rollout}: would be {text}")
        }
        EventKind::Released { .. } => format!("{rollout}: would be {kind}"),
        EventKind::Waiting { freeze } => format!("would wait for the end of the freeze {freeze}"),
        _ => event.to_string(),
    }
}

/// The first names of a list, and the number of the others.
fn listed(names: &[&str], hidden_count: usize) -> String {
    let shown = names[..names.len().min(NAMED_COUNT_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_COUNT_MAX) + hidden_count {
        0 => shown,
        1 if shown.is_empty() => "1 application".to_owned(),
        count if shown.is_empty() => format!("{count} applications"),
        more => format!("{shown} and {more} more"),
    }
}

/// The way of a change through a plan: `1 of 12 first, 10 s, then all`.
fn path(plan: &Plan, instances: u64) -> String {
    let mut parts: Vec<String> = Vec::new();
    // Stages without a further canary are one part.
    let mut sized: Option<(u64, Duration)> = None;
    if let Some(attribute) = &plan.by {
        parts.push(with_bake(format!("each {attribute} in turn"), plan.by_bake));
    }
    for Stage { reach, bake } in &plan.stages {
        let is_first = parts.is_empty();
        match reach {
            Reach::Size(size) => {
                let count = canary_count(*size, instances);
                let before = sized.filter(|(own, _)| *own == count);
                let (is_first, bake) = match before {
                    Some((_, before)) => {
                        parts.pop();
                        (parts.is_empty(), before + *bake)
                    }
                    None => (is_first, *bake),
                };
                let text = match is_first {
                    true => format!("{count} of {instances} first"),
                    false => count.to_string(),
                };
                parts.push(with_bake(text, bake));
                sized = Some((count, bake));
            }
            Reach::Attribute { name, value } => {
                sized = None;
                let first = if is_first { " first" } else { "" };
                parts.push(with_bake(format!("{name}={value}{first}"), *bake));
            }
            Reach::All => parts.push("all".to_owned()),
        }
    }
    parts.join(", then ")
}

/// The most canaries of a stage of this size. Before the last stage a service keeps half of its instances, unless its plan
/// accepts less.
fn canary_count(size: Size, instances: u64) -> u64 {
    let most = match size {
        Size::Share(share) if share.is_majority() => instances,
        _ => instances / 2,
    };
    size.of(instances).min(most).max(1)
}

fn with_bake(text: String, bake: Duration) -> String {
    match bake.as_secs() {
        0 => text,
        seconds if seconds >= 120 && seconds % 60 == 0 => format!("{text}, {} min", seconds / 60),
        seconds => format!("{text}, {seconds} s"),
    }
}

#[cfg(test)]
mod tests;
