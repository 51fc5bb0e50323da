//! Finds the rollout that a user means. Pure.

use anyhow::bail;
use headwater_wire::{RolloutState, RolloutStatus};

/// The ids that a message names.
const SHOWN_COUNT_MAX: usize = 8;

/// Returns what [`choose`] does, or else the rollout that has ended last.
pub(super) fn choose_or_latest<'r>(
    rollouts: &'r [RolloutStatus],
    id: Option<&str>,
) -> anyhow::Result<&'r RolloutStatus> {
    let is_open =
        |own: &RolloutStatus| own.state.is_running() || own.state == RolloutState::Withheld;
    let latest = rollouts.iter().max_by(|a, b| a.since.cmp(&b.since));
    match latest.filter(|_| id.is_none() && !rollouts.iter().any(is_open)) {
        Some(latest) => Ok(latest),
        None => choose(rollouts, id),
    }
}

/// Returns the rollout with an id, or the only one whose id begins with it. Without an id, the only one that runs or, if
/// none runs, that is withheld.
pub(super) fn choose<'r>(
    rollouts: &'r [RolloutStatus],
    id: Option<&str>,
) -> anyhow::Result<&'r RolloutStatus> {
    let Some(id) = id else {
        return only_one(rollouts);
    };
    if let Some(rollout) = rollouts.iter().find(|rollout| rollout.id == id) {
        return Ok(rollout);
    }
    let found: Vec<&RolloutStatus> =
        rollouts.iter().filter(|rollout| begins_with(&rollout.id, id)).collect();
    match found[..] {
        [rollout] => Ok(rollout),
        [] => bail!("no rollout begins with {id:?}. List them with headwater rollout list"),
        _ => bail!("several rollouts begin with {id}: {}", ids(&found)),
    }
}

/// Returns true if an id, with or without its `r-`, begins with a text.
fn begins_with(id: &str, text: &str) -> bool {
    let digits = id.strip_prefix("r-").unwrap_or(id);
    !text.is_empty() && (id.starts_with(text) || digits.starts_with(text))
}

fn only_one(rollouts: &[RolloutStatus]) -> anyhow::Result<&RolloutStatus> {
    let running: Vec<&RolloutStatus> =
        rollouts.iter().filter(|rollout| rollout.state.is_running()).collect();
    let withheld: Vec<&RolloutStatus> =
        rollouts.iter().filter(|rollout| rollout.state == RolloutState::Withheld).collect();
    match (&running[..], &withheld[..]) {
        ([rollout], _) | ([], [rollout]) => Ok(rollout),
        ([], []) => bail!("no rollout runs or is withheld. Name one that has ended by its id"),
        ([], several) => bail!("several rollouts are withheld, name one of {}", ids(several)),
        (several, _) => bail!("several rollouts run, name one of {}", ids(several)),
    }
}

fn ids(rollouts: &[&RolloutStatus]) -> String {
    let shown: Vec<&str> =
        rollouts.iter().take(SHOWN_COUNT_MAX).map(|rollout| &*rollout.id).collect();
    match rollouts.len().saturating_sub(SHOWN_COUNT_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rollout::fixture::rollout;

    fn rollouts(states: &[(&str, RolloutState)]) -> Vec<RolloutStatus> {
        let rollout = |(id, state): &(&str, RolloutState)| RolloutStatus {
            id: (*id).to_owned(),
            state: *state,
            ..rollout()
        };
        states.iter().map(rollout).collect()
    }

    #[track_caller]
    fn check(states: &[(&str, RolloutState)], id: Option<&str>, expected: Result<&str, &str>) {
        let rollouts = rollouts(states);
        let chosen = choose(&rollouts, id).map(|rollout| rollout.id.as_str());
        let chosen = chosen.map_err(|error| error.to_string());
        assert_eq!(chosen.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn a_rollout_is_named_by_the_beginning_of_its_id() {
        use RolloutState::{Done, Stage};
        let states = [("r-7f3a2c91d0", Stage), ("r-7f00000000", Stage), ("r-0012345678", Done)];
        check(&states, Some("r-7f3a2c91d0"), Ok("r-7f3a2c91d0"));
        check(&states, Some("r-7f3"), Ok("r-7f3a2c91d0"));
        check(&states, Some("00"), Ok("r-0012345678"));
        check(
            &states,
            Some("7f"),
            Err("several rollouts begin with 7f: r-7f3a2c91d0, r-7f00000000"),
        );
        for id in ["r-9", ""] {
            let unknown =
                format!("no rollout begins with {id:?}. List them with headwater rollout list");
            check(&states, Some(id), Err(&unknown));
        }
    }

    #[test]
    fn the_only_one_need_not_be_named() {
        use RolloutState::{Done, Paused, Stage, Withheld};
        check(&[("r-1", Done), ("r-2", Paused), ("r-3", Withheld)], None, Ok("r-2"));
        check(&[("r-1", Done), ("r-3", Withheld)], None, Ok("r-3"));
        let two = [("r-1", Stage), ("r-2", Paused)];
        check(&two, None, Err("several rollouts run, name one of r-1, r-2"));
        let two = [("r-1", Withheld), ("r-2", Withheld)];
        check(&two, None, Err("several rollouts are withheld, name one of r-1, r-2"));
        let none = "no rollout runs or is withheld. Name one that has ended by its id";
        check(&[("r-1", Done)], None, Err(none));
        assert!(choose(&[], None).is_err() && choose_or_latest(&[], None).is_err());
    }

    #[test]
    fn without_an_open_rollout_the_last_one_is_shown() {
        use RolloutState::{Done, Stage};
        let mut ended = rollouts(&[("r-1", Done), ("r-2", Done), ("r-3", Done)]);
        for (rollout, since) in ended.iter_mut().zip(["20:01", "20:03", "20:02"]) {
            rollout.since = Some(format!("2026-11-30T{since}:00Z"));
        }
        assert_eq!(choose_or_latest(&ended, None).unwrap().id, "r-2");
        assert_eq!(choose_or_latest(&ended, Some("3")).unwrap().id, "r-3");
        ended[0].state = Stage;
        assert_eq!(choose_or_latest(&ended, None).unwrap().id, "r-1");
    }
}
