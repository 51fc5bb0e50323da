//! From the settings to the audit trail, and the events of the server itself.

use std::path::Path;
use std::sync::Arc;

use super::{StartError, replicas};
use crate::access::{Guard, PolicyChange};
use crate::audit::{Audit, AuditEvent, AuditOptions, Entry};
use crate::faults::Faults;
use crate::settings::{SecretsSettings, Settings};

/// The reason why a change of the policy does not take effect.
const UNRECORDED: &str = "the audit trail cannot be written, and each change of the policy has to be recorded. The \
                          previous policy stays in force. The fault audit-unwritable has the reason";

/// Opens the trail, if the settings have a destination.
pub(super) fn open(
    settings: &Settings,
    faults: Arc<Faults>,
) -> Result<Option<Arc<Audit>>, StartError> {
    let audit = &settings.audit;
    if !audit.is_on() {
        return Ok(None);
    }
    let options = AuditOptions {
        file: audit.file.clone(),
        stdout: audit.stdout,
        rotate_bytes: audit.rotate_mib.saturating_mul(1024 * 1024),
        keep_count: if audit.keep == 0 { usize::MAX } else { audit.keep },
        is_required: audit.required,
        replica: replicas::name(settings),
    };
    let opened = Audit::open(&options, faults).map_err(|error| StartError::File {
        what: "audit file",
        path: audit.file.clone().unwrap_or_default(),
        reason: error.to_string(),
    });
    opened.map(Some)
}

/// Records the start of the server, its policy and its keys.
pub(super) fn record_start(audit: Option<&Arc<Audit>>, settings: &Settings, guard: Option<&Guard>) {
    let Some(audit) = audit else { return };
    let digest = guard.map(Guard::digest);
    let details = vec![version()];
    audit.record(&Entry { digest: digest.clone(), details, ..Entry::new(AuditEvent::Started) });
    if digest.is_some() {
        let outcome = Some("in force".to_owned());
        audit.record(&Entry { digest, outcome, ..Entry::new(AuditEvent::PolicyLoaded) });
    }
    let details = names_of_keys(&settings.secrets);
    if !details.is_empty() {
        audit.record(&Entry { details, ..Entry::new(AuditEvent::KeysLoaded) });
    }
}

/// Records keys that were read again. `seal_keys` are the names of the keys for values bound to their place.
pub(super) fn record_new_keys<'k>(
    audit: Option<&Arc<Audit>>,
    secrets: &SecretsSettings,
    seal_keys: impl Iterator<Item = &'k str>,
) {
    let Some(audit) = audit else { return };
    let names = seal_keys.map(|id| format!("seal key {id}"));
    let details = names_of_keys(secrets).into_iter().chain(names).collect();
    audit.record(&Entry { details, ..Entry::new(AuditEvent::KeysLoaded) });
}

/// The entry for the end of the server.
pub(super) fn stopped(guard: Option<&Guard>) -> Entry {
    Entry {
        digest: guard.map(Guard::digest),
        details: vec![version()],
        ..Entry::new(AuditEvent::Stopped)
    }
}

/// Records a change of the policy before it takes effect.
///
/// # Errors
/// The reason why it must not take effect.
pub(super) fn record_policy_change(
    audit: Option<&Arc<Audit>>,
    change: &PolicyChange<'_>,
) -> Result<(), String> {
    let Some(audit) = audit else { return Ok(()) };
    let entry = Entry {
        digest: Some(change.digest()),
        outcome: Some("in force".to_owned()),
        details: change.difference(),
        ..Entry::new(AuditEvent::PolicyLoaded)
    };
    audit.record_act_blocking(&entry).map_err(|_| UNRECORDED.to_owned())
}

/// Records that a policy file cannot be used.
pub(super) fn record_rejected_policy(audit: Option<&Arc<Audit>>, reason: &str) {
    let Some(audit) = audit else { return };
    let entry = Entry::new(AuditEvent::PolicyRejected);
    let (outcome, reason) = (Some("rejected".to_owned()), Some(reason.to_owned()));
    audit.record(&Entry { outcome, reason, ..entry });
}

fn version() -> String {
    format!("headwater {}", env!("CARGO_PKG_VERSION"))
}

/// Where each key comes from, in the order in which they open values. Nothing here depends on a key.
fn names_of_keys(secrets: &SecretsSettings) -> Vec<String> {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let keystore = secrets.keystore.as_deref().zip(secrets.alias.as_deref());
    let keystore = keystore.map(|(path, alias)| format!("keystore {}, alias {alias}", name(path)));
    let variable = secrets.key.as_ref().map(|_| "HEADWATER_ENCRYPT_KEY".to_owned());
    let files = secrets.key_files.iter().map(|path| format!("key file {}", name(path)));
    let seal = secrets.seal_key_files.iter().map(|path| format!("seal key file {}", name(path)));
    let identities = secrets.age_identity_file.iter();
    let identities = identities.map(|path| format!("age identity file {}", name(path)));
    let named = keystore.into_iter().chain(variable).chain(files);
    named.chain(seal).chain(identities).collect()
}
