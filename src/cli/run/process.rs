//! The loop around the program: passes events to the supervisor and runs its actions.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use headwater_client::{Configuration, InstanceHealth, Outcome};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::child::{Child, Grouping, Orphans};
use super::command;
use super::follow::Subscription;
use super::prepare::{self, FileEffect, PreparedInputs, Recipe};
use super::signals::Signals;
use super::supervisor::{Reaction, Supervisor, SupervisorAction, SupervisorEvent};
use super::texts::ServerTexts;

/// The time limit of a reload command.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest delay of the end by the report that the program has failed.
const LAST_REPORT_MAX: Duration = Duration::from_secs(1);

/// The program to run, and the reaction to changes.
pub(super) struct RunPlan {
    pub(super) recipe: Recipe,
    pub(super) command: Vec<OsString>,
    pub(super) reaction: Reaction,
    /// The command of [`Reaction::Reload`].
    pub(super) reload: Option<String>,
    pub(super) grace: Duration,
    /// Between two looks at the texts of the server where no hint comes.
    pub(super) refresh: Duration,
}

/// Runs the program until it ends. Returns its exit code.
///
/// # Errors
/// When it cannot be started, or this process cannot listen to signals.
pub(super) async fn supervise(
    plan: Arc<RunPlan>,
    prepared: PreparedInputs,
    subscription: Subscription,
    mut signals: Signals,
) -> anyhow::Result<ExitCode> {
    // Before the program starts: it may end at once.
    let mut ends = unix::signal(SignalKind::child()).context("cannot listen to signals")?;
    let mut supervisor = Supervisor::new(plan.grace);
    let has_texts = plan.recipe.fetches_texts();
    let health = subscription.health.clone();
    let mut texts =
        has_texts.then(|| ServerTexts::follow(&plan.recipe.client, health, plan.refresh));
    let mut run_loop = RunLoop::start(plan, prepared, subscription)?;
    loop {
        let event = tokio::select! {
            _ = ends.recv() => match run_loop.reap()? {
                Some(code) => SupervisorEvent::Ended(code),
                None => continue,
            },
            signal = signals.next() => SupervisorEvent::Signalled(signal, run_loop.grouping.reached(signal)),
            event = done(&mut run_loop.task) => run_loop.finished(event),
            () = changed(&mut run_loop.subscription.configurations) => SupervisorEvent::Changed,
            () = texts_changed(&mut texts) => SupervisorEvent::Changed,
            () = alarm(&mut run_loop.alarm) => SupervisorEvent::Alarm,
        };
        for action in supervisor.on(event) {
            if let Some(code) = run_loop.perform(action)? {
                run_loop.give_up().await;
                if code != 0 && !supervisor.is_leaving() {
                    run_loop.report_failure(code).await;
                }
                return Ok(ExitCode::from(code));
            }
        }
    }
}

/// The state of the loop.
struct RunLoop {
    plan: Arc<RunPlan>,
    subscription: Subscription,
    /// The configuration that is being prepared, or that the program has not received yet.
    candidate: Configuration,
    grouping: Grouping,
    child: Child,
    orphans: Orphans,
    /// The variables of the next start.
    variables: BTreeMap<String, String>,
    task: Option<JoinHandle<TaskResult>>,
    alarm: Option<Instant>,
}

/// The result of a task beside the loop.
enum TaskResult {
    Prepared(anyhow::Result<PreparedInputs>),
    /// With the reason for a failure.
    Reloaded(Result<(), String>),
}

impl RunLoop {
    fn start(
        plan: Arc<RunPlan>,
        prepared: PreparedInputs,
        subscription: Subscription,
    ) -> anyhow::Result<Self> {
        let grouping = Grouping::choose();
        let PreparedInputs { configuration: candidate, variables, .. } = prepared;
        let child = start(&plan.command, &variables, grouping)?;
        let run_loop = Self {
            plan,
            subscription,
            candidate,
            grouping,
            child,
            orphans: Orphans::default(),
            variables,
            task: None,
            alarm: None,
        };
        run_loop.acknowledge();
        run_loop.subscription.reporter.report(InstanceHealth::Up, None);
        Ok(run_loop)
    }

    /// Reports to the servers that the program uses the prepared configuration.
    fn acknowledge(&self) {
        self.subscription.reporter.acknowledge(&self.candidate, Outcome::Applied);
    }

    /// Reports to the servers that the prepared configuration is not used.
    fn reject(&self, reason: &str) {
        self.subscription.reporter.reject(&self.candidate, reason);
    }

    /// Reports that the program ended by itself with a failure, and waits a moment for a server to receive this.
    async fn report_failure(&self, code: u8) {
        let reporter = &self.subscription.reporter;
        reporter.report(InstanceHealth::Down, Some(&format!("exit {code}")));
        // Without a server the end does not wait any longer.
        let _ = tokio::time::timeout(LAST_REPORT_MAX, reporter.delivered()).await;
    }

    /// The exit code of the program if it has ended.
    fn reap(&mut self) -> io::Result<Option<u8>> {
        self.orphans.reap();
        let ended = self.child.ended()?;
        if ended.is_some() {
            self.orphans.add(&self.child);
        }
        Ok(ended)
    }

    /// Runs the actions of the supervisor. Returns the exit code at the end.
    fn perform(&mut self, action: SupervisorAction) -> anyhow::Result<Option<u8>> {
        match action {
            SupervisorAction::Prepare => {
                let plan = Arc::clone(&self.plan);
                let configuration = self.subscription.configurations.borrow_and_update().clone();
                self.candidate = configuration.clone();
                self.task = Some(tokio::spawn(async move {
                    TaskResult::Prepared(plan.recipe.prepare(&configuration).await)
                }));
            }
            SupervisorAction::Send(signal) => self.child.send(signal),
            SupervisorAction::Reload => {
                let (plan, child) = (Arc::clone(&self.plan), self.child.id);
                self.task = Some(tokio::spawn(async move {
                    let text = plan.reload.as_deref().unwrap_or_default();
                    TaskResult::Reloaded(reload(text, child).await)
                }));
            }
            SupervisorAction::Alarm(after) => self.alarm = Some(Instant::now() + after),
            SupervisorAction::Kill => {
                tracing::warn!("the program did not end within the grace period: it is killed");
                self.child.kill();
            }
            SupervisorAction::Start => {
                self.alarm = None;
                self.child = start(&self.plan.command, &self.variables, self.grouping)?;
                tracing::info!("program restarted");
                self.acknowledge();
            }
            SupervisorAction::Exit(code) => return Ok(Some(code)),
        }
        Ok(None)
    }

    /// Cancels a check or a reload that is under way.
    async fn give_up(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The task was cancelled on purpose.
            let _ = task.await;
        }
    }

    /// Turns the result of a task into an event.
    fn finished(&mut self, result: TaskResult) -> SupervisorEvent {
        match result {
            TaskResult::Reloaded(result) => {
                match result {
                    Ok(()) => self.acknowledge(),
                    Err(reason) => self.reject(&reason),
                }
                SupervisorEvent::Reloaded
            }
            TaskResult::Prepared(Ok(prepared)) => {
                let reaction = reaction(self.plan.reaction, &prepared, &self.variables);
                self.variables = prepared.variables;
                // The others have taken effect only when they are done.
                if matches!(reaction, Reaction::Nothing | Reaction::Signal(_)) {
                    self.acknowledge();
                }
                SupervisorEvent::Prepared(reaction)
            }
            TaskResult::Prepared(Err(problem)) => {
                tracing::error!(problem = %format!("{problem:#}"), "the change cannot be used: keeping the last configuration");
                self.reject(&prepare::reason(&problem));
                SupervisorEvent::Refused
            }
        }
    }
}

/// Variables of a running program cannot be changed: only a restart brings them.
fn reaction(
    wanted: Reaction,
    prepared: &PreparedInputs,
    old: &BTreeMap<String, String>,
) -> Reaction {
    match (prepared.files, wanted) {
        (FileEffect::Replaced, wanted) => wanted,
        (FileEffect::Same, Reaction::Restart) if prepared.variables != *old => Reaction::Restart,
        (FileEffect::Same, _) => Reaction::Nothing,
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

/// Logs the result of a reload, and returns the reason for a failure. Then the program keeps the configuration that it has.
async fn reload(text: &str, child: rustix::process::Pid) -> Result<(), String> {
    match command::about(text, child, RELOAD_TIMEOUT).await {
        Ok(status) if status.success() => {
            tracing::info!("reloaded");
            return Ok(());
        }
        Ok(status) => tracing::error!(%status, "the reload command failed"),
        Err(error) => tracing::error!(%error, "the reload command failed"),
    }
    Err("reload".to_owned())
}

/// Waits for the next configuration, or for ever if the watch has ended.
async fn changed(configurations: &mut watch::Receiver<Configuration>) {
    if configurations.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits for the result of a task, or for ever if there is none.
async fn done(running: &mut Option<JoinHandle<TaskResult>>) -> TaskResult {
    let Some(task) = running else {
        return std::future::pending().await;
    };
    let ended = task.await;
    *running = None;
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

/// Waits until texts should be requested again, or for ever if there are none.
async fn texts_changed(texts: &mut Option<ServerTexts>) {
    match texts {
        Some(texts) => texts.changed().await,
        None => std::future::pending().await,
    }
}
