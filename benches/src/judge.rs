//! The judgement behind a push, without git and without a server: the commit is there, and nobody serves it yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use git2::Repository;
use headwater::check::{self, CheckPolicy, CheckReport, EnvironmentInUse, Strictness};
use headwater::model::{Label, Query};
use headwater::snapshot::{Layout, Style};
use headwater::source::Source;
use headwater::source::git::{Findings, GitOptions, GitSource};

use crate::Options;
use crate::commit::write_commit;
use crate::get::SERVICE_COUNT;
use crate::repository::{self, copy_to, generated};
use crate::table::{Bound, Row, median, percentile};

/// The service whose file changes.
const SERVICE: usize = 1_234;
/// What a check of a push may take.
const CHECK_MAX: Duration = Duration::from_secs(5);

/// How many services a large fleet has, each with a directory of its own.
const MANY_COUNT: usize = 20_000;

pub(crate) fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let (path, source) = open(options, SERVICE_COUNT)?;
    let one = options.layout.path(SERVICE, "-prod");
    let (many_path, many) = open(options, MANY_COUNT)?;
    let shared = "application.yml";
    Ok(vec![
        row("judging one service's file, ms", Bound::AtMost(2.0), &source, &path, &one, 201)?,
        row("judging application.yml, ms", Bound::None, &source, &path, shared, 4)?,
        row(
            "judging application.yml of 20,000 service directories, ms",
            Bound::None,
            &many,
            &many_path,
            shared,
            4,
        )?,
    ])
}

/// A copy of a generated repository, and the source that reads it.
fn open(options: &Options, service_count: usize) -> anyhow::Result<(PathBuf, GitSource)> {
    let generated = generated(&options.work, options.layout, service_count)?;
    let path = copy_to(&generated, options.work.join(format!("judged-{service_count}.git")))?;
    let layout = Arc::new(Layout {
        base: "bench".into(),
        style: Style::Git,
        search_paths: vec![options.layout.search_path().to_owned()],
        patterns: Vec::new(),
        toml: true,
        json: false,
    });
    let as_read = GitOptions { layout, default_label: None, findings: Findings::default() };
    let source = GitSource::open(&path, as_read)?;
    Ok((path, source))
}

/// The first of the commits is not counted.
fn row(
    figure: &str,
    must: Bound,
    source: &GitSource,
    path: &Path,
    file: &str,
    commit_count: usize,
) -> anyhow::Result<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let old = Arc::new(runtime.block_on(source.load(&Label::Default, None))?);
    let repository = Repository::open_bare(path)?;
    // The store hands over what is in use and concerned by the change.
    let in_use = [in_use(SERVICE)];
    let terms = |seconds| CheckPolicy {
        until: Some(Instant::now() + seconds),
        ..CheckPolicy::new(Strictness::Lenient)
    };
    let (mut times, mut last) = (Vec::new(), CheckReport::default());
    for number in 0..commit_count {
        let commit = write_commit(&repository, file, &format!("judged-{number}"))?.to_string();
        let begun = Instant::now();
        let incoming = source.incoming(Vec::new())?;
        let new = incoming.snapshot(&commit, "main")?.context("no commit")?;
        last = check::check(&new, Some(&old), &in_use, &terms(CHECK_MAX))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Row {
        figure: figure.to_owned(),
        must,
        goal: Bound::None,
        measured: median(&times[1..]),
        note: format!(
            "first {:.2}, fastest tenth {:.2}; {} of {} environments, {} change",
            times[0],
            percentile(&times[1..], 0.1),
            last.environment_count,
            last.known_count,
            last.changes.len()
        ),
    })
}

fn in_use(service: usize) -> EnvironmentInUse {
    let query = Query {
        application: repository::name(service).into(),
        profiles: "prod".into(),
        label: Label::Default,
    };
    EnvironmentInUse { query, watcher_count: 1 }
}
