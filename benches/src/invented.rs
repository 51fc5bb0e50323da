//! A push beside clients that have asked for tens of thousands of names that no file speaks of.

use crate::Options;
use crate::memory::make_up;
use crate::push::{Hosted, Pusher, SERVICE, SHARED};
use crate::table::{Bound, Row, median};

/// How many names clients make up.
const NAME_COUNT: usize = 50_000;
/// How often each of the two files is pushed.
const ROUND_COUNT_MIN: usize = 7;

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let [quiet, asked] = [Hosted::start_in(options, "quiet")?, Hosted::start_in(options, "asked")?];
    make_up(asked.server.address, 0, NAME_COUNT)?;
    let pusher = Pusher::start(options)?;
    let own = options.layout.path(SERVICE, "-prod");
    let mut rows = Vec::new();
    for file in [own.as_str(), SHARED] {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..=options.rounds.max(ROUND_COUNT_MIN) {
            let commit = pusher.commit(file, round)?;
            for (times, hosted) in times.iter_mut().zip([&quiet, &asked]) {
                times.push(pusher.push(&hosted.url, &commit)?);
            }
        }
        // The first push reads what later ones know.
        let [quiet, asked] = times.map(|times| median(&times[1..]));
        rows.push(Row {
            figure: format!("push of {file} beside {NAME_COUNT} invented names / without"),
            must: Bound::AtMost(1.2),
            goal: Bound::None,
            measured: asked / quiet,
            note: format!("{asked:.1} and {quiet:.1} ms"),
        });
    }
    Ok(rows)
}
