//! Replicas that share what they host through etcd: whatever is pushed to any of them is the same on all.

mod bed;
mod flow;
mod growth;
mod kill;
mod options;
mod outage;
mod policy;
mod race;
mod rollouts;
mod start;
