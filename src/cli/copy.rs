//! `headwater copy`: copies the files of one label from one source to another, and verifies that every known environment
//! stays the same.

mod compare;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::compare::{CopyComparison, Verifier};
use self::target::{CopyContent, CopyTarget, Draft, PreparedTarget};
use super::{OutputForm, difference, output, sources};
use crate::model::{Label, Problem};
use crate::opening;
use crate::settings::{Flags, Settings, SourceSettings};
use crate::snapshot::{Member, Snapshot, Style};
use crate::source::files::{self, Content, Files, FilesError};
use crate::source::{self, OpenOptions, Overwrite, Source, SourceError, directory};

#[derive(Debug, clap::Args)]
pub(super) struct CopyArguments {
    /// Source: a git repository, a directory, a git URL, hosted:NAME, or etcd://HOST:PORT/PREFIX
    from: String,
    /// Target: a git repository, a directory, or etcd://HOST:PORT/PREFIX. A missing repository whose name ends in .git is
    /// made, as a bare one
    to: String,
    /// Branch, tag, full commit id or folder to copy [default: the default label]
    #[arg(long, short)]
    label: Option<String>,
    /// Branch or label of the target [default: the name in the source]
    #[arg(long)]
    to_label: Option<String>,
    /// Replace a directory that contains files
    #[arg(long)]
    replace: bool,
    /// Settings file. Its sources with the same addresses provide credentials and options [default: headwater.toml, if it
    /// exists]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "table")]
    output: OutputForm,
}

/// The reason for a negative answer. Nothing was copied, and exit code 1 follows.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    /// A sentence for the user.
    #[error("{0}")]
    Refused(String),
    /// These files cannot be copied.
    #[error("nothing was copied")]
    Files(Vec<Problem>),
}

impl CopyError {
    fn refused(reason: impl ToString) -> anyhow::Error {
        Self::Refused(reason.to_string()).into()
    }
}

/// The content of the source.
struct CopySource {
    name: String,
    snapshot: Snapshot,
    /// The name of the label.
    label: String,
    files: Files,
    /// The source and the directory of its mirror, which are read until the end.
    _sources: (Arc<dyn Source>, Option<TempDir>),
}

/// The result of a copy.
struct CopyReport {
    from: CopySide,
    to: CopySide,
    link_count: usize,
    file_count: usize,
    outcome: CopyOutcome,
    comparison: CopyComparison,
}

struct CopySide {
    name: String,
    label: Option<String>,
    revision: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CopyOutcome {
    /// The files were written.
    Copied,
    /// The target had the files already.
    Same,
    /// An environment would change, so nothing was written.
    Kept,
}

pub(super) fn run(arguments: CopyArguments) -> anyhow::Result<ExitCode> {
    let flags = Flags { config: arguments.config.clone(), ..Flags::default() };
    let settings = Settings::load(flags)?;
    let runtime = sources::runtime()?;
    match runtime.block_on(copy(&arguments, &settings)) {
        Ok(report) => {
            print(&report, arguments.output)?;
            let is_good = report.comparison.difference_count == 0;
            Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Err(error) => {
            print_refusal(&error.downcast::<CopyError>()?, arguments.output)?;
            Ok(ExitCode::from(1))
        }
    }
}

fn print_refusal(refusal: &CopyError, form: OutputForm) -> anyhow::Result<()> {
    let problems = match refusal {
        CopyError::Refused(_) => &[][..],
        CopyError::Files(problems) => problems,
    };
    match form {
        OutputForm::Json => {
            let problems: Vec<Value> = problems
                .iter()
                .map(|it| json!({"file": &*it.origin.file, "reason": it.message}))
                .collect();
            let document =
                json!({"outcome": "refused", "reason": refusal.to_string(), "problems": problems});
            output::print(&format!("{document}\n"))
        }
        OutputForm::Table => {
            for problem in problems {
                output::print(&format!("{}\n", output::one_line(&problem.to_string())))?;
            }
            eprintln!("headwater: {}", output::one_line(&refusal.to_string()));
            Ok(())
        }
    }
}

async fn copy(arguments: &CopyArguments, settings: &Settings) -> anyhow::Result<CopyReport> {
    let from = sources::described(&arguments.from, settings);
    let to = sources::described(&arguments.to, settings);
    let target = CopyTarget::find(&to, settings).await?;
    let original = original(&from, arguments.label.as_deref(), settings).await?;
    target.accepts(&original)?;
    let wanted = CopyContent {
        files: &original.files,
        subject: format!("Copy {} at {}", original.label, original.snapshot.revision),
        label: target.label(arguments, &original)?,
        options: OpenOptions { name: to.name.clone(), ..opening::options(&from) },
        overwrite: if arguments.replace { Overwrite::Always } else { Overwrite::Never },
    };
    write(&original, &target, wanted).await
}

async fn write(
    original: &CopySource,
    target: &CopyTarget,
    wanted: CopyContent<'_>,
) -> anyhow::Result<CopyReport> {
    let (before, count) = (&original.snapshot, original.files.len());
    let link_count =
        original.files.values().filter(|content| matches!(content, Content::Link(_))).count();
    let report = |outcome, to: CopySide, comparison| CopyReport {
        from: CopySide {
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
        |revision: Option<String>| CopySide { name: name.clone(), label: label.clone(), revision };
    let (snapshot, outcome) = match &ready {
        PreparedTarget::Same(there) => (there, CopyOutcome::Same),
        PreparedTarget::Draft { snapshot, .. } => (snapshot, CopyOutcome::Kept),
    };
    let mut verifier = Verifier::of(before);
    let comparison = verifier.compare(snapshot)?;
    let PreparedTarget::Draft { draft, .. } = ready else {
        let revision = Some(snapshot.revision.to_string());
        return Ok(report(outcome, side(revision), comparison));
    };
    if comparison.difference_count > 0 {
        return Ok(report(outcome, side(None), comparison));
    }
    let (revision, comparison) = publish(target, *draft, &wanted, &mut verifier).await?;
    Ok(report(CopyOutcome::Copied, side(Some(revision)), comparison))
}

/// Publishes a draft, and compares the files that the target has then. Returns their revision.
async fn publish(
    target: &CopyTarget,
    draft: Draft,
    wanted: &CopyContent<'_>,
    verifier: &mut Verifier<'_>,
) -> anyhow::Result<(String, CopyComparison)> {
    let published = target.publish(draft, wanted).await?;
    let there = target
        .read(wanted)
        .await
        .context("the files were copied, but cannot be read back for verification")?;
    let Some(there) = there.filter(|there| published.is_none_or(|it| it == there.revision)) else {
        bail!(
            "the files were copied, but another program moved the label before it could be verified. Run \
             `headwater copy` again"
        );
    };
    Ok((there.revision.to_string(), verifier.compare(&there)?))
}

/// Reads the content of the source.
async fn original(
    from: &SourceSettings,
    label: Option<&str>,
    settings: &Settings,
) -> anyhow::Result<CopySource> {
    let place = if opening::is_mirrored(from) {
        Some(tempfile::tempdir().context("cannot make a temporary directory for the mirror")?)
    } else {
        None
    };
    let source = match &place {
        Some(place) => opening::open_mirrored(from, settings, place.path())?,
        None => opening::open_one(from, settings).await?,
    };
    let label = label.map_or(Label::Default, |name| Label::Named(name.into()));
    let snapshot = sources::load(&*source, &label).await.map_err(|error| match error {
        SourceError::UnknownLabel(_) => CopyError::refused(error),
        error => error.into(),
    })?;
    let one_only =
        || CopyError::refused("the label stands for several revisions. Copy one label at a time");
    let [Member { tree, label: Some(label), overlays, layout, .. }] = &snapshot.members[..] else {
        return Err(one_only());
    };
    if overlays.len() > 1 {
        return Err(one_only());
    }
    if layout.style == Style::Native {
        let left_out = directory::left_out(&source::path_of(&from.uri)?)?;
        if !left_out.is_empty() {
            return Err(CopyError::Files(left_out).into());
        }
    }
    let (tree, label) = (tree.clone(), label.to_string());
    let files = tokio::task::spawn_blocking(move || files::of(&tree)).await?;
    let files = files.map_err(|error| match error {
        FilesError::Unfit(problems) => CopyError::Files(problems).into(),
        error => anyhow::Error::from(error),
    })?;
    let name = source.name().to_owned();
    Ok(CopySource { name, snapshot, label, files, _sources: (source, place) })
}

fn print(report: &CopyReport, form: OutputForm) -> anyhow::Result<()> {
    match form {
        OutputForm::Json => output::print(&format!("{}\n", as_json(report))),
        OutputForm::Table => {
            let row = |what: &str, side: &CopySide| {
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

fn summary(report: &CopyReport) -> String {
    let files = difference::plural(report.file_count, "file");
    let links = match report.link_count {
        0 => String::new(),
        count => format!(" and {}", difference::plural(count, "link")),
    };
    let CopyComparison { environment_count, difference_count, broken_count, .. } =
        report.comparison;
    let environments = difference::plural(environment_count, "environment");
    let broken = match broken_count {
        0 => String::new(),
        count => format!(", of which {count} are broken in both"),
    };
    let verified = match difference_count {
        0 => format!("{environments} verified{broken}"),
        count => format!("{count} of {environments} would change"),
    };
    match report.outcome {
        CopyOutcome::Copied => format!("copied {files}{links}, {verified}"),
        CopyOutcome::Same => format!("{files}{links} already there, {verified}"),
        CopyOutcome::Kept => format!("nothing was copied: {verified}"),
    }
}

fn as_json(report: &CopyReport) -> Value {
    let side = |side: &CopySide| json!({"source": side.name, "label": side.label, "revision": side.revision});
    let CopyComparison { environment_count, difference_count, broken_count, .. } =
        report.comparison;
    json!({
        "from": side(&report.from),
        "to": side(&report.to),
        "outcome": match report.outcome {
            CopyOutcome::Copied => "copied",
            CopyOutcome::Same => "same",
            CopyOutcome::Kept => "refused",
        },
        "files": report.file_count,
        "links": report.link_count,
        "environments": environment_count,
        "broken": broken_count,
        "different": difference_count,
        "differences": compare::as_json(&report.comparison),
    })
}
