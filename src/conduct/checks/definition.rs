//! A check as the operator defines it.

use std::time::Duration;

use headwater_rollout::Name;
use headwater_rollout::check::{CheckRule, Measurement};

use super::exec;
use super::http::Server;
use super::prometheus;
use super::target::{CheckTarget, Side, TargetGroup};
use super::template::{Fill, Form};

/// One check.
#[derive(Debug, Clone)]
pub struct CheckDefinition {
    /// The name in plans.
    pub name: Name,
    pub rule: CheckRule,
    pub kind: CheckKind,
}

/// How a check is made.
#[derive(Debug, Clone)]
pub enum CheckKind {
    /// Queries of a Prometheus. They contain templates.
    Prometheus { server: Server, question: Question },
    /// A request to an address, whose path contains templates. 200 is good, and 4xx is bad.
    Http { server: Server },
    /// A program and its arguments. 0 is good, and 1 is bad.
    Exec { command: Vec<String> },
}

/// The queries of a Prometheus.
#[derive(Debug, Clone)]
pub enum Question {
    /// The numbers of failed and of all requests.
    Errors { bad: String, all: String },
    /// The median latency.
    Latency { query: String },
    /// A value with limits.
    Limits { query: String, min: Option<f64>, max: Option<f64> },
}

impl CheckDefinition {
    /// Measures once. `window` is the time since the stage began. The error says why there is no result.
    pub(super) async fn measure(
        &self,
        target: &CheckTarget,
        window: Duration,
    ) -> Result<Measurement, String> {
        match &self.kind {
            CheckKind::Prometheus { server, question } => {
                let mut result = None;
                for (application, group) in question.parts(target)? {
                    let fill =
                        Fill { application, group: &group, window, side: None, form: Form::Query };
                    let measured = question.ask(server, &fill).await?;
                    result = Some(combine(result, measured));
                }
                result.ok_or_else(|| "no instance of the rollout is known".to_owned())
            }
            CheckKind::Http { server } => {
                let group = target.all();
                let application = target.groups.keys().next().filter(|_| target.groups.len() == 1);
                let application = application.map(|name| &**name);
                let fill =
                    Fill { application, group: &group, window, side: None, form: Form::Path };
                server.probe(&fill).await
            }
            CheckKind::Exec { command } => exec::measure(&self.name, command, target).await,
        }
    }
}

impl Question {
    /// The applications to ask about in turn. Queries without an application are about all of them together.
    fn parts<'t>(
        &self,
        target: &'t CheckTarget,
    ) -> Result<Vec<(Option<&'t str>, TargetGroup)>, String> {
        const APPLICATION_COUNT_MAX: usize = 32;
        let queries = match self {
            Self::Errors { bad, all } => vec![bad, all],
            Self::Latency { query } | Self::Limits { query, .. } => vec![query],
        };
        if !queries.iter().any(|query| query.contains("{application}")) {
            return Ok(vec![(None, target.all())]);
        }
        let with_canaries = target.groups.iter().filter(|(_, group)| !group.canaries.is_empty());
        let parts: Vec<_> =
            with_canaries.map(|(name, group)| (Some(&**name), group.clone())).collect();
        if parts.len() > APPLICATION_COUNT_MAX {
            let count = parts.len();
            return Err(format!(
                "{count} applications have canaries, and a query for each of them needs at most \
                 {APPLICATION_COUNT_MAX}"
            ));
        }
        if parts.is_empty() {
            return Err("no canary is known".to_owned());
        }
        Ok(parts)
    }

    async fn ask(&self, server: &Server, fill: &Fill<'_>) -> Result<Measurement, String> {
        let (canaries, others) = (fill.of(Side::Canaries), fill.of(Side::Others));
        match self {
            Self::Errors { bad, all } => Ok(Measurement::Requests {
                canaries: prometheus::requests(server, bad, all, &canaries).await?,
                others: prometheus::requests(server, bad, all, &others).await?,
            }),
            Self::Latency { query } => {
                let canaries = prometheus::number(server, query, &canaries).await?;
                let others = prometheus::number(server, query, &others).await?;
                let ratio = canaries / others;
                if canaries < 0.0 || others <= 0.0 || !ratio.is_finite() {
                    return Err("the latencies have no ratio".to_owned());
                }
                Ok(Measurement::Latency { ratio })
            }
            Self::Limits { query, min, max } => {
                let value = prometheus::number(server, query, fill).await?;
                let is_good =
                    min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max);
                Ok(if is_good { Measurement::Good } else { Measurement::Bad })
            }
        }
    }
}

/// The result for several applications: the sum of requests, the worst ratio, and bad if one of them is.
fn combine(before: Option<Measurement>, next: Measurement) -> Measurement {
    let sum = |one: (u64, u64), other: (u64, u64)| {
        (one.0.saturating_add(other.0), one.1.saturating_add(other.1))
    };
    match (before, next) {
        (
            Some(Measurement::Requests { canaries, others }),
            Measurement::Requests { canaries: more_canaries, others: more_others },
        ) => Measurement::Requests {
            canaries: sum(canaries, more_canaries),
            others: sum(others, more_others),
        },
        (Some(Measurement::Latency { ratio }), Measurement::Latency { ratio: next }) => {
            Measurement::Latency { ratio: ratio.max(next) }
        }
        (Some(Measurement::Bad), _) => Measurement::Bad,
        (_, next) => next,
    }
}
