//! Asks both sides for everything in the plan, a bounded number at a time.

use std::collections::BTreeSet;

use anyhow::bail;
use futures_util::stream::{self, StreamExt};
use headwater_wire::Environment;

use super::CompareArguments;
use super::answer::{AskError, SideAnswer};
use super::answer_difference::{AnswerDifference, DifferenceKind};
use super::judge;
use super::names::Bases;
use super::plan::{ComparePlan, LabelPlan};
use super::remote::RemoteServer;
use super::report::{CompareReport, EnvironmentReport, LabelReport};
use super::subject::HeadwaterSide;
use super::text::{self, ComparedText};
use crate::cli::progress::ProgressLine;
use crate::model::Query;

/// After so many questions in a row without an answer the comparison ends.
const UNANSWERED_COUNT_MAX: usize = 10;

/// Asks the Spring server for one environment, so that a wrong URL or password is reported at once.
pub(super) async fn probe(original: &RemoteServer, plan: &ComparePlan) -> anyhow::Result<()> {
    let first = plan.labels.iter().find_map(|label| label.queries.first());
    let Some(query) = first else { return Ok(()) };
    match original.environment(query).await {
        Ok(_) => Ok(()),
        Err(AskError::Fatal(reason)) => bail!("{reason}. Nothing was compared"),
        Err(AskError::Unanswered(reason)) => bail!(
            "{reason}. Nothing was compared. Check that this is the URL of a running Spring Cloud Config Server"
        ),
    }
}

/// Compares all environments of the plan.
pub(super) async fn sweep(
    original: &RemoteServer,
    subject: &HeadwaterSide,
    plan: ComparePlan,
    arguments: &CompareArguments,
) -> anyhow::Result<CompareReport> {
    let progress = ProgressLine::counted("environments", plan.environment_count());
    let texts = texts(arguments);
    let comparer = Comparer { original, subject, texts: &texts };
    let (mut labels, mut unanswered_count) = (Vec::new(), 0);
    for LabelPlan { label, revision, queries } in plan.labels {
        progress.set_part(label.name().unwrap_or("default label"));
        let mut environments = Vec::with_capacity(queries.len());
        let compared = queries.into_iter().map(|query| comparer.compare(query));
        let mut answers = stream::iter(compared).buffered(usize::from(arguments.concurrency));
        while let Some(environment) = answers.next().await {
            let environment = environment?;
            unanswered_count = match &environment.failure {
                Some(_) => unanswered_count + 1,
                None => 0,
            };
            if let Some(reason) = environment.failure.as_ref()
                && unanswered_count >= UNANSWERED_COUNT_MAX
            {
                bail!(
                    "{unanswered_count} requests in a row had no answer, so the comparison ended. The last: {reason}"
                );
            }
            environments.push(environment);
            progress.advance();
        }
        labels.push(LabelReport::new(label, revision, environments));
    }
    drop(progress);
    mark_names(&mut labels);
    let report = CompareReport::new(original.name(), subject.name(), labels, arguments.values);
    report.refuse_without_answers()?;
    Ok(report)
}

fn texts(arguments: &CompareArguments) -> Vec<ComparedText> {
    let flat = arguments.forms.iter().copied().map(ComparedText::Flat);
    flat.chain(arguments.files.iter().cloned().map(ComparedText::File)).collect()
}

struct Comparer<'a> {
    original: &'a RemoteServer,
    subject: &'a HeadwaterSide,
    texts: &'a [ComparedText],
}

impl Comparer<'_> {
    /// Compares one environment, and its flat forms and files.
    ///
    /// # Errors
    /// When no further question makes sense.
    async fn compare(&self, query: Query) -> anyhow::Result<EnvironmentReport> {
        match self.compare_environment(&query).await {
            Ok(report) => Ok(report),
            Err(AskError::Unanswered(reason)) => {
                Ok(EnvironmentReport { failure: Some(reason), ..EnvironmentReport::of(query) })
            }
            Err(AskError::Fatal(reason)) => bail!("{reason}. The comparison ended"),
        }
    }

    async fn compare_environment(&self, query: &Query) -> Result<EnvironmentReport, AskError> {
        let (spring, ours) =
            tokio::join!(self.original.environment(query), self.subject.environment(query));
        let (spring, ours) = (spring?, ours?);
        let judge::Judgement { mut differences, bases } =
            judge::environments(query, [&spring, &ours], self.subject.bases());
        for text in self.texts {
            differences.extend(self.compare_text(query, text, ours.environment()).await?);
        }
        Ok(EnvironmentReport {
            differences,
            bases,
            versions: [&spring, &ours].map(|it| it.environment()?.version.clone()),
            has_content: [spring.is_content(), ours.is_content()],
            ..EnvironmentReport::of(query.clone())
        })
    }

    async fn compare_text(
        &self,
        query: &Query,
        text: &ComparedText,
        environment: Option<&Environment>,
    ) -> Result<Option<AnswerDifference>, AskError> {
        let (spring, ours) =
            tokio::join!(self.original.text(query, text), self.subject.text(query, text));
        let (spring, ours) = (spring?, ours?);
        if let (SideAnswer::Content(spring), SideAnswer::Content(ours)) = (&spring, &ours) {
            return Ok(text::compare(text, [spring, ours], environment));
        }
        let difference = judge::statuses(query, [spring.status(), ours.status()], false);
        let difference = difference.map(|it| judge::explained(it, environment));
        Ok(difference.map(|it| AnswerDifference { text: Some(text.name()), ..it }))
    }
}

/// Reports the environments in which a source has another path: its name begins with more than the names of other sources.
fn mark_names(labels: &mut [LabelReport]) {
    let environments = || labels.iter().flat_map(|label| &label.environments);
    let all: BTreeSet<Bases> = environments().flat_map(|it| it.bases.iter().cloned()).collect();
    let wrong: BTreeSet<Bases> =
        all.iter().filter(|it| all.iter().any(|other| it.contradicts(other))).cloned().collect();
    for environment in labels.iter_mut().flat_map(|label| &mut label.environments) {
        if environment.bases.iter().any(|bases| wrong.contains(bases)) {
            environment.differences.push(AnswerDifference::of(DifferenceKind::SourceName));
        }
    }
}
