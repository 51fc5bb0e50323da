//! Tests of commands.

use super::*;
use crate::bucket::Bound;
use crate::fixture::{BRANCH, Scene, change, commit};
use crate::state::Phase;

fn run(scene: &mut Scene, command_kind: Command, rollout: &str) -> Result<Vec<String>, String> {
    let order = Order {
        command: command_kind,
        branch: BRANCH,
        rollout,
        by: "jo",
        because: "a test",
        tip: &commit(scene.tip),
        now: scene.wall,
    };
    let (next, events) = command(&scene.state, &order).map_err(|error| error.to_string())?;
    assert!(next.number > scene.state.number);
    assert_eq!(State::parse(next.to_text().as_bytes()).as_ref(), Ok(&next));
    scene.state = next;
    Ok(events.iter().map(|event| event.kind.to_string()).collect())
}

fn opened() -> (Scene, Name) {
    let mut scene = Scene::new();
    scene.push(&[change("order", 0, 1)]).unwrap();
    let id = scene.running()[0].id.clone();
    (scene, id)
}

#[test]
fn a_pause_ends_with_resume() {
    let (mut scene, id) = opened();
    let number = scene.running()[0].number;
    assert_eq!(run(&mut scene, Command::Pause, &id).unwrap(), ["paused: by jo: a test"]);
    assert!(run(&mut scene, Command::Pause, &id).unwrap_err().contains("paused already"));
    assert_eq!(run(&mut scene, Command::Resume, &id).unwrap(), ["resumed by jo: a test"]);
    assert!(run(&mut scene, Command::Resume, &id).unwrap_err().contains("is not paused"));
    assert_eq!(scene.running()[0].number, number, "no side changes its meaning");
}

#[test]
fn promote_skips_to_the_last_stage_in_every_phase() {
    for phase in [Phase::Waiting, Phase::Trying, Phase::Stage(0)] {
        let (mut scene, id) = opened();
        scene.state.branches.get_mut(BRANCH).unwrap().running[0].phase = phase;
        run(&mut scene, Command::Pause, &id).unwrap();
        let number = scene.running()[0].number;
        assert_eq!(run(&mut scene, Command::Promote, &id).unwrap(), ["promoted by jo: a test"]);
        let rollout = &scene.running()[0];
        assert!(rollout.is_in_last_stage() && rollout.paused.is_none() && rollout.number > number);
        assert_eq!(rollout.members["order"].bound, Bound::EVERYONE);
        assert_eq!(run(&mut scene, Command::Promote, &id).unwrap()[1], "done");
        assert!(scene.running().is_empty());
    }
}

#[test]
fn abort_withholds_and_retry_begins_again() {
    let (mut scene, id) = opened();
    let words = run(&mut scene, Command::Abort, &id).unwrap();
    assert!(
        words[0].starts_with("rolled back: aborted by jo: a test. order is back at 0000000000"),
        "{words:?}"
    );
    for refused in [Command::Pause, Command::Resume, Command::Abort] {
        assert!(run(&mut scene, refused, &id).unwrap_err().contains("because it is withheld"));
    }
    let number = scene.state.number;
    run(&mut scene, Command::Retry, &id).unwrap();
    let rollout = scene.running()[0].clone();
    assert_eq!((rollout.phase, &rollout.members["order"].stable), (Phase::Waiting, &commit(0)));
    assert!(rollout.id != id && rollout.number > number);
    assert!(run(&mut scene, Command::Retry, &rollout.id).unwrap_err().contains("it is running"));
    assert!(run(&mut scene, Command::Retry, &id).unwrap_err().contains("no rollout"));
}

#[test]
fn promote_of_withheld_content_serves_it_at_once() {
    let (mut scene, id) = opened();
    run(&mut scene, Command::Abort, &id).unwrap();
    let withheld = scene.state.number;
    let words = run(&mut scene, Command::Promote, &id).unwrap();
    assert_eq!(words, ["promoted by jo: a test", "released for order"]);
    let branch = scene.state.branch(BRANCH).unwrap();
    assert!(branch.entry("order").is_none());
    assert!(branch.id_number("order") > Some(withheld), "a replica that is behind knows it");
}

#[test]
fn a_branch_with_a_running_rollout_is_not_deleted() {
    let (mut scene, id) = opened();
    let error = scene.state.without_branch(BRANCH).unwrap_err().to_string();
    assert!(error.contains(&*id), "{error}");
    let (gone, events) = scene.state.forget(BRANCH);
    assert_eq!(events[0].to_string(), format!("{id}: ended, because its branch is gone"));
    assert!(gone.branch(BRANCH).is_none());
    run(&mut scene, Command::Abort, &id).unwrap();
    let (_, events) = scene.state.forget(BRANCH);
    assert_eq!(events.len(), 1, "withheld content ends with its branch too");
    let next = scene.state.without_branch(BRANCH).unwrap();
    assert!(next.branch(BRANCH).is_none() && next.number > scene.state.number);
}

#[test]
fn names_of_commands_are_read_as_they_are_written() {
    for own in Command::ALL {
        assert_eq!(Command::parse(own.as_str()), Some(own));
    }
    assert_eq!(Command::parse("revert"), None);
}
