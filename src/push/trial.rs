//! The trials of a push: before it is accepted, running instances are asked whether they would accept the new content.
//!
//! For each environment that the push changes, one witness of each version is asked. A witness has acknowledged the present
//! content. An instance without a verdict in time delays the push and does not reject it.
//!
//! Invariant: an instance receives only content of the environment that it follows, in its variant and with the areas of the
//! policy in force. Nothing of it is kept after the trial.
//!
//! Locking: the push turn is held during the trials, so that other pushes to the repository wait meanwhile.
//!
//! Cancellation: dropping the future ends all trials.

mod choice;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::authorization::Pusher;
use super::decision::PushContext;
use super::rejection::Rejection;
use super::repository::HostedRepository;
use super::review::Review;
use super::session;
use super::updates;
use crate::check::Enforcement;
use crate::fleet::{Candidate, Instance, Instances, Outcome, Trial, TrialAnswer, TrialOffer};
use crate::model::Query;
use crate::reveal::Variant;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::store::Preview;
use crate::telemetry::trace::Span;
use crate::tree::TreeError;
use words::{TrialReport, TriedInstance, Verdict};

/// The most environments that one push tries.
const ENVIRONMENT_COUNT_MAX: usize = 256;
/// The most bytes of the keys and values of an environment that is tried. Its JSON has a limit of its own.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Asks instances about the new content of a push, and adds the lines on their answers to the review. A push costs nothing
/// here if no instance offers to try content.
///
/// # Errors
/// The lines for the pusher when an instance rejects the content and the policy for pushes enforces that.
pub(super) async fn run(
    context: &PushContext,
    pusher: Option<&Pusher>,
    review: &mut Review,
) -> Result<(), Rejection> {
    let instances = context.waits.instances();
    if context.policy.try_max.is_zero()
        || review.snapshots.is_empty()
        || !instances.trials().has_offers()
    {
        return Ok(());
    }
    let _span = Span::part_of(context.trace, "try");
    let deadline = Instant::now() + context.policy.try_max;
    let Some(begun) = begin(context, pusher, &review.snapshots, deadline).await else {
        return Ok(());
    };
    let report = begun.finish(deadline, context.waits.stopping()).await;
    review.lines.extend(report.lines());
    if !report.is_rejected() {
        return Ok(());
    }
    log_rejections(context, &report);
    if context.policy.enforcement == Enforcement::Warn {
        review.has_problems = true;
        review.lines.push(words::WARNED.to_owned());
        return Ok(());
    }
    review.lines.push(words::REJECTED.to_owned());
    Err(Rejection::new(std::mem::take(&mut review.lines)))
}

/// Begins the trials. Returns `None` if the content cannot be prepared in time, which is no verdict.
async fn begin(
    context: &PushContext,
    pusher: Option<&Pusher>,
    snapshots: &[Snapshot],
    deadline: Instant,
) -> Option<BegunTrials> {
    let preparation = Preparation {
        repository: Arc::clone(&context.repository),
        instances: Arc::clone(context.waits.instances()),
        pusher: pusher.cloned(),
    };
    let snapshots = snapshots.to_vec();
    let preparing = tokio::task::spawn_blocking(move || preparation.begin(&snapshots));
    let repository = &context.repository.name;
    match timeout_at(deadline, preparing).await {
        Ok(Ok(Ok(begun))) => Some(begun),
        Ok(Ok(Err(error))) => {
            tracing::warn!(repository, %error, "a push is not tried, because it cannot be read");
            None
        }
        Ok(Err(_)) => None,
        Err(_) => {
            tracing::warn!(
                repository,
                "a push is not tried, because its preparation takes too long"
            );
            None
        }
    }
}

fn log_rejections(context: &PushContext, report: &TrialReport) {
    let (repository, who) = (&context.repository.name, context.who.as_deref());
    for tried in report.rejections() {
        let TriedInstance { application, version, name, .. } = tried;
        let Verdict::Rejected(reason) = &tried.verdict else { continue };
        tracing::info!(
            repository,
            who,
            application,
            version,
            instance = name,
            reason,
            "an instance rejects the content of a push"
        );
    }
}

/// The preparation of the trials of one push, on a blocking thread.
struct Preparation {
    repository: Arc<HostedRepository>,
    instances: Arc<Instances>,
    pusher: Option<Pusher>,
}

/// An environment that a push changes and that some instance offers to try.
struct ChangedEnvironment {
    query: Query,
    preview: Preview,
    /// True if the pusher may read it.
    is_visible: bool,
}

/// The trials in progress.
#[derive(Default)]
struct BegunTrials {
    asked: Vec<(TriedInstance, Trial)>,
    /// The number of connected instances of each application whose environments the push changes.
    instance_counts: HashMap<String, usize>,
    /// The number of environments beyond a limit.
    left_out_count: usize,
}

impl Preparation {
    fn begin(&self, snapshots: &[Snapshot]) -> Result<BegunTrials, TreeError> {
        let mut begun = BegunTrials::default();
        let changed = self.changed(snapshots, &mut begun)?;
        if changed.is_empty() {
            return Ok(begun);
        }
        let queries: HashSet<&Query> = changed.iter().map(|it| &it.query).collect();
        let mut instances = HashMap::<Query, Vec<Instance>>::new();
        for instance in self.instances.snapshot(|_, query| queries.contains(query)) {
            instances.entry(instance.query.clone()).or_default().push(instance);
        }
        let mut offers = HashMap::<Query, Vec<TrialOffer>>::new();
        for offer in self.instances.trials().offers(|query| queries.contains(query)) {
            offers.entry(offer.speaker.query.clone()).or_default().push(offer);
        }
        for environment in &changed {
            if let (Some(instances), Some(offers)) =
                (instances.get(&environment.query), offers.get(&environment.query))
            {
                self.ask(environment, instances, offers, &mut begun);
            }
        }
        Ok(begun)
    }

    /// The environments that the push changes and that some instance offers to try.
    fn changed(
        &self,
        snapshots: &[Snapshot],
        begun: &mut BegunTrials,
    ) -> Result<Vec<ChangedEnvironment>, TreeError> {
        let store = &self.repository.store;
        let offered = self.instances.trials().queries();
        let head = self.repository.source.head_branch().unwrap_or_default();
        let mut changed = Vec::new();
        for snapshot in snapshots {
            let name = self.repository.source.name();
            let member = snapshot.members.iter().find(|member| *member.layout.base == *name);
            let Some(branch) = member.and_then(|member| member.label.as_deref()) else { continue };
            let labels = updates::labels(branch, &head);
            for label in labels.iter().filter(|label| offered.iter().any(|it| it.label == **label))
            {
                for in_use in store.find_affected(label, snapshot)? {
                    let query = in_use.query;
                    if !offered.contains(&query) {
                        continue;
                    }
                    if changed.len() == ENVIRONMENT_COUNT_MAX {
                        begun.left_out_count += 1;
                        continue;
                    }
                    let pusher = self.pusher.as_ref();
                    let is_visible = pusher.is_none_or(|it| {
                        it.identity.may_read_at(std::slice::from_ref(label), &query)
                    });
                    if let Some(preview) = self.changed_content(&query, snapshot)? {
                        changed.push(ChangedEnvironment { query, preview, is_visible });
                    }
                }
            }
        }
        Ok(changed)
    }

    /// The new content of an environment, if instances would receive another content than now.
    fn changed_content(
        &self,
        query: &Query,
        snapshot: &Snapshot,
    ) -> Result<Option<Preview>, TreeError> {
        let store = &self.repository.store;
        let served = store.served_digests(query);
        let differs = |preview: &Preview| {
            let variants = [Variant::Sealed, Variant::Opened];
            let mut digests = variants.into_iter().filter_map(|variant| preview.digest(variant));
            digests.any(|digest| !served.contains(&digest))
        };
        Ok(store.preview(query, snapshot)?.filter(differs))
    }

    /// Asks the witnesses of one environment.
    fn ask(
        &self,
        environment: &ChangedEnvironment,
        instances: &[Instance],
        offers: &[TrialOffer],
        begun: &mut BegunTrials,
    ) {
        let ChangedEnvironment { query, preview, is_visible } = environment;
        let application = crate::terminal::one_line(&query.application);
        let connected_count = instances.iter().filter(|it| it.is_connected()).count();
        *begun.instance_counts.entry(application.clone()).or_default() += connected_count;
        let served = self.repository.store.served_digests(query);
        let mut candidates = HashMap::new();
        for (instance, offer) in choice::choose(instances, offers, &served) {
            let variant = if offer.opens { Variant::Opened } else { Variant::Sealed };
            let Some(digest) = preview.digest(variant) else { continue };
            let candidate =
                candidates.entry(offer.opens).or_insert_with(|| self.candidate(preview, variant));
            let Some(candidate) = candidate else { continue };
            let id = session::new_key().map(|key| format!("{digest}.{key}"));
            let trials = self.instances.trials();
            let trial = id.and_then(|id| trials.begin(offer.stream, id, candidate));
            let tried = TriedInstance {
                application: application.clone(),
                version: choice::version(instance).map(str::to_owned),
                name: instance.name.to_string(),
                is_visible: *is_visible,
                verdict: Verdict::Unanswered,
            };
            begun.asked.extend(trial.map(|trial| (tried, trial)));
        }
        begun.left_out_count += usize::from(candidates.values().any(Option::is_none));
    }

    fn candidate(&self, preview: &Preview, variant: Variant) -> Option<Candidate> {
        self.instances.trials().candidate(preview.json(variant, TEXT_BYTES_MAX)?)
    }
}

impl BegunTrials {
    /// Waits for the answers. A trial without an answer at the deadline, or when the server stops, has no verdict.
    async fn finish(self, deadline: Instant, mut stopping: watch::Receiver<bool>) -> TrialReport {
        let mut tried = Vec::with_capacity(self.asked.len());
        for (mut instance, mut trial) in self.asked {
            let answer = tokio::select! {
                biased;
                answer = trial.answer() => answer,
                () = sleep_until(deadline) => None,
                _ = stopping.wait_for(|is_stopping| *is_stopping) => None,
            };
            instance.verdict = verdict(answer);
            tried.push(instance);
        }
        TrialReport {
            tried,
            instance_counts: self.instance_counts,
            left_out_count: self.left_out_count,
        }
    }
}

fn verdict(answer: Option<TrialAnswer>) -> Verdict {
    match answer {
        Some(TrialAnswer { outcome: Outcome::Applied, .. }) => Verdict::Accepted,
        Some(TrialAnswer { outcome: Outcome::Rejected, reason }) => {
            Verdict::Rejected(reason.map(|reason| reason.as_str().to_owned()))
        }
        // An outcome of a later version is no verdict.
        _ => Verdict::Unanswered,
    }
}
