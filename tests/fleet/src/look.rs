//! Looking at replicas: what they serve, what a clone of each has, what lies on their disks.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::fleet::{APPLICATION_COUNT, Fleet, REPLICA_COUNT, path};
use crate::process::until;
use crate::record::{Answer, End, Watched};
use crate::replica::Replica;
use crate::{git, http};

/// How long the fleet may take to be of one mind, and one replica to say what is wrong with it.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// The commit that all replicas began with.
pub(crate) fn first_commit(fleet: &Fleet) -> Result<String> {
    let reply = http::get(fleet.replicas[0].address(), &path(0))?;
    Ok(reply.revision().context("a revision")?.to_owned())
}

/// An answer of a replica for an application.
fn answer(replica: &Replica, application: usize) -> Result<(String, Answer)> {
    let reply = http::get(replica.address(), &path(application))?;
    let revision = reply.revision().context("a revision")?.to_owned();
    let etag = reply.header("etag").context("an entity tag")?.to_owned();
    Ok((revision, Answer { etag, body: reply.body }))
}

/// Waits until all replicas serve the newest commit that any of them has, and all who watch were told of it.
pub(crate) fn settle(fleet: &Fleet, watched: &[Mutex<Watched>]) -> Result<()> {
    let mut seen = String::new();
    let settled = until("all replicas and all who watch are of one mind", RECOVERY_MAX, || {
        let mut revisions = Vec::new();
        for replica in &fleet.replicas {
            let listed = git::run(Path::new("/"), &["ls-remote", &git::url(replica.address())])?;
            revisions.push(listed.out.split_whitespace().next().unwrap_or("none").to_owned());
            revisions.extend(answer(replica, 0).map(|(revision, _)| revision));
        }
        let is_one = revisions.iter().all(|revision| *revision == revisions[0]);
        let behind = watched.iter().filter(|it| !is_told(fleet, it)).count();
        seen = format!("{revisions:?}, {behind} who watch are behind");
        Ok(is_one && revisions.len() == 2 * REPLICA_COUNT && behind == 0)
    });
    settled.context(seen)
}

/// Whether one who watches knows what is served.
fn is_told(fleet: &Fleet, watched: &Mutex<Watched>) -> bool {
    let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok((_, answer)) = answer(&fleet.replicas[0], watched.application) else { return false };
    watched.seen.last().is_some_and(|seen| answer.etag.contains(&seen.digest))
}

/// Looks at all that a replica has.
pub(crate) fn look(replica: &Replica, place: &Path) -> Result<End> {
    let copy = place.join(format!("{}-copy.git", replica.name));
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    let url = git::url(replica.address());
    let to = copy.to_str().context("a path")?;
    git::done(place, &["clone", "--quiet", "--mirror", &url, to])?;
    let mut objects: Vec<String> =
        git::done(&copy, &["rev-list", "--objects", "--all"])?.lines().map(str::to_owned).collect();
    objects.sort_unstable();
    let history = git::done(&copy, &["rev-list", "--first-parent", "--reverse", "main"])?;
    let answers = (0..APPLICATION_COUNT).map(|at| Ok(answer(replica, at)?.1));
    Ok(End {
        name: replica.name.clone(),
        references: git::done(&copy, &["for-each-ref"])?,
        history: history.lines().map(str::to_owned).collect(),
        objects: objects.join("\n"),
        complaints: fsck(&copy)?,
        answers: answers.collect::<Result<_>>()?,
    })
}

/// What git complains of in a repository.
fn fsck(repository: &Path) -> Result<String> {
    let said = git::run(
        repository,
        &["-c", "safe.directory=*", "fsck", "--full", "--strict", "--no-dangling", "--no-progress"],
    )?;
    let complains = !said.is_done || said.err.contains("error") || said.out.contains("missing");
    Ok(if complains { format!("{}{}", said.out, said.err) } else { String::new() })
}

/// Kills all replicas; what lies on their disks is whole then, and none of them has ever panicked.
pub(crate) fn assert_left_whole(fleet: &Fleet) -> Result<()> {
    for replica in &fleet.replicas {
        replica.kill();
        if replica.said()?.contains("panicked") {
            bail!("{} has panicked", replica.name);
        }
        let mut said = String::new();
        // Git that a replica had started may still pack.
        let whole = until("the repository on the disk is whole", RECOVERY_MAX, || {
            said = fsck(&replica.repository())?;
            Ok(said.is_empty())
        });
        whole.with_context(|| format!("{}: {said}", replica.name))?;
    }
    Ok(())
}

/// Whether a replica shows that it does not reach etcd.
pub(crate) fn says_that_it_is_cut_off(replica: &Replica) -> Result<()> {
    let what = format!("{} says that it is cut off", replica.name);
    until(&what, RECOVERY_MAX, || {
        let health = http::get(replica.address(), "/actuator/health")?;
        Ok(health.body.contains("etcd is unreachable"))
    })
}
