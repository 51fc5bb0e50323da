//! Stories of reports, and the membership and the lags that result.

use super::*;

struct Story {
    membership: Membership,
    started: Instant,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        let now = Instant::now();
        Self { membership: Membership::new("own".to_owned()), started: now, now }
    }

    /// Moves the clock to a number of seconds after the start.
    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = self.started + Duration::from_secs(seconds);
        self
    }

    fn reports(&mut self, id: &str, revision: &str) -> &mut Self {
        self.membership.record(id, report(id, revision), &[], self.now);
        self
    }

    /// Reports a revision that a history knows to be older.
    fn reports_older(&mut self, id: &str, revision: &str) -> &mut Self {
        let report = report(id, revision);
        let older = report.labels.clone();
        self.membership.record(id, report, &older, self.now);
        self
    }

    fn ends(&mut self, id: &str) -> &mut Self {
        self.membership.mark_gone(id, self.now);
        self
    }

    #[track_caller]
    fn lags(&mut self, expected: &[(&str, u64)]) -> &mut Self {
        let mut lags: Vec<(&str, u64)> = self
            .membership
            .members()
            .filter(|(_, member)| member.gone_since.is_none())
            .map(|(id, member)| {
                let lag = self.membership.lag(member, &member.report.labels[0], self.now);
                (id, lag.as_secs())
            })
            .collect();
        lags.sort_unstable();
        assert_eq!(lags, expected);
        self
    }
}

fn report(name: &str, revision: &str) -> ReplicaReport {
    let label = LabelRevision { label: None, revision: revision.to_owned() };
    ReplicaReport { name: name.to_owned(), labels: vec![label], ..ReplicaReport::default() }
}

#[test]
fn a_replica_without_the_newest_revision_lags() {
    let mut story = Story::new();
    story.reports("a", "1").reports("b", "1").reports("own", "1").lags(&[
        ("a", 0),
        ("b", 0),
        ("own", 0),
    ]);
    story.at(10).reports("own", "2").at(15).lags(&[("a", 5), ("b", 5), ("own", 0)]);
    story.reports("a", "2").lags(&[("a", 0), ("b", 5), ("own", 0)]);
    // The lag counts from the first newer revision, however many follow it.
    story.at(20).reports("a", "3").reports("own", "3").at(30).lags(&[
        ("a", 0),
        ("b", 20),
        ("own", 0),
    ]);
    // A replica that moves to a later revision lags less.
    story.reports("b", "2").lags(&[("a", 0), ("b", 10), ("own", 0)]);
    story.reports("b", "3").lags(&[("a", 0), ("b", 0), ("own", 0)]);
}

#[test]
fn a_return_to_an_earlier_revision_is_the_newest() {
    let mut story = Story::new();
    story.reports("a", "1").reports("b", "1").at(1).reports("a", "2").reports("b", "2");
    story.at(5).reports("a", "1").at(8).lags(&[("a", 0), ("b", 3)]);
    story.reports("b", "1").lags(&[("a", 0), ("b", 0)]);
}

#[test]
fn a_replica_that_starts_with_an_older_revision_lags() {
    let mut story = Story::new();
    story.reports("own", "2").at(5).reports_older("a", "1").at(7).lags(&[("a", 2), ("own", 0)]);
    // An unknown revision is the newest until a history says otherwise.
    story.reports("b", "3").at(9).lags(&[("a", 4), ("b", 0), ("own", 2)]);
    let known_after = LabelRevision { label: None, revision: "2".to_owned() };
    story.membership.set_newest(&known_after, story.now);
    story.lags(&[("a", 4), ("b", 0), ("own", 0)]);
    story.at(10).lags(&[("a", 5), ("b", 1), ("own", 0)]);
}

#[test]
fn a_revision_that_only_gone_replicas_had_is_not_the_newest() {
    let mut story = Story::new();
    story.reports("own", "1").reports("a", "1").at(1).reports("b", "2").at(4);
    story.lags(&[("a", 3), ("b", 0), ("own", 3)]);
    story.ends("b").at(9).lags(&[("a", 0), ("own", 0)]);
}

#[test]
fn a_gone_replica_is_listed_for_a_while_unless_it_left_or_was_replaced() {
    let mut story = Story::new();
    let ids = |story: &Story| {
        let mut ids: Vec<(String, bool)> = story
            .membership
            .members()
            .map(|(id, it)| (id.to_owned(), it.gone_since.is_some()))
            .collect();
        ids.sort_unstable();
        ids
    };
    story
        .reports("own", "1")
        .reports("a", "1")
        .reports("b", "1")
        .ends("a")
        .ends("own")
        .ends("nobody");
    let listed = [("a", true), ("b", false), ("own", false)].map(|(id, it)| (id.to_owned(), it));
    assert_eq!(ids(&story), listed);
    // The replica had only lost its lease.
    story.reports("a", "1").lags(&[("a", 0), ("b", 0), ("own", 0)]).ends("a");
    // Another process replaces it, before or after its lease ends.
    story.membership.record("a2", report("a", "1"), &[], story.now);
    story.membership.record("b2", report("b", "1"), &[], story.now);
    story.ends("b");
    let replaced = ["a2", "b2", "own"].map(|id| (id.to_owned(), false));
    assert_eq!(ids(&story), replaced);
    let leaving = ReplicaReport { is_leaving: true, ..report("a", "1") };
    story.membership.record("a2", leaving, &[], story.now);
    story.ends("a2");
    story.membership.retain(&[], story.now);
    assert_eq!(ids(&story), [("b2", true), ("own", false)].map(|(id, it)| (id.to_owned(), it)));
    story.now += GONE_KEPT;
    story.membership.expire(story.now);
    assert_eq!(ids(&story), [("own".to_owned(), false)]);
}

#[test]
fn the_number_of_members_and_revisions_is_bounded() {
    let mut story = Story::new();
    story.reports("own", "1");
    for number in 0..REPLICA_COUNT_MAX + 5 {
        story.reports(&format!("r{number}"), &number.to_string());
    }
    assert_eq!(story.membership.members().count(), REPLICA_COUNT_MAX);
    assert_eq!(story.membership.left_out_count, 6);
    assert_eq!(story.membership.orders[&None].superseded.len(), SUPERSEDED_COUNT_MAX);
    story.membership.retain(&[], story.now);
    assert_eq!(story.membership.members().count(), GONE_COUNT_MAX + 1);
}
