//! The loop around the program: tells the supervisor what happens and does what it says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use headwater_client::{Configuration, Outcome};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::child::{Child, Grouping, LeftBehind};
use super::command;
use super::follow::{Followed, Verdict};
use super::prepare::{Files, Prepared, Recipe};
use super::signals::Signals;
use super::supervisor::{Action, Event, Reaction, Supervisor};
use super::texts::Texts;

/// How long a reload command may take.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// What to run, and what to do about changes.
pub(super) struct Plan {
    pub(super) recipe: Recipe,
    pub(super) command: Vec<OsString>,
    pub(super) reaction: Reaction,
    /// The command of [`Reaction::Reload`].
    pub(super) reload: Option<String>,
    pub(super) grace: Duration,
    /// Between two looks at the texts of the server where no hint comes.
    pub(super) refresh: Duration,
}

/// Runs the program until it ends; gives its exit code.
///
/// # Errors
/// It cannot be started, or this process cannot be told of signals.
pub(super) async fn supervise(
    plan: Plan,
    prepared: Prepared,
    followed: Followed,
    mut signals: Signals,
) -> anyhow::Result<ExitCode> {
    // Before the program starts: it may end at once.
    let mut ends = unix::signal(SignalKind::child()).context("cannot listen to signals")?;
    let mut supervisor = Supervisor::new(plan.grace);
    let has_texts = plan.recipe.asks_for_texts();
    let health = followed.health.clone();
    let mut texts = has_texts.then(|| Texts::follow(&plan.recipe.client, health, plan.refresh));
    let mut scene = Scene::start(Arc::new(plan), prepared, followed)?;
    loop {
        let event = tokio::select! {
            _ = ends.recv() => match scene.reap()? {
                Some(code) => Event::Ended(code),
                None => continue,
            },
            signal = signals.next() => Event::Told(signal, scene.grouping.reached(signal)),
            event = done(&mut scene.work) => scene.finished(event),
            () = changed(&mut scene.followed.configurations) => Event::Changed,
            () = texts_changed(&mut texts) => Event::Changed,
            () = alarm(&mut scene.alarm) => Event::Alarm,
        };
        for action in supervisor.on(event) {
            if let Some(code) = scene.perform(action)? {
                scene.give_up().await;
                return Ok(ExitCode::from(code));
            }
        }
    }
}

/// What the loop works with.
struct Scene {
    plan: Arc<Plan>,
    followed: Followed,
    /// What is being prepared, or is in place and not told to the program yet.
    candidate: Configuration,
    grouping: Grouping,
    child: Child,
    left_behind: LeftBehind,
    /// What the program is started with next time.
    variables: BTreeMap<String, String>,
    work: Option<JoinHandle<Work>>,
    alarm: Option<Instant>,
}

/// What was done beside the loop.
enum Work {
    Prepared(anyhow::Result<Prepared>),
    Reloaded(Outcome),
}

impl Scene {
    fn start(plan: Arc<Plan>, prepared: Prepared, followed: Followed) -> anyhow::Result<Self> {
        let grouping = Grouping::choose();
        let Prepared { configuration: candidate, variables, .. } = prepared;
        let child = start(&plan.command, &variables, grouping)?;
        let scene = Self {
            plan,
            followed,
            candidate,
            grouping,
            child,
            left_behind: LeftBehind::default(),
            variables,
            work: None,
            alarm: None,
        };
        scene.acknowledge(Outcome::Applied);
        Ok(scene)
    }

    /// Says to the servers what became of what was prepared.
    fn acknowledge(&self, outcome: Outcome) {
        let configuration = self.candidate.clone();
        self.followed.verdicts.send_replace(Some(Verdict { configuration, outcome }));
    }

    /// The exit code of the program if it has ended.
    fn reap(&mut self) -> io::Result<Option<u8>> {
        self.left_behind.reap();
        let ended = self.child.ended()?;
        if ended.is_some() {
            self.left_behind.add(&self.child);
        }
        Ok(ended)
    }

    /// Does what the supervisor says; gives the exit code at the end.
    fn perform(&mut self, action: Action) -> anyhow::Result<Option<u8>> {
        match action {
            Action::Prepare => {
                let plan = Arc::clone(&self.plan);
                let configuration = self.followed.configurations.borrow_and_update().clone();
                self.candidate = configuration.clone();
                self.work = Some(tokio::spawn(async move {
                    Work::Prepared(plan.recipe.prepare(&configuration).await)
                }));
            }
            Action::Send(signal) => self.child.send(signal),
            Action::Reload => {
                let (plan, child) = (Arc::clone(&self.plan), self.child.id);
                self.work = Some(tokio::spawn(async move {
                    let text = plan.reload.as_deref().unwrap_or_default();
                    Work::Reloaded(reload(text, child).await)
                }));
            }
            Action::Alarm(after) => self.alarm = Some(Instant::now() + after),
            Action::Kill => {
                tracing::warn!("the program was told to end and did not: it is killed");
                self.child.kill();
            }
            Action::Start => {
                self.alarm = None;
                self.child = start(&self.plan.command, &self.variables, self.grouping)?;
                tracing::info!("started again");
                self.acknowledge(Outcome::Applied);
            }
            Action::Exit(code) => return Ok(Some(code)),
        }
        Ok(None)
    }

    /// Ends what is done beside the loop: a check or a reload is nobody's any more.
    async fn give_up(&mut self) {
        if let Some(work) = self.work.take() {
            work.abort();
            // That it was cancelled is what was wanted.
            let _ = work.await;
        }
    }

    /// What became of the work.
    fn finished(&mut self, work: Work) -> Event {
        match work {
            Work::Reloaded(outcome) => {
                self.acknowledge(outcome);
                Event::Reloaded
            }
            Work::Prepared(Ok(prepared)) => {
                let reaction = reaction(self.plan.reaction, &prepared, &self.variables);
                self.variables = prepared.variables;
                // The others have taken effect only when they are done.
                if matches!(reaction, Reaction::Nothing | Reaction::Signal(_)) {
                    self.acknowledge(Outcome::Applied);
                }
                Event::Prepared(reaction)
            }
            Work::Prepared(Err(problem)) => {
                tracing::error!(problem = %format!("{problem:#}"), "a change is not used: what was there stays");
                self.acknowledge(Outcome::Rejected);
                Event::Refused
            }
        }
    }
}

/// Variables of a running program cannot be changed: only a restart brings them.
fn reaction(wanted: Reaction, prepared: &Prepared, old: &BTreeMap<String, String>) -> Reaction {
    match (prepared.files, wanted) {
        (Files::Replaced, wanted) => wanted,
        (Files::Same, Reaction::Restart) if prepared.variables != *old => Reaction::Restart,
        (Files::Same, _) => Reaction::Nothing,
    }
}

fn start(
    command: &[OsString],
    variables: &BTreeMap<String, String>,
    grouping: Grouping,
) -> anyhow::Result<Child> {
    let program = command.first().map(|it| it.display().to_string()).unwrap_or_default();
    Child::start(command, variables, grouping).with_context(|| format!("cannot start {program}"))
}

/// A reload that fails is said; the program goes on with what it has.
async fn reload(text: &str, child: rustix::process::Pid) -> Outcome {
    match command::about(text, child, RELOAD_TIMEOUT).await {
        Ok(status) if status.success() => {
            tracing::info!("reloaded");
            return Outcome::Applied;
        }
        Ok(status) => tracing::error!(%status, "the reload command failed"),
        Err(error) => tracing::error!(%error, "the reload command failed"),
    }
    Outcome::Rejected
}

/// The next configuration; never once nobody watches any more.
async fn changed(configurations: &mut watch::Receiver<Configuration>) {
    if configurations.changed().await.is_err() {
        std::future::pending().await
    }
}

/// What a task gave; never while there is none.
async fn done(work: &mut Option<JoinHandle<Work>>) -> Work {
    let Some(task) = work else {
        return std::future::pending().await;
    };
    let ended = task.await;
    *work = None;
    match ended {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn alarm(at: &mut Option<Instant>) {
    let Some(end) = *at else {
        return std::future::pending().await;
    };
    sleep_until(end).await;
    *at = None;
}

/// When texts are worth asking for; never where there are none.
async fn texts_changed(texts: &mut Option<Texts>) {
    match texts {
        Some(texts) => texts.changed().await,
        None => std::future::pending().await,
    }
}
