//! A policy of 1,000 rules that replaces another one, and the GETs meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use headwater::access::Guard;

use super::policy::{self, OPERATOR, PRINCIPAL_COUNT, header, principal, rule, write_private};
use crate::Options;
use crate::client::Client;
use crate::get::{SERVICE_COUNT, path};
use crate::process::Server;
use crate::repository::generated;
use crate::table::Bound::{self, AtMost, None as NoBound};
use crate::table::{Row, median, percentile};

/// The least changes of the policy.
const CHANGE_COUNT_MIN: usize = 15;
/// The time in which the longest GET is sought, from the moment that the file changes. The server reads the file after
/// 100 ms without further changes.
const WINDOW: Duration = Duration::from_millis(400);
/// The longest time until a policy is in force.
const IN_FORCE_MAX: Duration = Duration::from_secs(10);
/// The principal that only every second policy permits to read its environment.
const GUEST: &str = "guest";
const GUEST_PATH: &str = "/guest/default";

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let texts = [false, true].map(text);
    let in_process = replace(&texts, options.rounds.max(CHANGE_COUNT_MIN))?;

    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let directory = options.work.join("changed-policy");
    std::fs::create_dir_all(&directory)?;
    let policy = directory.join("policy.toml");
    write_private(&policy, &texts[0])?;
    let search_path = options.layout.search_path();
    let settings = |address| policy::settings(address, &repository, search_path, Some(&policy), "");
    let server = Server::configured(&options.binary, &repository, settings, "/livez")?;
    let mut observer = Observer::new(&server)?;
    let (mut in_force, mut meanwhile, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for change in 1..=options.rounds.max(CHANGE_COUNT_MIN) {
        without.push(observer.longest_get(None)?.longest);
        rename_to(&policy, &texts[change % 2])?;
        let has_rule = change % 2 == 1;
        let seen = observer.longest_get(Some(has_rule))?;
        meanwhile.push(seen.longest);
        in_force.push(seen.in_force);
    }
    let row = |figure: &str, values: &[f64], must: Bound, goal: Bound, note: &str| Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured: median(values),
        note: format!("{:.2} to {:.2}{note}", percentile(values, 0.0), percentile(values, 1.0)),
    };
    let beside = format!(", {:.2} without a change", median(&without));
    Ok(vec![
        row(
            &format!("policy of {PRINCIPAL_COUNT} rules read and in force, ms"),
            &in_process,
            AtMost(50.0),
            AtMost(10.0),
            ", in this process",
        ),
        row("longest GET meanwhile, ms", &meanwhile, AtMost(2.0), AtMost(1.0), &beside),
        row(
            "rename of the policy file to the first request that follows it, ms",
            &in_force,
            NoBound,
            NoBound,
            ", 100 of them without further changes",
        ),
    ])
}

/// A policy, with a rule for the guest or without one.
fn text(has_rule: bool) -> String {
    let mut text = policy::text(PRINCIPAL_COUNT, false);
    text += &principal(GUEST, "service", &policy::token(GUEST));
    if has_rule {
        text +=
            &rule(GUEST, "may = [\"read\"]\napplication = [\"{principal}\"]\nprofile = [\"*\"]");
    }
    text
}

/// The milliseconds in which a policy is parsed, checked, compared and put in force.
fn replace(texts: &[String; 2], count: usize) -> anyhow::Result<Vec<f64>> {
    let guard = Guard::new("policy.toml", texts[0].as_bytes(), None)?;
    let mut millis = Vec::new();
    for change in 1..=count {
        let begun = Instant::now();
        let text = texts[change % 2].as_bytes();
        let is_new = guard.replace("policy.toml", text, |_| Ok(()), drop)?;
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(is_new, "the policy was the one in force");
    }
    Ok(millis)
}

/// Replaces a file in one step.
fn rename_to(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    write_private(&new, text)?;
    Ok(std::fs::rename(new, path)?)
}

/// A client whose requests every policy allows, and the guest.
struct Observer {
    path: String,
    operator: (Client, String),
    guest: (Client, String),
}

/// What an observer has seen, in milliseconds.
struct Seen {
    longest: f64,
    in_force: f64,
}

impl Observer {
    fn new(server: &Server) -> anyhow::Result<Self> {
        let connect = || Client::connect(server.address);
        let (operator, guest) = (header(OPERATOR), header(GUEST));
        Ok(Self { path: path(), operator: (connect()?, operator), guest: (connect()?, guest) })
    }

    /// Repeats a GET for the time of [`WINDOW`] and, after a change of the guest's rule, until the guest's answer shows it.
    fn longest_get(&mut self, has_rule: Option<bool>) -> anyhow::Result<Seen> {
        let begun = Instant::now();
        let mut seen = Seen { longest: 0.0, in_force: 0.0 };
        let mut waits_for = has_rule;
        while waits_for.is_some() || begun.elapsed() < WINDOW {
            let (client, header) = &mut self.operator;
            let asked = Instant::now();
            let status = client.get_with(&self.path, header)?.status;
            seen.longest = seen.longest.max(asked.elapsed().as_secs_f64() * 1e3);
            ensure!(status == 200, "a GET was answered with {status}");
            if let Some(has_rule) = waits_for {
                let (client, header) = &mut self.guest;
                let is_allowed = match client.get_with(GUEST_PATH, header)?.status {
                    200 => true,
                    404 => false,
                    status => bail!("the guest was answered with {status}"),
                };
                if is_allowed == has_rule {
                    seen.in_force = begun.elapsed().as_secs_f64() * 1e3;
                    waits_for = None;
                }
            }
            ensure!(begun.elapsed() < IN_FORCE_MAX, "the policy is not in force");
        }
        Ok(seen)
    }
}
