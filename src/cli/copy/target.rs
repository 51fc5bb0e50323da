//! The target of a copy: a directory, a git repository or a prefix in etcd. Readers see all new files or none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::bail;

use super::{CopyArguments, CopyError, CopySource};
use crate::model::{Label, Revision};
use crate::opening;
use crate::settings::{Settings, SourceSettings};
use crate::snapshot::{Snapshot, Style};
use crate::source::etcd::{EtcdSource, NewRevision, PublishError};
use crate::source::files::{self, Files};
use crate::source::{self, OpenOptions, Overwrite, SourceError, directory, git};

/// The author of commits and publications.
const AUTHOR: &str = "Headwater";
/// The branch or label of a target without one.
const DEFAULT_LABEL: &str = "main";

/// A target.
pub(super) enum CopyTarget {
    Directory(TargetPlace),
    Git(TargetPlace),
    Etcd { source: Arc<EtcdSource>, default_label: Option<String> },
}

/// The place of a target on this machine.
pub(super) struct TargetPlace {
    uri: String,
    path: PathBuf,
}

/// The content that the target shall have.
pub(super) struct CopyContent<'a> {
    pub(super) files: &'a Files,
    pub(super) subject: String,
    pub(super) label: String,
    /// The options with which its files are found.
    pub(super) options: OpenOptions,
    pub(super) overwrite: Overwrite,
}

/// The prepared target, before readers see a change.
pub(super) enum PreparedTarget {
    /// The target has this content already.
    Same(Snapshot),
    /// The future content, and the draft that publishes it.
    Draft { snapshot: Snapshot, draft: Box<Draft> },
}

pub(super) enum Draft {
    Directory(directory::write::DirectoryDraft),
    Git(git::write::CommitDraft),
    /// The revision that the label must have until then.
    Etcd(Option<Revision>),
}

impl CopyTarget {
    /// Finds the kind of a target by the files at its address, or by its name.
    pub(super) async fn find(to: &SourceSettings, settings: &Settings) -> anyhow::Result<Self> {
        if opening::is_mirrored(to) {
            bail!(
                "a remote repository is not written to. Copy to a local repository, and push that"
            );
        }
        if let Some(name) = to.uri.strip_prefix("hosted:") {
            bail!(
                "a hosted repository is not written to. Copy to a local repository, and push that to /-/git/{name}.git"
            );
        }
        if to.uri.starts_with("etcd:") {
            let source = opening::open_etcd(to, settings).await?;
            return Ok(Self::Etcd { source, default_label: to.default_label.clone() });
        }
        let path = source::path_of(&to.uri)?;
        let place = TargetPlace { uri: to.uri.clone(), path };
        let is_named_git = place.path.extension().is_some_and(|extension| extension == "git");
        if git::is_repository(&place.path) || is_named_git {
            Ok(Self::Git(place))
        } else {
            Ok(Self::Directory(place))
        }
    }

    /// The name in a report.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Directory(place) | Self::Git(place) => place.uri.clone(),
            Self::Etcd { source, .. } => source::Source::name(&**source).to_owned(),
        }
    }

    /// The label in a report. A directory has none.
    pub(super) fn shown_label(&self, wanted: &CopyContent<'_>) -> Option<String> {
        (!matches!(self, Self::Directory(_))).then(|| wanted.label.clone())
    }

    /// Rejects content that this target could not serve unchanged.
    pub(super) fn accepts(&self, original: &CopySource) -> anyhow::Result<()> {
        let overlays = &original.snapshot.members[0].overlays;
        match self {
            Self::Directory(_) => {
                let unfit = directory::write::unfit(&original.files);
                if unfit.is_empty() { Ok(()) } else { Err(CopyError::Files(unfit).into()) }
            }
            Self::Git(_) | Self::Etcd { .. } if overlays.is_empty() => Ok(()),
            Self::Git(_) | Self::Etcd { .. } => Err(CopyError::refused(format!(
                "{} is a folder over the root of a directory. Only a directory can hold that",
                original.label
            ))),
        }
    }

    /// The label to copy to: the requested one, or the one of the source. The root of a directory has no name.
    pub(super) fn label(
        &self,
        arguments: &CopyArguments,
        original: &CopySource,
    ) -> anyhow::Result<String> {
        let member = &original.snapshot.members[0];
        match (self, &arguments.to_label) {
            (Self::Directory(_), Some(_)) => {
                Err(CopyError::refused("a directory has no branches. Leave out --to-label"))
            }
            (Self::Directory(_), None) => Ok(original.label.clone()),
            (_, Some(label)) => Ok(label.clone()),
            (_, None) if member.layout.style == Style::Native => self.own_label(),
            (_, None) if *member.revision.as_str() == *original.label => Err(CopyError::refused(
                "a commit id is no name for the target. Name a branch with --to-label",
            )),
            (_, None) => Ok(original.label.clone()),
        }
    }

    /// The default label of the target.
    fn own_label(&self) -> anyhow::Result<String> {
        let known = match self {
            Self::Git(place) if git::is_repository(&place.path) => {
                git::write::head_branch(&place.path)?
            }
            Self::Etcd { default_label, .. } => default_label.clone(),
            Self::Git(_) | Self::Directory(_) => None,
        };
        Ok(known.unwrap_or_else(|| DEFAULT_LABEL.to_owned()))
    }

    /// Writes everything that readers do not see yet.
    pub(super) async fn prepare(&self, wanted: &CopyContent<'_>) -> anyhow::Result<PreparedTarget> {
        let there = self.read(wanted).await?;
        if let Some(there) = &there
            && files::of(&there.members[0].tree).is_ok_and(|files| files == *wanted.files)
        {
            return Ok(PreparedTarget::Same(there.clone()));
        }
        let CopyContent { files, subject, label, options, overwrite } = wanted;
        let (snapshot, draft) = match self {
            Self::Directory(place) => {
                let draft = directory::write::DirectoryDraft::write(files, &place.path, *overwrite)
                    .map_err(of_directory)?;
                let options = OpenOptions { default_label: Some(label.clone()), ..options.clone() };
                let written = source::open_path(draft.path(), &place.uri, options)?;
                (written.load(&Label::Default, None).await?, Draft::Directory(draft))
            }
            Self::Git(place) => {
                let draft = git::write::CommitDraft::write(&place.path, label, files, subject)
                    .map_err(of_git)?;
                let incoming = source::open_incoming(draft.path(), Vec::new(), options)?;
                let Some(snapshot) = incoming.snapshot(&draft.commit(), label)? else {
                    bail!("the commit that was written cannot be found");
                };
                (snapshot, Draft::Git(draft))
            }
            Self::Etcd { source, .. } => {
                let preview = source.preview(label, files).map_err(CopyError::refused)?;
                // Files that were put by hand have no revision that another one could follow.
                let published = there.filter(|there| there.members[0].commit.is_some());
                let expected = published.map(|there| there.revision);
                (with_options(preview, options), Draft::Etcd(expected))
            }
        };
        Ok(PreparedTarget::Draft { snapshot, draft: Box::new(draft) })
    }

    /// Publishes the draft. Returns its revision, if it has one.
    pub(super) async fn publish(
        &self,
        draft: Draft,
        wanted: &CopyContent<'_>,
    ) -> anyhow::Result<Option<Revision>> {
        match (self, draft) {
            (_, Draft::Directory(draft)) => {
                draft.publish().map_err(of_directory)?;
                Ok(None)
            }
            (_, Draft::Git(draft)) => {
                let revision = Revision::new(draft.commit());
                draft.publish().map_err(of_git)?;
                Ok(Some(revision))
            }
            (Self::Etcd { source, .. }, Draft::Etcd(expected)) => {
                let publication = NewRevision {
                    files: wanted.files.clone(),
                    author: AUTHOR.to_owned(),
                    subject: wanted.subject.clone(),
                    seconds: now(),
                };
                let published = source.publish(&wanted.label, expected.as_ref(), publication).await;
                published.map(Some).map_err(|error| of_etcd(error, &wanted.label))
            }
            (Self::Directory(_) | Self::Git(_), Draft::Etcd(_)) => {
                bail!("the draft is for another kind of target")
            }
        }
    }

    /// The present content of the target, if there is any.
    pub(super) async fn read(&self, wanted: &CopyContent<'_>) -> anyhow::Result<Option<Snapshot>> {
        let label = Label::Named(wanted.label.as_str().into());
        let found = match self {
            Self::Git(place) if !git::is_repository(&place.path) => return Ok(None),
            Self::Directory(place) if !place.path.is_dir() => return Ok(None),
            Self::Directory(place) | Self::Git(place) => {
                let options = OpenOptions {
                    default_label: Some(wanted.label.clone()),
                    ..wanted.options.clone()
                };
                let source = source::open_path(place.path.clone(), &place.uri, options)?;
                source.load(&label, None).await
            }
            Self::Etcd { source, .. } => {
                let found = source::Source::load(&**source, &label, None).await;
                found.map(|snapshot| with_options(snapshot, &wanted.options))
            }
        };
        match found {
            // A source may answer with another label in place of a missing one.
            Ok(found) => Ok(Some(found)
                .filter(|found| found.members[0].label.as_deref() == Some(&wanted.label))),
            Err(SourceError::UnknownLabel(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn of_directory(error: directory::write::DirectoryWriteError) -> anyhow::Error {
    match error {
        directory::write::DirectoryWriteError::System { .. } => error.into(),
        error => CopyError::refused(error),
    }
}

fn of_git(error: git::write::CommitWriteError) -> anyhow::Error {
    match error {
        git::write::CommitWriteError::Repository(_) => error.into(),
        error => CopyError::refused(error),
    }
}

fn of_etcd(error: PublishError, label: &str) -> anyhow::Error {
    match error {
        PublishError::Unavailable(_) | PublishError::Unknown(_) => error.into(),
        PublishError::Moved { .. } => CopyError::refused(format!(
            "nothing was copied: another program moved the label {label} meanwhile. Try again"
        )),
        PublishError::Refused(reason) => CopyError::refused(reason),
    }
}

/// A snapshot of etcd, with the search options of another source.
fn with_options(mut snapshot: Snapshot, options: &OpenOptions) -> Snapshot {
    for member in &mut snapshot.members {
        let mut layout = (*member.layout).clone();
        layout.search_paths.clone_from(&options.search_paths);
        layout.patterns = crate::snapshot::expand_patterns(&options.patterns);
        layout.toml = options.toml;
        layout.json = options.json;
        member.layout = Arc::new(layout);
    }
    snapshot
}

fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
