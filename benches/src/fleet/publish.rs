//! Publishing 20,000 files into etcd at once, and then one file more.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use git2::{ObjectType, Repository, TreeWalkMode, TreeWalkResult};
use headwater::model::Revision;
use headwater::source::etcd::{Content, EtcdSource, NewRevision};

use super::Cluster;
use crate::Options;
use crate::get::SERVICE_COUNT;
use crate::repository::{self, generated};
use crate::table::Bound::{AtMost, None as NoBound};
use crate::table::{Row, median};

/// The label that is published.
const LABEL: &str = "main";
/// The service that gets one file more.
const SERVICE: usize = 1_234;
/// The most rounds: each leaves 40 MB in etcd.
const ROUND_COUNT_MAX: usize = 5;

/// The files of a label.
type Files = BTreeMap<String, Content>;

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let cluster = Cluster::start(options)?;
    let files = files(options)?;
    let mut more = files.clone();
    let text = repository::content("one-more", "-canary", SERVICE);
    let text_bytes = text.len() as f64;
    more.insert(options.layout.path(SERVICE, "-canary"), Content::File(text.into()));
    let (mut all, mut one) = (Vec::new(), Vec::new());
    let (mut keys, mut bytes) = (Vec::new(), Vec::new());
    for round in 0..options.rounds.min(ROUND_COUNT_MAX) {
        // One of its own each time, or there would be nothing to store.
        let prefix = format!("publish-{round}");
        let source = cluster.source(&prefix)?;
        let (took, revision) = publish(&cluster, &source, None, &files)?;
        all.push(took);
        let before = cluster.revision()?;
        one.push(publish(&cluster, &source, Some(&revision), &more)?.0);
        let (key_count, byte_count) = cluster.written_after(&prefix, before)?;
        keys.push(key_count as f64);
        bytes.push(byte_count as f64);
    }
    let row = |figure: &str, must, goal, measured, note: String| Row {
        figure: figure.to_owned(),
        must,
        goal,
        measured,
        note,
    };
    let count = files.len();
    let (bytes, slowest) = (median(&bytes), all.iter().copied().fold(0.0, f64::max));
    Ok(vec![
        row(
            &format!("publishing {count} files into etcd, s"),
            AtMost(30.0),
            AtMost(10.0),
            median(&all),
            format!("{:.1} MB; slowest {slowest:.1}", byte_count(&files) / 1e6),
        ),
        row("then one file more, s", NoBound, NoBound, median(&one), String::new()),
        row(
            "keys that it wrote",
            NoBound,
            NoBound,
            median(&keys),
            format!("{:.1} KB with their names, the file {:.1}", bytes / 1e3, text_bytes / 1e3),
        ),
    ])
}

/// Publishes all files below a prefix, for others to measure what becomes of them.
pub(super) fn published(options: &Options, cluster: &Cluster, prefix: &str) -> anyhow::Result<()> {
    publish(cluster, &cluster.source(prefix)?, None, &files(options)?).map(drop)
}

/// Seconds that it took, and the new revision.
fn publish(
    cluster: &Cluster,
    source: &EtcdSource,
    expected: Option<&Revision>,
    files: &Files,
) -> anyhow::Result<(f64, Revision)> {
    let seconds = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let publication = NewRevision {
        files: files.clone(),
        author: "Bench".to_owned(),
        subject: "bench".to_owned(),
        seconds: i64::try_from(seconds)?,
    };
    let begun = Instant::now();
    let done = source.publish(LABEL, expected, publication);
    let revision = cluster.runtime.block_on(done)?;
    Ok((begun.elapsed().as_secs_f64(), revision))
}

/// All files of the generated repository.
fn files(options: &Options) -> anyhow::Result<Files> {
    let path = generated(&options.work, options.layout, SERVICE_COUNT)?;
    let repository = Repository::open_bare(path)?;
    let tip = repository.find_reference("refs/heads/main")?.peel_to_tree()?;
    let mut found = Vec::new();
    tip.walk(TreeWalkMode::PreOrder, |directory, entry| {
        if entry.kind() == Some(ObjectType::Blob) {
            found.push((entry.name().map(|name| format!("{directory}{name}")), entry.id()));
        }
        TreeWalkResult::Ok
    })?;
    let file = |(path, id): (Result<String, git2::Error>, git2::Oid)| {
        let bytes = repository.find_blob(id)?.content().to_vec();
        anyhow::Ok((path?, Content::File(bytes.into())))
    };
    found.into_iter().map(file).collect()
}

fn byte_count(files: &Files) -> f64 {
    let length = |(Content::File(bytes) | Content::Link(bytes)): &Content| bytes.len() as f64;
    files.values().map(length).sum()
}
