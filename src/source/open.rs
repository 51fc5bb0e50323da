//! Opening of sources at paths, from the operator's configuration. Called at start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::snapshot::{Layout, Style, expand_patterns};
use crate::source::Source;
use crate::source::directory::{DirectoryOptions, DirectorySource, SCAN_TIME_MAX};
use crate::source::git::{self, Findings, GitOptions, GitSource, Incoming};
use crate::source::remote::Remote;
use crate::source::uri::{PLACEHOLDERS, base_of, file_path, has_placeholder, malformed};

/// The reasons for which a source cannot be opened. For the operator: the messages contain the configured path.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path does not exist.
    #[error("source {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The path is a file.
    #[error("source {} is a file, and neither a git repository nor a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The path is no repository.
    #[error("source {} is not a git repository", .0.display())]
    NotARepository(PathBuf),
    /// The system denies reading it.
    #[error("source {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// As configured.
        path: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// It is readable and cannot be served.
    #[error("source {} cannot be served: {reason}", path.display())]
    Refused {
        /// As configured.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The address is a remote, and only a server mirrors remotes.
    #[error(
        "a remote repository is mirrored by `headwater serve` only. Clone it, and pass the path of the clone"
    )]
    NeedsServer,
    /// The credentials or files for a remote cannot be used.
    #[error("the credentials or certificates of the source cannot be used: {problem}")]
    Access {
        /// The reason, without any of their content.
        problem: String,
    },
    /// The text is not the address of a source.
    #[error("{reason}")]
    Malformed {
        /// The reason, without the text itself, which may contain a password.
        reason: &'static str,
    },
}

impl OpenError {
    /// Converts an error of the system about a path.
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::Unreadable { path: path.to_owned(), reason: error.kind().to_string() },
        }
    }
}

/// The configured options of a source.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The stable base of names in answers. `None` stands for the configured address.
    pub name: Option<String>,
    /// The label of a request that names none.
    pub default_label: Option<String>,
    /// Relative directories with `{application}`, `{profile}`, `{label}` and wildcards.
    pub search_paths: Vec<String>,
    /// The configured `application/profiles` globs, before expansion.
    pub patterns: Vec<String>,
    /// Set if `.toml` files are configuration.
    pub toml: bool,
    /// Set if `.json` files are configuration.
    pub json: bool,
    /// The findings about a git repository that are reported.
    pub findings: Findings,
}

/// Opens a path or a `file:` URI. Its content decides whether it is a git repository, bare or not, or a plain directory.
///
/// # Errors
/// When nothing there can be served.
pub fn open(uri: &str, options: OpenOptions) -> Result<Arc<dyn Source>, OpenError> {
    let path = path_of(uri)?;
    open_path(path, uri, options)
}

/// Opens a repository that this server hosts, or has hosted. A command reads it like any other repository.
///
/// # Errors
/// When nothing there can be served.
pub fn open_hosted(uri: &str, path: PathBuf, options: OpenOptions) -> Result<GitSource, OpenError> {
    let layout = layout(uri, Style::Git, &options);
    let OpenOptions { default_label, findings, .. } = options;
    GitSource::open_hosted(path, GitOptions { layout, default_label, findings })
}

/// Opens a path under the name of an address.
///
/// # Errors
/// When nothing there can be served.
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
    let OpenOptions { default_label, findings, .. } = options;
    Ok(if is_repository {
        Arc::new(GitSource::open(path, GitOptions { layout, default_label, findings })?)
    } else {
        let scan_time_max = SCAN_TIME_MAX;
        let options = DirectoryOptions { layout, default_label, scan_time_max };
        Arc::new(DirectorySource::open(path, options)?)
    })
}

/// Opens a git repository together with the objects that it is receiving, for a hook. The options are as for [`open`].
///
/// # Errors
/// When the repository is missing or cannot be read.
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
        toml: options.toml,
        json: options.json,
    })
}

/// The path in an address, which is a path or a `file:` URI.
///
/// # Errors
/// When it is the address of another kind of source.
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
        return Err(malformed("expected a path or a file: URI, got the address of an etcd prefix"));
    }
    Ok(PathBuf::from(uri))
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
    fn an_etcd_prefix_is_not_a_path() {
        check("etcd://host:2379/prefix", Err("an etcd prefix"));
        check("/srv/{application}", Err("placeholders"));
    }

    #[test]
    fn a_remote_needs_a_server_and_is_never_a_path() {
        check("https://host/repo.git", Err("mirrored by `headwater serve`"));
        check("git@host:org/repo.git", Err("mirrored by `headwater serve`"));
        check("ssh://-oProxyCommand=x/y", Err("not a valid host"));
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
