//! Which changes of a report other replicas have to know, and which of them at once.
//!
//! Pure, so that each keeper writes as little to etcd as the others need.

use headwater_rollout::evidence::{Report, Sighting};

/// The time in milliseconds after which the last contact with an instance is reported again. It is less than the minute
/// after which another replica counts the instance as gone.
const SEEN_AGE_MAX: u64 = 20_000;

/// Returns true if a report says something that the last written one does not.
pub(super) fn has_news(written: &Report, report: &Report) -> bool {
    let is_stale = |(before, now): (&Sighting, &Sighting)| {
        before.key == now.key && now.seen.saturating_sub(before.seen) > SEEN_AGE_MAX
    };
    without_times(written) != without_times(report)
        || sightings(written).zip(sightings(report)).any(is_stale)
}

/// Returns true for the first report of a phase, and for the first report of a bad instance.
pub(super) fn is_urgent(written: Option<&Report>, report: &Report) -> bool {
    let Some(written) = written else { return true };
    let was_bad =
        |own: &Sighting| sightings(written).any(|before| before.key == own.key && before.is_bad());
    (written.number, written.phase) != (report.number, report.phase)
        || sightings(report).any(|own| own.is_bad() && !was_bad(own))
}

fn sightings(report: &Report) -> impl Iterator<Item = &Sighting> {
    report.applications.values().flat_map(|group| &group.listed)
}

fn without_times(report: &Report) -> Report {
    let mut report = report.clone();
    for group in report.applications.values_mut() {
        group.listed.iter_mut().for_each(|own| own.seen = 0);
    }
    report
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headwater_rollout::evidence::{Given, Group, Outcome, Standing};
    use headwater_rollout::state::Phase;

    use super::*;

    fn report(seen: u64, outcome: Option<Outcome>) -> Report {
        let own = Sighting {
            key: 1,
            name: "web-1".into(),
            seen,
            incarnation: 0,
            standing: Standing::Accepted,
            attributes: BTreeMap::new(),
            given: Some(Given { outcome, ..Given::default() }),
        };
        let group = Group { listed: vec![own], ..Group::default() };
        Report {
            replica: "a".into(),
            rollout: "r-1".into(),
            number: 1,
            phase: Phase::Stage(0),
            applications: BTreeMap::from([("orders".into(), group)]),
            is_trying: false,
            tries: Vec::new(),
        }
    }

    #[test]
    fn a_time_alone_is_news_after_a_while() {
        assert!(!has_news(&report(0, None), &report(SEEN_AGE_MAX, None)));
        assert!(has_news(&report(0, None), &report(SEEN_AGE_MAX + 1, None)));
        assert!(has_news(&report(0, None), &report(0, Some(Outcome::Accepted))));
    }

    #[test]
    fn a_first_report_and_a_bad_one_are_urgent() {
        let (none, accepted) = (report(0, None), report(0, Some(Outcome::Accepted)));
        let rejected = report(0, Some(Outcome::Rejected));
        assert!(is_urgent(None, &none));
        assert!(!is_urgent(Some(&none), &accepted));
        assert!(is_urgent(Some(&none), &rejected));
        assert!(!is_urgent(Some(&rejected), &rejected));
        let next = Report { phase: Phase::Stage(1), ..accepted.clone() };
        assert!(is_urgent(Some(&accepted), &next));
    }
}
