//! The lines for the pusher on the trials of a push. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The last line for a push that an instance rejects.
pub(super) const REJECTED: &str = "push rejected, no branch was updated. Change the values, or the services, so that running \
     instances accept the new content, and push again";
/// The same if checks only warn.
pub(super) const WARNED: &str = "accepted although instances reject it, because push.checks = warn";

/// The most lines of one kind.
const LINE_COUNT_MAX: usize = 20;

/// An instance that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TriedInstance {
    pub(super) application: String,
    /// `None` if the instance reports no version.
    pub(super) version: Option<String>,
    pub(super) name: String,
    /// True if the pusher may read the environment of the instance.
    pub(super) is_visible: bool,
    pub(super) verdict: Verdict,
}

/// The answer of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// With the reason, if the instance reports one.
    Rejected(Option<String>),
    /// The instance has not answered, which is no verdict.
    Unanswered,
}

/// The trials of one push.
pub(super) struct TrialReport {
    pub(super) tried: Vec<TriedInstance>,
    /// The number of connected instances of each application whose environments the push changes.
    pub(super) instance_counts: HashMap<String, usize>,
    /// The number of environments beyond a limit.
    pub(super) left_out_count: usize,
}

impl TriedInstance {
    /// The instance with its application and version.
    fn full_name(&self) -> String {
        let Self { application, version, name, .. } = self;
        match version {
            Some(version) => format!("{application} {version} on {name}"),
            None => format!("{application} on {name}"),
        }
    }
}

impl TrialReport {
    /// Returns true if an instance rejects the content.
    pub(super) fn is_rejected(&self) -> bool {
        self.rejections().next().is_some()
    }

    /// The instances that reject the content.
    pub(super) fn rejections(&self) -> impl Iterator<Item = &TriedInstance> {
        self.tried.iter().filter(|it| matches!(it.verdict, Verdict::Rejected(_)))
    }

    /// The lines for the pusher. They name only instances of environments that the pusher may read.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = bounded(self.acceptance_lines(), "applications");
        let unanswered = self.visible().filter(|it| it.verdict == Verdict::Unanswered);
        let no_verdict =
            |it: &TriedInstance| format!("{} has not answered: no verdict", it.full_name());
        lines.extend(bounded(unanswered.map(no_verdict).collect(), "instances"));
        if self.left_out_count > 0 {
            let environments =
                if self.left_out_count == 1 { "environment" } else { "environments" };
            lines.push(format!(
                "not tried: {} {environments} beyond the limits of a trial",
                self.left_out_count
            ));
        }
        lines.extend(bounded(self.rejection_lines(), "instances"));
        lines
    }

    fn visible(&self) -> impl Iterator<Item = &TriedInstance> {
        self.tried.iter().filter(|it| it.is_visible)
    }

    fn acceptance_lines(&self) -> Vec<String> {
        let mut accepted = BTreeMap::<&str, Vec<&TriedInstance>>::new();
        for it in self.visible().filter(|it| it.verdict == Verdict::Accepted) {
            accepted.entry(&it.application).or_default().push(it);
        }
        let line = |(application, tried): (&str, Vec<&TriedInstance>)| {
            let count = self.instance_counts.get(application).copied().unwrap_or_default();
            let versions: BTreeSet<_> = tried.iter().map(|it| it.version.as_deref()).collect();
            let accept = if versions.len() == 1 { "accepts" } else { "accept" };
            let subject = subject(application, &versions);
            let count = count.max(tried.len());
            format!("tried on {} of {count}: {subject} {accept} it", tried.len())
        };
        accepted.into_iter().map(line).collect()
    }

    fn rejection_lines(&self) -> Vec<String> {
        let (shown, hidden): (Vec<_>, Vec<_>) = self.rejections().partition(|it| it.is_visible);
        let line = |it: &TriedInstance| match &it.verdict {
            Verdict::Rejected(Some(reason)) => format!("{} rejects it: {reason}", it.full_name()),
            _ => format!("{} rejects it", it.full_name()),
        };
        let mut lines: Vec<String> = shown.into_iter().map(line).collect();
        if !hidden.is_empty() {
            lines.push("an instance of an application that you may not read rejects it".to_owned());
        }
        lines
    }
}

/// An application with the versions of its instances.
fn subject(application: &str, versions: &BTreeSet<Option<&str>>) -> String {
    if versions.iter().all(Option::is_none) {
        return application.to_owned();
    }
    let mut names: Vec<&str> = versions.iter().flatten().copied().collect();
    if versions.contains(&None) {
        names.push("an unknown version");
    }
    match names.split_last() {
        Some((last, [])) => format!("{application} {last}"),
        Some((last, others)) => format!("{application} {} and {last}", others.join(", ")),
        None => application.to_owned(),
    }
}

/// The first lines, and the number of the others.
fn bounded(mut lines: Vec<String>, what: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(LINE_COUNT_MAX);
    if more > 0 {
        lines.truncate(LINE_COUNT_MAX);
        lines.push(format!("and {more} more {what}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(version: Option<&str>, name: &str, verdict: Verdict) -> TriedInstance {
        TriedInstance {
            application: "product".to_owned(),
            version: version.map(str::to_owned),
            name: name.to_owned(),
            is_visible: true,
            verdict,
        }
    }

    fn report(tried: Vec<TriedInstance>) -> TrialReport {
        let instance_counts = HashMap::from([("product".to_owned(), 12)]);
        TrialReport { tried, instance_counts, left_out_count: 0 }
    }

    #[test]
    fn versions_that_accept_are_named_together() {
        let accepted = |versions: &[Option<&str>]| {
            let tried = versions.iter().map(|it| tried(*it, "web-3", Verdict::Accepted));
            report(tried.collect()).lines()
        };
        for (versions, expected) in [
            (&[Some("1.4")][..], "tried on 1 of 12: product 1.4 accepts it"),
            (&[None], "tried on 1 of 12: product accepts it"),
            (&[Some("1.4"), Some("1.4")], "tried on 2 of 12: product 1.4 accepts it"),
            (&[Some("1.5"), Some("1.4")], "tried on 2 of 12: product 1.4 and 1.5 accept it"),
            (
                &[Some("1.5"), None, Some("1.4")],
                "tried on 3 of 12: product 1.4, 1.5 and an unknown version accept it",
            ),
        ] {
            assert_eq!(accepted(versions), [expected]);
        }
        assert!(accepted(&[]).is_empty());
    }

    #[test]
    fn a_rejection_names_the_instance_and_the_reason_and_silence_is_no_verdict() {
        let reason = Some("type catalogue.page-size".to_owned());
        let rejected = report(vec![
            tried(Some("1.4"), "web-3", Verdict::Rejected(reason)),
            tried(None, "web-4", Verdict::Rejected(None)),
            tried(Some("1.5"), "web-5", Verdict::Unanswered),
        ]);
        assert!(rejected.is_rejected());
        assert_eq!(
            rejected.lines(),
            [
                "product 1.5 on web-5 has not answered: no verdict",
                "product 1.4 on web-3 rejects it: type catalogue.page-size",
                "product on web-4 rejects it",
            ]
        );
        assert!(!report(vec![tried(None, "web-5", Verdict::Unanswered)]).is_rejected());
    }

    #[test]
    fn an_instance_that_the_pusher_may_not_see_is_not_named() {
        let hidden = |verdict| TriedInstance { is_visible: false, ..tried(None, "web-3", verdict) };
        let report = report(vec![
            hidden(Verdict::Rejected(Some("type secret.key".to_owned()))),
            hidden(Verdict::Rejected(None)),
            hidden(Verdict::Unanswered),
            hidden(Verdict::Accepted),
        ]);
        assert!(report.is_rejected());
        let line = "an instance of an application that you may not read rejects it";
        assert_eq!(report.lines(), [line]);
    }

    #[test]
    fn long_lists_are_cut() {
        let rejected = (0..LINE_COUNT_MAX + 5)
            .map(|number| tried(None, &format!("w{number}"), Verdict::Rejected(None)));
        let lines = report(rejected.collect()).lines();
        assert_eq!(lines.len(), LINE_COUNT_MAX + 1);
        assert_eq!(lines.last().unwrap(), "and 5 more instances");
    }
}
