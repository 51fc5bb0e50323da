//! `headwater copy`: the files of one label from one source to another one, and the proof that nobody is configured
//! otherwise by them.

mod compare;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::compare::{Comparison, Verifier};
use self::target::{Ready, Target};
use super::{Output, difference, output};
use crate::model::{Label, Problem};
use crate::server;
use crate::settings::{Flags, Settings, SourceSettings};
use crate::snapshot::{Member, Snapshot, Style};
use crate::source::files::{self, Content, Files, FilesError};
use crate::source::{self, OpenOptions, Source, SourceError, Standing, directory};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to copy from: a git repository, a directory, a git URL, hosted:<name>, or etcd://host:2379/prefix
    from: String,
    /// Where to copy to: a git repository (made bare where there is none and the name ends in .git), a directory, or
    /// etcd://host:2379/prefix
    to: String,
    /// What to copy: branch, tag, full commit id or folder [default: what a request without a label gets]
    #[arg(long, short)]
    label: Option<String>,
    /// The branch or label to copy to [default: what it is called where it comes from]
    #[arg(long)]
    to_label: Option<String>,
    /// Replace a directory that has files already
    #[arg(long)]
    replace: bool,
    /// Settings file, for what opens the sources: its entries with the same addresses [default: headwater.toml, where
    /// there is one]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Why nothing was copied, where that is an answer and no failure.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// It is said in one sentence.
    #[error("{0}")]
    Because(String),
    /// These files cannot be copied.
    #[error("nothing was copied")]
    Files(Vec<Problem>),
}

impl Refused {
    /// In these words.
    fn because(reason: impl ToString) -> anyhow::Error {
        Self::Because(reason.to_string()).into()
    }
}

/// What is copied.
struct Original {
    name: String,
    snapshot: Snapshot,
    /// What the label is called.
    label: String,
    files: Files,
    /// What it is read from, and the place of its mirror: it goes on being read.
    _held: (Arc<dyn Source>, Option<TempDir>),
}

/// What became of it.
struct Report {
    from: Side,
    to: Side,
    link_count: usize,
    file_count: usize,
    /// Whether anything was written.
    outcome: Outcome,
    comparison: Comparison,
}

struct Side {
    name: String,
    label: Option<String>,
    revision: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was written.
    Copied,
    /// It was there already.
    Same,
    /// Somebody would be configured otherwise, so nothing was written.
    Kept,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let flags = Flags { config: arguments.config.clone(), ..Flags::default() };
    let settings = Settings::load(flags)?;
    let runtime = output::runtime()?;
    match runtime.block_on(copy(&arguments, &settings)) {
        Ok(report) => {
            print(&report, arguments.output)?;
            let is_good = report.comparison.difference_count == 0;
            Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Err(error) => {
            say_no(&error.downcast::<Refused>()?, arguments.output)?;
            Ok(ExitCode::from(1))
        }
    }
}

fn say_no(refused: &Refused, form: Output) -> anyhow::Result<()> {
    let problems = match refused {
        Refused::Because(_) => &[][..],
        Refused::Files(problems) => problems,
    };
    match form {
        Output::Json => {
            let problem = |it: &Problem| json!({"file": &*it.origin.file, "reason": it.message});
            let problems: Vec<Value> = problems.iter().map(problem).collect();
            let said =
                json!({"outcome": "refused", "reason": refused.to_string(), "problems": problems});
            output::print(&format!("{said}\n"))
        }
        Output::Table => {
            for problem in problems {
                output::print(&format!("{}\n", output::one_line(&problem.to_string())))?;
            }
            eprintln!("headwater: {}", output::one_line(&refused.to_string()));
            Ok(())
        }
    }
}

/// What the settings say of a source at this address; without an entry, just the address.
fn named(uri: &str, settings: &Settings) -> SourceSettings {
    let base = |uri: &str| uri.trim_end_matches('/').to_owned();
    let found = settings.sources.iter().find(|source| base(&source.uri) == base(uri));
    found.cloned().unwrap_or_else(|| SourceSettings { uri: uri.to_owned(), ..Default::default() })
}

async fn copy(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Report> {
    let from = named(&arguments.from, settings);
    let to = named(&arguments.to, settings);
    let target = Target::find(&to, settings).await?;
    let original = original(&from, arguments.label.as_deref(), settings).await?;
    target.accepts(&original)?;
    let wanted = target::Wanted {
        files: &original.files,
        subject: format!("Copy {} at {}", original.label, original.snapshot.revision),
        label: target.label(arguments, &original)?,
        options: OpenOptions { name: to.name.clone(), ..server::options(&from) },
        standing: match arguments.replace {
            true => Standing::Replace,
            false => Standing::Keep,
        },
    };
    write(&original, &target, wanted).await
}

async fn write(
    original: &Original,
    target: &Target,
    wanted: target::Wanted<'_>,
) -> anyhow::Result<Report> {
    let (before, count) = (&original.snapshot, original.files.len());
    let link_count =
        original.files.values().filter(|content| matches!(content, Content::Link(_))).count();
    let report = |outcome, to: Side, comparison| Report {
        from: Side {
            name: original.name.clone(),
            label: Some(original.label.clone()),
            revision: Some(before.revision.to_string()),
        },
        to,
        link_count,
        file_count: count - link_count,
        outcome,
        comparison,
    };
    let ready = target.prepare(&wanted).await?;
    let (name, label) = (target.name(), target.shown_label(&wanted));
    let side =
        |revision: Option<String>| Side { name: name.clone(), label: label.clone(), revision };
    let (snapshot, outcome) = match &ready {
        Ready::Same(there) => (there, Outcome::Same),
        Ready::Draft { snapshot, .. } => (snapshot, Outcome::Kept),
    };
    let mut verifier = Verifier::of(before);
    let comparison = verifier.compare(snapshot)?;
    let Ready::Draft { draft, .. } = ready else {
        let revision = Some(snapshot.revision.to_string());
        return Ok(report(outcome, side(revision), comparison));
    };
    if comparison.difference_count > 0 {
        return Ok(report(outcome, side(None), comparison));
    }
    let published = target.publish(*draft, &wanted).await?;
    // Not what was meant to be there, but what is there.
    let there = target.read(&wanted).await.context("it was copied, and cannot be read again")?;
    let Some(there) = there.filter(|there| published.is_none_or(|it| it == there.revision)) else {
        bail!("it was copied, and moved by somebody else before it could be verified");
    };
    let comparison = verifier.compare(&there)?;
    let revision = Some(there.revision.to_string());
    Ok(report(Outcome::Copied, side(revision), comparison))
}

/// Reads what is copied.
async fn original(
    from: &SourceSettings,
    label: Option<&str>,
    settings: &Settings,
) -> anyhow::Result<Original> {
    let place = match server::is_mirrored(from) {
        true => Some(tempfile::tempdir().context("there is no place for a mirror")?),
        false => None,
    };
    let source = match &place {
        Some(place) => server::open_mirrored(from, settings, place.path())?,
        None => server::open_one(from, settings).await?,
    };
    let label = label.map_or(Label::Default, |name| Label::Named(name.into()));
    let snapshot = load(&*source, &label).await.map_err(|error| match error {
        SourceError::UnknownLabel(_) => Refused::because(error),
        error => error.into(),
    })?;
    let one_only = || Refused::because("one label is copied at a time");
    let [Member { tree, label: Some(label), overlays, layout, .. }] = &snapshot.members[..] else {
        return Err(one_only());
    };
    if overlays.len() > 1 {
        return Err(one_only());
    }
    if layout.style == Style::Native {
        let left_out = directory::left_out(&source::path_of(&from.uri)?)?;
        if !left_out.is_empty() {
            return Err(Refused::Files(left_out).into());
        }
    }
    let (tree, label) = (tree.clone(), label.to_string());
    let files = tokio::task::spawn_blocking(move || files::of(&tree)).await?;
    let files = files.map_err(|error| match error {
        FilesError::Unfit(problems) => Refused::Files(problems).into(),
        error => anyhow::Error::from(error),
    })?;
    let name = source.name().to_owned();
    Ok(Original { name, snapshot, label, files, _held: (source, place) })
}

/// The label; of a remote, once there is a copy of it.
async fn load(source: &dyn Source, label: &Label) -> Result<Snapshot, SourceError> {
    loop {
        let found = source.load(label, None).await;
        let remotes = source.remotes();
        let is_coming = !remotes.is_empty()
            && remotes.iter().all(|it| it.failure.is_none() && it.fetched_before.is_none());
        match found {
            // It has waited for some seconds, and a fetch does not take for ever.
            Err(SourceError::Unavailable { .. }) if is_coming => {}
            found => return found,
        }
    }
}

fn print(report: &Report, form: Output) -> anyhow::Result<()> {
    match form {
        Output::Json => output::print(&format!("{}\n", as_json(report))),
        Output::Table => {
            let row = |what: &str, side: &Side| {
                let shown =
                    |text: &Option<String>| output::one_line(text.as_deref().unwrap_or("-"));
                vec![
                    what.to_owned(),
                    output::one_line(&side.name),
                    shown(&side.label),
                    shown(&side.revision),
                ]
            };
            output::print(&output::table(&[row("from", &report.from), row("to", &report.to)]))?;
            for line in compare::lines(&report.comparison) {
                output::print(&format!("{line}\n"))?;
            }
            eprintln!("{}", summary(report));
            Ok(())
        }
    }
}

fn summary(report: &Report) -> String {
    let files = difference::plural(report.file_count, "file");
    let links = match report.link_count {
        0 => String::new(),
        count => format!(" and {}", difference::plural(count, "link")),
    };
    let Comparison { environment_count, difference_count, broken_count, .. } = report.comparison;
    let environments = difference::plural(environment_count, "environment");
    let broken = match broken_count {
        0 => String::new(),
        count => format!(", of which {count} cannot be used, there as here"),
    };
    let verified = match difference_count {
        0 => format!("{environments} verified{broken}"),
        count => format!("{count} of {environments} would be configured otherwise"),
    };
    match report.outcome {
        Outcome::Copied => format!("copied {files}{links}, {verified}"),
        Outcome::Same => format!("{files}{links} already there, {verified}"),
        Outcome::Kept => format!("nothing was copied: {verified}"),
    }
}

fn as_json(report: &Report) -> Value {
    let side =
        |side: &Side| json!({"source": side.name, "label": side.label, "revision": side.revision});
    let Comparison { environment_count, difference_count, broken_count, .. } = report.comparison;
    json!({
        "from": side(&report.from),
        "to": side(&report.to),
        "outcome": match report.outcome {
            Outcome::Copied => "copied",
            Outcome::Same => "same",
            Outcome::Kept => "refused",
        },
        "files": report.file_count,
        "links": report.link_count,
        "environments": environment_count,
        "broken": broken_count,
        "different": difference_count,
        "differences": compare::as_json(&report.comparison),
    })
}
