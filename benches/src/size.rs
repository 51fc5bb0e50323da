//! What the server takes: resident memory after start, and the binary.

use std::process::Command;

use crate::Options;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, ALL_PROFILES, generated, raw_bytes};
use crate::table::Bound::AtMost;
use crate::table::{Row, median};

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn memory(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let raw = raw_bytes(&repository)?;
    let mut resident = Vec::new();
    for round in 0..options.rounds {
        let path = format!("/{}/{ALL_PROFILES}", repository::name(round));
        let server =
            Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
        resident.push(server.resident_bytes()?);
    }
    let resident = median(&resident);
    Ok(vec![Row {
        figure: "memory after the first answer, 20,000 files / their bytes".to_owned(),
        must: AtMost(1.0),
        goal: AtMost(0.6),
        measured: resident / raw,
        note: format!("{:.1} and {:.1} MiB", resident / MIB, raw / MIB),
    }])
}

pub(crate) fn binary(options: &Options) -> anyhow::Result<Vec<Row>> {
    let stripped = options.work.join("stripped");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(&options.binary).status()?;
    anyhow::ensure!(status.success(), "strip failed");
    let bytes = std::fs::metadata(stripped)?.len();
    Ok(vec![Row {
        figure: "binary, stripped, MB".to_owned(),
        must: AtMost(30.0),
        goal: AtMost(15.0),
        measured: bytes as f64 / 1e6,
        note: format!("{bytes} bytes"),
    }])
}
