//! Memory for each principal of the policy, and for each opened variant of an environment.

use std::path::Path;

use anyhow::ensure;

use super::policy::{self, OPERATOR, header, principal, rule, write_private};
use super::sealed::Keys;
use crate::Options;
use crate::client::Client;
use crate::memory::small_repository;
use crate::process::Server;
use crate::table::Bound::AtMost;
use crate::table::{Row, median};

/// The principals of the smaller and of the larger policy, which has nearly the largest size of a file.
const PRINCIPAL_COUNTS: [usize; 2] = [1_000, 4_000];
/// The environments whose variants are compared.
const ENVIRONMENT_COUNT: usize = 2_000;
/// The principal that may read everything and open nothing.
const READER: &str = "reader";
/// The kind of the sealed values.
const KIND: &str = "symmetric";
const KIB: f64 = 1024.0;

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    Ok(vec![principals(options)?, variants(options)?])
}

/// The memory of a server with many principals less that of a server with few, for each principal and its rule.
fn principals(options: &Options) -> anyhow::Result<Row> {
    let files = [("application.yml", "shared: true\n")];
    let repository = small_repository(&options.work, "principals.git", &files)?;
    let resident = |count: usize| -> anyhow::Result<f64> {
        let path = options.work.join("principals.toml");
        write_private(&path, &policy::text(count, false))?;
        let mut resident = Vec::new();
        for _ in 0..options.rounds {
            let text = |address| policy::settings(address, &repository, ".", Some(&path), "");
            let server = Server::configured(&options.binary, &repository, text, "/livez")?;
            let status = Client::connect(server.address)?
                .get_with("/orders/default", &header(OPERATOR))?
                .status;
            ensure!(status == 200, "the operator was answered with {status}");
            resident.push(server.resident_bytes()?);
        }
        Ok(median(&resident))
    };
    let [few, many] = PRINCIPAL_COUNTS;
    let (small, large) = (resident(few)?, resident(many)?);
    Ok(Row {
        figure: "memory for each principal with its rule, KiB".to_owned(),
        must: AtMost(2.0),
        goal: AtMost(2.0),
        measured: (large - small) / (many - few) as f64 / KIB,
        note: format!(
            "{:.1} and {:.1} MiB with {many} and {few}",
            large / KIB / KIB,
            small / KIB / KIB
        ),
    })
}

/// The memory that the same reads take in a server that opens values beyond one that has no key, for each environment.
fn variants(options: &Options) -> anyhow::Result<Row> {
    let keys = Keys::new(&options.work)?;
    let mut files = Vec::new();
    for service in 0..ENVIRONMENT_COUNT {
        files.push((format!("{KIND}-{service}.yml"), keys.file(KIND, service)?));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let repository = small_repository(&options.work, "variants.git", &files)?;
    let policy = options.work.join("variants.toml");
    let read = "may = [\"read\"]\napplication = [\"*\"]\nprofile = [\"*\"]\nlabel = [\"*\"]";
    let text = policy::text(2, false)
        + &principal(READER, "service", &policy::token(READER))
        + &rule(READER, read);
    write_private(&policy, &text)?;
    let (_, sealed) = read_all(options, &repository, &policy, "")?;
    let (body_bytes, opened) = read_all(options, &repository, &policy, &keys.settings())?;
    let each = (opened - sealed) / ENVIRONMENT_COUNT as f64;
    Ok(Row {
        figure: "memory for each opened variant / its bytes".to_owned(),
        must: AtMost(1.0),
        goal: AtMost(1.0),
        measured: each / body_bytes,
        note: format!("{each:.0} and {body_bytes:.0} bytes"),
    })
}

/// Reads all environments with both principals. Returns the mean bytes of the operator's answers, and the memory that
/// all reads have taken.
fn read_all(
    options: &Options,
    repository: &Path,
    policy: &Path,
    tables: &str,
) -> anyhow::Result<(f64, f64)> {
    let text = |address| policy::settings(address, repository, ".", Some(policy), tables);
    let server = Server::configured(&options.binary, repository, text, "/livez")?;
    let mut client = Client::connect(server.address)?;
    let before = server.resident_bytes()?;
    let mut body_bytes = 0;
    for principal in [READER, OPERATOR] {
        let header = header(principal);
        for service in 0..ENVIRONMENT_COUNT {
            let answer = client.get_with(&format!("/{KIND}-{service}/default"), &header)?;
            ensure!(answer.status == 200, "{principal} was answered with {}", answer.status);
            body_bytes += if principal == OPERATOR { answer.body.len() } else { 0 };
        }
    }
    Ok((body_bytes as f64 / ENVIRONMENT_COUNT as f64, server.resident_bytes()? - before))
}
