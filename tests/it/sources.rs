//! What every source has to do, run against each of them; then what only one of them does.

mod bed;
mod branches;
mod clones;
mod composite;
mod conformance;
mod directory;
pub(crate) mod etcd;
mod git;
mod scans;

use std::sync::Arc;
use std::time::Duration;

use headwater::model::{Label, LabelPosition};
use headwater::snapshot::{Layout, Snapshot, Style};
use headwater::source::{Source, SourceError};

/// How long something may take that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing has to happen before it counts as nothing.
const SILENCE: Duration = Duration::from_millis(150);

fn layout(base: &str, style: Style) -> Arc<Layout> {
    Arc::new(Layout {
        base: base.into(),
        style,
        search_paths: Vec::new(),
        patterns: Vec::new(),
        toml: true,
        json: false,
    })
}

fn named(label: &str) -> Label {
    Label::Named(label.into())
}

async fn load(source: &dyn Source, label: &Label) -> Arc<Snapshot> {
    let loaded = tokio::time::timeout(PATIENCE, source.load(label, None)).await;
    Arc::new(loaded.expect("loads in time").expect("loads"))
}

async fn refusal(source: &dyn Source, label: &Label) -> SourceError {
    match source.load(label, None).await {
        Ok(snapshot) => panic!("{label} gave {}", snapshot.revision),
        Err(error) => error,
    }
}

async fn changed(source: &dyn Source, label: &Label, seen: impl Into<LabelPosition>) {
    let changed = tokio::time::timeout(PATIENCE, source.changed(label, &seen.into())).await;
    changed.expect("changes in time").expect("changes");
}

async fn unchanged(source: &dyn Source, label: &Label, seen: impl Into<LabelPosition>) {
    let changed = tokio::time::timeout(SILENCE, source.changed(label, &seen.into())).await;
    assert!(changed.is_err(), "{changed:?} though nothing changed");
}

/// The text of a file of the first member.
fn text(snapshot: &Snapshot, path: &str) -> Option<String> {
    let tree = &snapshot.members[0].tree;
    let file = tree.file(path).expect("the tree can be read")?;
    let bytes = tree.bytes(&file).expect("the file can be read");
    Some(String::from_utf8(bytes).expect("text"))
}
