//! The first answer of environments nobody asked for yet: four files of their own each, read, parsed and rendered.

use std::time::Instant;

use anyhow::bail;

use crate::Options;
use crate::client::Client;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, ALL_PROFILES, generated};
use crate::table::Bound::AtMost;
use crate::table::{Row, percentile};

/// How many services are asked for, spread over the repository.
const ASKED_COUNT: usize = 1_000;

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let path = format!("/{}/{ALL_PROFILES}", repository::name(0));
    let server =
        Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
    let mut client = Client::connect(server.address)?;
    let mut millis = Vec::with_capacity(ASKED_COUNT);
    for asked in 0..ASKED_COUNT {
        // 1,999 has no factor in common with the number of services, so none is asked for twice.
        let service = repository::name(1 + (asked * 1_999) % (SERVICE_COUNT - 1));
        let path = format!("/{service}/{ALL_PROFILES}");
        let begun = Instant::now();
        let answer = client.get(&path)?;
        millis.push(begun.elapsed().as_secs_f64() * 1e3);
        if answer.status != 200 {
            bail!("{path} was answered with {}", answer.status);
        }
    }
    let row = |figure: &str, part, must, goal| Row {
        figure: figure.to_owned(),
        must: AtMost(must),
        goal: AtMost(goal),
        measured: percentile(&millis, part),
        note: format!("ms, of {ASKED_COUNT} services"),
    };
    Ok(vec![
        row("first answer of an environment, 4 files, p50", 0.50, 1.0, 0.5),
        row("the same, p99", 0.99, 10.0, 2.0),
    ])
}
