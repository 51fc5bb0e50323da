//! One version of the policy, with the keys of its issuers.

use std::sync::Arc;
use std::time::Instant;

use headwater_access::{CheckContext, Environment, KeySource, Label, Severity};

use super::guard::PolicyFileError;
use super::issuers::{KeySetsInForce, VerifiedJwts};
use crate::allocator;
use crate::model::Query;

/// The number of the first version.
pub(super) const FIRST_EPOCH: u64 = 1;
/// A policy that allows nothing.
const CLOSED_POLICY: &str = "version = 1\n";
/// The size of a policy file at which the memory of its document is returned to the operating system.
const RELEASE_AT_BYTES: usize = 64 * 1024;
/// The profile of a request without profiles.
const DEFAULT_PROFILE: &str = "default";

/// One version of the policy and of the keys of its issuers.
pub(super) struct PolicyInForce {
    pub(super) policy: Arc<headwater_access::Policy>,
    pub(super) epoch: u64,
    default_label: Option<String>,
    /// The time at which the policy took effect. New keys do not change it.
    pub(super) since: Instant,
    pub(super) keys: KeySetsInForce,
    pub(super) verified: VerifiedJwts,
}

impl PolicyInForce {
    /// Parses and checks a policy. Returns the problems in spite of which it can take effect too.
    pub(super) fn load(
        file: &str,
        text: &[u8],
        context: &CheckContext<'_>,
        epoch: u64,
        default_label: Option<String>,
    ) -> Result<(Self, Vec<String>), PolicyFileError> {
        let policy = headwater_access::Policy::parse(file, text)
            .map_err(|error| PolicyFileError(error.to_string()))?;
        let warnings = check(&policy, context)?;
        // The document takes ten times the memory of the policy, and policies are parsed rarely.
        if text.len() >= RELEASE_AT_BYTES {
            allocator::release_free_memory();
        }
        let loaded = Self::of(policy, epoch, default_label);
        Ok((loaded, warnings))
    }

    /// A policy that declares no principal and allows nothing. It is in force until the first policy is read.
    pub(super) fn closed(default_label: Option<String>) -> Self {
        let policy = headwater_access::Policy::parse("no policy", CLOSED_POLICY.as_bytes());
        Self::of(policy.expect("the text is a policy"), FIRST_EPOCH, default_label)
    }

    fn of(policy: headwater_access::Policy, epoch: u64, default_label: Option<String>) -> Self {
        Self {
            policy: Arc::new(policy),
            epoch,
            default_label,
            since: Instant::now(),
            keys: KeySetsInForce::new(),
            verified: VerifiedJwts::default(),
        }
    }

    /// The next version, with the same policy and other keys. No JWT is remembered in it.
    pub(super) fn with_keys(&self, keys: KeySetsInForce) -> Self {
        Self {
            policy: Arc::clone(&self.policy),
            epoch: self.epoch + 1,
            default_label: self.default_label.clone(),
            since: self.since,
            keys,
            verified: VerifiedJwts::default(),
        }
    }

    pub(super) fn key_sources(&self) -> Vec<KeySource> {
        let mut sources: Vec<KeySource> = Vec::new();
        for issuer in self.policy.issuers() {
            if !sources.contains(&issuer.keys) {
                sources.push(issuer.keys.clone());
            }
        }
        sources
    }

    pub(super) fn key_source(&self, issuer: &str) -> Option<&KeySource> {
        let found = self.policy.issuers().iter().find(|known| *known.name == *issuer)?;
        Some(&found.keys)
    }

    pub(super) fn environment<'q>(&'q self, query: &'q Query) -> Environment<'q> {
        let mut profiles: Vec<_> = query.profile_names().map(Into::into).collect();
        if profiles.is_empty() {
            profiles.push(DEFAULT_PROFILE.into());
        }
        Environment {
            applications: query.application_names().map(Into::into).collect(),
            profiles,
            labels: self.labels(&query.label),
        }
    }

    /// The labels of a request. Names in a list are not trimmed, because the sources do not trim them.
    pub(super) fn labels<'q>(&'q self, label: &'q crate::model::Label) -> Vec<Label<'q>> {
        let default = self.default_label.as_deref();
        match label.name() {
            None => vec![Label::requested(None, default, false)],
            Some(list) => list
                .split(',')
                .filter(|name| !name.trim().is_empty())
                .map(|name| Label::requested(Some(name), default, false))
                .collect(),
        }
    }
}

/// Checks a policy. Returns the problems in spite of which it can take effect.
pub(super) fn check(
    policy: &headwater_access::Policy,
    context: &CheckContext<'_>,
) -> Result<Vec<String>, PolicyFileError> {
    let problems = policy.check(context).into_iter();
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.partition(|problem| problem.severity == Severity::Error);
    if !errors.is_empty() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(PolicyFileError(lines.join("\n")));
    }
    Ok(warnings.iter().map(ToString::to_string).collect())
}
