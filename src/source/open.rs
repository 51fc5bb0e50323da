//! From what the operator wrote to a source. Called once, at start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::snapshot::{Layout, Style, expand_patterns};
use crate::source::Source;
use crate::source::directory::{DirectoryOptions, DirectorySource};
use crate::source::git::{self, GitOptions, GitSource, Incoming};
use crate::source::mirror::Remote;

/// Why an address with placeholders is refused.
pub(super) const PLACEHOLDERS: &str =
    "placeholders in the address of a source are not supported: put them into its search paths";

/// Why a source cannot be opened. For the operator: it names the configured path.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing at the path.
    #[error("source {} does not exist", .0.display())]
    Missing(PathBuf),
    /// There is a file at the path.
    #[error("source {} is a file, and neither a git repository nor a directory", .0.display())]
    NotADirectory(PathBuf),
    /// There is no repository at the path.
    #[error("source {} is not a git repository", .0.display())]
    NotARepository(PathBuf),
    /// The system does not let it be read.
    #[error("source {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is there and readable, and not usable.
    #[error("source {} cannot be served: {reason}", path.display())]
    Refused {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A remote is copied in the background, which only a server does.
    #[error(
        "a repository elsewhere is mirrored by `headwater serve`: give this command a clone of it"
    )]
    NeedsServer,
    /// What is to open a remote cannot be used.
    #[error("what opens the source cannot be used: {problem}")]
    Access {
        /// What is wrong with it, without any of it.
        problem: String,
    },
    /// The text is no address of a source.
    #[error("{reason}")]
    Malformed {
        /// What is wrong with it, without the text itself: it may hold a password.
        reason: &'static str,
    },
}

impl OpenError {
    /// What the system said about a path.
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::Unreadable { path: path.to_owned(), reason: error.kind().to_string() },
        }
    }
}

/// How a source is to be served, as far as the operator said so.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The stable base of names in answers; without it, the address as it was configured.
    pub name: Option<String>,
    /// The label of a request that names none.
    pub default_label: Option<String>,
    /// Relative directories with `{application}`, `{profile}`, `{label}` and wildcards.
    pub search_paths: Vec<String>,
    /// `application/profiles` globs as they were configured; expanded here.
    pub patterns: Vec<String>,
    /// Whether `.json` files are configuration.
    pub json: bool,
}

/// Opens a path or a `file:` URI: a git repository, bare or not, or a plain directory, told apart by looking.
///
/// # Errors
/// When there is nothing that can be served.
pub fn open(uri: &str, options: OpenOptions) -> Result<Arc<dyn Source>, OpenError> {
    let path = path_of(uri)?;
    open_path(path, uri, options)
}

/// Opens a repository that this server hosts, or hosted once. Without a server of its own it is read like any other.
///
/// # Errors
/// When there is nothing that can be served.
pub fn open_hosted(uri: &str, path: PathBuf, options: OpenOptions) -> Result<GitSource, OpenError> {
    let default_label = options.default_label.clone();
    GitSource::open_hosted(
        path,
        GitOptions { layout: layout(uri, Style::Git, &options), default_label },
    )
}

/// Opens what stands at a path, under the name of an address.
///
/// # Errors
/// When there is nothing that can be served.
pub fn open_path(
    path: PathBuf,
    uri: &str,
    options: OpenOptions,
) -> Result<Arc<dyn Source>, OpenError> {
    let is_directory =
        std::fs::metadata(&path).map_err(|error| OpenError::unreadable(&path, &error))?.is_dir();
    if !is_directory {
        return Err(OpenError::NotADirectory(path));
    }
    let is_repository = git::is_repository(&path);
    let style = if is_repository { Style::Git } else { Style::Native };
    let layout = layout(uri, style, &options);
    let default_label = options.default_label;
    Ok(if is_repository {
        Arc::new(GitSource::open(path, GitOptions { layout, default_label })?)
    } else {
        Arc::new(DirectorySource::open(path, DirectoryOptions { layout, default_label })?)
    })
}

/// Opens a git repository together with what it is receiving, for a hook. The options are as for [`open`].
///
/// # Errors
/// When there is no repository, or none that can be read.
pub fn open_incoming(
    git_directory: &Path,
    object_directories: Vec<PathBuf>,
    options: &OpenOptions,
) -> Result<Incoming, OpenError> {
    Incoming::open(git_directory, object_directories, layout("hook", Style::Git, options))
}

fn layout(uri: &str, style: Style, options: &OpenOptions) -> Arc<Layout> {
    Arc::new(Layout {
        base: options.name.as_deref().unwrap_or(base_of(uri)).into(),
        style,
        search_paths: options.search_paths.clone(),
        patterns: expand_patterns(&options.patterns),
        json: options.json,
    })
}

/// The address without the slashes at its end, but not less than the root.
pub(super) fn base_of(uri: &str) -> &str {
    match uri.trim_end_matches('/') {
        "" => uri,
        base => base,
    }
}

/// The path that an address stands for: a path or a `file:` URI.
///
/// # Errors
/// When it is the address of something else.
pub fn path_of(uri: &str) -> Result<PathBuf, OpenError> {
    if uri.trim().is_empty() {
        return Err(malformed("the address of the source is empty"));
    }
    if has_placeholder(uri) {
        return Err(malformed(PLACEHOLDERS));
    }
    if let Some(rest) = uri.strip_prefix("file:") {
        return file_path(rest);
    }
    if Remote::is_meant(uri) {
        Remote::parse(uri)?;
        return Err(OpenError::NeedsServer);
    }
    if uri.starts_with("etcd:") {
        return Err(malformed("a prefix in etcd is no path: it is followed"));
    }
    Ok(PathBuf::from(uri))
}

/// Whether a request would choose what is opened.
pub(super) fn has_placeholder(uri: &str) -> bool {
    ["{application}", "{profile}", "{label}"].iter().any(|placeholder| uri.contains(placeholder))
}

/// The path of a `file:` URI: `file:relative`, `file:/absolute` or `file:///absolute`.
pub(super) fn file_path(rest: &str) -> Result<PathBuf, OpenError> {
    let path = match rest.strip_prefix("//") {
        Some(after) => {
            let host_end = after.find('/').ok_or(malformed("a file: URI needs a path"))?;
            if !matches!(&after[..host_end], "" | "localhost") {
                return Err(malformed("a file: URI cannot name another host"));
            }
            &after[host_end..]
        }
        None => rest,
    };
    if path.is_empty() {
        return Err(malformed("a file: URI needs a path"));
    }
    percent_decoded(path)
        .map(PathBuf::from)
        .ok_or(malformed("a file: URI holds a broken percent sign"))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
            bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

fn malformed(reason: &'static str) -> OpenError {
    OpenError::Malformed { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Result<&str, &str>) {
        let found = path_of(uri).map_err(|error| error.to_string());
        match expected {
            Ok(path) => assert_eq!(found.as_deref(), Ok(Path::new(path))),
            Err(part) => {
                let error = found.expect_err("refused");
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn paths_and_file_uris_lead_to_paths() {
        check("./config-repo", Ok("./config-repo"));
        check("/srv/config.git", Ok("/srv/config.git"));
        check("file:///srv/my%20config", Ok("/srv/my config"));
        check("file:/srv/config", Ok("/srv/config"));
        check("file://localhost/srv", Ok("/srv"));
        check("file:config", Ok("config"));
        check("file://elsewhere/srv", Err("another host"));
        check("file:%zz", Err("percent"));
        check("file:/%+1", Err("percent"));
        check("file:", Err("needs a path"));
        check("", Err("empty"));
    }

    #[test]
    fn what_lies_in_etcd_is_no_path() {
        check("etcd://host:2379/prefix", Err("no path"));
        check("/srv/{application}", Err("placeholders"));
    }

    #[test]
    fn a_remote_needs_a_server_and_is_never_a_path() {
        check("https://host/repo.git", Err("mirrored by `headwater serve`"));
        check("git@host:org/repo.git", Err("mirrored by `headwater serve`"));
        check("ssh://-oProxyCommand=x/y", Err("no host"));
        check("ext::sh -c x://", Err("a program for git to run"));
    }

    #[test]
    fn a_file_or_nothing_is_a_clear_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("application.yml");
        std::fs::write(&file, "a: 1").expect("a file");
        let opened = |path: &Path| {
            open(&path.display().to_string(), OpenOptions::default())
                .err()
                .expect("refused")
                .to_string()
        };
        assert!(opened(&file).contains("is a file"));
        assert!(opened(&directory.path().join("nowhere")).contains("does not exist"));
    }
}
