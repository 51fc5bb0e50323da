//! Who is known, and who lags, told as a story of reports.

use super::*;

struct Story {
    known: Known,
    begun: Instant,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        let now = Instant::now();
        Self { known: Known::new("own".to_owned()), begun: now, now }
    }

    /// So many seconds after the beginning.
    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = self.begun + Duration::from_secs(seconds);
        self
    }

    fn says(&mut self, id: &str, revision: &str) -> &mut Self {
        self.known.take(id, report(id, revision), &[], self.now);
        self
    }

    /// Somebody says that he has what a history knows to be older.
    fn says_old(&mut self, id: &str, revision: &str) -> &mut Self {
        let report = report(id, revision);
        let older = report.labels.clone();
        self.known.take(id, report, &older, self.now);
        self
    }

    fn goes(&mut self, id: &str) -> &mut Self {
        self.known.gone(id, self.now);
        self
    }

    #[track_caller]
    fn lags(&mut self, expected: &[(&str, u64)]) -> &mut Self {
        let mut lags: Vec<(&str, u64)> = self
            .known
            .all()
            .filter(|(_, seen)| seen.gone.is_none())
            .map(|(id, seen)| {
                let lag = self.known.lag(seen, &seen.report.labels[0], self.now);
                (id, lag.as_secs())
            })
            .collect();
        lags.sort_unstable();
        assert_eq!(lags, expected);
        self
    }
}

fn report(name: &str, revision: &str) -> Report {
    let at = At { label: None, revision: revision.to_owned() };
    Report { name: name.to_owned(), labels: vec![at], ..Report::default() }
}

#[test]
fn whoever_does_not_have_what_came_last_lags() {
    let mut story = Story::new();
    story.says("a", "1").says("b", "1").says("own", "1").lags(&[("a", 0), ("b", 0), ("own", 0)]);
    story.at(10).says("own", "2").at(15).lags(&[("a", 5), ("b", 5), ("own", 0)]);
    story.says("a", "2").lags(&[("a", 0), ("b", 5), ("own", 0)]);
    // Since when it has not been the newest, however many come after it.
    story.at(20).says("a", "3").says("own", "3").at(30).lags(&[("a", 0), ("b", 20), ("own", 0)]);
    // To catch up is to lag less.
    story.says("b", "2").lags(&[("a", 0), ("b", 10), ("own", 0)]);
    story.says("b", "3").lags(&[("a", 0), ("b", 0), ("own", 0)]);
}

#[test]
fn going_back_is_going_on_too() {
    let mut story = Story::new();
    story.says("a", "1").says("b", "1").at(1).says("a", "2").says("b", "2");
    story.at(5).says("a", "1").at(8).lags(&[("a", 0), ("b", 3)]);
    story.says("b", "1").lags(&[("a", 0), ("b", 0)]);
}

#[test]
fn who_comes_late_with_what_is_known_to_be_older_lags() {
    let mut story = Story::new();
    story.says("own", "2").at(5).says_old("a", "1").at(7).lags(&[("a", 2), ("own", 0)]);
    // What nobody knows is newer: the others have not heard of it yet.
    story.says("b", "3").at(9).lags(&[("a", 4), ("b", 0), ("own", 2)]);
    let known_after = At { label: None, revision: "2".to_owned() };
    story.known.advance(&known_after, story.now);
    story.lags(&[("a", 4), ("b", 0), ("own", 0)]);
    story.at(10).lags(&[("a", 5), ("b", 1), ("own", 0)]);
}

#[test]
fn what_only_those_had_who_are_gone_is_not_the_newest() {
    let mut story = Story::new();
    story.says("own", "1").says("a", "1").at(1).says("b", "2").at(4);
    story.lags(&[("a", 3), ("b", 0), ("own", 3)]);
    story.goes("b").at(9).lags(&[("a", 0), ("own", 0)]);
}

#[test]
fn who_is_gone_is_listed_for_a_while_unless_it_ends_by_itself_or_is_replaced() {
    let mut story = Story::new();
    let ids = |story: &Story| {
        let mut ids: Vec<(String, bool)> =
            story.known.all().map(|(id, seen)| (id.to_owned(), seen.gone.is_some())).collect();
        ids.sort_unstable();
        ids
    };
    story.says("own", "1").says("a", "1").says("b", "1").goes("a").goes("own").goes("nobody");
    let listed = [("a", true), ("b", false), ("own", false)].map(|(id, it)| (id.to_owned(), it));
    assert_eq!(ids(&story), listed);
    // It had only lost its lease.
    story.says("a", "1").lags(&[("a", 0), ("b", 0), ("own", 0)]).goes("a");
    // Another process in its place, before or after it is found out.
    story.known.take("a2", report("a", "1"), &[], story.now);
    story.known.take("b2", report("b", "1"), &[], story.now);
    story.goes("b");
    let replaced = ["a2", "b2", "own"].map(|id| (id.to_owned(), false));
    assert_eq!(ids(&story), replaced);
    let leaving = Report { is_leaving: true, ..report("a", "1") };
    story.known.take("a2", leaving, &[], story.now);
    story.goes("a2");
    story.known.only(&[], story.now);
    assert_eq!(ids(&story), [("b2", true), ("own", false)].map(|(id, it)| (id.to_owned(), it)));
    story.now += GONE_KEPT;
    story.known.forget(story.now);
    assert_eq!(ids(&story), [("own".to_owned(), false)]);
}

#[test]
fn there_is_room_for_so_many() {
    let mut story = Story::new();
    story.says("own", "1");
    for number in 0..REPLICA_COUNT_MAX + 5 {
        story.says(&format!("r{number}"), &number.to_string());
    }
    assert_eq!(story.known.all().count(), REPLICA_COUNT_MAX);
    assert_eq!(story.known.left_out_count, 6);
    assert_eq!(story.known.lines[&None].past.len(), PAST_COUNT_MAX);
    story.known.only(&[], story.now);
    assert_eq!(story.known.all().count(), GONE_COUNT_MAX + 1);
}
