//! The contracts of services: where they are kept, and the builds that pushes are compared with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;

use crate::check::{CompiledContract, Reporting, RunningBuild, RunningBuilds};
use crate::data::DataDirectory;
use crate::fleet::{Contracts, Instances};
use crate::push::BuildSource;
use crate::sync::lock;

/// The directory of the contracts in the data directory.
const DIRECTORY: &str = "contracts";
/// The interval in which old contracts are removed and changes are written.
const INTERVAL: Duration = Duration::from_secs(60);

/// Reads the contracts of the data directory. Without one, or if it cannot be used, they are kept in memory alone.
pub(super) fn open(data: Option<&DataDirectory>, hours: u32) -> Arc<Contracts> {
    let directory = data.and_then(|data| match data.directory(DIRECTORY) {
        Ok(directory) => Some(directory),
        Err(error) => {
            tracing::warn!(%error, "contracts cannot be kept in the data directory");
            None
        }
    });
    let retention = SignedDuration::from_hours(i64::from(hours));
    Arc::new(Contracts::open(directory, retention, Timestamp::now()))
}

/// Maintains the contracts until the server ends.
pub(super) fn maintain(contracts: &Arc<Contracts>, instances: &Arc<Instances>, runtime: &Handle) {
    let (contracts, instances) = (Arc::downgrade(contracts), Arc::downgrade(instances));
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let (Some(contracts), Some(instances)) = (contracts.upgrade(), instances.upgrade())
            else {
                return;
            };
            let maintaining = tokio::task::spawn_blocking(move || {
                contracts.maintain(&instances.snapshot(|_, _| true), Timestamp::now());
            });
            // A panic is logged where it happens. The next round begins anew.
            let _ = maintaining.await;
        }
    });
}

/// Writes what the contracts have not written yet, at the end of the server.
pub(super) async fn close(contracts: &Arc<Contracts>, instances: &Arc<Instances>) {
    let (contracts, instances) = (Arc::clone(contracts), Arc::clone(instances));
    let closing = tokio::task::spawn_blocking(move || {
        contracts.close(&instances.snapshot(|_, _| true), Timestamp::now());
    });
    // A panic is logged where it happens. The files keep their last state.
    let _ = closing.await;
}

/// The builds of the instances that have reported to this server.
pub(super) struct FleetBuilds {
    contracts: Arc<Contracts>,
    instances: Arc<Instances>,
    /// The compiled contracts by digest.
    compiled: Mutex<HashMap<String, Arc<CompiledContract>>>,
}

impl FleetBuilds {
    pub(super) fn new(contracts: Arc<Contracts>, instances: Arc<Instances>) -> Arc<Self> {
        Arc::new(Self { contracts, instances, compiled: Mutex::default() })
    }
}

impl std::fmt::Debug for FleetBuilds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FleetBuilds")
    }
}

impl BuildSource for FleetBuilds {
    fn running(&self) -> RunningBuilds {
        let instances = self.instances.snapshot(|_, _| true);
        let survey = self.contracts.survey(&instances, Timestamp::now());
        let mut compiled = lock(&self.compiled);
        let mut next = HashMap::new();
        let builds = survey.builds.into_iter().filter_map(|build| {
            let (query, digest) = (build.query?, &build.contract.digest);
            let known = next.get(digest).or_else(|| compiled.get(digest)).cloned();
            let contract =
                known.unwrap_or_else(|| Arc::new(CompiledContract::new(&build.contract)));
            next.insert(digest.clone(), Arc::clone(&contract));
            Some(RunningBuild {
                query,
                version: build.contract.version.as_deref().map(Into::into),
                contract,
                instance_count: build.instance_count,
                is_accepted: build.is_accepted,
            })
        });
        let builds: Vec<RunningBuild> = builds.collect();
        *compiled = next;
        let reporting =
            survey.reporting.into_iter().map(|(application, (instances, reporting))| {
                let counts = Reporting { instance_count: instances, reporting_count: reporting };
                (application, counts)
            });
        RunningBuilds::new(builds, reporting.collect())
    }
}

#[cfg(test)]
mod tests {
    use headwater_wire::Contract;

    use super::*;
    use crate::fleet::InstanceReport;
    use crate::model::{Label, Query};

    #[test]
    fn only_contracts_that_an_instance_names_are_compiled() {
        let now = Timestamp::now();
        let contracts = Arc::new(Contracts::open(None, SignedDuration::from_hours(24), now));
        let instances = Arc::<Instances>::default();
        let builds = FleetBuilds::new(Arc::clone(&contracts), Arc::clone(&instances));
        let contract = Contract::new("product".to_owned(), None, vec![], vec![]).unwrap();
        contracts.register(contract.clone(), now).unwrap();
        assert!(builds.running().is_empty() && lock(&builds.compiled).is_empty());

        let mut report = InstanceReport::new("a").unwrap();
        report.contract = Some(contract.digest.as_str().into());
        let profiles = "default".into();
        let query = Query { application: "product".into(), profiles, label: Label::Default };
        let _running = instances.enter(report, &query).unwrap();
        assert!(!builds.running().is_empty());
        assert_eq!(lock(&builds.compiled).len(), 1);
    }
}
