//! From the settings of a source to a mirror of a remote, with the data directory that all mirrors share.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Data, StartError};
use crate::data::DataError;
use crate::settings::{Settings, SourceSettings};
use crate::source::mirror::{
    Access, Credentials, MirrorOptions, MirrorPlace, MirrorSource, Remote, SshFiles, Transport,
};
use crate::source::{OpenError, Source};

/// How often a remote is asked whether it moved, unless the settings say so.
const POLL_SECONDS: u64 = 30;
/// The longest that one fetch takes, unless the settings say so.
const FETCH_SECONDS_MAX: u64 = 120;
/// The largest pack that is taken, unless the settings say so.
const FETCH_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// The shortest time from one fetch to the next, however many hooks are called.
const SPACING: Duration = Duration::from_secs(2);
/// The directory of the mirrors, in the data directory.
const DIRECTORY: &str = "mirrors";

/// Whether a source is mirrored and not read in place.
pub(super) fn is_mirrored(source: &SourceSettings) -> bool {
    source.mirror || Remote::is_meant(&source.uri)
}

/// Opens remotes.
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
        data: &mut Data<'_>,
    ) -> Result<Arc<dyn Source>, StartError> {
        let remote = Remote::parse(&source.uri)?;
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
        let options = super::options(source);
        let opened = MirrorSource::open(&source.uri, options, mirror, place)?;
        if remote.is_clear_text() {
            tracing::warn!(
                source = opened.name(),
                "http:// is clear text: whoever is on the way can change what is served"
            );
        }
        Ok(Arc::new(opened))
    }

    fn access(&self, source: &SourceSettings, remote: &Remote) -> Result<Access, StartError> {
        let ssh = match (&source.ssh_key_file, &source.known_hosts_file) {
            (Some(key), Some(known_hosts)) => {
                Some(SshFiles { key: key.clone(), known_hosts: known_hosts.clone() })
            }
            (None, None) => None,
            _ => {
                let reason =
                    "ssh_key_file and known_hosts_file: one is of no use without the other";
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

    /// The login of the environment, which one host is shown and no other.
    fn login(&self) -> Result<Option<Credentials>, StartError> {
        let Some(login) = &self.settings.git_login else { return Ok(None) };
        let without = self
            .settings
            .sources
            .iter()
            .filter(|source| source.credentials_file.is_none() && is_mirrored(source));
        let mut hosts: Vec<String> = without
            .filter_map(|source| Remote::parse(&source.uri).ok())
            .filter(|remote| remote.transport == Transport::Https)
            .filter_map(|remote| remote.host)
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > 1 {
            let reason = "HEADWATER_GIT_PASSWORD is for one host, and there are several: \
                          give each source its own credentials_file";
            return Err(OpenError::Malformed { reason }.into());
        }
        Ok(Some(Credentials::Known {
            username: login.username.clone(),
            password: login.password.expose().to_owned(),
        }))
    }

    /// A remote that is configured twice has two copies, so that each is moved by one only.
    fn place_for(
        &mut self,
        remote: &Remote,
        data: &mut Data<'_>,
    ) -> Result<MirrorPlace, StartError> {
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
