//! GET under a policy, beside the same GET of the same binary without one. The policy has 1,000 principals and 1,000 rules.

use anyhow::bail;

use super::policy::{self, OPERATOR, PRINCIPAL_COUNT, header};
use super::principals::PrincipalLoad;
use super::ratio;
use crate::Options;
use crate::client::Client;
use crate::get::{SERVICE_COUNT, path};
use crate::load::Contender;
use crate::process::Server;
use crate::repository::{self, generated};
use crate::table::Bound::{AtLeast, AtMost, None as NoBound};
use crate::table::{Bound, Row};

/// The connections of different principals.
const CONNECTION_COUNT: usize = 256;
/// The service whose environment [`path`] names.
const SERVICE: usize = 7;
/// A label that the repository does not have.
const ABSENT_LABEL: &str = "nosuch";

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let (search_path, path) = (options.layout.search_path(), path());
    let open = Server::headwater(&options.binary, &repository, search_path, &path)?;
    let policy = policy::write(&options.work)?;
    let text = |address| policy::settings(address, &repository, search_path, Some(&policy), "");
    // Readiness needs no credential.
    let guarded = Server::configured(&options.binary, &repository, text, "/livez")?;
    if Client::connect(guarded.address)?.get(&path)?.status != 401 {
        bail!("the server has no policy");
    }

    let (own, operator) = (header(&repository::name(SERVICE)), header(OPERATOR));
    let denied = format!("/{}/default", repository::name(SERVICE + 1));
    let absent = format!("{path}/{ABSENT_LABEL}");
    let mut single = [
        Contender::new(&open, &path, None),
        Contender::new(&guarded, &path, Some(own.clone())),
        Contender::new(&guarded, &denied, Some(own)).answered_with_errors(),
        Contender::new(&guarded, &absent, Some(operator)).answered_with_errors(),
    ];
    let mut many =
        [PrincipalLoad::new(&open, requests(false)), PrincipalLoad::new(&guarded, requests(true))];
    for round in 0..=options.rounds {
        for contender in &mut single {
            contender.round(options.seconds)?;
        }
        for load in &mut many {
            load.round(options.seconds)?;
        }
        // The first round warms up.
        if round == 0 {
            single.iter_mut().for_each(Contender::forget);
            many.iter_mut().for_each(PrincipalLoad::forget);
        }
    }
    Ok(rows(&single, &many))
}

fn rows(single: &[Contender<'_>; 4], many: &[PrincipalLoad<'_>; 2]) -> Vec<Row> {
    let [open, own, denied, absent] = single;
    let [open_many, many] = many;
    let rate = |figure: &str, values: [&[f64]; 2], must: f64, goal: f64| {
        ratio(&format!("{figure}, requests/s"), values, AtLeast(must), AtLeast(goal), "/s")
    };
    let cpu = |figure: &str, values: [&[f64]; 2], must: Bound, goal: Bound| {
        ratio(&format!("{figure}, CPU/request"), values, must, goal, "us")
    };
    let (alone, different) =
        ("GET with a token / open GET", "GET of 256 principals / open GET of the same paths");
    let (own_cpu, many_cpu) =
        ([&*own.cpu_micros, &*open.cpu_micros], [&*many.cpu_micros, &*open_many.cpu_micros]);
    let (denied_rates, denied_cpu) =
        ([&*denied.rates, &*absent.rates], [&*denied.cpu_micros, &*absent.cpu_micros]);
    vec![
        rate(alone, [&own.rates, &open.rates], 0.97, 0.99),
        cpu(alone, own_cpu, AtMost(1.03), AtMost(1.01)),
        rate(different, [&many.rates, &open_many.rates], 0.95, 0.97),
        cpu(different, many_cpu, NoBound, NoBound),
        rate("denied GET / 404 of an absent label", denied_rates, 0.9, 1.0),
        cpu("denied GET / 404 of an absent label", denied_cpu, NoBound, NoBound),
    ]
}

/// The request of each connection: the environment of a service, with the token of that service where there is a policy.
fn requests(has_policy: bool) -> Vec<Vec<u8>> {
    let request = |service: usize| {
        let name = repository::name(service);
        let credential = if has_policy { format!("{}\r\n", header(&name)) } else { String::new() };
        format!("GET /{name}/default HTTP/1.1\r\nHost: bench\r\n{credential}\r\n").into_bytes()
    };
    // Spread over all principals of the policy.
    let step = (PRINCIPAL_COUNT - 1) / CONNECTION_COUNT;
    (0..CONNECTION_COUNT).map(|connection| request(connection * step)).collect()
}
