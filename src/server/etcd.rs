//! From the settings of a source to a prefix in an etcd cluster.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::StartError;
use crate::settings::{Settings, SourceSettings};
use crate::source::etcd::{Address, ClientFiles, EtcdAccess, EtcdSource};
use crate::source::mirror::Credentials;
use crate::source::{OpenError, Source};

/// Whether a source is in etcd.
pub(super) fn is_meant(source: &SourceSettings) -> bool {
    Address::is_meant(&source.uri)
}

/// Begins to follow it.
pub(super) fn open(
    source: &SourceSettings,
    settings: &Settings,
    runtime: &Handle,
) -> Result<Arc<dyn Source>, StartError> {
    let client = match (&source.client_cert_file, &source.client_key_file) {
        (Some(certificate), Some(key)) => {
            Some(ClientFiles { certificate: certificate.clone(), key: key.clone() })
        }
        (None, None) => None,
        _ => {
            let reason = "client_cert_file and client_key_file: one is of no use without the other";
            return Err(OpenError::Malformed { reason }.into());
        }
    };
    let known = settings.etcd_login.as_ref().map(|login| Credentials::Known {
        username: login.username.clone(),
        password: login.password.expose().to_owned(),
    });
    let credentials = source.credentials_file.clone().map(Credentials::File).or(known);
    let access = EtcdAccess { credentials, ca_file: source.ca_file.clone(), client };
    Ok(Arc::new(EtcdSource::open(&source.uri, super::options(source), access, runtime)?))
}
