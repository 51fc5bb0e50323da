//! The text of rollouts for people. Pure.

use headwater_wire::{
    RolloutApplication, RolloutCommandAnswer, RolloutRecord, RolloutState, RolloutStatus,
};

use crate::cli::colour::{BOLD, Colours};
use crate::cli::output::{one_line, painted_table, short};

/// The applications that a line names.
const NAME_COUNT_MAX: usize = 4;
/// The name of the applications without an entry of their own.
const OTHERS: &str = "*";

/// Returns true if a rollout waits for a person.
pub(super) fn needs_attention(rollout: &RolloutStatus) -> bool {
    matches!(rollout.state, RolloutState::Paused | RolloutState::Withheld)
}

/// Returns true if a rollout has ended and its applications receive the newest content.
pub(super) fn is_over(rollout: &RolloutStatus) -> bool {
    !rollout.state.is_running() && rollout.state != RolloutState::Withheld
}

/// A table of rollouts, and a line for each that runs or is withheld.
pub(super) fn list(rollouts: &[RolloutStatus]) -> String {
    if rollouts.is_empty() {
        return "no rollout runs, is withheld or has ended lately\n".to_owned();
    }
    let head =
        ["ROLLOUT", "BRANCH", "COMMIT", "STATE", "STAGE", "HAVE IT", "APPLICATIONS", "OPENED"];
    let has_several = rollouts.iter().any(|own| own.repository != rollouts[0].repository);
    let rows = rollouts.iter().map(|rollout| {
        let stage = rollout.stage.map(|stage| format!("{stage} of {}", rollout.stages));
        let branch = if has_several { place(rollout) } else { rollout.branch.clone() };
        vec![
            rollout.id.clone(),
            branch,
            short(&rollout.to),
            rollout.state.name().to_owned(),
            stage.unwrap_or_else(|| "-".to_owned()),
            have_it(rollout).unwrap_or_else(|| "-".to_owned()),
            applications(rollout),
            rollout.opened.clone(),
        ]
    });
    let rows: Vec<Vec<String>> =
        std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
    let lines: Vec<String> = rollouts.iter().filter_map(finding).collect();
    table(&rows) + &below(&lines)
}

/// One rollout with its applications, what it waits for, and its events.
pub(super) fn status(rollout: &RolloutStatus) -> String {
    let RolloutStatus { id, plan, by, opened, .. } = rollout;
    let because = rollout.because.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    let mut lines = vec![
        format!(
            "{id} {}, plan {plan}, on branch {} of repository {}",
            standing(rollout),
            rollout.branch,
            rollout.repository
        ),
        format!(
            "commit {}, before it {}, opened {opened} by {by}{because}",
            short(&rollout.to),
            short(&rollout.from)
        ),
    ];
    if rollout.state.is_running() {
        lines.extend(have_it(rollout).map(|count| format!("{count} instances have it")));
    }
    lines.extend(reason(rollout));
    if !rollout.depends_on.is_empty() {
        lines.push(format!("it falls with {}, and ends after", rollout.depends_on.join(", ")));
    }
    let lines: String = lines.iter().map(|line| format!("{}\n", one_line(line))).collect();
    format!("{lines}{}{}", application_table(rollout), records(&rollout.events))
}

/// The effects of a command, and how the rollout stands after it.
pub(super) fn effects(answer: &RolloutCommandAnswer) -> String {
    let RolloutCommandAnswer { rollout, effects } = answer;
    let mut lines: Vec<String> = effects.iter().map(|effect| effect.text.clone()).collect();
    lines.push(format!("{} {}", rollout.id, standing(rollout)));
    lines.iter().map(|line| format!("{}\n", one_line(line))).collect()
}

/// `is in stage 1 of 2 (5%)`, `was done at 2026-11-30T20:03:00Z`.
fn standing(rollout: &RolloutStatus) -> String {
    let stage = rollout.stage.map(|stage| {
        let reach = rollout.reach.as_deref().map(|reach| format!(" ({reach})"));
        format!("stage {stage} of {}{}", rollout.stages, reach.unwrap_or_default())
    });
    let time = |word: &str| {
        let since = rollout.since.as_deref().map(|since| format!(" {word} {since}"));
        since.unwrap_or_default()
    };
    match (rollout.state, stage) {
        (RolloutState::Stage, Some(stage)) => format!("is in {stage}"),
        (RolloutState::Paused, Some(stage)) => format!("is paused in {stage}"),
        (RolloutState::Paused, None) => "is paused before its first stage".to_owned(),
        // A freeze, or the moment between a command and its first effect. The events tell which.
        (RolloutState::Waiting, _) => "has not begun".to_owned(),
        (RolloutState::Trying, _) => "is before its first stage".to_owned(),
        (RolloutState::Withheld, _) => format!("has been withheld{}", time("since")),
        (RolloutState::Gone, _) => format!("ended with its branch{}", time("at")),
        (state, _) => format!("was {}{}", state.name(), time("at")),
    }
}

/// The reason for which a rollout does not advance.
fn reason(rollout: &RolloutStatus) -> Option<String> {
    let RolloutStatus { state, why, missing, .. } = rollout;
    match state {
        RolloutState::Paused | RolloutState::Withheld => {
            why.as_ref().map(|why| format!("{}: {why}", state.name()))
        }
        _ => missing.as_ref().map(|missing| format!("it waits: {missing}")),
    }
}

fn finding(rollout: &RolloutStatus) -> Option<String> {
    let is_open = rollout.state.is_running() || rollout.state == RolloutState::Withheld;
    is_open.then(|| reason(rollout).map(|reason| format!("{}: {reason}", rollout.id)))?
}

/// `1 of 12`.
fn have_it(rollout: &RolloutStatus) -> Option<String> {
    Some(format!("{} of {}", rollout.ok?, rollout.instances?))
}

/// `main of config`.
fn place(rollout: &RolloutStatus) -> String {
    format!("{} of {}", rollout.branch, rollout.repository)
}

fn applications(rollout: &RolloutStatus) -> String {
    let names: Vec<&str> = rollout.applications.iter().map(name).collect();
    let shown = names[..names.len().min(NAME_COUNT_MAX)].join(", ");
    match names.len().saturating_sub(NAME_COUNT_MAX) {
        0 if shown.is_empty() => "-".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn name(application: &RolloutApplication) -> &str {
    if application.application == OTHERS { "all others" } else { &application.application }
}

fn application_table(rollout: &RolloutStatus) -> String {
    if rollout.applications.is_empty() {
        return String::new();
    }
    let head = ["APPLICATION", "STABLE", "INSTANCES", "CANARIES", "HAVE IT"];
    let rows = rollout.applications.iter().map(|application| {
        let count = |count: Option<u64>| {
            count.map_or_else(|| "-".to_owned(), |count: u64| count.to_string())
        };
        vec![
            name(application).to_owned(),
            short(&application.stable),
            count(application.instances),
            count(application.canaries),
            count(application.ok),
        ]
    });
    let rows: Vec<Vec<String>> =
        std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect();
    format!("\n{}", table(&rows))
}

/// The events, one line each.
fn records(records: &[RolloutRecord]) -> String {
    let lines: Vec<String> =
        records.iter().map(|own| format!("{}  {}", whole_seconds(&own.at), own.text)).collect();
    below(&lines)
}

/// `2026-11-30T20:01:02.125Z` without the fraction.
fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) if fraction.ends_with('Z') => format!("{seconds}Z"),
        _ => time.to_owned(),
    }
}

fn table(rows: &[Vec<String>]) -> String {
    painted_table(rows, Colours::of_stdout(), |row, _| (row == 0).then_some(BOLD))
}

/// Lines after an empty one.
fn below(lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("{}\n", one_line(line))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

#[cfg(test)]
mod tests;
