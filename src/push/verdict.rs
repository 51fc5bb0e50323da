//! What the hook is told: whether git may move what was pushed, and the words for the person who pushed it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedRwLockWriteGuard;
use tokio::time::timeout;

use super::host::Waiting;
use super::session::{Accepted, Session};
use super::share::{Carried, Carrying, Uncarried};
use super::updates::{self, Question, Update};
use super::{Host, Permission, PushError};
use crate::check::{self, InUse, Manner, Report, Terms};
use crate::model::{Label, Query};
use crate::snapshot::Snapshot;
use crate::source::git::{self, Incoming};
use crate::store::Actor;
use crate::sync::lock;
use crate::tree::TreeError;

/// What is said when those who list references take too long.
pub(super) const BUSY: &str = "the server is busy: try again";
/// How long a push waits for the one before it.
const TURN_MAX: Duration = Duration::from_secs(60);

/// The answer to a hook.
pub(super) struct Verdict {
    decision: Decision,
    pub(super) lines: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Accepted,
    Refused,
}

/// What was found out about one branch or tag; nothing if it brings nothing.
type Checked = Option<(Report, Snapshot)>;

/// What was found out about the content of a push.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    /// The line that comes before all others if there is a second branch or tag.
    first: Option<String>,
    has_problems: bool,
    snapshots: Vec<Snapshot>,
}

impl Verdict {
    pub(super) fn refused(line: &str) -> Self {
        Self { decision: Decision::Refused, lines: vec![line.to_owned()] }
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.decision == Decision::Accepted
    }
}

/// Judges a push. From here until it is published, no other one of this repository is judged.
pub(super) async fn judge(session: &Arc<Session>, question: Question) -> Verdict {
    let host = &session.host;
    if host.share.as_ref().is_some_and(|share| !share.is_heard()) {
        return Verdict::refused(
            "what is in the repository was not heard from etcd yet: try again",
        );
    }
    let waiting = Waiting::on(host);
    let Ok(turn) = timeout(TURN_MAX, Arc::clone(&host.turn).lock_owned()).await else {
        return Verdict::refused("other pushes take too long: try again");
    };
    drop(waiting);
    if catch_up(host).await.is_err() {
        return Verdict::refused("the server cannot write to its disk: nothing was moved");
    }
    let carrying = match &host.share {
        Some(share) => Carrying::begin(host, share, &question, session.who.clone()).await.map(Some),
        None => Ok(None),
    };
    let mut carrying = match carrying {
        Ok(carrying) => carrying,
        Err(line) => return Verdict::refused(&line),
    };
    let refusal = updates::refusal(&question.updates, host.terms.deleting, |reference| {
        host.source.published(reference)
    });
    if let Some(refusal) = refusal {
        tracing::info!(repository = host.name, who = session.who.as_deref(), "push refused");
        return Verdict::refused(&refusal);
    }
    let references = question.updates.iter().map(|update| update.reference.clone()).collect();
    let (synced, findings, packed) =
        tokio::join!(sync(host), look(host, question), pack(carrying.as_mut()));
    // What moves now must not be durable before what it leads to.
    if synced.is_err() {
        return Verdict::refused("the server cannot write to its disk: nothing was moved");
    }
    let findings = match findings {
        Ok(findings) => findings,
        Err(line) => return Verdict::refused(&line),
    };
    if findings.has_problems && host.terms.manner == Manner::Refuse {
        tracing::info!(repository = host.name, who = session.who.as_deref(), "push refused");
        return Verdict { decision: Decision::Refused, lines: findings.lines };
    }
    if findings.has_problems {
        tracing::warn!(
            repository = host.name,
            who = session.who.as_deref(),
            "a push with problems was taken, because push.checks = warn"
        );
    }
    if let Err(line) = packed {
        return Verdict::refused(&line);
    }
    let (carried, moving) = match carry(session, carrying).await {
        Ok(ready) => ready,
        Err(line) => return Verdict::refused(&line),
    };
    session.accept(Accepted {
        references,
        carried,
        _snapshots: findings.snapshots,
        _turn: turn,
        _moving: moving,
    });
    Verdict { decision: Decision::Accepted, lines: findings.lines }
}

async fn pack(carrying: Option<&mut Carrying>) -> Result<(), String> {
    match carrying {
        Some(carrying) => carrying.pack().await,
        None => Ok(()),
    }
}

/// The last step before git may move: of a shared repository the push is in etcd after it. Nobody lists references from
/// then on.
async fn carry(
    session: &Session,
    carrying: Option<Carrying>,
) -> Result<(Option<Carried>, OwnedRwLockWriteGuard<()>), String> {
    let Some(carrying) = carrying else {
        let moving = session.host.unlisted().await;
        return moving.map(|moving| (None, moving)).ok_or_else(|| BUSY.to_owned());
    };
    match carrying.carry().await {
        Ok((carried, moving)) => Ok((Some(carried), moving)),
        Err(Uncarried::Refused(line)) => Err(line),
        Err(Uncarried::Unsure(line)) => {
            let who = session.who.as_deref();
            tracing::error!(
                repository = session.host.name,
                who,
                "etcd does not say what became of a push"
            );
            session.give_no_answer();
            Err(line.to_owned())
        }
    }
}

/// Tries again what could not be made durable before. Until it is, nothing is listed.
pub(super) async fn catch_up(host: &Arc<Host>) -> Result<(), PushError> {
    let unsynced = lock(&host.unsynced).clone();
    if !unsynced.is_empty() {
        host.publish(unsynced, &Actor::Push(None)).await?;
        lock(&host.unsynced).clear();
    }
    Ok(())
}

pub(super) async fn sync(host: &Arc<Host>) -> Result<(), ()> {
    let path = host.path.clone();
    match tokio::task::spawn_blocking(move || git::sync(&path)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(repository = host.name, %error, "a push cannot be made durable");
            Err(())
        }
        Err(_) => Err(()),
    }
}

/// Looks at what was pushed, on a blocking thread.
async fn look(host: &Arc<Host>, question: Question) -> Result<Findings, String> {
    let host = Arc::clone(host);
    let looking = tokio::task::spawn_blocking(move || Look::begin(&host, question)?.look());
    looking
        .await
        .unwrap_or_else(|_| Err("the server cannot check this: nothing was moved".to_owned()))
}

struct Look {
    host: Arc<Host>,
    updates: Vec<Update>,
    incoming: Incoming,
    terms: Terms,
}

impl Look {
    fn begin(host: &Arc<Host>, question: Question) -> Result<Self, String> {
        // Named by the hook, whose key is right; but whatever it names is opened as objects of this repository.
        let quarantine = question.quarantine.filter(|it| it.starts_with(host.path.join("objects")));
        let directories: Vec<PathBuf> = quarantine.into_iter().collect();
        let incoming = host.source.incoming(directories).map_err(|error| error.to_string())?;
        let terms = Terms {
            overrides: host.terms.overrides.clone(),
            until: Some(Instant::now() + host.terms.check_max),
            ..Terms::new(host.terms.strictness)
        };
        Ok(Self { host: Arc::clone(host), updates: question.updates, incoming, terms })
    }

    fn look(self) -> Result<Findings, String> {
        let mut findings = Findings::default();
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        for update in &self.updates {
            let Some(new) = &update.new else { continue };
            self.check_forced(update, new)?;
            self.check_kind(update, new)?;
            let checked = match update.branch() {
                Some(branch) => self.check(branch, update.old.as_deref(), new),
                None => self.check_tag(update, new),
            };
            if let Some((report, snapshot)) = checked.map_err(|error| failed(&error))? {
                findings.add(&update.shown(), &report, self.host.terms.manner, snapshot);
            }
        }
        Ok(findings)
    }

    /// Refuses what takes something away, where that is not allowed: a branch only goes on, and a tag stays where it is.
    fn check_forced(&self, update: &Update, new: &str) -> Result<(), String> {
        let (Some(old), Permission::Denied) = (&update.old, self.host.terms.forcing) else {
            return Ok(());
        };
        let name = update.shown();
        if update.branch().is_none() {
            return Err(format!("{name}: a tag stays where it is (push.allow_force)"));
        }
        match self.incoming.follows(new, old).map_err(|error| error.to_string())? {
            true => Ok(()),
            false => Err(format!(
                "{name}: the new commit does not follow the one before it (push.allow_force)"
            )),
        }
    }

    /// Refuses a branch that is to lead to a tag, or to nothing: git would, once it is too late to say so.
    fn check_kind(&self, update: &Update, new: &str) -> Result<(), String> {
        if update.branch().is_none() {
            return Ok(());
        }
        match self.incoming.commit(new).map_err(|error| error.to_string())? {
            Some(commit) if commit == new => Ok(()),
            _ => Err(format!("{}: a branch leads to a commit", update.shown())),
        }
    }

    /// Checks what a tag leads to, unless a branch leads there too: it is a label like any other one.
    fn check_tag(&self, update: &Update, new: &str) -> Result<Checked, Box<dyn std::error::Error>> {
        let name = update.shown();
        let Some(commit) = self.incoming.commit(new)? else {
            return Err(format!("{name}: a tag leads to a commit").into());
        };
        for branch in self.updates.iter().filter(|update| update.branch().is_some()) {
            if let Some(tip) = &branch.new
                && self.incoming.follows(tip, &commit)?
            {
                return Ok(None);
            }
        }
        let checked = self.check(&name, None, &commit)?;
        // Who asks for other labels sees none of it.
        Ok(checked.map(|(report, snapshot)| (Report { is_compared: false, ..report }, snapshot)))
    }

    /// Checks one branch against where it was, or a new one against the branch of `HEAD`.
    fn check(
        &self,
        branch: &str,
        old: Option<&str>,
        new: &str,
    ) -> Result<Checked, Box<dyn std::error::Error>> {
        // An old commit under a new name brings nothing.
        if old.is_none() && self.host.source.leads_to(new)? {
            return Ok(None);
        }
        let head = self.host.source.head_branch().unwrap_or_default();
        let base = match old {
            Some(old) => Some(old.to_owned()),
            None => self.host.source.published(&format!("refs/heads/{head}")),
        };
        let labels = updates::labels(branch, head);
        let Some(member) = self.incoming.member(new, branch)? else {
            return Err("a branch leads to a commit".into());
        };
        let old = match (&base, old.and_then(|old| self.served(&labels, branch, old))) {
            (_, Some(served)) => Some(Snapshot::clone(&served)),
            (Some(base), None) => self.incoming.snapshot(base, branch)?,
            (None, None) => None,
        };
        let snapshot = match &old {
            Some(old) if old.members.len() > 1 => {
                let mut members = old.members.clone();
                for place in &mut members {
                    if place.layout == member.layout && place.label == member.label {
                        let group = place.group;
                        *place = crate::snapshot::Member { group, ..member.clone() };
                    }
                }
                Snapshot { revision: member.revision.clone(), members }
            }
            _ => Snapshot::new(vec![member]),
        };
        let in_use = self.in_use(&labels, &snapshot)?;
        let report = check::check(&snapshot, old.as_ref(), &in_use, &self.terms)?;
        Ok(Some((report, snapshot)))
    }

    /// What is served for this branch just now, if it is served together with other sources.
    fn served(&self, labels: &[Label], branch: &str, old: &str) -> Option<Arc<Snapshot>> {
        labels.iter().find_map(|label| {
            let served = self.host.store.served(label)?;
            let is_in = served.members.iter().any(|member| {
                member.layout == *self.incoming.layout()
                    && member.label.as_deref() == Some(branch)
                    && member.revision.as_str() == old
            });
            (is_in && served.members.len() > 1).then_some(served)
        })
    }

    /// Who asks for this branch, under whatever label, those whom most watch first.
    fn in_use(&self, labels: &[Label], next: &Snapshot) -> Result<Vec<InUse>, TreeError> {
        let mut all: HashMap<Query, InUse> = HashMap::new();
        for label in labels {
            for mut in_use in self.host.store.in_use(label, next)? {
                in_use.query.label = Label::Default;
                let watcher_count = in_use.watcher_count;
                let known = all.entry(in_use.query.clone());
                known.and_modify(|known| known.watcher_count += watcher_count).or_insert(in_use);
            }
        }
        let mut all: Vec<InUse> = all.into_values().collect();
        all.sort_by(|a, b| {
            (b.watcher_count, &a.query.application, &a.query.profiles).cmp(&(
                a.watcher_count,
                &b.query.application,
                &b.query.profiles,
            ))
        });
        Ok(all)
    }
}

impl Findings {
    /// The words for one branch or tag; it is named once it is not the only one.
    fn add(&mut self, name: &str, report: &Report, manner: Manner, snapshot: Snapshot) {
        self.has_problems |= !report.problems.is_empty();
        let heading = format!("{name}:");
        match (self.snapshots.is_empty(), self.first.take()) {
            (true, _) => self.first = Some(heading),
            (false, first) => {
                self.lines.splice(0..0, first);
                self.lines.push(heading);
            }
        }
        self.lines.extend(check::words(report, manner));
        self.snapshots.push(snapshot);
    }
}
