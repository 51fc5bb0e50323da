//! Rules: which plan a change uses. Limits: how far a change may reach without stages.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::strictness::strictest;
use super::{Plan, PlanFile, Size};
use crate::Name;

/// The name of the profile of an environment without profiles.
const DEFAULT_PROFILE: &str = "default";

/// One `[[rule]]` table.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Patterns over names of applications. `None` for any.
    pub(super) applications: Option<Vec<Name>>,
    /// Patterns over profiles. `None` for any.
    pub(super) profiles: Option<Vec<Name>>,
    pub(super) plan: Name,
}

impl Rule {
    fn matches(&self, touched: &Touched<'_>) -> bool {
        let any = |patterns: &[Name], name: &str| patterns.iter().any(|own| is_match(own, name));
        let is_named = self.applications.as_ref().is_none_or(|own| any(own, touched.application));
        let mut profiles = touched.profiles.iter().copied();
        is_named
            && self.profiles.as_ref().is_none_or(|own| {
                if touched.profiles.is_empty() {
                    return any(own, DEFAULT_PROFILE);
                }
                profiles.all(|profile| any(own, profile))
            })
    }
}

/// An application whose effective content a change alters, and the profiles in which it does.
#[derive(Debug, Clone, Copy)]
pub struct Touched<'t> {
    pub application: &'t str,
    pub profiles: &'t [&'t str],
}

/// The most that a change may reach without stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    pub applications: Option<u32>,
    pub instances: Option<Size>,
}

impl PlanFile {
    /// The plan of a change. The first rule that matches an application decides for it, or else the plan `auto`. Of
    /// several applications, the strictest plan decides for all of them.
    pub fn choose<'t>(&self, touched: impl IntoIterator<Item = Touched<'t>>) -> Arc<Plan> {
        let name = |touched: Touched<'t>| {
            let rule = self.rules.iter().find(|rule| rule.matches(&touched));
            rule.map_or("auto", |rule| &*rule.plan)
        };
        let names: BTreeSet<&str> = touched.into_iter().map(name).collect();
        let plans = names.into_iter().filter_map(|name| self.plans.get(name));
        match strictest(plans) {
            Some(plan) => Arc::clone(plan),
            None => self.plans["auto"].clone(),
        }
    }
}

/// Returns true if the whole name matches a pattern, in which `*` stands for any characters.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(prefix) else {
        return false;
    };
    let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some(at) = name.find(part) else {
            return false;
        };
        name = &name[at + part.len()..];
    }
    name.ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("order", "order", true),
            ("order", "orders", false),
            ("*", "", true),
            ("rs-*", "rs-billing", true),
            ("rs-*", "r", false),
            ("*-api", "order-api", true),
            ("*-api", "order-api-2", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*bc*c", "abc", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }
}
