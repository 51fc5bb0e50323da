//! Opening of mirrors of remote repositories, from the settings. All mirrors share the data directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{DataDirectorySlot, OpeningError};
use crate::data::DataError;
use crate::settings::{Settings, SourceSettings};
use crate::source::mirror::{
    Access, Credentials, MirrorOptions, MirrorPlace, MirrorSource, SshFiles,
};
use crate::source::{self, OpenError, OpenOptions, Remote, Source, Transport, git};

/// The default interval of polls of a remote.
const POLL_SECONDS: u64 = 30;
/// The default time limit of one fetch.
const FETCH_SECONDS_MAX: u64 = 120;
/// The default size limit of a pack.
const FETCH_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// The shortest time between two fetches, for any number of webhooks.
const SPACING: Duration = Duration::from_secs(2);
/// The directory of the mirrors, in the data directory.
const DIRECTORY: &str = "mirrors";

/// True for a source that is mirrored instead of read in place.
pub(super) fn is_mirrored(source: &SourceSettings) -> bool {
    source.mirror || source.follow_origin == Some(true) || Remote::is_meant(&source.uri)
}

/// The address of the remote: the configured one, or the remote of a configured clone that is followed.
fn address(source: &SourceSettings) -> Result<String, OpenError> {
    if source.follow_origin != Some(true) {
        return Ok(source.uri.clone());
    }
    if Remote::is_meant(&source.uri) {
        let reason =
            "follow_origin is for the path of a clone: remove it, because a URL is always mirrored";
        return Err(OpenError::Malformed { reason });
    }
    git::upstream_address(&source::path_of(&source.uri)?)
}

/// Parses the address of a remote. The address in the configuration of a clone may be invalid.
fn remote_of(source: &SourceSettings, address: &str) -> Result<Remote, OpenError> {
    Remote::parse(address).map_err(|error| match source.follow_origin {
        Some(true) => OpenError::Refused {
            path: PathBuf::from(&source.uri),
            reason: format!("follow_origin: the remote of the clone: {error}"),
        },
        _ => error,
    })
}

/// Opens remotes, and assigns a place to each copy.
pub(super) struct Remotes<'a> {
    settings: &'a Settings,
    runtime: &'a Handle,
    opened: Vec<Remote>,
}

impl<'a> Remotes<'a> {
    pub(super) fn new(settings: &'a Settings, runtime: &'a Handle) -> Self {
        Self { settings, runtime, opened: Vec::new() }
    }

    /// Begins to mirror a remote.
    pub(super) fn open(
        &mut self,
        source: &SourceSettings,
        mut options: OpenOptions,
        data: &mut DataDirectorySlot<'_>,
    ) -> Result<Arc<dyn Source>, OpeningError> {
        let address = address(source)?;
        let remote = remote_of(source, &address)?;
        // The names in answers are those of the clone, whether it is followed or not.
        options.name.get_or_insert_with(|| source::base_of(&source.uri).to_owned());
        let mirror = MirrorOptions {
            access: self.access(source, &remote)?,
            poll: Duration::from_secs(source.poll_seconds.unwrap_or(POLL_SECONDS)),
            spacing: SPACING,
            fetch_time_max: Duration::from_secs(
                source.fetch_seconds_max.unwrap_or(FETCH_SECONDS_MAX).max(1),
            ),
            pack_bytes_max: source.fetch_bytes_max.unwrap_or(FETCH_BYTES_MAX),
        };
        let place = self.place_for(&remote, data)?;
        let opened = MirrorSource::open(&address, options, mirror, place)?;
        if remote.is_clear_text() {
            tracing::warn!(
                source = opened.name(),
                "http:// is not encrypted: others on the network path can change the configuration"
            );
        }
        Ok(Arc::new(opened))
    }

    fn access(&self, source: &SourceSettings, remote: &Remote) -> Result<Access, OpeningError> {
        let ssh = match (&source.ssh_key_file, &source.known_hosts_file) {
            (Some(key), Some(known_hosts)) => {
                Some(SshFiles { key: key.clone(), known_hosts: known_hosts.clone() })
            }
            (None, None) => None,
            _ => {
                let reason = "ssh_key_file and known_hosts_file must be set together";
                return Err(OpenError::Malformed { reason }.into());
            }
        };
        let credentials = match &source.credentials_file {
            Some(path) => Some(Credentials::File(path.clone())),
            None if remote.transport == Transport::Https => self.login()?,
            None => None,
        };
        Ok(Access { credentials, ssh, ca_file: source.ca_file.clone() })
    }

    /// The login from the environment variables, which is sent to one host only.
    fn login(&self) -> Result<Option<Credentials>, OpeningError> {
        let Some(login) = &self.settings.git_login else { return Ok(None) };
        let without = self
            .settings
            .sources
            .iter()
            .filter(|source| source.credentials_file.is_none() && is_mirrored(source));
        let mut hosts: Vec<String> = without
            .filter_map(|source| Remote::parse(&address(source).ok()?).ok())
            .filter(|remote| remote.transport == Transport::Https)
            .filter_map(|remote| remote.host)
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > 1 {
            let reason = "HEADWATER_GIT_PASSWORD is for one host, and the sources have several: \
                          configure a credentials_file for each source";
            return Err(OpenError::Malformed { reason }.into());
        }
        Ok(Some(Credentials::Known {
            username: login.username.clone(),
            password: login.password.expose().to_owned(),
        }))
    }

    /// Chooses the place of a copy. A remote that is configured twice has two copies, each with one keeper.
    fn place_for(
        &mut self,
        remote: &Remote,
        data: &mut DataDirectorySlot<'_>,
    ) -> Result<MirrorPlace, OpeningError> {
        let held = data.take()?;
        let mut directory = held
            .directory(DIRECTORY)
            .map_err(|reason| DataError::Unusable { path: self.settings.data.clone(), reason })?;
        let twin_count = self.opened.iter().filter(|opened| *opened == remote).count();
        if twin_count > 0 {
            directory.push(twin_count.to_string());
        }
        self.opened.push(remote.clone());
        Ok(MirrorPlace { directory, held, runtime: self.runtime.clone() })
    }
}
