//! Choosing the side of an instance under a rollout, which the store does for each of its requests.

use std::hint::black_box;
use std::time::Instant;

use headwater_rollout::bucket::{Bound, Hold, Named, Shown, choose, is_behind, key};

use crate::Options;
use crate::table::{Bound as Limit, Row, median};

/// The choices of one round.
const CHOICE_COUNT: u32 = 2_000_000;
/// Instances with different names, so that no branch is always the same.
const INSTANCE_COUNT: usize = 1024;

pub(crate) fn measure(options: &Options) -> Vec<Row> {
    let names = (0..INSTANCE_COUNT).map(|index| key("order", "prod", &format!("order-{index}")));
    let instances: Vec<Named> = names.map(|key| Named { key, is_admitted: false }).collect();
    let hold = Hold { number: 7, salt: 42, bound: Bound::share(5, 100), is_withheld: false };
    let shown = Some(Shown { number: Some(7), is_candidate: false });
    let mut times = Vec::new();
    for _ in 0..=options.rounds {
        let begin = Instant::now();
        for index in 0..CHOICE_COUNT as usize {
            let instance = Some(instances[index % INSTANCE_COUNT]);
            let (hold, shown) = (black_box(&hold), black_box(shown));
            black_box(is_behind(hold.number, shown));
            black_box(choose(hold, black_box(instance), shown));
        }
        times.push(begin.elapsed().as_nanos() as f64 / f64::from(CHOICE_COUNT));
    }
    // The first round warms up.
    let measured = median(&times[1..]);
    vec![Row {
        figure: "choosing the side of an instance, ns".into(),
        must: Limit::AtMost(200.0),
        goal: Limit::AtMost(20.0),
        measured,
        note: format!("{INSTANCE_COUNT} instances, a bound of 5 %"),
    }]
}
