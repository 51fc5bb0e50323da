//! The policy: which principals exist, how they prove themselves, and what each of them may do.
//!
//! Invariant: a policy is a value. Parsing, authentication and decisions depend on their arguments only, so that every
//! replica with the same file gives the same answers.

mod area;
mod authenticate;
mod check;
mod decide;
mod diff;
mod document;
mod expectation;
mod explain;
mod file_rules;
mod identity;
mod problem;
mod rule;
mod sealing;
mod table_change;

use std::sync::Arc;

use area::{Area, AreaMap};
use document::{Reader, Section};
use expectation::Expectation;
use identity::{Identities, unknown_principal};
use rule::{Rule, RuleLists, Who};
use sealing::SealingRule;

use crate::pattern::Pattern;
use crate::principal::{ANONYMOUS, Kind, Principal};
use crate::sha256::Sha256;

pub use area::{Claim, Ownership, OwnershipKind, SHARED_APPLICATION, SecretReference};
pub use authenticate::{
    AuthenticatedCaller, AuthenticationError, CertificateNames, Evidence, KeySets, Proof,
};
pub use check::{CheckContext, EXPIRY_NOTICE, ExpiringToken, KnownNames, Storage};
pub use decide::{COMBINATION_COUNT_MAX, Decision, Denial, Outcome};
pub use diff::{AccessChange, CredentialChange, PolicyDifference, Universe, diff};
pub use document::POLICY_BYTES_MAX;
pub use expectation::{ExpectationReport, FailedExpectation};
pub use explain::{Explanation, Finding, NearestRule};
pub use file_rules::FileRules;
pub use identity::{Issuer, KeySource};
pub use problem::{Place, PolicyError, PolicyProblem, Severity};
pub use rule::Field;
pub use table_change::TableChange;

/// The version of the file format.
const VERSION: i64 = 1;

/// A parsed policy.
#[derive(Debug, Clone)]
pub struct Policy {
    file: Arc<str>,
    digest: Sha256,
    is_enforced: bool,
    identities: Identities,
    rules: Box<[Arc<Rule>]>,
    /// The rules of each declared principal, with its name in place of `{principal}`, in the order of the declarations.
    grants: Box<[Grants]>,
    anonymous_grants: Grants,
    areas: Arc<AreaMap>,
    sealing: Arc<[SealingRule]>,
    expectations: Vec<Expectation>,
}

impl Policy {
    /// Parses a policy file, either completely or not at all. `file` is its name in messages.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self, PolicyError> {
        let digest = Sha256::of(text);
        let Ok(text) = std::str::from_utf8(text) else {
            let mut reader = Reader::new(file, "");
            reader.error(0, "the file is not UTF-8. Save it in this encoding");
            return Err(reader.finish().expect_err("the reader has an error"));
        };
        let mut reader = Reader::new(file, text);
        let Some(root) = reader.root() else {
            return Err(reader.finish().expect_err("a document without a table has an error"));
        };
        let policy = Self::read(file, digest, root, &mut reader);
        reader.finish()?;
        Ok(policy)
    }

    fn read(file: &str, digest: Sha256, mut root: Section<'_>, reader: &mut Reader<'_>) -> Self {
        if !root.has("version") {
            reader.error(root.at, format!("the version is missing. Add version = {VERSION}"));
        }
        if let Some(other) = root.integer("version", reader).filter(|other| *other != VERSION) {
            reader.error(
                root.at,
                format!("version {other} is not supported. This server reads version {VERSION}"),
            );
        }
        let is_enforced = root.flag("enforce", reader).unwrap_or(true);
        let identities = Identities::parse(&mut root, reader);
        let rules = root.sections("allow", "[[allow]]", reader);
        let mut lists = RuleLists::default();
        let rules = rules.into_iter().filter_map(|it| Rule::parse(it, &mut lists, reader));
        let rules: Box<[Arc<Rule>]> = rules.map(Arc::new).collect();
        let areas = root.sections("area", "[[area]]", reader);
        let areas: Vec<Area> =
            areas.into_iter().map(|section| Area::parse(section, reader)).collect();
        let sealing = SealingRule::parse_all(&mut root, reader).into();
        let expectations = Expectation::parse_all(&mut root, reader);
        root.finish(reader);
        let (grants, anonymous_grants) = compile(&identities, &rules, reader);
        let all = || grants.iter().flatten().chain(&anonymous_grants);
        let applications = all().flat_map(|rule| rule.applications());
        let applications = literals(applications.chain(all().flat_map(|rule| &*rule.except)));
        let profiles = literals(all().flat_map(|rule| &*rule.profile));
        let areas = Arc::new(AreaMap::new(areas, applications, profiles));
        let policy = Self {
            file: file.into(),
            digest,
            is_enforced,
            identities,
            rules,
            grants,
            anonymous_grants,
            areas,
            sealing,
            expectations,
        };
        policy.check_names(reader);
        policy
    }

    /// Reports names in rules and expectations that no principal has.
    fn check_names(&self, reader: &mut Reader<'_>) {
        for rule in &self.rules {
            for who in &*rule.who {
                if let Who::Principal(name) = who
                    && !self.identities.by_name.contains_key(&**name)
                {
                    reader.error_at(rule.place, format!("who: {}", unknown_principal(name)));
                }
            }
        }
        for expectation in &self.expectations {
            if self.principal(&expectation.who).is_none() {
                reader.error_at(
                    expectation.place,
                    format!("who: {}", unknown_principal(&expectation.who)),
                );
            }
        }
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The SHA-256 of the file, by which replicas compare their policies.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Returns false if denials are recorded and not enforced.
    pub fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// The issuers whose keys the server has to load.
    pub fn issuers(&self) -> &[Issuer] {
        &self.identities.issuers
    }

    /// All declared principals, in the order of the file.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.identities.declarations.iter().map(|declaration| &declaration.principal)
    }

    /// The principal of a name, or the anonymous one.
    pub fn principal(&self, name: &str) -> Option<Principal> {
        if name == ANONYMOUS {
            return Some(Principal::anonymous());
        }
        Some(self.declared(name)?.1.clone())
    }

    /// The number of a declared principal in the order of the file, which begins at 1.
    pub fn number_of(&self, principal: &Principal) -> Option<usize> {
        let (place, declared) = self.declared(principal.name())?;
        (declared == principal).then_some(place + 1)
    }

    /// The place of a declaration, and its principal.
    fn declared(&self, name: &str) -> Option<(usize, &Principal)> {
        let place = *self.identities.by_name.get(name)?;
        Some((place, &self.identities.declarations.get(place)?.principal))
    }

    /// Returns true if at least one rule allows something to callers without a credential. Otherwise the server answers
    /// them with 401 before it examines the path.
    pub fn admits_anonymous(&self) -> bool {
        !self.anonymous_grants.is_empty()
    }

    /// The applications that the policy names, in rules, areas and names of principals.
    pub fn known_applications(&self) -> Vec<&str> {
        self.areas.known()
    }

    /// Returns the applications to which a file belongs.
    pub fn ownership<'p>(&'p self, path: &'p str) -> Ownership<'p> {
        self.areas.ownership(path)
    }

    /// Returns true if the environment of these applications may load a file: its own files and the shared ones. The
    /// path is that of the file itself, after imports and symbolic links.
    pub fn may_load(&self, applications: &[&str], path: &str) -> bool {
        self.file_rules().may_load(applications, path)
    }

    /// Returns true if a file may name a secret outside the configuration.
    pub fn may_reference(&self, path: &str, reference: SecretReference<'_>) -> bool {
        self.file_rules().may_reference(path, reference)
    }

    /// Returns true if a value has to be sealed in a push.
    pub fn requires_sealing(&self, path: &str, key: &str) -> bool {
        self.file_rules().requires_sealing(path, key)
    }

    /// The rules about the content of files, for code that decides without a principal.
    pub fn file_rules(&self) -> FileRules {
        FileRules {
            areas: Arc::clone(&self.areas),
            sealing: Arc::clone(&self.sealing),
            is_enforced: self.is_enforced,
        }
    }

    /// The rules of a principal. `None` for a principal that another policy has declared.
    fn grants(&self, principal: &Principal) -> Option<&[Arc<Rule>]> {
        if principal.is_anonymous() {
            return Some(&self.anonymous_grants);
        }
        let (place, declared) = self.declared(principal.name())?;
        (declared == principal).then(|| self.grants.get(place)).flatten().map(|grants| &**grants)
    }
}

type Grants = Box<[Arc<Rule>]>;

/// Distributes the rules to the principals. Principals share a rule that does not depend on their names. Each rule costs
/// as much as it has principals, and not as much as the policy has.
fn compile(
    identities: &Identities,
    rules: &[Arc<Rule>],
    reader: &mut Reader<'_>,
) -> (Box<[Grants]>, Grants) {
    let mut grants = vec![Vec::new(); identities.declarations.len()];
    let mut anonymous = Vec::new();
    for rule in rules {
        let has_placeholder = rule.has_placeholder();
        if rule.who.contains(&Who::Anonymous) {
            if has_placeholder {
                reader
                    .error_at(rule.place, "{principal} has no value for anonymous. Split the rule");
            }
            anonymous.push(rule.clone());
        }
        for place in identities.places_of(&rule.who) {
            let principal = &identities.declarations[place].principal;
            let expanded = if has_placeholder {
                rule.expanded(principal).map(Arc::new)
            } else {
                Ok(rule.clone())
            };
            match expanded {
                Ok(rule) => grants[place].push(rule),
                Err(error) => reader.error_at(rule.place, format!("for {principal}: {error}")),
            }
        }
    }
    (grants.into_iter().map(Into::into).collect(), anonymous.into())
}

/// The names among patterns.
fn literals<'p>(patterns: impl Iterator<Item = &'p Pattern>) -> impl Iterator<Item = Arc<str>> {
    patterns.filter(|pattern| pattern.is_literal()).map(Pattern::shared_text)
}

/// Returns true for the kinds whose acts are those of people and their automation.
pub(crate) fn is_actor(kind: Kind) -> bool {
    matches!(kind, Kind::Person | Kind::Ci | Kind::Operator)
}

#[cfg(test)]
mod tests;
