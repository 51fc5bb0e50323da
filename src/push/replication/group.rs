//! The replicas of a shared repository, as the keeper of its rollouts needs them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures_util::future::BoxFuture;
use headwater_etcd::CasOutcome;
use headwater_rollout::Name;
use headwater_rollout::evidence::Report;
use headwater_rollout::state::State;

use super::replica::Replication;
use crate::conduct::{GroupStanding, RemoteInstances, Replacement, ReplicaGroup};
use crate::model::Label;
use crate::sync::lock;

/// The digits of an id that distinguish replicas with the same name.
const ID_SHOWN: usize = 4;

/// Another live replica of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetMember {
    /// The random identifier of its process.
    pub id: String,
    /// Its configured name.
    pub name: String,
    /// The shared repositories whose rollouts it follows. `None` for a version without rollouts.
    pub repositories: Option<Vec<String>>,
}

/// The fleet that shares an etcd cluster, from the point of view of one of its replicas.
pub struct Fleet {
    /// The random identifier of this process.
    pub own_id: String,
    /// The name of this replica.
    pub own_name: String,
    /// Returns the other live replicas. `None` while they are not known.
    pub others: Box<dyn Fn() -> Option<Vec<FleetMember>> + Send + Sync>,
}

/// The replicas that share one repository.
pub(in crate::push) struct RepositoryGroup {
    replication: Arc<Replication>,
}

/// The place of the fleet, which is known once the server is assembled.
pub(super) type FleetPlace = OnceLock<Arc<Fleet>>;

impl RepositoryGroup {
    pub(in crate::push) fn new(replication: &Arc<Replication>) -> Self {
        Self { replication: Arc::clone(replication) }
    }
}

impl ReplicaGroup for RepositoryGroup {
    fn standing(&self) -> GroupStanding {
        let now = Instant::now();
        let freshness = lock(&self.replication.rollouts.freshness).clone();
        let is_fenced = freshness.is_fenced(now);
        let is_current = freshness.is_connected(now) && self.replication.evidence.is_connected(now);
        let fleet = self.replication.fleet.get();
        let others = fleet.and_then(|fleet| Some((fleet, (fleet.others)()?)));
        let Some((fleet, others)) = others else {
            let own = fleet.map_or("this replica", |fleet| fleet.own_name.as_str());
            let alone = GroupStanding::alone(own.into());
            return GroupStanding { is_connected: false, is_fenced, ..alone };
        };
        let members = Members::of(fleet, others, &self.replication.name);
        GroupStanding { is_connected: is_current, is_fenced, ..members.standing(&fleet.own_id) }
    }

    fn publish_reports(&self, reports: Vec<Report>) {
        self.replication.evidence.publish_reports(reports);
    }

    fn other_reports(&self) -> Vec<Report> {
        let Some(fleet) = self.replication.fleet.get() else { return Vec::new() };
        let others = (fleet.others)().unwrap_or_default();
        let names = Members::of(fleet, others, &self.replication.name).names;
        let reports = self.replication.evidence.other_reports(&fleet.own_id);
        let named = reports.into_iter().map(|(id, report)| {
            // A replica whose lease has ended still counts if it reported something bad.
            let replica = names.get(&id).cloned().unwrap_or_else(|| Name::from(&*id));
            Report { replica, ..report }
        });
        named.collect()
    }

    fn other_instances(&self, labels: &[Label]) -> Vec<RemoteInstances> {
        let Some(fleet) = self.replication.fleet.get() else { return Vec::new() };
        self.replication.evidence.other_instances(&fleet.own_id, labels)
    }

    fn replace<'a>(
        &'a self,
        before: &'a Arc<State>,
        next: &'a State,
    ) -> BoxFuture<'a, Result<Replacement, String>> {
        Box::pin(async move {
            let replaced = self.replication.replace_rollouts(before, next).await;
            self.replication.wake.notify_one();
            match replaced {
                Ok(CasOutcome::Committed) => Ok(Replacement::Done),
                Ok(CasOutcome::Conflict) => Ok(Replacement::Conflict),
                Ok(CasOutcome::Unknown) => {
                    Err("etcd did not report in time whether it has the change".to_owned())
                }
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// The live replicas that share a repository.
struct Members {
    /// The name of each replica by its id. No two are the same.
    names: BTreeMap<String, Name>,
    /// A live replica whose version does not know rollouts.
    unsupported: Option<Name>,
}

impl Members {
    /// Selects the members of the fleet that share a repository. A replica of a version without rollouts does not say which
    /// repositories it shares.
    fn of(fleet: &Fleet, others: Vec<FleetMember>, repository: &str) -> Self {
        let old = others.iter().filter(|other| other.repositories.is_none());
        let unsupported = old.map(|other| Name::from(&*other.name)).min();
        let shares =
            |other: &FleetMember| other.repositories.iter().flatten().any(|own| own == repository);
        let mut ids: BTreeMap<String, String> =
            others.into_iter().filter(shares).map(|other| (other.id, other.name)).collect();
        ids.insert(fleet.own_id.clone(), fleet.own_name.clone());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        ids.values().for_each(|name| *counts.entry(name.clone()).or_default() += 1);
        let unique = |(id, name): (String, String)| {
            let shown = match counts[&name] {
                1 => name,
                _ => format!("{name}-{}", id.get(..ID_SHOWN).unwrap_or(&id)),
            };
            (id, Name::from(shown))
        };
        Self { names: ids.into_iter().map(unique).collect(), unsupported }
    }

    fn standing(self, own_id: &str) -> GroupStanding {
        let rank = self.names.keys().position(|id| id == own_id).unwrap_or(0);
        let own = self.names.get(own_id).cloned().unwrap_or_else(|| "this replica".into());
        GroupStanding {
            own,
            live: self.names.into_values().collect(),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            unsupported: self.unsupported,
            is_connected: true,
            is_fenced: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        Fleet { own_id: "b0".into(), own_name: "b".into(), others: Box::new(|| None) }
    }

    fn member(id: &str, name: &str, repositories: Option<&[&str]>) -> FleetMember {
        let repositories = repositories.map(|own| own.iter().map(|it| (*it).to_owned()).collect());
        FleetMember { id: id.to_owned(), name: name.to_owned(), repositories }
    }

    #[test]
    fn replicas_act_in_the_order_of_their_ids() {
        let others = vec![
            member("c0", "a", Some(&["main"])),
            member("a0", "c", Some(&["main", "other"])),
            member("00", "elsewhere", Some(&["other"])),
        ];
        let standing = Members::of(&fleet(), others, "main").standing("b0");
        assert_eq!((&*standing.own, standing.rank), ("b", 1));
        assert_eq!(standing.live, ["c", "b", "a"].map(Name::from));
        assert_eq!(standing.unsupported, None);
    }

    #[test]
    fn namesakes_have_names_of_their_own() {
        let others = vec![member("c0c0c0", "b", Some(&["main"]))];
        let standing = Members::of(&fleet(), others, "main").standing("b0");
        assert_eq!(standing.live, ["b-b0", "b-c0c0"].map(Name::from));
    }

    #[test]
    fn a_replica_of_an_older_version_is_unsupported() {
        let others = vec![member("c0", "old", None), member("d0", "new", Some(&["main"]))];
        let standing = Members::of(&fleet(), others, "main").standing("b0");
        assert_eq!(standing.unsupported, Some("old".into()));
        assert_eq!(standing.live, ["b", "new"].map(Name::from));
    }
}
