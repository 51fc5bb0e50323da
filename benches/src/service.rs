//! What a service pays that reads its configuration through the client crate: for a look at it, for the way of a push, for
//! memory, for building, and for starting together with many others.

mod build;
mod current;
pub(crate) mod instances;
mod memory;
mod push;
mod start;

use serde::Deserialize;

use crate::Options;
use crate::table::Row;

/// The figures of a service.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Part {
    /// `Live::current` beside a load of an `arc-swap`
    Current,
    /// The end of a `git push` to `Live::changed` in 1,000 instances
    Push,
    /// Memory of each further client in a process
    Memory,
    /// What the crate adds to the build of a service
    Build,
    /// 500 clients that start at once
    Start,
}

pub(crate) fn measure(options: &Options, part: Option<Part>) -> anyhow::Result<Vec<Row>> {
    let all = [Part::Current, Part::Push, Part::Memory, Part::Start, Part::Build];
    let mut rows = Vec::new();
    for part in part.map_or(all.to_vec(), |part| vec![part]) {
        rows.extend(match part {
            Part::Current => current::measure(options)?,
            Part::Push => push::measure(options)?,
            Part::Memory => memory::measure(options)?,
            Part::Build => build::measure(options)?,
            Part::Start => start::measure(options)?,
        });
    }
    Ok(rows)
}

/// The configuration of a generated service, as its own type.
#[derive(Deserialize)]
#[expect(dead_code, reason = "a service has more than is looked at here")]
struct Service {
    server: Section,
    datasource: Section,
    messaging: Section,
    cache: Section,
    http: Section,
    limits: Section,
    features: Section,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "a service has more than is looked at here")]
struct Section {
    enabled: bool,
    listen_port: u16,
    request_timeout: String,
    endpoint_url: String,
    connection_pool: Pool,
    owner: String,
    zones: Vec<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "a service has more than is looked at here")]
struct Pool {
    maximum_size: u32,
}
