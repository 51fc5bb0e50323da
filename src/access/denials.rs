//! The record of denials: the lines of the log, and the counts for metrics.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::guard::{Guard, RejectedCredential};
use super::identity::Identity;
use crate::areas::Permission;
use crate::sync::lock;

/// The most different denials, and the most different rejections, that are logged while one policy is in force. Further
/// ones are counted only.
const LOGGED_COUNT_MAX: usize = 10_000;
/// The longest text of a request in a log line, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// The denials and rejections of a server, and those that were logged under the policy in force.
#[derive(Default)]
pub(super) struct DenialRecord {
    enforced: AtomicU64,
    recorded: AtomicU64,
    rejected_credentials: AtomicU64,
    limited_credentials: AtomicU64,
    logged_denials: FirstOccurrences,
    logged_rejections: FirstOccurrences,
}

impl DenialRecord {
    /// Forgets what was logged, because another policy is in force.
    pub(super) fn forget_logged(&self) {
        self.logged_denials.clear();
        self.logged_rejections.clear();
    }
}

/// The lines that were logged. Denials and rejections have one each, so that bad credentials never hide denials.
#[derive(Default)]
struct FirstOccurrences(Mutex<HashSet<String>>);

impl FirstOccurrences {
    /// Records an occurrence. Returns true if it is the first one and the record has room.
    fn record(&self, key: String) -> bool {
        let mut known = lock(&self.0);
        known.len() < LOGGED_COUNT_MAX && known.insert(key)
    }

    fn clear(&self) {
        lock(&self.0).clear();
    }
}

impl Guard {
    /// Counts a denial, and logs the first one of its principal and object.
    pub fn record_denied_object(&self, identity: &Identity, object: &str, permission: Permission) {
        let count = match permission {
            Permission::Allowed => return,
            Permission::WouldDeny => &self.denials.recorded,
            Permission::Denied => &self.denials.enforced,
        };
        count.fetch_add(1, Ordering::Relaxed);
        // The name `target` belongs to the log itself.
        let object = cut(object).to_owned();
        let (principal, kind) = (identity.name(), identity.kind());
        if !self.denials.logged_denials.record(format!("{principal} {object}")) {
            return;
        }
        if permission == Permission::WouldDeny {
            let event = "would_deny";
            tracing::warn!(event, principal, kind, object, "a request would be denied");
        } else {
            tracing::warn!(event = "denied", principal, kind, object, "a request was denied");
        }
    }

    /// Counts a request without an accepted credential, and logs the first one of its reason and address.
    pub fn record_rejection(&self, error: &RejectedCredential, address: &str) {
        self.denials.rejected_credentials.fetch_add(1, Ordering::Relaxed);
        let reason = error.to_string();
        if self.denials.logged_rejections.record(format!("{address} {reason}")) {
            let event = "credential_rejected";
            tracing::warn!(event, address, reason, "a credential was rejected");
        }
    }

    /// Counts a request that was rejected because its client has sent too many bad credentials.
    pub fn record_limited(&self) {
        self.denials.limited_credentials.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of denied requests.
    pub fn denied_count(&self) -> u64 {
        self.denials.enforced.load(Ordering::Relaxed)
    }

    /// The number of requests that were answered although the rules deny them.
    pub fn would_deny_count(&self) -> u64 {
        self.denials.recorded.load(Ordering::Relaxed)
    }

    /// The number of requests without an accepted credential.
    pub fn rejected_count(&self) -> u64 {
        self.denials.rejected_credentials.load(Ordering::Relaxed)
    }

    /// The number of requests whose client had sent too many bad credentials.
    pub fn limited_count(&self) -> u64 {
        self.denials.limited_credentials.load(Ordering::Relaxed)
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
