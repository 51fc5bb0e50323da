//! Tests of the choice of a plan, and of freezes.

use super::*;

fn chosen(file: &PlanFile, touched: &[(&str, &[&str])]) -> String {
    let touched = touched.iter().map(|(application, profiles)| Touched { application, profiles });
    file.choose(touched).name.to_string()
}

#[test]
fn the_first_matching_rule_decides() {
    let file = parse(EXAMPLE);
    assert_eq!(chosen(&file, &[("order", &["prod"])]), "payments");
    assert_eq!(chosen(&file, &[("rs-billing-2", &["dev"])]), "payments");
    assert_eq!(chosen(&file, &[("cart", &["dev"])]), "all-at-once");
    assert_eq!(chosen(&file, &[("cart", &["dev", "test"])]), "all-at-once");
    assert_eq!(chosen(&file, &[("cart", &["dev", "prod"])]), "auto", "prod is affected, too");
    assert_eq!(chosen(&file, &[("cart", &[])]), "auto", "without profiles, it is the default one");
}

#[test]
fn the_strictest_plan_decides_for_several_applications() {
    let file = parse(EXAMPLE);
    assert_eq!(chosen(&file, &[("cart", &["prod"]), ("order", &["prod"])]), "payments");
    assert_eq!(chosen(&file, &[("cart", &["dev"]), ("product", &["prod"])]), "auto");
    assert_eq!(chosen(&file, &[]), "auto");
}

#[test]
fn without_a_file_the_servers_default_decides() {
    let file = PlanFile::without_file("all-at-once").unwrap();
    assert_eq!(chosen(&file, &[("order", &["prod"])]), "all-at-once");
    assert!(PlanFile::without_file("off").is_none());
}

/// The wall time of a date and time in UTC.
fn at(text: &str) -> WallTime {
    let time: jiff::Timestamp = text.parse().unwrap();
    WallTime(time.as_second())
}

#[test]
fn a_weekly_freeze_crosses_the_end_of_the_week() {
    let file = parse(EXAMPLE);
    // 2026-11-20 is a Friday. The offset is one hour.
    for (time, expected) in [
        ("2026-11-20T14:59:59Z", false),
        ("2026-11-20T15:00:00Z", true),
        ("2026-11-22T23:30:00Z", true),
        ("2026-11-23T06:59:59Z", true),
        ("2026-11-23T07:00:00Z", false),
        ("2026-11-25T12:00:00Z", false),
    ] {
        assert_eq!(file.freeze(at(time)).is_some(), expected, "{time}");
    }
    let freeze = file.freeze(at("2026-11-21T00:00:00Z")).unwrap();
    assert_eq!(freeze.to_string(), "Fri 16:00 until Mon 08:00 (weekend)");
}

#[test]
fn a_dated_freeze_ends_before_its_end() {
    let file = parse(EXAMPLE);
    // 2026-12-22 is a Tuesday, 2027-01-05 too.
    assert!(file.freeze(at("2026-12-22T12:00:00Z")).is_some());
    assert!(file.freeze(at("2027-01-05T12:00:00Z")).is_none());
    let text = "[[freeze]]\nfrom = 2026-12-22T08:00:00\nuntil = 2026-12-22T09:00:00+02:00\noffset = \"+01:00\"";
    let problem = &problems(text)[0];
    assert!(problem.contains("until: expected a later time"), "{problem}");
}
