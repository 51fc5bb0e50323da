//! 500 clients in one process that start at once, against an environment that the server has answered before and against
//! one that nobody asked for yet.

use std::collections::BTreeMap;

use crate::Options;
use crate::get::SERVICE_COUNT;
use crate::process::Server;
use crate::repository::{self, generated};
use crate::service::instances::{Instances, Way};
use crate::table::Bound::AtMost;
use crate::table::{Row, median, percentile};

const CLIENT_COUNT: usize = 500;

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let repository = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let path = format!("/{}/default", repository::name(0));
    let server =
        Server::headwater(&options.binary, &repository, options.layout.search_path(), &path)?;
    let mut times = BTreeMap::<(&str, &str), Vec<f64>>::new();
    let mut service = 0;
    for round in 0..=options.rounds {
        for way in [Way::Connect, Way::Live] {
            // 1,999 has no factor in common with the number of services, so none is asked for twice.
            service = (service + 1_999) % SERVICE_COUNT;
            let name = repository::name(service);
            for before in ["first asked for now", "asked for before"] {
                let mut process = Instances::spawn(server.address, &name, CLIENT_COUNT, way)?;
                process.begin()?;
                let millis = process.begun()?;
                if round > 0 {
                    times.entry((way.name(), before)).or_default().push(millis);
                }
            }
        }
    }
    let rows = times.iter().map(|((way, before), millis)| Row {
        figure: format!("{CLIENT_COUNT} clients at once, {way}, environment {before}, s"),
        must: AtMost(2.0),
        goal: AtMost(0.5),
        measured: median(millis) / 1e3,
        note: format!(
            "until the last has it; {:.3} to {:.3}",
            percentile(millis, 0.0) / 1e3,
            percentile(millis, 1.0) / 1e3
        ),
    });
    Ok(rows.collect())
}
