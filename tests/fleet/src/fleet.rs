//! The fleet: three members of etcd, three replicas, and a proxy between each two of them.

use std::path::Path;

use anyhow::Result;

use crate::etcd::{Cluster, MEMBER_COUNT};
use crate::proxy::Proxy;
use crate::replica::{Common, Replica};

/// How many replicas there are.
pub(crate) const REPLICA_COUNT: usize = 3;
/// How many applications are configured, each in a file of its own.
pub(crate) const APPLICATION_COUNT: usize = 4;
/// How many push, each changing a key of its own in each of the files.
pub(crate) const PUSHER_COUNT: usize = 3;
/// The replica whose clock can be moved.
pub(crate) const MOVED_CLOCK: usize = 1;

/// All of it. Everything ends when it is dropped.
pub(crate) struct Fleet {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) cluster: Cluster,
}

/// Where clocks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clocks {
    System,
    /// One replica has its own.
    OneOwn,
}

impl Fleet {
    /// Starts all replicas at the same time with the same first files, and waits until all serve.
    pub(crate) fn start(binary: &Path, place: &Path, clocks: Clocks) -> Result<Self> {
        let seed = place.join("seed");
        std::fs::create_dir_all(&seed)?;
        for application in 0..APPLICATION_COUNT {
            std::fs::write(seed.join(file(application)), first_text())?;
        }
        let cluster = Cluster::start(place)?;
        let common = Common { binary, place, seed: &seed };
        let replica = |at: usize| {
            let ways = (0..MEMBER_COUNT).map(|member| Proxy::to(cluster.address(member)));
            let ways = ways.collect::<Result<_>>()?;
            let replica = Replica::new(format!("r{at}"), ways, &common)?;
            match clocks {
                Clocks::OneOwn if at == MOVED_CLOCK => replica.with_own_clock(),
                _ => Ok(replica),
            }
        };
        let replicas: Vec<Replica> = (0..REPLICA_COUNT).map(replica).collect::<Result<_>>()?;
        std::thread::scope(|scope| {
            let starting: Vec<_> =
                replicas.iter().map(|replica| scope.spawn(|| replica.start())).collect();
            starting.into_iter().try_for_each(|starting| {
                starting.join().unwrap_or_else(|_| anyhow::bail!("starting panicked"))
            })
        })?;
        replicas.iter().try_for_each(|replica| replica.wait(&path(0)))?;
        Ok(Self { replicas, cluster })
    }
}

/// The file of an application.
pub(crate) fn file(application: usize) -> String {
    format!("svc-{application}.yml")
}

/// Where an application's environment is.
pub(crate) fn path(application: usize) -> String {
    format!("/svc-{application}/default")
}

/// The key that is a pusher's own.
pub(crate) fn key(pusher: usize) -> String {
    format!("pusher-{pusher}")
}

/// The lines of different pushers stand apart, so that git merges them.
fn first_text() -> String {
    (0..PUSHER_COUNT).map(|pusher| format!("# of one\n#\n{}: 0\n#\n", key(pusher))).collect()
}

/// A text in which a pusher's key has another value.
pub(crate) fn changed(text: &str, pusher: usize, value: u64) -> String {
    let key = key(pusher);
    let line = |line: &str| match line.split_once(": ") {
        Some((known, _)) if known == key => format!("{key}: {value}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pusher_changes_its_own_key_only() {
        let first = first_text();
        let changed = changed(&first, 1, 42);
        assert!(changed.contains("pusher-0: 0\n") && changed.contains("pusher-1: 42\n"));
        assert_eq!(changed.lines().count(), first.lines().count());
    }
}
