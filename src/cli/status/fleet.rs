//! What `/-/replicas` and `/-/problems` tell, and what of it is wrong. Pure.

use serde::Deserialize;

use crate::cli::output::{one_line, short, table};

/// The longest lag, and the longest time without a word of a source, that is nothing to complain about, in seconds.
const LAG_SECONDS_MAX: u64 = 30;

/// The answer of `/-/replicas`.
#[derive(Debug, Deserialize)]
pub(super) struct Fleet {
    share: Option<Share>,
    replicas: Vec<Replica>,
}

#[derive(Debug, Deserialize)]
struct Share {
    away_seconds: Option<u64>,
    failure: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Replica {
    name: String,
    this: bool,
    state: String,
    version: String,
    age_seconds: u64,
    heard_seconds: Option<u64>,
    lag_seconds: Option<u64>,
    labels: Vec<Label>,
    held_back: usize,
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
struct Label {
    label: Option<String>,
    revision: String,
    lag_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Source {
    source: String,
    failure: Option<String>,
    heard_seconds: Option<u64>,
}

/// The answer of `/-/problems`.
#[derive(Debug, Deserialize)]
pub(super) struct Problems {
    problems: Vec<Problem>,
}

/// Of an environment; or, without an application, of a source; or, without a file as well, that a source is away.
#[derive(Debug, Deserialize)]
struct Problem {
    application: Option<String>,
    profiles: Option<String>,
    label: Option<String>,
    source: String,
    file: Option<String>,
    line: Option<u32>,
    reason: String,
}

impl Fleet {
    /// One line for each replica: the revision is that of the default label, or of the first one that is served.
    pub(super) fn table(&self) -> String {
        let head = ["REPLICA", "STATE", "REVISION", "LAG", "AGE", "VERSION"].map(str::to_owned);
        let rows = self.replicas.iter().map(|replica| {
            let revision = replica.labels.first().map(|label| short(&label.revision));
            vec![
                one_line(&replica.name),
                one_line(&replica.state),
                revision.unwrap_or_else(|| "-".to_owned()),
                replica.lag_seconds.map_or_else(|| "-".to_owned(), duration),
                duration(replica.age_seconds),
                one_line(&replica.version),
            ]
        });
        table(&std::iter::once(head.to_vec()).chain(rows).collect::<Vec<_>>())
    }

    /// What somebody should look after, one line each.
    pub(super) fn findings(&self, held_back: &Problems) -> Vec<String> {
        let away = self.share.as_ref().and_then(Share::finding);
        let of_replicas = self.replicas.iter().flat_map(Replica::findings);
        let problems = held_back.problems.iter().filter_map(Problem::finding);
        let findings = away.into_iter().chain(of_replicas).chain(problems);
        findings.map(|finding| one_line(&finding)).collect()
    }
}

impl Share {
    fn finding(&self) -> Option<String> {
        let (away, failure) = (duration(self.away_seconds?), self.failure.as_deref());
        let failure = failure.unwrap_or("no reason given");
        Some(format!("etcd has been away from the server that answered for {away}: {failure}"))
    }
}

impl Replica {
    fn findings(&self) -> Vec<String> {
        let name = &self.name;
        let heard = self.heard_seconds.map(|it| format!(", last heard of {} ago", duration(it)));
        let heard = heard.unwrap_or_default();
        match self.state.as_str() {
            "live" => {}
            "gone" => return vec![format!("{name} is gone{heard}")],
            _ => return vec![format!("{name} may be gone{heard}")],
        }
        let lags = self.labels.iter().filter_map(|label| label.finding(name));
        let sources = self.sources.iter().filter_map(|source| source.finding(name));
        // What the one that answered holds back is told one by one.
        let held_back = (self.held_back > 0 && !self.this)
            .then(|| format!("{name} holds back {} environments", self.held_back));
        lags.chain(sources).chain(held_back).collect()
    }
}

impl Label {
    fn finding(&self, replica: &str) -> Option<String> {
        let lag = duration(self.lag_seconds.filter(|lag| *lag > LAG_SECONDS_MAX)?);
        let label = self.label.as_deref().map_or_else(String::new, |label| format!(" of {label}"));
        let revision = short(&self.revision);
        Some(format!("{replica} is at {revision}{label}, which has not been the newest for {lag}"))
    }
}

impl Source {
    fn finding(&self, replica: &str) -> Option<String> {
        let failure = self.failure.as_deref()?;
        let heard = match self.heard_seconds {
            Some(seconds) if seconds <= LAG_SECONDS_MAX => return None,
            Some(seconds) => format!("has not heard of {} for {}", self.source, duration(seconds)),
            None => format!("has never heard of {}", self.source),
        };
        Some(format!("{replica} {heard}: {failure}"))
    }
}

impl Problem {
    /// Nothing of a source that is away: replicas tell that themselves, once it lasts.
    fn finding(&self) -> Option<String> {
        let Self { source, reason, .. } = self;
        let file = self.file.as_deref()?;
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        let Some(application) = &self.application else {
            return Some(format!("{source}: {file}{line}: {reason}"));
        };
        let profiles = self.profiles.as_deref().unwrap_or_default();
        let label = self.label.as_deref().map_or_else(String::new, |label| format!(" of {label}"));
        Some(format!("{application}/{profiles}{label} is held back: {file}{line}: {reason}"))
    }
}

/// Seconds as people read them: only as exact as it matters.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn replica(changes: &Value) -> Value {
        let mut replica = json!({
            "name": "one", "this": false, "state": "live", "version": "1", "age_seconds": 90,
            "heard_seconds": 0, "lag_seconds": 0, "held_back": 0, "sources": [],
            "labels": [{"label": null, "revision": "0123456789abcdef", "lag_seconds": 0}],
        });
        for (key, value) in changes.as_object().unwrap() {
            replica[key] = value.clone();
        }
        replica
    }

    #[track_caller]
    fn check(changes: &Value, expected: &[&str]) {
        let fleet = json!({"share": null, "replicas": [replica(changes)]});
        let fleet: Fleet = serde_json::from_value(fleet).unwrap();
        assert_eq!(fleet.findings(&Problems { problems: Vec::new() }), expected);
    }

    #[test]
    fn what_is_wrong_is_said_and_what_is_not_is_not() {
        check(&json!({}), &[]);
        check(
            &json!({"state": "gone", "heard_seconds": 130}),
            &["one is gone, last heard of 2m ago"],
        );
        check(&json!({"state": "unknown", "heard_seconds": null}), &["one may be gone"]);
        let behind = |lag: u64| json!([{"label": "a", "revision": "r", "lag_seconds": lag}]);
        check(&json!({"labels": behind(30)}), &[]);
        check(
            &json!({"labels": behind(31)}),
            &["one is at r of a, which has not been the newest for 31s"],
        );
        let source = |heard: Option<u64>, failure: Option<&str>| json!([{"source": "s", "failure": failure, "heard_seconds": heard}]);
        check(&json!({"sources": source(None, None)}), &[]);
        check(&json!({"sources": source(Some(30), Some("no"))}), &[]);
        check(
            &json!({"sources": source(Some(7200), Some("no\u{1b}"))}),
            &["one has not heard of s for 2h: no\\u{1b}"],
        );
        check(&json!({"sources": source(None, Some("no"))}), &["one has never heard of s: no"]);
        check(&json!({"held_back": 3}), &["one holds back 3 environments"]);
        check(&json!({"held_back": 3, "this": true}), &[]);
    }

    #[test]
    fn problems_are_of_environments_or_of_sources() {
        let problems = json!({"problems": [
            {"application": "orders", "profiles": "prod", "label": "main", "source": "s", "file": "a.yml", "line": 3, "reason": "no"},
            {"application": null, "profiles": null, "label": null, "source": "s", "file": "refs/x", "line": null, "reason": "none of ours"},
            {"application": null, "profiles": null, "label": null, "source": "s", "file": null, "line": null, "reason": "it is away"},
        ]});
        let problems: Problems = serde_json::from_value(problems).unwrap();
        let fleet: Fleet = serde_json::from_value(json!({"share": null, "replicas": []})).unwrap();
        let expected = ["orders/prod of main is held back: a.yml:3: no", "s: refs/x: none of ours"];
        assert_eq!(fleet.findings(&problems), expected);
    }

    #[test]
    fn every_replica_is_a_line() {
        let fleet = json!({
            "share": null,
            "replicas": [
                replica(&json!({})),
                replica(&json!({"name": "two", "labels": [], "lag_seconds": null, "age_seconds": 400_000})),
            ],
        });
        let fleet: Fleet = serde_json::from_value(fleet).unwrap();
        assert_eq!(
            fleet.table(),
            "REPLICA  STATE  REVISION    LAG  AGE  VERSION\n\
             one      live   0123456789  0s   90s  1\n\
             two      live   -           -    4d   1\n"
        );
    }
}
