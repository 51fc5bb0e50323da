//! One who pushes from a clone of its own, each time to a replica that chance picks, and does as people do when somebody
//! else was faster: fetch, rebase, push again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::fleet::{APPLICATION_COUNT, Fleet, changed, file};
use crate::git::{self, Said};
use crate::process::Stop;
use crate::record::{Change, Outcome, Push, Reason};

/// The pause between two changes, in milliseconds.
const PAUSE: std::ops::Range<u64> = 30..200;
/// How often one change is pushed while others are faster.
const ATTEMPT_COUNT_MAX: usize = 20;

/// Somebody with a clone.
pub(crate) struct Pusher<'a> {
    fleet: &'a Fleet,
    index: usize,
    copy: PathBuf,
    random: Rng,
    /// The value of its last change.
    value: u64,
    /// How many commits it has made: each attempt is one of its own, so that none is both refused and acknowledged.
    commit_count: u64,
    /// What it has fetched last.
    base: String,
    begun: Instant,
}

impl<'a> Pusher<'a> {
    /// With a new clone below a directory.
    pub(crate) fn new(
        fleet: &'a Fleet,
        index: usize,
        place: &Path,
        begun: Instant,
        random: Rng,
    ) -> Result<Self> {
        let copy = place.join(format!("pusher-{index}"));
        let path = copy.to_str().context("a path")?;
        git::done(place, &["clone", "--quiet", &git::url(fleet.replicas[0].address()), path])?;
        git::done(&copy, &["checkout", "--quiet", "-B", "main"])?;
        let base = git::done(&copy, &["rev-parse", "HEAD"])?.trim().to_owned();
        Ok(Self { fleet, index, copy, random, value: 0, commit_count: 0, base, begun })
    }

    /// Pushes one change after the other until it is over.
    pub(crate) fn push_on(&mut self, stop: &Stop, tell: impl Fn(Push)) -> Result<()> {
        while !stop.is_over_after(Duration::from_millis(self.random.u64(PAUSE))) {
            let change = self.commit()?;
            for _ in 0..ATTEMPT_COUNT_MAX {
                let push = self.push(change)?;
                let outcome = push.outcome.clone();
                tell(push);
                match outcome {
                    Outcome::Acknowledged => {
                        self.base = self.head()?;
                        break;
                    }
                    Outcome::Refused(Reason::FetchFirst) if self.rebase()? => {}
                    _ => break,
                }
            }
            self.begin_anew()?;
        }
        Ok(())
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        git::done(&self.copy, arguments)
    }

    fn head(&self) -> Result<String> {
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    fn any(&mut self) -> usize {
        self.random.usize(..self.fleet.replicas.len())
    }

    /// Commits one more change.
    fn commit(&mut self) -> Result<Change> {
        self.value += 1;
        let application = self.random.usize(..APPLICATION_COUNT);
        let change = Change { application, pusher: self.index, value: self.value };
        let path = self.copy.join(file(application));
        let text = fs::read_to_string(&path)?;
        fs::write(path, changed(&text, self.index, self.value))?;
        let message = self.message();
        self.git(&["commit", "--quiet", "--all", "-m", &message])?;
        Ok(change)
    }

    fn message(&mut self) -> String {
        self.commit_count += 1;
        format!("Commit {} of pusher {}", self.commit_count, self.index)
    }

    /// Pushes what is committed.
    fn push(&mut self, change: Change) -> Result<Push> {
        let replica = self.any();
        let commit = self.head()?;
        let to = &self.fleet.replicas[replica];
        let was_reachable = !to.is_at_fault();
        let said = git::run(&self.copy, &["push", &git::url(to.address()), "HEAD:refs/heads/main"]);
        Ok(Push {
            change,
            commit,
            replica,
            was_reachable: was_reachable && !to.is_at_fault(),
            at: self.begun.elapsed(),
            outcome: outcome(&said?),
        })
    }

    /// Puts the change upon what a replica has, if that is something else; false if that did not work.
    fn rebase(&mut self) -> Result<bool> {
        if self.fetch()? && !git::run(&self.copy, &["rebase", "--quiet", "FETCH_HEAD"])?.is_done {
            // There may be no rebase to be given up.
            let _ = git::run(&self.copy, &["rebase", "--abort"])?;
            return Ok(false);
        }
        let message = self.message();
        self.git(&["commit", "--quiet", "--amend", "-m", &message])?;
        Ok(true)
    }

    /// Whether some replica gave what it has.
    fn fetch(&mut self) -> Result<bool> {
        let url = git::url(self.fleet.replicas[self.any()].address());
        Ok(git::run(&self.copy, &["fetch", "--quiet", &url, "main"])?.is_done)
    }

    /// Forgets what was not acknowledged.
    fn begin_anew(&mut self) -> Result<()> {
        if self.fetch()? {
            let fetched = self.git(&["rev-parse", "FETCH_HEAD"])?.trim().to_owned();
            // A replica that is behind gives something older: that is nothing new.
            let is_newer =
                git::run(&self.copy, &["merge-base", "--is-ancestor", &self.base, &fetched])?;
            if is_newer.is_done {
                self.base = fetched;
            }
        }
        self.git(&["reset", "--quiet", "--hard", &self.base]).map(drop)
    }
}

/// How a push ended, by what git said.
fn outcome(said: &Said) -> Outcome {
    if said.is_done {
        return Outcome::Acknowledged;
    }
    let text = &said.err;
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    // Refused by the server, or by git itself because the server's list of references says so.
    let is_refused = says(&["[remote rejected]", "[rejected]"]);
    if is_refused && says(&["fetch first", "non-fast-forward"]) {
        Outcome::Refused(Reason::FetchFirst)
    } else if is_refused && says(&["etcd"]) {
        Outcome::Refused(Reason::Etcd)
    } else if is_refused {
        Outcome::Refused(Reason::Unclear(text.trim().to_owned()))
    } else if says(&["unable to access"]) && !says(&["RPC failed"]) {
        // The list of references is asked for first: nothing was sent.
        Outcome::Refused(Reason::Unreachable)
    } else {
        Outcome::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(err: &str, expected: Outcome) {
        let said = Said { is_done: false, out: String::new(), err: err.to_owned() };
        assert_eq!(outcome(&said), expected, "{err}");
    }

    #[test]
    fn what_git_says_tells_how_a_push_ended() {
        let refused = Outcome::Refused;
        check(
            " ! [rejected]        HEAD -> main (fetch first)\nerror: failed to push some refs\n",
            refused(Reason::FetchFirst),
        );
        check(
            "remote: push rejected, no branch was updated. fetch first: main has moved\n \
             ! [remote rejected] HEAD -> main (pre-receive hook declined)\n",
            refused(Reason::FetchFirst),
        );
        check(
            "remote: push rejected, no branch was updated: etcd is unreachable: no answer for 12 s\n \
             ! [remote rejected] HEAD -> main (pre-receive hook declined)\n",
            refused(Reason::Etcd),
        );
        let unclear = " ! [remote rejected] HEAD -> main (pre-receive hook declined)";
        check(unclear, refused(Reason::Unclear(unclear.trim().to_owned())));
        check(
            "fatal: unable to access 'http://127.0.0.1:1/': Failed to connect\n",
            refused(Reason::Unreachable),
        );
        for lost in [
            "error: RPC failed; curl 52 Empty reply from server\nfatal: the remote end hung up \
             unexpectedly\n",
            " ! [remote failure] HEAD -> main (remote failed to report status)\n",
            "",
        ] {
            check(lost, Outcome::Unknown);
        }
    }
}
