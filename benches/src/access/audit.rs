//! A GET of opened values with an audit trail, beside the same server without one.

use anyhow::{Context, ensure};

use super::policy::{self, OPERATOR, header};
use super::ratio;
use super::sealed::{Keys, VALUE_COUNT, plain};
use crate::Options;
use crate::client::Client;
use crate::load::{Contender, rounds};
use crate::memory::small_repository;
use crate::process::Server;
use crate::repository;
use crate::table::Bound::{AtLeast, None as NoBound};
use crate::table::Row;

/// The kind of the sealed values.
const KIND: &str = "symmetric";

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let keys = Keys::new(&options.work)?;
    let (path, file) = (format!("/{KIND}-0/default"), keys.file(KIND, 0)?);
    let shared = repository::content("application", "", 0);
    let files = [("application.yml", &*shared), ("symmetric-0.yml", &*file)];
    let repository = small_repository(&options.work, "audited.git", &files)?;
    let policy = policy::write(&options.work)?;
    let trail = options.work.join("audit.jsonl");
    // A trail of an earlier run does not belong to this one.
    let _ = std::fs::remove_file(&trail);
    let server = |audit: &str| {
        let tables = format!("{}{audit}", keys.settings());
        let text = |address| policy::settings(address, &repository, ".", Some(&policy), &tables);
        Server::configured(&options.binary, &repository, text, "/livez")
    };
    let (without, with) = (server("")?, server(&format!("[audit]\nfile = {trail:?}\n"))?);
    let header = header(OPERATOR);
    for server in [&without, &with] {
        let answer = Client::connect(server.address)?.get_with(&path, &header)?;
        let last = plain(KIND, 0, VALUE_COUNT - 1);
        ensure!(String::from_utf8_lossy(&answer.body).contains(&last), "no value was opened");
    }
    let mut contenders = [
        Contender::new(&without, &path, Some(header.clone())),
        Contender::new(&with, &path, Some(header)),
    ];
    rounds(&mut contenders, options.rounds, options.seconds)?;
    let lines = std::fs::read_to_string(&trail).context("the audit trail")?;
    ensure!(lines.contains("\"event\":\"open\""), "the audit trail has no read");
    let [without, with] = &contenders;
    let figure = |unit: &str| format!("GET of opened values, audit trail / none, {unit}");
    let rates = [&*with.rates, &*without.rates];
    let cpu = [&*with.cpu_micros, &*without.cpu_micros];
    Ok(vec![
        ratio(&figure("requests/s"), rates, AtLeast(0.97), AtLeast(0.99), "/s"),
        ratio(&figure("CPU/request"), cpu, NoBound, NoBound, "us"),
    ])
}
