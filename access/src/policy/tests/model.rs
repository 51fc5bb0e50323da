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

/// Applications, profiles and directories of random paths. Some are known to a policy, and some begin with others.
const SEGMENTS: [&str; 10] =
    ["a", "b", "a-b", "ab", "application", "dev", "x", "a-dev", "application-dev", "x-b"];

/// A second definition of the owners of a file: the applications that may load it, among the known ones.
fn naive_owners(areas: &[(String, Vec<&'static str>)], known: &[&str], path: &str) -> Vec<String> {
    let matches = |pattern: &str| match pattern.strip_suffix("/**") {
        Some(directory) => path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')),
        None => pattern == path,
    };
    let matching: Vec<_> = areas.iter().filter(|(pattern, _)| matches(pattern)).collect();
    if let Some((_, first)) = matching.first() {
        let in_all = |name: &&&str| matching.iter().all(|(_, names)| names.contains(*name));
        return first.iter().filter(in_all).map(|name| (*name).to_owned()).collect();
    }
    let mut directories: Vec<&str> = path.split('/').collect();
    let stem = directories.pop().unwrap().trim_end_matches(".yml");
    let begins = |name: &str, application: &str| {
        name.strip_prefix(application).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let longest = |name: &str| {
        let candidates = known.iter().filter(|application| begins(name, application));
        candidates.max_by_key(|application| application.len()).map(|it| (*it).to_owned())
    };
    let directory = directories.iter().rev().find(|name| known.contains(name));
    if let Some(directory) = directory {
        return vec![(*directory).to_owned()];
    }
    if let Some(owner) = longest(stem) {
        return vec![owner];
    }
    if let Some(owner) = directories.iter().rev().find_map(|name| longest(name)) {
        return vec![owner];
    }
    if begins(stem, "application") {
        return vec!["application".to_owned()];
    }
    let mut owners: Vec<String> = directories.iter().map(|name| (*name).to_owned()).collect();
    let parts: Vec<&str> = stem.split('-').collect();
    owners.extend((1..=parts.len()).map(|count| parts[..count].join("-")));
    owners
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_areas_open_files_as_the_model(
        known in subsequence(vec!["a", "b", "a-b"], 0..4),
        areas in proptest::collection::vec(
            (select(vec!["x/**", "a/x/**", "dev/**", "a.yml"]), subsequence(vec!["a", "b", "application"], 1..3)),
            0..3,
        ),
        paths in proptest::collection::vec(proptest::collection::vec(select(SEGMENTS.to_vec()), 1..4), 30),
        applications in subsequence(vec!["a", "b", "a-b", "ab", "x", "z"], 1..3),
    ) {
        let areas: Vec<(String, Vec<&'static str>)> =
            areas.into_iter().map(|(pattern, names)| (pattern.to_owned(), names)).collect();
        let mut text = String::new();
        if !known.is_empty() {
            text += &format!(
                "[[allow]]\nwho = [\"jo\"]\nmay = [\"read\"]\napplication = {known:?}\nprofile = [\"*\"]\n"
            );
        }
        for (pattern, names) in &areas {
            text += &format!("[[area]]\npath = [{pattern:?}]\napplication = {names:?}\n");
        }
        let policy = policy(&text);
        let mut all_known = known.clone();
        all_known.extend(areas.iter().flat_map(|(_, names)| names.iter().copied()));
        all_known.retain(|name| *name != "application");
        for segments in paths {
            let path = format!("{}.yml", segments.join("/"));
            let owners = naive_owners(&areas, &all_known, &path);
            let expected = owners.iter().any(|owner| {
                owner == "application" || applications.contains(&owner.as_str())
            });
            prop_assert_eq!(policy.may_load(&applications, &path), expected, "{} {:?}", path, owners);
        }
    }
}
