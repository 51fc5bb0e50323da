//! Compares the number of open files of the process with its limit. Connections, files and pipes to git count.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::faults::{FaultKind, Faults};

/// The interval between two counts.
const PAUSE: Duration = Duration::from_secs(5);
/// The parts of a hundred that are in use when the fault begins, and below which it ends.
const BEGIN_PERCENT: u64 = 90;
const END_PERCENT: u64 = 80;
/// The object of the fault.
const OBJECT: &str = "the process";

/// Counts them for as long as the server runs.
pub(super) async fn watch(faults: &Faults) {
    loop {
        tokio::time::sleep(PAUSE).await;
        // An unknown number is no fault.
        if let Some((open, limit)) = count() {
            judge(faults, open, limit);
        }
    }
}

fn judge(faults: &Faults, open: u64, limit: u64) {
    if open * 100 >= limit * BEGIN_PERCENT {
        let reason = format!("{open} of {limit} (ulimit -n)");
        faults.begin(FaultKind::OpenFilesExhausted, OBJECT, &reason);
    } else if open * 100 < limit * END_PERCENT {
        faults.end(FaultKind::OpenFilesExhausted, OBJECT);
    }
}

/// The number of open files, and the limit.
fn count() -> Option<(u64, u64)> {
    let limit = getrlimit(Resource::Nofile).current?;
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((u64::try_from(open).ok()?, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_ends_well_below_where_it_begins() {
        let faults = Faults::default();
        for (open, lasts) in [(89, false), (90, true), (85, true), (79, false), (85, false)] {
            judge(&faults, open, 100);
            assert_eq!(faults.contains(FaultKind::OpenFilesExhausted, OBJECT), lasts, "{open}");
        }
        let (open, limit) = count().expect("a system that counts them");
        assert!((3..limit).contains(&open), "{open} of {limit}");
    }
}
