//! A plan file to plans, rules, limits and freezes.

use std::sync::Arc;
use std::time::Duration;

use super::document::{Item, PlanError, Reader, Section, printable};
use super::freeze::{Freeze, Window, instant, parse_offset, parse_weekly};
use super::stages::{read_bakes, read_reaches};
use super::value::{Size, parse_duration};
use super::{ACK_WITHIN, CanaryFilter, Limits, Plan, PlanFile, Rule, Stage, Unwatched};
use crate::Name;

/// The longest name of a plan, a check, an instance or an attribute.
const NAME_BYTES_MAX: usize = 128;
/// The keys by which other tools define a check in such a place.
const RUNNING_KEYS: [&str; 10] =
    ["exec", "command", "run", "script", "shell", "prometheus", "http", "url", "query", "webhook"];

pub(super) fn parse(file: &str, text: &[u8], checks: &[&str]) -> Result<PlanFile, PlanError> {
    let Ok(text) = std::str::from_utf8(text) else {
        let mut reader = Reader::new(file, "");
        reader.error(0, "the file is not UTF-8. Save it in this encoding");
        return Err(reader.finish().expect_err("the reader has an error"));
    };
    let mut reader = Reader::new(file, text);
    let mut result = PlanFile::empty();
    if let Some(mut root) = reader.root() {
        refuse_running(&root, &mut reader);
        read_plans(&mut root, &mut result, checks, &mut reader);
        let rules = root.sections("rule", "[[rule]]", &mut reader);
        read_rules(rules, &mut result, &mut reader);
        if let Some(section) = root.section("limits", "[limits]", &mut reader) {
            result.limits = read_limits(section, &mut reader);
        }
        let freezes = root.sections("freeze", "[[freeze]]", &mut reader);
        result.freezes.extend(freezes.into_iter().filter_map(|one| read_freeze(one, &mut reader)));
        root.finish(&mut reader);
    }
    reader.finish().map(|()| result)
}

/// Explains keys that would start something, beside the message about an unknown key.
fn refuse_running(section: &Section<'_>, reader: &mut Reader<'_>) {
    for key in RUNNING_KEYS {
        if let Some(at) = section.place_of(key) {
            reader.error(
                at,
                format!(
                    "{key}: a plan cannot run or query anything. The operator defines a check in \
                     headwater.toml, [[rollout.check]]. Name it in checks"
                ),
            );
        }
    }
}

fn read_plans(
    root: &mut Section<'_>,
    file: &mut PlanFile,
    checks: &[&str],
    reader: &mut Reader<'_>,
) {
    let Some(mut plans) = root.section("plan", "[plan]", reader) else {
        return;
    };
    for (name, section) in plans.named_sections("[plan]", reader) {
        let key = printable(&name.value);
        if !is_name(&name.value) {
            let message = "cannot be the name of a plan. Use letters, digits, -, _ and .";
            reader.error(name.at, format!("{key} {message}"));
        }
        if PlanFile::BUILT_IN.contains(&&*name.value) {
            reader.error(name.at, format!("{key} is a built-in plan. Choose another name"));
        }
        if let Some(plan) = read_plan(&name.value, section, checks, reader) {
            file.plans.entry(plan.name.clone()).or_insert(Arc::new(plan));
        }
    }
}

fn read_plan(
    name: &str,
    mut section: Section<'_>,
    checks: &[&str],
    reader: &mut Reader<'_>,
) -> Option<Plan> {
    refuse_running(&section, reader);
    let at = section.at;
    let by = section.text("by", reader);
    let reaches = read_reaches(&mut section, by.is_some(), reader);
    let bakes = section.one_or_many("bake", reader);
    let bake_count = reaches.as_ref().map_or(0, Vec::len) + usize::from(by.is_some());
    let bakes = read_bakes(bakes, bake_count, at, reader);
    let checks = read_checks(&mut section, checks, reader);
    let canaries = section.section("canaries", "canaries", reader);
    let canaries = canaries.map(|own| read_canaries(own, reader)).unwrap_or_default();
    let unwatched = section.text("unwatched", reader);
    let unwatched = unwatched.and_then(|item| read_unwatched(&item, reader)).unwrap_or_default();
    let deadline = read_time("deadline", &mut section, reader);
    let ack_within = read_time("ack_within", &mut section, reader).unwrap_or(ACK_WITHIN);
    section.finish(reader);
    let (reaches, mut bakes) = (reaches?, bakes?);
    let by_bake = if by.is_some() { bakes.remove(0) } else { Duration::ZERO };
    let stages = reaches.into_iter().zip(bakes).map(|(reach, bake)| Stage { reach, bake });
    let by = by.map(|item| item.value.into());
    let plan = Plan {
        by,
        by_bake,
        checks,
        canaries,
        unwatched,
        deadline,
        ack_within,
        ..Plan::with_stages(name, stages.collect())
    };
    check_coherence(&plan, at, reader).then_some(plan)
}

/// Reports parts of a plan that contradict each other.
fn check_coherence(plan: &Plan, at: usize, reader: &mut Reader<'_>) -> bool {
    let name = &plan.name;
    let mut problems = Vec::new();
    let before_last = plan.stages.len().saturating_sub(1);
    let is_unwatched = plan.stages[..before_last].iter().any(|stage| stage.bake.is_zero());
    if is_unwatched || plan.by.is_some() && plan.by_bake.is_zero() {
        problems.push(
            "bake: a stage before the last one is watched for at least 1s. Use the plan \
             all-at-once to watch nothing"
                .to_owned(),
        );
    }
    if plan.is_all_at_once() && !plan.canaries.is_empty() {
        problems.push("canaries: the plan has no stage for canaries. Add one to stages".to_owned());
    }
    if let Some(by) = &plan.by
        && plan.canaries.attributes.iter().any(|(own, _)| own == by)
    {
        problems.push(format!("canaries and by both use {by}. Remove one of them"));
    }
    let bake = plan.stages.iter().map(|stage| stage.bake).max().unwrap_or_default();
    if plan.deadline.is_some_and(|deadline| deadline <= bake.max(plan.by_bake)) {
        problems.push("deadline: expected more than the longest bake. Raise it".to_owned());
    }
    for problem in &problems {
        reader.error(at, format!("plan {name}: {problem}"));
    }
    problems.is_empty()
}

fn read_checks(section: &mut Section<'_>, known: &[&str], reader: &mut Reader<'_>) -> Vec<Name> {
    let mut checks: Vec<Name> = Vec::new();
    for item in section.texts("checks", reader).unwrap_or_default() {
        let name = printable(&item.value);
        if !known.contains(&&*item.value) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            reader.error(
                item.at,
                format!(
                    "checks: the operator has defined no check {name}. The known checks are {known}"
                ),
            );
        } else if checks.iter().any(|own| **own == *item.value) {
            reader.error(item.at, format!("checks: {name} is named twice. Remove one of them"));
        } else {
            checks.push(item.value.into());
        }
    }
    checks
}

fn read_canaries(mut section: Section<'_>, reader: &mut Reader<'_>) -> CanaryFilter {
    let mut filter = CanaryFilter::default();
    for item in section.texts("instances", reader).unwrap_or_default() {
        if is_name(&item.value) {
            filter.instances.push(item.value.into());
        } else {
            let name = printable(&item.value);
            reader.error(item.at, format!("instances: {name} cannot be the name of an instance"));
        }
    }
    for (name, value) in section.remaining_texts(reader) {
        for item in [&name, &value].into_iter().filter(|item| !is_attribute(&item.value)) {
            let text = printable(&item.value);
            let expected = "Attributes have lower-case letters, digits, ., _ and -";
            reader.error(item.at, format!("canaries: {text} cannot be an attribute. {expected}"));
        }
        filter.attributes.push((name.value.into(), value.value.into()));
    }
    filter.attributes.sort();
    filter
}

fn read_unwatched(item: &Item<String>, reader: &mut Reader<'_>) -> Option<Unwatched> {
    match &*item.value {
        "last" => Some(Unwatched::Last),
        "now" => Some(Unwatched::Now),
        "refuse" => Some(Unwatched::Refuse),
        other => {
            let other = printable(other);
            reader.error(
                item.at,
                format!("unwatched: expected \"last\", \"now\" or \"refuse\", got {other}"),
            );
            None
        }
    }
}

fn read_time(
    key: &'static str,
    section: &mut Section<'_>,
    reader: &mut Reader<'_>,
) -> Option<Duration> {
    let item = section.text(key, reader)?;
    let time = reader.accept(item.at, key, parse_duration(&item.value))?;
    if time.is_zero() {
        reader.error(item.at, format!("{key}: expected at least 1s"));
    }
    Some(time)
}

fn read_rules(sections: Vec<Section<'_>>, file: &mut PlanFile, reader: &mut Reader<'_>) {
    let mut is_complete = false;
    for mut section in sections {
        let at = section.at;
        if is_complete {
            reader.error(at, "no change reaches this rule, because a rule before matches any");
        }
        let mut patterns = |key| {
            let items = section.texts(key, reader)?;
            Some(items.into_iter().map(|item| item.value.into()).collect::<Vec<Name>>())
        };
        let (applications, profiles) = (patterns("applications"), patterns("profiles"));
        let plan = section.text("plan", reader);
        section.finish(reader);
        let Some(plan) = plan else {
            reader.error(at, "[[rule]] has no plan. Add plan = \"careful\"");
            continue;
        };
        if !file.plans.contains_key(&*plan.value) {
            let names: Vec<&str> = file.names().collect();
            let (name, names) = (printable(&plan.value), names.join(", "));
            reader.error(plan.at, format!("plan: no plan is named {name}. The plans are {names}"));
        }
        let any = |patterns: &Option<Vec<Name>>| {
            patterns.as_ref().is_none_or(|own| own.iter().any(|pattern| &**pattern == "*"))
        };
        is_complete |= any(&applications) && any(&profiles);
        file.rules.push(Rule { applications, profiles, plan: plan.value.into() });
    }
}

fn read_limits(mut section: Section<'_>, reader: &mut Reader<'_>) -> Limits {
    let applications = section.integer("applications", reader);
    let applications = applications.and_then(|item| {
        let count = u32::try_from(item.value).ok().filter(|count| *count > 0);
        let problem = || "expected a number from 1".to_owned();
        reader.accept(item.at, "applications", count.ok_or_else(problem))
    });
    let instances = section.text("instances", reader);
    let instances =
        instances.and_then(|item| reader.accept(item.at, "instances", Size::parse(&item.value)));
    section.finish(reader);
    Limits { applications, instances }
}

fn read_freeze(mut section: Section<'_>, reader: &mut Reader<'_>) -> Option<Freeze> {
    let at = section.at;
    let from = section.text_or_date("from", reader);
    let until = section.text_or_date("until", reader);
    let offset = section.text("offset", reader);
    let because = section.text("because", reader).map(|item| item.value.into());
    section.finish(reader);
    let offset = match offset {
        Some(item) => reader.accept(item.at, "offset", parse_offset(&item.value))?,
        None => 0,
    };
    let (Some(from), Some(until)) = (from, until) else {
        reader.error(at, "[[freeze]] needs from and until. Add both");
        return None;
    };
    let (window, text) = match (&from.value, &until.value) {
        (Err(from_text), Err(until_text)) => {
            let begin = reader.accept(from.at, "from", parse_weekly(from_text))?;
            let end = reader.accept(until.at, "until", parse_weekly(until_text))?;
            let window = Window::Weekly { from: begin, until: end, offset_minutes: offset };
            (window, format!("{from_text} until {until_text}"))
        }
        (Ok(begin), Ok(end)) => {
            let no_date = || "expected a date such as 2027-12-20".to_owned();
            let start = instant(begin, offset).ok_or_else(no_date);
            let stop = instant(end, offset).ok_or_else(no_date);
            let start = reader.accept(from.at, "from", start)?;
            let stop = reader.accept(until.at, "until", stop)?;
            (Window::Once { from: start, until: stop }, format!("{begin} until {end}"))
        }
        _ => {
            reader.error(at, "from and until have to be both dates or both days of the week");
            return None;
        }
    };
    let is_empty = match window {
        Window::Weekly { from, until, .. } => from == until,
        Window::Once { from, until } => from >= until,
    };
    if is_empty {
        reader.error(until.at, "until: expected a later time than from");
        return None;
    }
    Some(Freeze { window, because, text: text.into() })
}

/// Names that appear in messages and in the state: printable, without white space and quotes.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// The characters that `Headwater-Attributes` permits.
fn is_attribute(text: &str) -> bool {
    is_name(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}
