//! The faults among the replicas that one replica can see.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{LEASE_SECONDS, Liveness, ReplicaList, ReplicaStatus, Replicas};
use crate::faults::{Fault, FaultKind};

impl Replicas {
    /// Returns the fault of an unreachable etcd, through which the replicas learn of each other.
    pub fn share_fault(&self) -> Option<Fault> {
        let (length, reason) = self.list().etcd?.outage?;
        let object = format!("replica {}", self.name);
        Some(Fault { kind: FaultKind::ShareUnreachable, object, lasted: Some(length), reason })
    }

    /// Records the replicas that are gone, and the other replicas with the name of this one.
    pub(super) fn record_faults(&self) {
        let ReplicaList { replicas, .. } = self.list();
        let faults = &self.store.faults;
        faults.replace(FaultKind::ReplicaGone, &gone(&replicas));
        faults.replace(FaultKind::ReplicaNamesake, &namesakes(&replicas));
    }
}

fn gone(replicas: &[ReplicaStatus]) -> BTreeMap<String, String> {
    let gone = replicas.iter().filter(|it| it.liveness == Liveness::Gone);
    gone.map(|it| (object(it), "its lease has ended".to_owned())).collect()
}

/// The other live replicas with the name of this one. A replica that replaces a killed one has the same name until the
/// lease of the killed one ends, so replicas younger than a lease are left out.
fn namesakes(replicas: &[ReplicaStatus]) -> BTreeMap<String, String> {
    let is_settled = |it: &ReplicaStatus| it.report.age_seconds > LEASE_SECONDS.into();
    let Some(own) = replicas.iter().find(|it| it.is_this).filter(|it| is_settled(it)) else {
        return BTreeMap::new();
    };
    let is_namesake = |it: &&ReplicaStatus| {
        !it.is_this && it.liveness == Liveness::Live && it.report.name == own.report.name
    };
    let others = replicas.iter().filter(is_namesake).filter(|it| is_settled(it));
    let reason = format!("this replica, at {}, has the same name", own.report.address);
    others.map(|it| (object(it), reason.clone())).collect()
}

/// Names a replica by its name and address.
fn object(replica: &ReplicaStatus) -> String {
    format!("{} at {}", replica.report.name, replica.report.address)
}

/// The longest time between two checks for faults.
pub(super) const FAULT_CHECK_INTERVAL: Duration = Duration::from_secs(5);
