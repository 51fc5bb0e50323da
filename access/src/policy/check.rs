//! Checks of a whole policy, before it takes effect.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::area::{Area, SHARED_APPLICATION};
use super::identity::{Declaration, MappingTarget};
use super::problem::{Place, PolicyProblem, Severity};
use super::rule::{Rule, Who};
use super::{Policy, is_actor};
use crate::principal::Principal;
use crate::right::Right;

/// How long before its expiry a token is reported.
pub const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The circumstances of a check.
#[derive(Debug, Clone, Copy)]
pub struct CheckContext<'a> {
    pub now: Timestamp,
    pub storage: Storage,
    /// The names that exist, if the check runs beside a source.
    pub names: Option<&'a KnownNames>,
}

/// Where the policy is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// A file beside the settings, which the operator changes without the server.
    File,
    /// A hosted repository. Without a principal that may change it, it could never be changed again.
    Hosted,
}

/// The names in the sources of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownNames {
    pub applications: Vec<String>,
    pub paths: Vec<String>,
}

/// A token that expires soon or has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiringToken {
    pub principal: Principal,
    /// The first 8 hexadecimal digits of its digest.
    pub digest: String,
    pub expires: Timestamp,
}

/// The problems found so far.
struct Report {
    file: Arc<str>,
    problems: Vec<PolicyProblem>,
}

impl Report {
    fn error(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, Severity::Error, message.into());
    }

    fn warning(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, Severity::Warning, message.into());
    }

    fn add(&mut self, place: Place, severity: Severity, message: String) {
        self.problems.push(PolicyProblem { file: self.file.clone(), place, severity, message });
    }
}

const START: Place = Place { line: 1, column: 1 };

impl Policy {
    /// Checks a policy that parses. A policy with an error must not take effect. Problems are ordered by place.
    pub fn check(&self, context: &CheckContext<'_>) -> Vec<PolicyProblem> {
        let mut report = Report { file: self.file.clone(), problems: Vec::new() };
        if !self.is_enforced {
            report.warning(START, "enforce = false: denials are recorded and not enforced");
        }
        for declaration in &self.identities.declarations {
            self.check_principal(declaration, context.now, &mut report);
        }
        self.check_admin(context, &mut report);
        self.check_mappings(&mut report);
        for rule in &self.rules {
            self.check_rule(rule, &mut report);
        }
        self.check_areas(&mut report);
        self.check_prefixes(&mut report);
        if let Some(names) = context.names {
            self.check_against(names, &mut report);
        }
        for failed in self.failed_expectations() {
            report.error(failed.place, failed.message);
        }
        report.problems.sort_by_key(|problem| problem.place);
        report.problems
    }

    /// The tokens that have expired or expire within a time.
    pub fn expiring_tokens(&self, now: Timestamp, within: SignedDuration) -> Vec<ExpiringToken> {
        let limit = now.saturating_add(within).unwrap_or(Timestamp::MAX);
        let mut expiring = Vec::new();
        for declaration in &self.identities.declarations {
            for token in &declaration.tokens {
                if let Some(expires) = token.expires.filter(|expires| *expires <= limit) {
                    let (principal, digest) = (declaration.principal.clone(), token.digest.short());
                    expiring.push(ExpiringToken { principal, digest, expires });
                }
            }
        }
        expiring
    }

    fn check_principal(&self, declaration: &Declaration, now: Timestamp, report: &mut Report) {
        let name = &declaration.principal;
        let soon = now.saturating_add(EXPIRY_NOTICE).unwrap_or(Timestamp::MAX);
        for token in &declaration.tokens {
            let digest = token.digest.short();
            match token.expires {
                Some(expires) if expires <= now => report.warning(
                    token.place,
                    format!("the token {digest}… of {name} expired at {expires}. Remove it"),
                ),
                Some(expires) if expires <= soon => report.warning(
                    token.place,
                    format!("the token {digest}… of {name} expires at {expires}. Add a new one"),
                ),
                _ => {}
            }
        }
        if !declaration.tokens.is_empty() && !self.is_usable(declaration, now) {
            report.error(
                declaration.place,
                format!("all tokens of {name} have expired. Add a new one"),
            );
        } else if declaration.tokens.is_empty() && !self.is_usable(declaration, now) {
            report.warning(
                declaration.place,
                format!("{name} has no tokens, san or jwt, so that no caller can be {name}"),
            );
        }
        if self.grants(name).is_some_and(<[_]>::is_empty) {
            report.warning(
                declaration.place,
                format!("no rule names {name}, so that it may do nothing"),
            );
        }
    }

    /// Returns true if a caller can prove to be the principal.
    fn is_usable(&self, declaration: &Declaration, now: Timestamp) -> bool {
        let is_valid = |expires: Option<Timestamp>| expires.is_none_or(|expires| now < expires);
        let name = declaration.principal.name();
        let is_among = self.identities.mappings.iter().any(|mapping| match &mapping.target {
            MappingTarget::Principal(_) => false,
            MappingTarget::Claim { among, .. } => among.iter().any(|one| one.value == name),
        });
        declaration.tokens.iter().any(|token| is_valid(token.expires))
            || declaration.san_count > 0
            || declaration.jwt_count > 0
            || is_among
    }

    fn check_admin(&self, context: &CheckContext<'_>, report: &mut Report) {
        let has_admin = self.identities.declarations.iter().any(|declaration| {
            let grants = self.grants(&declaration.principal).unwrap_or_default();
            grants.iter().any(|rule| rule.may.contains(Right::Admin))
                && self.is_usable(declaration, context.now)
        });
        if has_admin {
            return;
        }
        match context.storage {
            Storage::Hosted => report.error(
                START,
                "no principal with a valid credential has the right admin, so that no caller could \
                 change this policy again. Add an [[allow]] with may = [\"admin\"]",
            ),
            Storage::File => report.warning(
                START,
                "no principal with a valid credential has the right admin. A policy in a hosted \
                 repository needs one",
            ),
        }
    }

    fn check_mappings(&self, report: &mut Report) {
        for mapping in &self.identities.mappings {
            if mapping.claims.iter().all(|(_, pattern)| pattern.is_any()) {
                let issuer = &mapping.issuer.value;
                report.warning(
                    mapping.place,
                    format!("the claims match every JWT of {issuer}. Name at least one exactly"),
                );
            }
        }
        for issuer in &self.identities.issuers {
            let mut mappings = self.identities.mappings.iter();
            if !mappings.any(|mapping| *mapping.issuer.value == *issuer.name) {
                let name = &issuer.name;
                report.warning(START, format!("no principal uses the issuer {name}. Remove it"));
            }
        }
    }

    fn check_rule(&self, rule: &Rule, report: &mut Report) {
        for key in rule.keys_without_effect() {
            let rights: Vec<&str> = rule.may.iter().map(Right::as_str).collect();
            let rights = rights.join(", ");
            report.warning(rule.place, format!("{key} has no effect on {rights}. Remove it"));
        }
        let is_anonymous = rule.who.contains(&Who::Anonymous);
        if !is_anonymous && self.identities.included(&rule.who).next().is_none() {
            report.warning(
                rule.place,
                "no declared principal is included, so that the rule allows nothing",
            );
        }
        if rule.excludes_everything() {
            report.warning(
                rule.place,
                "except removes every application, so that the rule allows nothing",
            );
        }
        let dangerous = rule.may.iter().filter(|right| {
            !matches!(right, Right::Read | Right::List | Right::Metrics | Right::Overview)
        });
        for right in dangerous.filter(|_| is_anonymous) {
            report.warning(rule.place, format!("callers without any credential may {right}"));
        }
        let has_service = || self.identities.included(&rule.who).any(|one| !is_actor(one.kind()));
        if rule.may.contains(Right::Clone) && has_service() {
            report.warning(
                rule.place,
                "a service may clone, and a clone contains the files of all applications. Grant \
                 clone to persons and mirrors only",
            );
        }
    }

    fn check_areas(&self, report: &mut Report) {
        let areas: Vec<&Area> =
            self.areas.areas.iter().filter(|area| !area.application.is_empty()).collect();
        for (index, one) in areas.iter().enumerate() {
            for other in &areas[index + 1..] {
                let is_same = one.application == other.application;
                let overlaps =
                    one.path.iter().any(|own| other.path.iter().any(|path| own.overlaps(path)));
                if is_same || !overlaps {
                    continue;
                }
                let line = one.place.line;
                let common: Vec<&str> = one
                    .application
                    .iter()
                    .filter(|name| other.application.contains(name))
                    .map(|name| &**name)
                    .collect();
                let owners =
                    if common.is_empty() { "no application".to_owned() } else { common.join(", ") };
                report.warning(
                    other.place,
                    format!(
                        "files can match this area and the one in line {line}. They belong to \
                         {owners} only"
                    ),
                );
            }
        }
    }

    /// Names each pair of applications of which one looks like the other one with a profile.
    fn check_prefixes(&self, report: &mut Report) {
        let known = self.areas.known();
        for longer in &known {
            let mut before_dashes = longer.rmatch_indices('-').map(|(at, _)| &longer[..at]);
            if let Some(shorter) = before_dashes.find_map(|name| self.areas.lookup(name)) {
                let profile = &longer[shorter.len() + 1..];
                report.warning(
                    START,
                    format!(
                        "{longer}.yml belongs to {longer}. It is absent from {shorter} with the \
                         profile {profile}"
                    ),
                );
            }
        }
    }

    fn check_against(&self, names: &KnownNames, report: &mut Report) {
        for rule in &self.rules {
            let expanded: Vec<Rule> = self
                .identities
                .included(&rule.who)
                .filter_map(|principal| rule.expanded(principal).ok())
                .collect();
            let applications = names.applications.iter().map(String::as_str);
            let mut applications = applications.chain([SHARED_APPLICATION]);
            let is_named =
                applications.any(|name| expanded.iter().any(|rule| rule.names_application(name)));
            if rule.application.is_some() && !is_named {
                report.warning(rule.place, "application matches none of the known applications");
            }
            let paths = rule.paths().iter();
            for path in paths.filter(|path| !path.as_str().contains('{')) {
                if !names.paths.iter().any(|known| path.matches(known)) {
                    report.warning(rule.place, format!("path: {path} matches no file"));
                }
            }
        }
        for area in &self.areas.areas {
            for path in &area.path {
                if !names.paths.iter().any(|known| path.matches(known)) {
                    report.warning(area.place, format!("path: {path} matches no file"));
                }
            }
        }
    }
}

impl Rule {
    /// The keys that none of the rights reads.
    fn keys_without_effect(&self) -> Vec<&'static str> {
        let any = |rights: &[Right]| rights.iter().any(|right| self.may.contains(*right));
        let environments = any(&[Right::Read, Right::Open]);
        let files = any(&[Right::File, Right::Push]);
        let named = environments || files || any(&[Right::Seal, Right::Rollout]);
        let effects = [
            ("application", named),
            ("except", named),
            ("profile", environments),
            ("label", environments || any(&[Right::File])),
            ("path", files),
            ("branch", any(&[Right::Push])),
            ("force", any(&[Right::Push])),
            ("delete", any(&[Right::Push])),
        ];
        let without = effects.into_iter().filter(|(_, has_effect)| !has_effect);
        let keys = without.map(|(key, _)| key);
        keys.filter(|key| self.present.contains(key)).collect()
    }

    /// Returns true if `except` removes each application that the rule names.
    fn excludes_everything(&self) -> bool {
        let Some(patterns) = self.application.as_ref().filter(|_| !self.except.is_empty()) else {
            return false;
        };
        patterns.iter().all(|pattern| {
            let is_same = self.except.iter().any(|except| except == pattern);
            is_same || pattern.is_literal() && !self.names_application(pattern.as_str())
        })
    }
}
