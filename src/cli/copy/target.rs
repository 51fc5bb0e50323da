//! What is copied to: a directory, a git repository or a prefix in etcd. Each is written so that nothing of it is seen
//! before all of it can be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::bail;

use super::{Arguments, Original, Refused};
use crate::model::{Label, Revision};
use crate::server;
use crate::settings::{Settings, SourceSettings};
use crate::snapshot::{Snapshot, Style};
use crate::source::etcd::{EtcdSource, Publication, PublishError};
use crate::source::files::{self, Files};
use crate::source::{self, OpenOptions, SourceError, Standing, directory, git};

/// Who publishes, for people.
const AUTHOR: &str = "Headwater";
/// The branch, or the label, of a target that says nothing else.
const DEFAULT_LABEL: &str = "main";

/// A target.
pub(super) enum Target {
    Directory(Place),
    Git(Place),
    Etcd { source: Arc<EtcdSource>, default_label: Option<String> },
}

/// Where a target is on this machine.
pub(super) struct Place {
    uri: String,
    path: PathBuf,
}

/// What is to be there.
pub(super) struct Wanted<'a> {
    pub(super) files: &'a Files,
    pub(super) subject: String,
    pub(super) label: String,
    /// How its files are found.
    pub(super) options: OpenOptions,
    pub(super) standing: Standing,
}

/// What there is before anything is moved.
pub(super) enum Ready {
    /// Just that already.
    Same(Snapshot),
    /// What would be seen, and how it comes to be.
    Draft { snapshot: Snapshot, draft: Box<Draft> },
}

pub(super) enum Draft {
    Directory(directory::write::Draft),
    Git(git::write::Draft),
    /// What the label has to lead to until then.
    Etcd(Option<Revision>),
}

impl Target {
    /// Tells what an address means by looking at what is there, or else by its name.
    pub(super) async fn find(to: &SourceSettings, settings: &Settings) -> anyhow::Result<Self> {
        if server::is_mirrored(to) {
            bail!("a repository elsewhere is not written to: copy to one here, and push it there");
        }
        if let Some(name) = to.uri.strip_prefix("hosted:") {
            bail!(
                "a hosted repository takes pushes: copy to a repository here, and push it to /-/git/{name}.git"
            );
        }
        if to.uri.starts_with("etcd:") {
            let source = server::open_etcd(to, settings).await?;
            return Ok(Self::Etcd { source, default_label: to.default_label.clone() });
        }
        let path = source::path_of(&to.uri)?;
        let place = Place { uri: to.uri.clone(), path };
        let is_named_git = place.path.extension().is_some_and(|extension| extension == "git");
        match git::is_repository(&place.path) || is_named_git {
            true => Ok(Self::Git(place)),
            false => Ok(Self::Directory(place)),
        }
    }

    /// As it is named in a report.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Directory(place) | Self::Git(place) => place.uri.clone(),
            Self::Etcd { source, .. } => source::Source::name(&**source).to_owned(),
        }
    }

    /// The label in a report: a directory has none.
    pub(super) fn shown_label(&self, wanted: &Wanted<'_>) -> Option<String> {
        (!matches!(self, Self::Directory(_))).then(|| wanted.label.clone())
    }

    /// Refuses what this target could not serve as it was.
    pub(super) fn accepts(&self, original: &Original) -> anyhow::Result<()> {
        let overlays = &original.snapshot.members[0].overlays;
        match self {
            Self::Directory(_) => {
                let unfit = directory::write::unfit(&original.files);
                match unfit.is_empty() {
                    true => Ok(()),
                    false => Err(Refused::Files(unfit).into()),
                }
            }
            Self::Git(_) | Self::Etcd { .. } if overlays.is_empty() => Ok(()),
            Self::Git(_) | Self::Etcd { .. } => Err(Refused::because(format!(
                "{} is a folder that is laid over the rest, which only a directory has",
                original.label
            ))),
        }
    }

    /// Where to copy to: what was asked for, or what it is called where it comes from. The root of a directory has no name.
    pub(super) fn label(
        &self,
        arguments: &Arguments,
        original: &Original,
    ) -> anyhow::Result<String> {
        let member = &original.snapshot.members[0];
        match (self, &arguments.to_label) {
            (Self::Directory(_), Some(_)) => {
                Err(Refused::because("a directory has no branches: leave out --to-label"))
            }
            (Self::Directory(_), None) => Ok(original.label.clone()),
            (_, Some(label)) => Ok(label.clone()),
            (_, None) if member.layout.style == Style::Native => self.own_label(),
            (_, None) if *member.revision.as_str() == *original.label => {
                Err(Refused::because("a revision has no name there: give it one with --to-label"))
            }
            (_, None) => Ok(original.label.clone()),
        }
    }

    /// What a request without a label gets here.
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

    /// Writes all that nobody sees yet.
    pub(super) async fn prepare(&self, wanted: &Wanted<'_>) -> anyhow::Result<Ready> {
        let there = self.read(wanted).await?;
        if let Some(there) = &there
            && files::of(&there.members[0].tree).is_ok_and(|files| files == *wanted.files)
        {
            return Ok(Ready::Same(there.clone()));
        }
        let Wanted { files, subject, label, options, standing } = wanted;
        let (snapshot, draft) = match self {
            Self::Directory(place) => {
                let draft = directory::write::Draft::write(files, &place.path, *standing)
                    .map_err(of_directory)?;
                let options = OpenOptions { default_label: Some(label.clone()), ..options.clone() };
                let written = source::open_path(draft.path(), &place.uri, options)?;
                (written.load(&Label::Default, None).await?, Draft::Directory(draft))
            }
            Self::Git(place) => {
                let draft =
                    git::write::Draft::write(&place.path, label, files, subject).map_err(of_git)?;
                let incoming = source::open_incoming(draft.path(), Vec::new(), options)?;
                let Some(snapshot) = incoming.snapshot(&draft.commit(), label)? else {
                    bail!("the commit that was written is not there");
                };
                (snapshot, Draft::Git(draft))
            }
            Self::Etcd { source, .. } => {
                let preview = source.preview(label, files).map_err(Refused::because)?;
                // What was put by hand is no revision that another one could follow.
                let published = there.filter(|there| there.members[0].commit.is_some());
                let expected = published.map(|there| there.revision);
                (with_options(preview, options), Draft::Etcd(expected))
            }
        };
        Ok(Ready::Draft { snapshot, draft: Box::new(draft) })
    }

    /// Has everybody see it. Gives the revision that it has got, where that is known.
    pub(super) async fn publish(
        &self,
        draft: Draft,
        wanted: &Wanted<'_>,
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
                let publication = Publication {
                    files: wanted.files.clone(),
                    author: AUTHOR.to_owned(),
                    subject: wanted.subject.clone(),
                    seconds: now(),
                };
                let published = source.publish(&wanted.label, expected.as_ref(), publication).await;
                published.map(Some).map_err(|error| of_etcd(error, &wanted.label))
            }
            (Self::Directory(_) | Self::Git(_), Draft::Etcd(_)) => {
                bail!("what was written is for another target")
            }
        }
    }

    /// What everybody sees there now; nothing if there is nothing.
    pub(super) async fn read(&self, wanted: &Wanted<'_>) -> anyhow::Result<Option<Snapshot>> {
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
            // Where one name is missing another one may stand in for it.
            Ok(found) => Ok(Some(found)
                .filter(|found| found.members[0].label.as_deref() == Some(&wanted.label))),
            Err(SourceError::UnknownLabel(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn of_directory(error: directory::write::WriteError) -> anyhow::Error {
    match error {
        directory::write::WriteError::System { .. } => error.into(),
        error => Refused::because(error),
    }
}

fn of_git(error: git::write::WriteError) -> anyhow::Error {
    match error {
        git::write::WriteError::Repository(_) => error.into(),
        error => Refused::because(error),
    }
}

fn of_etcd(error: PublishError, label: &str) -> anyhow::Error {
    match error {
        PublishError::Unavailable(_) | PublishError::Unsure(_) => error.into(),
        PublishError::Moved { .. } => Refused::because(format!(
            "label {label} was moved by somebody else meanwhile: nothing was copied, try again"
        )),
        PublishError::Refused(reason) => Refused::because(reason),
    }
}

/// What is in etcd, with its files found as in another source.
fn with_options(mut snapshot: Snapshot, options: &OpenOptions) -> Snapshot {
    for member in &mut snapshot.members {
        let mut layout = (*member.layout).clone();
        layout.search_paths.clone_from(&options.search_paths);
        layout.patterns = crate::snapshot::expand_patterns(&options.patterns);
        layout.json = options.json;
        member.layout = Arc::new(layout);
    }
    snapshot
}

fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
