//! From the settings to the replicas of the fleet.

use std::sync::Arc;

use headwater_etcd::Cluster;
use tokio::runtime::Handle;

use crate::access::Guard;
use crate::replicas::Replicas;
use crate::settings::{self, Settings};
use crate::store::Store;

/// The name of a replica without a name.
const NAMELESS: &str = "headwater";

/// All replicas, before this one has discovered any.
pub(super) fn open(
    settings: &Settings,
    store: &Arc<Store>,
    guard: Option<Arc<Guard>>,
    shared: Option<Cluster>,
    runtime: Handle,
) -> Arc<Replicas> {
    Replicas::new(name(settings), Arc::clone(store), guard, shared, runtime)
}

/// The name in the settings, or the name of the host.
pub(super) fn name(settings: &Settings) -> String {
    let host = || {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Some(name).filter(|name| settings::is_name(name))
    };
    settings.share.replica.clone().or_else(host).unwrap_or_else(|| NAMELESS.to_owned())
}
