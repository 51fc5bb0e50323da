//! Replicas in this process, with data directories that outlive them, and a prefix of their own in a real etcd.

use std::path::Path;
use std::sync::Arc;

use headwater::data::DataDirectory;
use headwater::settings::Settings;
use tempfile::TempDir;

use crate::fixture::{
    Address, Cluster, Server, Tree, clone, directory, eventually, hosted_settings, repository_url,
};

/// What the repository holds at first.
pub(super) const SHOP: &str = "//- application.yml\nregion: north\n//- orders.yml\nlimit: 1\n";

/// Where replicas meet, and what they begin with.
pub(super) struct Bed {
    pub(super) etcd: Arc<Cluster>,
    pub(super) prefix: String,
    pub(super) seed: TempDir,
    pub(super) place: TempDir,
}

impl Bed {
    /// On the etcd that other tests use as well.
    pub(super) fn new() -> Self {
        Self::on(Cluster::shared())
    }

    pub(super) fn on(etcd: Arc<Cluster>) -> Self {
        let prefix = format!("fleet-{:x}", fastrand::u64(..));
        Self { etcd, prefix, seed: directory(SHOP), place: directory("") }
    }

    /// What the keys of the repository begin with.
    pub(super) fn keys(&self) -> String {
        format!("{}/git/v1/main/", self.prefix)
    }

    pub(super) fn uri(&self) -> String {
        self.etcd.uri(&self.prefix)
    }

    pub(super) fn settings(&self, data: &Path) -> Settings {
        let mut settings = hosted_settings(data, self.seed.path());
        settings.share.uri = Some(self.uri());
        settings
    }

    /// A replica with an empty disk.
    pub(super) fn replica(&self) -> Replica {
        self.replica_with(|_| {})
    }

    pub(super) fn replica_with(&self, change: impl FnOnce(&mut Settings)) -> Replica {
        let disk = directory("");
        let mut settings = self.settings(&disk.path().join("data"));
        change(&mut settings);
        Replica { server: Server::with(settings.clone()), disk, settings }
    }

    /// A replica on the disk of an earlier one.
    pub(super) fn start_on(&self, disk: TempDir, change: impl FnOnce(&mut Settings)) -> Replica {
        let mut settings = self.settings(&disk.path().join("data"));
        change(&mut settings);
        Replica { server: Server::with(settings.clone()), disk, settings }
    }

    /// A clone from a replica.
    pub(super) fn clone(&self, from: &Replica, name: &str) -> Tree {
        clone(&from.url(), &self.place.path().join(name))
    }
}

/// One replica.
pub(super) struct Replica {
    pub(super) server: Server,
    disk: TempDir,
    settings: Settings,
}

impl Replica {
    pub(super) fn url(&self) -> String {
        repository_url(self.server.0)
    }

    /// Where it lies.
    pub(super) fn repository(&self) -> Tree {
        Tree { path: self.disk.path().join("data/hosted/main.git") }
    }

    /// Ends it and starts it again on the same disk.
    pub(super) fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    /// The same, with other settings.
    pub(super) fn restart_with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings.clone();
        let disk = self.stop();
        change(&mut settings);
        Self { server: Server::with(settings.clone()), disk, settings }
    }

    /// Ends it; its disk stays.
    pub(super) fn stop(self) -> TempDir {
        let Self { server, disk, .. } = self;
        drop(server);
        // What a thread of the background has begun it ends.
        let data = disk.path().join("data");
        eventually("its disk is free", || DataDirectory::open(&data).is_ok());
        disk
    }

    pub(super) fn serves(&self, tip: &str) {
        serves(*self.server, tip);
    }
}

/// Waits until a replica serves a commit.
#[track_caller]
pub(super) fn serves(address: Address, tip: &str) {
    eventually("it serves what was pushed", || revision(address).as_deref() == Some(tip));
}

pub(super) fn revision(address: Address) -> Option<String> {
    address.get("/orders/dev").header("headwater-revision").map(str::to_owned)
}

/// All references of a repository, as it lists them.
pub(super) fn listed(tree: &Tree, url: &str) -> String {
    tree.git(&["ls-remote", url]).succeeds().out
}
