//! Opening of a source in etcd, and of the cluster that replicas share, from the settings.

use std::path::PathBuf;
use std::sync::Arc;

use headwater_etcd::{Access, Address, AddressError, ClientFiles, Cluster, Login};
use tokio::runtime::Handle;

use super::OpeningError;
use crate::settings::{Settings, ShareSettings, SourceSettings};
use crate::source::OpenError;
use crate::source::etcd::{self, EtcdSource};
use crate::source::mirror::Credentials;

/// True for a source in etcd.
pub(super) fn is_meant(source: &SourceSettings) -> bool {
    Address::has_etcd_scheme(&source.uri)
}

/// Begins to follow a source in etcd.
pub(super) fn open(
    source: &SourceSettings,
    settings: &Settings,
    runtime: &Handle,
) -> Result<Arc<EtcdSource>, OpenError> {
    let access = access(AccessFiles::of_source(source), settings)?;
    Ok(Arc::new(EtcdSource::open(&source.uri, super::options(source), access, runtime)?))
}

/// The cluster that replicas share, if it is configured.
pub(crate) fn shared_cluster(settings: &Settings) -> Result<Option<Cluster>, OpeningError> {
    let Some(uri) = &settings.share.uri else { return Ok(None) };
    let malformed = |error: AddressError| OpenError::Malformed { reason: error.0 };
    let address = Address::parse(uri).map_err(malformed)?;
    let access = access(AccessFiles::of_share(&settings.share), settings)?;
    etcd::check_access(&address, &access)?;
    let probe = format!("{}/", address.prefix);
    Ok(Some(Cluster { address, access, probe }))
}

/// The files with the credentials for a cluster.
struct AccessFiles<'a> {
    credentials: Option<&'a PathBuf>,
    authority: Option<&'a PathBuf>,
    certificate: Option<&'a PathBuf>,
    key: Option<&'a PathBuf>,
}

impl<'a> AccessFiles<'a> {
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

fn access(files: AccessFiles<'_>, settings: &Settings) -> Result<Access, OpenError> {
    let client = match (files.certificate, files.key) {
        (Some(certificate), Some(key)) => {
            Some(ClientFiles { certificate: certificate.clone(), key: key.clone() })
        }
        (None, None) => None,
        _ => {
            let reason = "client_cert_file and client_key_file must be set together";
            return Err(OpenError::Malformed { reason });
        }
    };
    let known = settings.etcd_login.as_ref().map(|login| Credentials::Known {
        username: login.username.clone(),
        password: login.password.expose().to_owned(),
    });
    let login =
        files.credentials.cloned().map(Credentials::File).or(known).map(|credentials| -> Login {
            Arc::new(move || credentials.login().map(|login| (login.username, login.password)))
        });
    Ok(Access { login, ca_file: files.authority.cloned(), client })
}
