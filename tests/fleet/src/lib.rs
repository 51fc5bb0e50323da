//! A fleet of replicas on a real etcd cluster, under a steady load of pushes, GETs and watchers, with one fault at a time,
//! and a checker of what has to hold of it in the end.
//!
//! The tests run a few faults for a short time, `headwater-bench fleet-soak` all of them for a long one. Everything that is
//! left to chance comes out of the seed, except how processes and threads are scheduled.
//!
//! - `fleet` starts it all: `etcd` the cluster, `replica` the servers, `proxy` the ways between them
//! - `load` is what goes on all the time: `load/pusher`, `load/reader`, `load/watcher`
//! - `fault` does damage, and heals it
//! - `record` is what was seen, `look` looks at the replicas in the end, `check` is a pure function of it
//! - `round` does one after the other and measures

mod check;
mod etcd;
mod fault;
mod fleet;
mod git;
mod http;
mod load;
mod look;
mod process;
mod proxy;
mod record;
mod replica;
mod round;

pub use self::fault::Fault;
pub use self::round::{Plan, Round, run};
