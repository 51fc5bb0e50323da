//! Start to the first resolved answer, beside a bare clone of the same repository and beside nginx.

use std::fs;
use std::process::Command;

use crate::Options;
use crate::get::SERVICE_COUNT;
use crate::process::{Server, timed};
use crate::repository::{self, ALL_PROFILES, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median};

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let small = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let large = generated(&options.work, options.layout, SERVICE_COUNT * 5)?;
    let clone = options.work.join("clone.git");
    let (mut starts, mut large_starts) = (Vec::new(), Vec::new());
    let (mut clones, mut nginx_starts) = (Vec::new(), Vec::new());
    fs::create_dir_all(options.work.join("nginx"))?;
    fs::write(options.work.join("nginx/file.json"), "{}")?;
    for round in 0..=options.rounds {
        for (repository, starts) in [(&small, &mut starts), (&large, &mut large_starts)] {
            let path = format!("/{}/{ALL_PROFILES}", repository::name(round * 37));
            let search_path = options.layout.search_path();
            let server = Server::headwater(&options.binary, repository, search_path, &path)?;
            starts.push(millis(server.started_in));
        }
        let nginx = Server::nginx(&options.work, "", "/file.json")?;
        nginx_starts.push(millis(nginx.started_in));
        let mut command = Command::new("git");
        // Over file://, or git would link the pack and copy nothing.
        command.args(["clone", "--bare"]).arg(format!("file://{}", small.display())).arg(&clone);
        clones.push(millis(timed(&mut command)?));
        fs::remove_dir_all(&clone)?;
    }
    for times in [&mut starts, &mut large_starts, &mut clones, &mut nginx_starts] {
        times.remove(0);
    }
    let (start, large) = (median(&starts), median(&large_starts));
    let (clone, nginx) = (median(&clones), median(&nginx_starts));
    let row = |figure: &str, must, goal, measured, note| Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured,
        note,
    };
    Ok(vec![
        row(
            "start to first answer, 20,000 files / git clone --bare",
            AtMost(0.08),
            AtMost(0.04),
            start / clone,
            format!("{start:.1} and {clone:.0} ms"),
        ),
        row(
            "the same, 100,000 files / 20,000 files",
            NoBound,
            AtMost(1.5),
            large / start,
            format!("{large:.1} and {start:.1} ms"),
        ),
        row(
            "the same / nginx",
            AtMost(3.0),
            AtMost(1.5),
            start / nginx,
            format!("{start:.1} and {nginx:.1} ms"),
        ),
    ])
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
