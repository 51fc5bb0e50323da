//! A fleet of replicas on an etcd cluster of three members: how long a push takes to those who watch another replica, and
//! what it costs to have the files in etcd.

mod cluster;
mod get;
mod publish;
mod push;
mod start;

use std::fs;
use std::path::{Path, PathBuf};

use crate::Options;
use crate::process::Server;
use crate::table::Row;

use self::cluster::Cluster;

/// The figures of a fleet.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Part {
    /// The end of a `git push` at one replica to the event at another, beside etcd's own put to watch
    Push,
    /// GET of a replica on etcd, beside one on git
    Get,
    /// Publishing 20,000 files into etcd, and then one more
    Publish,
    /// Start of a replica on 20,000 files in etcd
    Start,
}

pub(crate) fn measure(options: &Options, part: Option<Part>) -> anyhow::Result<Vec<Row>> {
    let all = [Part::Push, Part::Get, Part::Publish, Part::Start];
    let mut rows = Vec::new();
    for part in part.map_or(all.to_vec(), |part| vec![part]) {
        rows.extend(match part {
            Part::Push => push::measure(options)?,
            Part::Get => get::measure(options)?,
            Part::Publish => publish::measure(options)?,
            Part::Start => start::measure(options)?,
        });
    }
    Ok(rows)
}

/// A replica that serves what is published below a prefix.
fn replica(
    options: &Options,
    cluster: &Cluster,
    prefix: &str,
    path: &str,
) -> anyhow::Result<Server> {
    let (uri, search_path) = (cluster.uri(prefix), options.layout.search_path());
    let text = |address| {
        format!(
            "listen = \"{address}\"\n\n[[source]]\nuri = {uri:?}\nsearch_paths = [{search_path:?}]\n"
        )
    };
    let beside: &Path = &options.work.join("replica");
    Server::configured(&options.binary, beside, text, path)
}

/// A replica that hosts the repository `main` and shares it below a prefix.
fn sharing(
    options: &Options,
    cluster: &Cluster,
    prefix: &str,
    data: &Path,
    path: &str,
) -> anyhow::Result<Server> {
    let (uri, search_path) = (cluster.uri(prefix), options.layout.search_path());
    let text = |address| {
        format!(
            "listen = \"{address}\"\ndata = {data:?}\n\n[share]\nuri = {uri:?}\n\n\
             [[source]]\nuri = \"hosted:main\"\nsearch_paths = [{search_path:?}]\n"
        )
    };
    Server::configured(&options.binary, data, text, path)
}

/// An empty data directory, for repositories that are hosted.
fn data(options: &Options, name: &str) -> anyhow::Result<PathBuf> {
    let data = options.disk()?.join(name);
    let _ = fs::remove_dir_all(&data);
    fs::create_dir_all(data.join("hosted"))?;
    Ok(data)
}
