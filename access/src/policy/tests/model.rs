//! Decisions against a second, naive definition of the same language.

use std::borrow::Cow;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// The principals of `policy()` with their kinds.
const PRINCIPALS: [(&str, &str); 5] = [
    ("a", "service"),
    ("b", "service"),
    ("ci", "ci"),
    ("jo", "person"),
    ("anonymous", "anonymous"),
];

/// A rule as its author means it.
#[derive(Debug, Clone)]
struct PlainRule {
    who: Vec<&'static str>,
    may: Vec<&'static str>,
    application: Vec<&'static str>,
    except: Vec<&'static str>,
    profile: Vec<&'static str>,
    label: Vec<&'static str>,
}

/// A request for environments, with `@default` among the labels.
#[derive(Debug, Clone)]
struct PlainRequest {
    open: bool,
    applications: Vec<&'static str>,
    profiles: Vec<&'static str>,
    labels: Vec<&'static str>,
}

impl PlainRule {
    fn text(&self) -> String {
        let Self { who, may, application, except, profile, label } = self;
        let mut text = format!(
            "[[allow]]\nwho = {who:?}\nmay = {may:?}\napplication = {application:?}\n\
             profile = {profile:?}\n"
        );
        if !except.is_empty() {
            text += &format!("except = {except:?}\n");
        }
        if !label.is_empty() {
            text += &format!("label = {label:?}\n");
        }
        text
    }

    fn allows_one(
        &self,
        who: (&str, &str),
        open: bool,
        application: &str,
        profile: &str,
        label: &str,
    ) -> bool {
        let is_in = |patterns: &[&str], name: &str| {
            patterns.iter().any(|pattern| match *pattern {
                "*" => !name.contains('/'),
                "**" => true,
                "{principal}" => name == who.0,
                pattern => match pattern.strip_suffix('*') {
                    Some(start) => name.strip_prefix(start).is_some_and(|end| !end.contains('/')),
                    None => name == pattern,
                },
            })
        };
        let is_included =
            self.who.contains(&who.0) || self.who.contains(&&*format!("kind:{}", who.1));
        let has_right = self.may.contains(&if open { "open" } else { "read" });
        let has_label = match (label, self.label.is_empty()) {
            ("@default", true) => true,
            (_, true) => false,
            ("@default", false) => {
                self.label.iter().any(|own| matches!(*own, "@default" | "*" | "**"))
            }
            (label, false) => is_in(&self.label, label),
        };
        is_included
            && has_right
            && has_label
            && is_in(&self.application, application)
            && !is_in(&self.except, application)
            && is_in(&self.profile, profile)
    }
}

impl PlainRequest {
    fn request(&self) -> Request<'static> {
        let names =
            |names: &[&'static str]| names.iter().map(|name| Cow::Borrowed(*name)).collect();
        let label = |label: &&'static str| match *label {
            "@default" => Label::Default(None),
            name => Label::Named(name.into()),
        };
        let environment = Environment {
            applications: names(&self.applications),
            profiles: names(&self.profiles),
            labels: self.labels.iter().map(label).collect(),
        };
        if self.open { Request::Open(environment) } else { Request::Read(environment) }
    }

    fn is_allowed(&self, rules: &[PlainRule], who: (&str, &str)) -> bool {
        let is_empty =
            self.applications.is_empty() || self.profiles.is_empty() || self.labels.is_empty();
        let allows = |application: &str, profile: &str, label: &str| {
            rules.iter().any(|rule| rule.allows_one(who, self.open, application, profile, label))
        };
        !is_empty
            && self.applications.iter().all(|application| {
                let mut profiles = self.profiles.iter();
                profiles.all(|profile| {
                    self.labels.iter().all(|label| allows(application, profile, label))
                })
            })
    }
}

fn assert_equal(rules: &[PlainRule], requests: &[PlainRequest]) -> usize {
    let text: String = rules.iter().map(PlainRule::text).collect();
    let policy = policy(&text);
    let mut allowed = 0;
    for (name, kind) in PRINCIPALS {
        let principal = principal(&policy, name);
        for plain in requests {
            let expected = plain.is_allowed(rules, (name, kind));
            let decision = policy.decide(&principal, &plain.request());
            assert_eq!(decision.is_allowed(), expected, "{name} {plain:?}\n{text}");
            allowed += usize::from(expected);
        }
    }
    allowed
}

/// Every subset of names that a list in a URL could contain, except the empty one.
fn lists(names: &[&'static str]) -> Vec<Vec<&'static str>> {
    let subset = |bits: usize| {
        let chosen = names.iter().enumerate().filter(|(index, _)| bits & 1 << index != 0);
        chosen.map(|(_, name)| *name).collect()
    };
    (1..1 << names.len()).map(subset).collect()
}

#[test]
fn all_rules_of_a_tiny_universe_decide_all_requests_as_the_model() {
    let mut requests = Vec::new();
    for open in [false, true] {
        for applications in lists(&["a", "b", "ab"]) {
            for profiles in lists(&["dev", "prod"]) {
                for labels in lists(&["@default", "old"]) {
                    let (applications, profiles) = (applications.clone(), profiles.clone());
                    requests.push(PlainRequest { open, applications, profiles, labels });
                }
            }
        }
    }
    let whos = [vec!["a"], vec!["kind:service"], vec!["anonymous", "jo"]];
    let mays = [vec!["read"], vec!["open"], vec!["read", "open"]];
    let excepts = [vec![], vec!["b"]];
    let labels = [vec![], vec!["@default"], vec!["old"], vec!["*"]];
    let (mut allowed, mut rule_count) = (0, 0);
    for who in &whos {
        for may in &mays {
            for application in ["{principal}", "a", "a*", "*"] {
                if application == "{principal}" && who.contains(&"anonymous") {
                    continue;
                }
                for except in &excepts {
                    for profile in ["dev", "*"] {
                        for label in &labels {
                            let rule = PlainRule {
                                who: who.clone(),
                                may: may.clone(),
                                application: vec![application],
                                except: except.clone(),
                                profile: vec![profile],
                                label: label.clone(),
                            };
                            allowed += assert_equal(&[rule], &requests);
                            rule_count += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!((rule_count, requests.len()), (528, 126));
    assert!(allowed > 5_000, "only {allowed} requests are allowed");
}

fn plain_rule() -> impl Strategy<Value = PlainRule> {
    let names = vec!["a", "b", "ci", "jo", "x/y", "a*", "*", "**"];
    (
        subsequence(vec!["a", "b", "ci", "jo", "kind:service", "kind:person", "anonymous"], 1..3),
        subsequence(vec!["read", "open"], 1..=2),
        subsequence(names.clone(), 1..3),
        subsequence(names, 0..2),
        subsequence(vec!["dev", "prod", "p*", "*"], 1..3),
        subsequence(vec!["@default", "old", "feature/*", "*", "**"], 0..3),
        any::<bool>(),
    )
        .prop_map(|(who, may, mut application, except, profile, label, is_own)| {
            if is_own && !who.contains(&"anonymous") {
                application.push("{principal}");
            }
            PlainRule { who, may, application, except, profile, label }
        })
}

fn plain_request() -> impl Strategy<Value = PlainRequest> {
    (
        any::<bool>(),
        subsequence(vec!["a", "b", "ci", "abc", "x/y", "z"], 0..3),
        subsequence(vec!["dev", "prod", "other"], 0..3),
        subsequence(vec!["@default", "old", "feature/x", "v1"], 0..3),
    )
        .prop_map(|(open, applications, profiles, labels)| PlainRequest {
            open,
            applications,
            profiles,
            labels,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_policies_decide_as_the_model(
        rules in proptest::collection::vec(plain_rule(), 0..6),
        requests in proptest::collection::vec(plain_request(), 40),
    ) {
        assert_equal(&rules, &requests);
    }

    #[test]
    fn neither_order_nor_further_rules_remove_anything(
        rules in proptest::collection::vec(plain_rule(), 1..5),
        more in plain_rule(),
        requests in proptest::collection::vec(plain_request(), 20),
        who in select(PRINCIPALS.to_vec()),
    ) {
        let text = |rules: &[PlainRule]| rules.iter().map(PlainRule::text).collect::<String>();
        let before = policy(&text(&rules));
        let reversed: Vec<PlainRule> = rules.iter().rev().cloned().collect();
        let reversed = policy(&text(&reversed));
        let after = policy(&text(&[rules, vec![more]].concat()));
        for plain in requests {
            let request = plain.request();
            let allows = |policy: &Policy| {
                policy.decide(&principal(policy, who.0), &request).is_allowed()
            };
            prop_assert_eq!(allows(&before), allows(&reversed));
            prop_assert!(!allows(&before) || allows(&after));
        }
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(
        rules in proptest::collection::vec(plain_rule(), 0..4),
        plain in plain_request(),
        who in select(PRINCIPALS.to_vec()),
    ) {
        let text: String = rules.iter().map(PlainRule::text).collect();
        let policy = policy(&text);
        let explanation = policy.explain(&principal(&policy, who.0), &plain.request());
        let is_each_allowed =
            explanation.findings.iter().all(|finding| finding.allowed_by.is_some());
        let is_allowed = explanation.decision.is_allowed();
        prop_assert_eq!(is_allowed, is_each_allowed && !explanation.findings.is_empty());
        let verb = if is_allowed { " may open " } else { " may not open " };
        let verb = if plain.open { verb.to_owned() } else { verb.replace("open", "read") };
        prop_assert!(explanation.to_string().contains(&verb), "{}", explanation);
    }
}
