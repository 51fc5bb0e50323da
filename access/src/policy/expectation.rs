//! Expectations: requests with the answer that the author of a policy wants.

use std::borrow::Cow;
use std::fmt;

use super::Policy;
use super::document::{Reader, Section, printable};
use super::identity::unknown_principal;
use super::problem::{Place, PolicyError};
use crate::request::{Change, Environment, Label, RawFile, Reference, Request, ServerRight};
use crate::right::Right;

/// One `[[expect]]` table.
#[derive(Debug, Clone)]
pub(super) struct Expectation {
    pub(super) place: Place,
    pub(super) who: String,
    request: Request<'static>,
    is_allowed: bool,
}

/// An expectation that the rules do not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedExpectation {
    pub place: Place,
    pub message: String,
}

/// The outcome of a file of expectations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectationReport {
    /// How many expectations the file has.
    pub count: usize,
    pub failures: Vec<FailedExpectation>,
}

impl fmt::Display for FailedExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.message)
    }
}

/// The keys that name an object, each present or absent.
#[derive(Default)]
struct Names {
    application: Option<String>,
    profile: Option<String>,
    label: Option<String>,
    path: Option<String>,
    branch: Option<String>,
    force: Option<bool>,
    delete: Option<bool>,
}

impl Expectation {
    pub(super) fn parse_all(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<Self> {
        let sections = root.sections("expect", "[[expect]]", reader);
        sections.into_iter().filter_map(|section| Self::parse(section, reader)).collect()
    }

    fn parse(mut section: Section<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let at = section.at;
        let who = section.required_text("who", reader);
        let may = section.required_text("may", reader);
        let mut text = |key| section.text(key, reader).map(|text| text.value);
        let [application, profile, label] = ["application", "profile", "label"].map(&mut text);
        let [path, branch] = ["path", "branch"].map(&mut text);
        let force = section.flag("force", reader);
        let delete = section.flag("delete", reader);
        let is_allowed = section.flag("is", reader);
        section.finish(reader);
        if is_allowed.is_none() {
            reader.error(at, "[[expect]] has no is. Add is = true or is = false");
        }
        let may = may?;
        let Some(right) = Right::parse(&may.value) else {
            let rights = Right::ALL.map(Right::as_str).join(", ");
            let shown = printable(&may.value);
            reader.error(may.at, format!("unknown right {shown}. The rights are {rights}"));
            return None;
        };
        let names = Names { application, profile, label, path, branch, force, delete };
        match names.request(right) {
            Ok(request) => {
                let place = reader.place(at);
                Some(Self { place, who: who?.value, request, is_allowed: is_allowed? })
            }
            Err(message) => {
                reader.error(at, message);
                None
            }
        }
    }

    /// The request, and the answer that it has to have.
    pub(super) fn statement(&self) -> (String, String) {
        let answer = if self.is_allowed { "allowed" } else { "denied" };
        (format!("the expectation {}: {}", self.who, self.request), answer.to_owned())
    }

    /// Returns `None` if the policy answers as expected.
    pub(super) fn failure(&self, policy: &Policy) -> Option<FailedExpectation> {
        let principal = policy.principal(&self.who)?;
        let decision = policy.decide(&principal, &self.request);
        if decision.is_allowed() == self.is_allowed {
            return None;
        }
        let explanation = policy.explain(&principal, &self.request);
        let expected = if self.is_allowed { "allowed" } else { "denied" };
        let message = format!("expected to be {expected}. {explanation}");
        Some(FailedExpectation { place: self.place, message })
    }
}

impl Request<'static> {
    /// Makes a request from a right and the words of a command line: `APPLICATION[/PROFILES[/LABEL]]` for `read` and
    /// `open`, `PATH [LABEL]` for `file`, `PATH BRANCH` for `push`, `[APPLICATION]` for `seal` and `rollout`.
    ///
    /// # Errors
    /// A message about words that are missing or have no meaning for the right.
    pub fn from_words(
        right: Right,
        words: &[String],
        force: bool,
        delete: bool,
    ) -> Result<Self, String> {
        let form: &[&str] = match right {
            Right::Read | Right::Open => &["APPLICATION[/PROFILES[/LABEL]]"],
            Right::File => &["PATH", "[LABEL]"],
            Right::Push => &["PATH", "BRANCH"],
            Right::Seal => &["[APPLICATION]"],
            Right::Rollout => &["APPLICATION"],
            _ => &[],
        };
        let required = form.iter().filter(|word| !word.starts_with('[')).count();
        if words.len() < required || words.len() > form.len() {
            let form = if form.is_empty() { "no further word".to_owned() } else { form.join(" ") };
            return Err(format!("{right}: expected {form}, got {:?}", words.join(" ")));
        }
        let mut names = Names::default();
        let word = |index: usize| words.get(index).cloned();
        match right {
            Right::Read | Right::Open => {
                let mut parts = words[0].splitn(3, '/').map(str::to_owned);
                (names.application, names.profile) = (parts.next(), parts.next());
                names.label = parts.next();
            }
            Right::File => (names.path, names.label) = (word(0), word(1)),
            Right::Push => (names.path, names.branch) = (word(0), word(1)),
            _ => names.application = word(0),
        }
        names.force = force.then_some(true);
        names.delete = delete.then_some(true);
        names.request(right)
    }
}

impl Names {
    fn request(self, right: Right) -> Result<Request<'static>, String> {
        const ENVIRONMENT: &[&str] = &["application", "profile", "label"];
        let accepted: &[&str] = match right {
            Right::Read | Right::Open => ENVIRONMENT,
            Right::File => &["path", "label"],
            Right::Push => &["path", "branch", "force", "delete"],
            Right::Seal | Right::Rollout => &["application"],
            _ => &[],
        };
        if let Some(key) = self.present().find(|key| !accepted.contains(key)) {
            return Err(format!("{key} means nothing to {right}. Remove it"));
        }
        let missing = |key: &str| format!("{right} needs {key}. Add {key} = \"…\"");
        Ok(match right {
            Right::Read => Request::Read(self.environment().ok_or_else(|| missing("application"))?),
            Right::Open => Request::Open(self.environment().ok_or_else(|| missing("application"))?),
            Right::File => Request::File(RawFile {
                path: self.path.ok_or_else(|| missing("path"))?.into(),
                labels: labels(self.label.as_deref()),
            }),
            Right::Push => Request::Push(Change {
                reference: reference(&self.branch.ok_or_else(|| missing("branch"))?),
                path: self.path.map(Cow::Owned),
                force: self.force.unwrap_or(false),
                delete: self.delete.unwrap_or(false),
            }),
            Right::Seal => Request::Seal(names(self.application.as_deref().unwrap_or(""))),
            Right::Rollout => {
                let applications = self.application.ok_or_else(|| missing("application"))?;
                Request::Rollout(names(&applications))
            }
            Right::List => Request::Server(ServerRight::List),
            Right::Overview => Request::Server(ServerRight::Overview),
            Right::Metrics => Request::Server(ServerRight::Metrics),
            Right::Clone => Request::Server(ServerRight::Clone),
            Right::Unseal => Request::Server(ServerRight::Unseal),
            Right::Audit => Request::Server(ServerRight::Audit),
            Right::Admin => Request::Server(ServerRight::Admin),
        })
    }

    fn environment(&self) -> Option<Environment<'static>> {
        Some(Environment {
            applications: names(self.application.as_deref()?),
            profiles: names(self.profile.as_deref().unwrap_or("default")),
            labels: labels(self.label.as_deref()),
        })
    }

    fn present(&self) -> impl Iterator<Item = &'static str> {
        [
            ("application", self.application.is_some()),
            ("profile", self.profile.is_some()),
            ("label", self.label.is_some()),
            ("path", self.path.is_some()),
            ("branch", self.branch.is_some()),
            ("force", self.force.is_some()),
            ("delete", self.delete.is_some()),
        ]
        .into_iter()
        .filter(|(_, is_present)| *is_present)
        .map(|(key, _)| key)
    }
}

/// The items of a comma-separated list, as in a URL.
fn names(list: &str) -> Vec<Cow<'static, str>> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| Cow::Owned(item.to_owned())).collect()
}

fn labels(list: Option<&str>) -> Vec<Label<'static>> {
    names(list.unwrap_or("@default")).iter().map(|name| label(name)).collect()
}

/// The label that a text of a policy means.
pub(super) fn label(text: &str) -> Label<'static> {
    match text {
        "@default" | "HEAD" => Label::Default(None),
        name => Label::Named(Cow::Owned(name.to_owned())),
    }
}

/// The branch or tag that a text of a policy means.
pub(super) fn reference(text: &str) -> Reference<'static> {
    match text.strip_prefix("tag:") {
        Some(tag) => Reference::Tag(Cow::Owned(tag.to_owned())),
        None => Reference::Branch(Cow::Owned(text.to_owned())),
    }
}

impl Policy {
    /// The number of `[[expect]]` tables of the policy.
    pub fn expectation_count(&self) -> usize {
        self.expectations.len()
    }

    /// The `[[expect]]` tables of the policy that its own rules do not meet.
    pub fn failed_expectations(&self) -> Vec<FailedExpectation> {
        self.expectations.iter().filter_map(|expectation| expectation.failure(self)).collect()
    }

    /// Compares the policy with a separate file of `[[expect]]` tables.
    pub fn test(&self, file: &str, text: &str) -> Result<ExpectationReport, PolicyError> {
        let mut reader = Reader::new(file, text);
        let mut expectations = Vec::new();
        if let Some(mut root) = reader.root() {
            expectations = Expectation::parse_all(&mut root, &mut reader);
            if expectations.is_empty() {
                reader.error(0, "the file has no valid [[expect]]. Add at least one");
            }
            root.finish(&mut reader);
        }
        for expectation in &expectations {
            if self.principal(&expectation.who).is_none() {
                let message = format!("who: {}", unknown_principal(&expectation.who));
                reader.error_at(expectation.place, message);
            }
        }
        reader.finish()?;
        let failures = expectations.iter().filter_map(|expectation| expectation.failure(self));
        Ok(ExpectationReport { count: expectations.len(), failures: failures.collect() })
    }
}
