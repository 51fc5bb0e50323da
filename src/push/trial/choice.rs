//! The choice of the instances that try the content of a push. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::fleet::{Instance, Outcome, TrialOffer};
use crate::model::Digest;

/// The most versions of one environment that are tried.
const VERSION_COUNT_MAX: usize = 3;
/// The attribute with the version of an instance.
const VERSION: &str = "version";

/// The version of an instance, if it reports one.
pub(super) fn version(instance: &Instance) -> Option<&str> {
    instance.attributes.get(VERSION)
}

/// Chooses one witness of each version from the instances of one environment, the versions with the most instances first.
/// A witness has acknowledged one of the served digests.
///
/// An instance that has left trials unanswered is chosen last, so that one broken client does not delay every push.
pub(super) fn choose<'a>(
    instances: &'a [Instance],
    offers: &'a [TrialOffer],
    served: &[Digest],
) -> Vec<(&'a Instance, &'a TrialOffer)> {
    let mut versions = BTreeMap::<Option<&str>, Vec<(&Instance, &TrialOffer)>>::new();
    let mut counts = BTreeMap::<Option<&str>, usize>::new();
    for instance in instances.iter().filter(|instance| instance.is_connected()) {
        *counts.entry(version(instance)).or_default() += 1;
        if let Some(offer) = newest_offer(instance, offers).filter(|_| is_witness(instance, served))
        {
            versions.entry(version(instance)).or_default().push((instance, offer));
        }
    }
    let mut chosen: Vec<_> = versions
        .into_iter()
        .filter_map(|(version, witnesses)| {
            let key = |(instance, offer): &(&Instance, &TrialOffer)| {
                (offer.missed_count, instance.name.clone())
            };
            Some((counts.get(&version).copied(), witnesses.into_iter().min_by_key(key)?))
        })
        .collect();
    // The order of versions decides between equal counts, because the sort is stable.
    chosen.sort_by_key(|(count, _)| Reverse(*count));
    chosen.into_iter().take(VERSION_COUNT_MAX).map(|(_, witness)| witness).collect()
}

/// The offer of the last stream of an instance. An earlier one may be of a connection that is lost.
fn newest_offer<'a>(instance: &Instance, offers: &'a [TrialOffer]) -> Option<&'a TrialOffer> {
    let is_of_instance = |offer: &&TrialOffer| {
        offer.speaker.name == instance.name && offer.speaker.incarnation == instance.incarnation
    };
    offers.iter().filter(is_of_instance).max_by_key(|offer| offer.stream)
}

fn is_witness(instance: &Instance, served: &[Digest]) -> bool {
    let applied = instance.applied.as_ref();
    applied.is_some_and(|it| it.outcome == Outcome::Applied && served.contains(&it.digest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fleet::{Acknowledgement, Attributes, InstanceReport, Instances, Speaker};
    use crate::model::{Label, Query, Revision};

    fn query() -> Query {
        Query { application: "product".into(), profiles: "prod".into(), label: Label::Default }
    }

    fn digest(digit: &str) -> Digest {
        Digest::parse(&digit.repeat(64)).unwrap()
    }

    /// Instances as `name version digit outcome`, all of them connected and with an offer.
    fn check(lines: &[&str], missed: &[&str], expected: &[&str]) {
        let table = Arc::<Instances>::default();
        let mut requests = Vec::new();
        let mut offers = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let [name, version, digit, outcome] =
                line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let mut report = InstanceReport::new(name).unwrap();
            report.attributes = Attributes::parse(&format!("version={version}"));
            report.applied = Some(Acknowledgement {
                revision: Revision::new("0".repeat(40)),
                digest: digest(digit),
                outcome: Outcome::from_name(outcome).unwrap(),
            });
            requests.push(table.enter(report, &query()).unwrap());
            let (query, principal) = (query(), "reader".into());
            let speaker = Speaker { name: name.into(), incarnation: None, query, principal };
            let missed_count = u32::from(missed.contains(&name));
            let stream = number as u64;
            offers.push(TrialOffer { stream, speaker, opens: true, missed_count });
        }
        let instances = table.snapshot(|_, _| true);
        let chosen = choose(&instances, &offers, &[digest("a")]);
        let names: Vec<&str> = chosen.iter().map(|(instance, _)| &*instance.name).collect();
        assert_eq!(names, expected, "{lines:?}");
    }

    #[test]
    fn one_witness_of_each_version_is_asked_and_the_common_versions_come_first() {
        check(&["w1 1.4 a ok", "w2 1.5 a ok", "w3 1.5 a ok"], &[], &["w2", "w1"]);
        let many =
            ["a 1.1 a ok", "b 1.2 a ok", "c 1.3 a ok", "d 1.4 a ok", "e 1.4 a ok", "f 1.4 a ok"];
        check(&many, &[], &["d", "a", "b"]);
    }

    #[test]
    fn an_instance_without_the_present_content_is_no_witness() {
        check(&["w1 1.4 b ok", "w2 1.4 a rejected"], &[], &[]);
        check(&["w1 1.4 b ok", "w2 1.4 a ok"], &[], &["w2"]);
    }

    #[test]
    fn an_instance_that_did_not_answer_is_asked_last() {
        check(&["w1 1.4 a ok", "w2 1.4 a ok"], &["w1"], &["w2"]);
        check(&["w1 1.4 a ok", "w2 1.4 b ok"], &["w1"], &["w1"]);
    }
}
