//! GET under a policy, beside the same GET of the same binary without one. The policy has 1,000 principals and 1,000 rules.

mod principals;

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use headwater_access::Sha256;

use self::principals::PrincipalLoad;
use crate::Options;
use crate::client::Client;
use crate::get::{SERVICE_COUNT, path};
use crate::load::Contender;
use crate::process::Server;
use crate::repository::{self, generated};
use crate::table::Bound::{AtLeast, AtMost, None as NoBound};
use crate::table::{Bound, Row, median};

/// The principals of the policy. Each service has one rule, and the operator has two.
const PRINCIPAL_COUNT: usize = 1_000;
/// The connections of different principals.
const CONNECTION_COUNT: usize = 256;
/// The principal that may do everything.
const OPERATOR: &str = "operator";
/// The service whose environment [`path`] names.
const SERVICE: usize = 7;
/// A label that the repository does not have.
const ABSENT_LABEL: &str = "nosuch";

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let (search_path, path) = (options.layout.search_path(), path());
    let open = Server::headwater(&options.binary, &repository, search_path, &path)?;
    let policy = write_policy(&options.work)?;
    let text = |address| settings_text(address, &repository, search_path, &policy);
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

fn ratio(figure: &str, values: [&[f64]; 2], must: Bound, goal: Bound, unit: &str) -> Row {
    let [this, other] = values.map(median);
    Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured: this / other,
        note: format!("{this:.2} and {other:.2} {unit}"),
    }
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

fn token(principal: &str) -> String {
    format!("hw_{principal}_0123456789abcdef0123456789abcdef")
}

fn header(principal: &str) -> String {
    format!("Authorization: Bearer {}", token(principal))
}

/// A service for each principal but the operator. Each may read and open its own environment.
fn write_policy(work: &Path) -> anyhow::Result<PathBuf> {
    let mut text = "version = 1\n".to_owned();
    let principal = |name: &str, kind: &str| {
        let digest = Sha256::of(token(name).as_bytes());
        format!(
            "[[principal]]\nname = \"{name}\"\nkind = \"{kind}\"\ntokens = [{{ sha256 = \"{digest}\" }}]\n"
        )
    };
    let rule = |name: &str, rest: &str| format!("[[allow]]\nwho = [\"{name}\"]\n{rest}\n");
    for service in 0..PRINCIPAL_COUNT - 1 {
        let name = repository::name(service);
        let own = "may = [\"read\", \"open\"]\napplication = [\"{principal}\"]\nprofile = [\"*\"]";
        write!(text, "{}{}", principal(&name, "service"), rule(&name, own))?;
    }
    let all =
        "may = [\"read\", \"open\"]\napplication = [\"*\"]\nprofile = [\"*\"]\nlabel = [\"*\"]";
    write!(text, "{}{}", principal(OPERATOR, "operator"), rule(OPERATOR, all))?;
    // A policy needs an administrator, whose right no name limits.
    text += &rule(OPERATOR, "may = [\"admin\"]");
    let path = work.join("policy.toml");
    fs::write(&path, text).context("the policy")?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(path)
}

fn settings_text(
    address: SocketAddr,
    repository: &Path,
    search_path: &str,
    policy: &Path,
) -> String {
    format!(
        "listen = \"{address}\"\n\n[access]\npolicy_file = {policy:?}\n\n[[source]]\nuri = {repository:?}\n\
         search_paths = [{search_path:?}]\ndefault_label = \"main\"\n"
    )
}
