//! From the settings to a prefix in an etcd cluster.

use std::path::PathBuf;
use std::sync::Arc;

use headwater_etcd::{Access, Address, AddressError, ClientFiles, Cluster, Login};
use tokio::runtime::Handle;

use super::StartError;
use crate::settings::{Settings, ShareSettings, SourceSettings};
use crate::source::OpenError;
use crate::source::etcd::{self, EtcdSource};
use crate::source::mirror::Credentials;

/// Whether a source is in etcd.
pub(super) fn is_meant(source: &SourceSettings) -> bool {
    Address::is_meant(&source.uri)
}

/// Begins to follow it.
pub(super) fn open(
    source: &SourceSettings,
    settings: &Settings,
    runtime: &Handle,
) -> Result<Arc<EtcdSource>, OpenError> {
    let access = access(Opening::of_source(source), settings)?;
    Ok(Arc::new(EtcdSource::open(&source.uri, super::options(source), access, runtime)?))
}

/// The cluster where replicas meet, if there are any.
pub(super) fn shared(settings: &Settings) -> Result<Option<Cluster>, StartError> {
    let Some(uri) = &settings.share.uri else { return Ok(None) };
    let malformed = |error: AddressError| OpenError::Malformed { reason: error.0 };
    let address = Address::parse(uri).map_err(malformed)?;
    let access = access(Opening::of_share(&settings.share), settings)?;
    etcd::check_access(&address, &access)?;
    let probe = format!("{}/", address.prefix);
    Ok(Some(Cluster { address, access, probe }))
}

/// The files that open a cluster.
struct Opening<'a> {
    credentials: Option<&'a PathBuf>,
    authority: Option<&'a PathBuf>,
    certificate: Option<&'a PathBuf>,
    key: Option<&'a PathBuf>,
}

impl<'a> Opening<'a> {
    fn of_source(source: &'a SourceSettings) -> Self {
        Self {
            credentials: source.credentials_file.as_ref(),
            authority: source.ca_file.as_ref(),
            certificate: source.client_cert_file.as_ref(),
            key: source.client_key_file.as_ref(),
        }
    }

    fn of_share(share: &'a ShareSettings) -> Self {
        Self {
            credentials: share.credentials_file.as_ref(),
            authority: share.ca_file.as_ref(),
            certificate: share.client_cert_file.as_ref(),
            key: share.client_key_file.as_ref(),
        }
    }
}

fn access(opening: Opening<'_>, settings: &Settings) -> Result<Access, OpenError> {
    let client = match (opening.certificate, opening.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientFiles { certificate: certificate.clone(), key: key.clone() })
        }
        (None, None) => None,
        _ => {
            let reason = "client_cert_file and client_key_file: one is of no use without the other";
            return Err(OpenError::Malformed { reason });
        }
    };
    let known = settings.etcd_login.as_ref().map(|login| Credentials::Known {
        username: login.username.clone(),
        password: login.password.expose().to_owned(),
    });
    let login =
        opening.credentials.cloned().map(Credentials::File).or(known).map(|credentials| -> Login {
            Arc::new(move || credentials.login().map(|login| (login.username, login.password)))
        });
    Ok(Access { login, ca_file: opening.authority.cloned(), client })
}
