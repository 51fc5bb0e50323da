//! What has to hold of a fleet whatever was done to it, as a pure function of what was seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::fleet::key;
use crate::record::{Change, End, Outcome, Push, Reason, Record};

/// How many faults of one kind are told.
const TOLD_MAX: usize = 5;

/// Everything that is wrong, in words; nothing if all is well.
pub(crate) fn check(record: &Record) -> Vec<String> {
    let Some(end) = record.ends.first() else { return vec!["no replica was looked at".into()] };
    let history = History::new(record, end);
    let kinds = [
        replicas_differ(record),
        pushes_lost(record),
        pushes_present(record),
        strangers(record, &history),
        not_served(record, &history),
        refused_unclearly(record),
        went_back(record, &history),
        watched_badly(record, &history),
        reads_differ(record),
        record.reads.iter().flat_map(|reads| reads.failures.clone()).collect(),
    ];
    kinds.into_iter().flat_map(told).collect()
}

/// The first of many.
fn told(mut faults: Vec<String>) -> Vec<String> {
    let count = faults.len();
    faults.truncate(TOLD_MAX);
    if count > TOLD_MAX {
        faults.push(format!("and {} more like these", count - TOLD_MAX));
    }
    faults
}

/// The commits of the branch, and what each of them changed.
struct History<'a> {
    positions: HashMap<&'a str, usize>,
    changes: Vec<Option<Change>>,
}

impl<'a> History<'a> {
    fn new(record: &'a Record, end: &'a End) -> Self {
        let made: HashMap<&str, Change> =
            record.pushes.iter().map(|push| (push.commit.as_str(), push.change)).collect();
        let ids = end.history.iter().map(String::as_str);
        Self {
            positions: ids.clone().zip(0..).collect(),
            changes: ids.map(|id| made.get(id).copied()).collect(),
        }
    }

    /// Where in the history the last change of an application is.
    fn last_change(&self, application: usize) -> usize {
        let is_of =
            |change: &Option<Change>| change.is_some_and(|it| it.application == application);
        self.changes.iter().rposition(is_of).unwrap_or(0)
    }

    /// What an application's keys should be: for each pusher its last change.
    fn expected(&self, application: usize) -> BTreeMap<String, u64> {
        let changes = self.changes.iter().flatten().filter(|it| it.application == application);
        changes.map(|change| (key(change.pusher), change.value)).collect()
    }
}

/// All replicas end byte-identical.
fn replicas_differ(record: &Record) -> Vec<String> {
    let mut faults = Vec::new();
    for pair in record.ends.windows(2) {
        let (one, other) = (&pair[0], &pair[1]);
        let names = format!("{} and {}", one.name, other.name);
        for (what, differ) in [
            ("references", one.references != other.references),
            ("histories", one.history != other.history),
            ("objects", one.objects != other.objects),
        ] {
            if differ {
                faults.push(format!("{names} have different {what}"));
            }
        }
        for (at, answers) in one.answers.iter().zip(&other.answers).enumerate() {
            if answers.0 != answers.1 {
                faults.push(format!("{names} answer differently for application {at}"));
            }
        }
        if one.answers.len() != other.answers.len() {
            faults.push(format!("{names} do not answer for the same applications"));
        }
    }
    let complaining = record.ends.iter().filter(|end| !end.complaints.is_empty());
    faults.extend(complaining.map(|end| format!("git fsck at {}: {}", end.name, end.complaints)));
    faults
}

/// Where a push is not in the history.
fn missing_at<'a>(record: &'a Record, push: &Push) -> Vec<&'a str> {
    let lacks = |end: &&End| !end.history.contains(&push.commit);
    record.ends.iter().filter(lacks).map(|end| end.name.as_str()).collect()
}

/// Every acknowledged push is everywhere, one of unknown outcome everywhere or nowhere.
fn pushes_lost(record: &Record) -> Vec<String> {
    let mut faults = Vec::new();
    for push in &record.pushes {
        let missing = missing_at(record, push);
        let is_fault = match push.outcome {
            Outcome::Acknowledged => !missing.is_empty(),
            Outcome::Unknown => !missing.is_empty() && missing.len() < record.ends.len(),
            Outcome::Refused(_) => false,
        };
        if is_fault {
            let Push { commit, replica, outcome, .. } = push;
            faults.push(format!("{commit} ({outcome:?} by r{replica}) is not in {missing:?}"));
        }
    }
    faults
}

/// No refused push is anywhere.
fn pushes_present(record: &Record) -> Vec<String> {
    let refused = record.pushes.iter().filter(|push| matches!(push.outcome, Outcome::Refused(_)));
    let present = refused.filter(|push| missing_at(record, push).len() < record.ends.len());
    present
        .map(|push| format!("{} was refused ({:?}) and is there", push.commit, push.outcome))
        .collect()
}

/// Nothing is in the history that nobody pushed, and nothing twice.
fn strangers(record: &Record, history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    let known: BTreeSet<&str> = record.pushes.iter().map(|push| push.commit.as_str()).collect();
    for id in record.ends.iter().flat_map(|end| &end.history) {
        if *id != record.first && !known.contains(id.as_str()) {
            faults.push(format!("{id} is in the history and nobody pushed it"));
        }
    }
    if !history.positions.contains_key(record.first.as_str()) {
        faults.push("the first commit is not in the history".into());
    }
    let mut seen = BTreeSet::new();
    let twice = history.changes.iter().flatten().filter(|change| !seen.insert(**change));
    faults.extend(twice.map(|change| format!("{change:?} is in the history twice")));
    faults
}

/// What is served is what was pushed.
fn not_served(record: &Record, history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    for end in &record.ends {
        for (application, answer) in end.answers.iter().enumerate() {
            let served = values(&answer.body);
            for (key, value) in history.expected(application) {
                let there = served.get(&key);
                if there != Some(&value) {
                    faults.push(format!(
                        "{} serves {there:?} for {key} of application {application}, not {value}",
                        end.name
                    ));
                }
            }
        }
    }
    faults
}

/// The numbers of an environment's first source.
fn values(body: &str) -> BTreeMap<String, u64> {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let source = body["propertySources"][0]["source"].as_object();
    let numbers = source.into_iter().flatten();
    numbers.filter_map(|(key, value)| Some((key.clone(), value.as_u64()?))).collect()
}

/// Who is refused is told why, and who can be reached is reached.
fn refused_unclearly(record: &Record) -> Vec<String> {
    let told = |push: &Push| match &push.outcome {
        Outcome::Refused(Reason::Unclear(said)) => {
            Some(format!("r{} refused without a clear reason: {said}", push.replica))
        }
        Outcome::Refused(Reason::Unreachable) if push.was_reachable => {
            Some(format!("r{} could not be reached for a push", push.replica))
        }
        _ => None,
    };
    record.pushes.iter().filter_map(told).collect()
}

/// What is wrong with revisions in the order in which they were seen.
fn backwards<'a>(
    who: &str,
    revisions: impl Iterator<Item = &'a String>,
    history: &History,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut newest = 0;
    for revision in revisions {
        match history.positions.get(revision.as_str()) {
            Some(position) if *position >= newest => newest = *position,
            Some(position) => {
                faults.push(format!("{who} went back from commit {newest} to {position}"));
            }
            None => faults.push(format!("{who} saw {revision}, which is in no history")),
        }
    }
    faults
}

/// No replica ever serves something older than before.
fn went_back(record: &Record, history: &History) -> Vec<String> {
    let faults = |reads: &crate::record::Reads| {
        let revisions = reads.revisions.iter().map(|(_, revision)| revision);
        backwards(&format!("who read at r{}", reads.replica), revisions, history)
    };
    record.reads.iter().flat_map(faults).collect()
}

/// Revisions seen by each watcher only go forward and end at the newest.
fn watched_badly(record: &Record, history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, watched) in record.watched.iter().enumerate() {
        let who = format!("watcher {at}");
        let revisions = watched.seen.iter().map(|seen| &seen.revision);
        faults.extend(backwards(&who, revisions, history));
        let Some(last) = watched.seen.last() else {
            faults.push(format!("{who} saw nothing"));
            continue;
        };
        let position = history.positions.get(last.revision.as_str());
        let newest = history.last_change(watched.application);
        if position.is_some_and(|position| *position < newest) {
            faults.push(format!("{who} ended at an older commit than the last change"));
        }
        let is_current = |end: &End| {
            let answer = end.answers.get(watched.application);
            answer.is_some_and(|answer| answer.etag.contains(&last.digest))
        };
        if !record.ends.iter().all(is_current) {
            faults.push(format!("{who} ended at something else than what is served"));
        }
    }
    faults
}

/// Of one revision everybody answers the same bytes.
fn reads_differ(record: &Record) -> Vec<String> {
    let mut known = HashMap::new();
    let mut faults = Vec::new();
    for reads in &record.reads {
        for (what, hash) in &reads.bodies {
            if *known.entry(what).or_insert(*hash) != *hash {
                let (application, revision) = what;
                faults.push(format!(
                    "application {application} was answered differently at {revision}"
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{Answer, Reads, Seen, Watched};

    fn push(value: u64, commit: &str, outcome: Outcome) -> Push {
        let change = Change { application: 0, pusher: 0, value };
        let at = Duration::from_secs(value);
        Push { change, commit: commit.into(), replica: 0, was_reachable: true, at, outcome }
    }

    fn end(name: &str) -> End {
        let body = r#"{"propertySources":[{"source":{"pusher-0":3}}]}"#.into();
        End {
            name: name.into(),
            references: "c refs/heads/main".into(),
            history: ["first", "a", "b", "c"].map(str::to_owned).into(),
            objects: "many".into(),
            complaints: String::new(),
            answers: vec![Answer { etag: "W/\"new\"".into(), body }],
        }
    }

    fn seen(revision: &str, digest: &str) -> Seen {
        Seen { revision: revision.into(), digest: digest.into() }
    }

    /// Three pushes that went well, one that was refused, one that nobody knows of and that is nowhere.
    fn good() -> Record {
        let served = |id: &str| (Duration::ZERO, id.to_owned());
        Record {
            first: "first".into(),
            pushes: vec![
                push(1, "a", Outcome::Acknowledged),
                push(2, "x", Outcome::Refused(Reason::FetchFirst)),
                push(2, "b", Outcome::Unknown),
                push(3, "c", Outcome::Acknowledged),
                push(4, "y", Outcome::Unknown),
            ],
            reads: vec![Reads {
                count: 3,
                revisions: vec![served("first"), served("b"), served("c")],
                bodies: BTreeMap::from([((0, "b".to_owned()), 7)]),
                ..Reads::default()
            }],
            watched: vec![Watched {
                application: 0,
                seen: vec![seen("first", "old"), seen("c", "new")],
            }],
            ends: vec![end("r0"), end("r1"), end("r2")],
        }
    }

    #[test]
    fn a_good_history_has_no_fault() {
        assert_eq!(check(&good()), Vec::<String>::new());
    }

    /// Does something to a good history, and has it found out.
    #[track_caller]
    fn finds(part: &str, plant: impl FnOnce(&mut Record)) {
        let mut record = good();
        plant(&mut record);
        let faults = check(&record);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{part}: {faults:?}");
    }

    #[test]
    fn a_lost_push_is_found() {
        finds("is not in [\"r2\"]", |it| it.ends[2].history.retain(|id| id != "a"));
        finds("is not in [\"r0\", \"r1\", \"r2\"]", |it| {
            it.pushes.push(push(5, "lost", Outcome::Acknowledged));
        });
        finds("b (Unknown by r0) is not in [\"r1\"]", |it| {
            it.ends[1].history.retain(|id| id != "b");
        });
    }

    #[test]
    fn a_refused_push_that_is_there_is_found() {
        finds("x was refused (Refused(FetchFirst)) and is there", |it| {
            it.ends[1].history.push("x".into());
        });
        finds("c was refused", |it| {
            it.pushes[3].outcome = Outcome::Refused(Reason::Etcd);
        });
    }

    #[test]
    fn what_nobody_pushed_and_what_is_there_twice_is_found() {
        finds("nobody pushed it", |it| it.ends[0].history.push("stranger".into()));
        finds("the first commit is not", |it| it.first = "other".into());
        finds("twice", |it| it.pushes[2].change = it.pushes[0].change);
    }

    #[test]
    fn an_acknowledged_push_that_is_not_served_is_found() {
        finds("r1 serves Some(2) for pusher-0", |it| {
            it.ends[1].answers[0].body = it.ends[1].answers[0].body.replace('3', "2");
        });
        finds("serves None", |it| it.ends[2].answers[0].body = "oops".into());
    }

    #[test]
    fn an_unclear_refusal_and_an_unreachable_replica_are_found() {
        let unclear = Reason::Unclear("no".into());
        finds("without a clear reason: no", |it| it.pushes[1].outcome = Outcome::Refused(unclear));
        finds("r0 could not be reached", |it| {
            it.pushes[1].outcome = Outcome::Refused(Reason::Unreachable);
        });
    }

    #[test]
    fn who_goes_back_is_found() {
        let back = |it: &mut Record| it.watched[0].seen.insert(1, seen("b", "middle"));
        let mut record = good();
        back(&mut record);
        assert_eq!(check(&record), Vec::<String>::new(), "that was forward");
        finds("watcher 0 went back from commit 2 to 1", |it| {
            back(it);
            it.watched[0].seen.insert(2, seen("a", "old"));
        });
        finds("which is in no history", |it| it.watched[0].seen[0].revision = "gone".into());
        finds("who read at r0 went back", |it| it.reads[0].revisions.swap(0, 1));
        finds("who read at r0 saw gone", |it| it.reads[0].revisions[1].1 = "gone".into());
    }

    #[test]
    fn a_watcher_that_does_not_end_at_the_newest_is_found() {
        finds("older commit than the last change", |it| {
            it.watched[0].seen[1].revision = "b".into()
        });
        finds("something else than what is served", |it| {
            it.watched[0].seen[1].digest = "old".into();
        });
        finds("saw nothing", |it| it.watched[0].seen.clear());
    }

    #[test]
    fn replicas_that_differ_are_found() {
        finds("r0 and r1 have different references", |it| it.ends[1].references.clear());
        finds("r1 and r2 have different histories", |it| it.ends[2].history.swap(1, 2));
        finds("r0 and r1 have different objects", |it| it.ends[1].objects.clear());
        finds("r1 and r2 answer differently", |it| it.ends[2].answers[0].etag.clear());
        finds("do not answer for the same", |it| it.ends[2].answers.clear());
        finds("git fsck at r1", |it| it.ends[1].complaints = "broken link".into());
        finds("answered differently at b", |it| {
            let mut other = it.reads[0].clone();
            other.bodies.insert((0, "b".into()), 8);
            it.reads.push(other);
        });
        finds("no replica was looked at", |it| it.ends.clear());
    }

    #[test]
    fn a_failed_read_is_found_and_many_faults_are_told_shortly() {
        finds("GET failed", |it| it.reads[0].failures.push("GET failed".into()));
        finds("and 2 more like these", |it| {
            it.reads[0].failures = vec!["GET failed".into(); TOLD_MAX + 2];
        });
    }
}
