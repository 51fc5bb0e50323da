//! The activation conditions of documents: profile expressions and cloud platforms (docs/protocol.md#81-activation).

use std::sync::Arc;

use super::control::{Control, Controls};
use crate::model::{Document, Origin, Position, Problem};
use crate::placeholder::{Resolver, ValueSource};

/// The deepest nesting of parentheses and negations in a profile expression.
const EXPRESSION_DEPTH_MAX: usize = 32;
/// Spring Boot's names of cloud platforms.
const PLATFORMS: [&str; 7] =
    ["NONE", "CLOUD_FOUNDRY", "HEROKU", "SAP", "NOMAD", "KUBERNETES", "AZURE_APP_SERVICE"];

/// A cloud platform that Spring Boot knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Platform(&'static str);

impl Platform {
    /// The platform unless a file sets another one. The server detects none.
    pub(super) const NONE: Self = Self(PLATFORMS[0]);

    /// Parses the value of a condition, in relaxed spelling.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = |text: &str| -> String {
            text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
        };
        PLATFORMS.into_iter().find(|name| plain(name) == plain(text)).map(Self)
    }

    /// Parses `spring.main.cloud-platform`, which ignores only letter case.
    pub(super) fn enforced(text: &str) -> Option<Self> {
        PLATFORMS.into_iter().find(|name| name.eq_ignore_ascii_case(text)).map(Self)
    }
}

/// The knowledge with which a condition is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Context<'a> {
    /// Neither platform nor profiles are known. Only documents without a condition are active.
    Initial,
    /// The platform is known, and the profiles are not.
    Platform(Platform),
    /// The platform and the accepted profiles are known.
    Profiles(Platform, &'a [String]),
}

/// The condition of a document.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) platform: Option<Platform>,
    pub(super) profiles: Vec<String>,
    /// The origin of the profiles.
    pub(super) origin: Origin,
}

impl Condition {
    /// Returns true if the document is active.
    pub(super) fn holds(&self, context: Context<'_>) -> Result<bool, Problem> {
        let (platform, accepted) = match context {
            Context::Initial => return Ok(false),
            Context::Platform(platform) => (platform, None),
            Context::Profiles(platform, accepted) => (platform, Some(accepted)),
        };
        if self.platform.is_some_and(|wanted| wanted != platform) {
            return Ok(false);
        }
        if self.profiles.is_empty() {
            return Ok(true);
        }
        let Some(accepted) = accepted else {
            return Ok(false);
        };
        for expression in &self.profiles {
            match matches(expression, &|profile| accepted.iter().any(|item| item == profile)) {
                Some(true) => return Ok(true),
                Some(false) => {}
                None => return Err(self.malformed()),
            }
        }
        Ok(false)
    }

    fn malformed(&self) -> Problem {
        Problem {
            origin: self.origin.clone(),
            key: Some(Control::OnProfile.name().into()),
            message: "malformed profile expression".to_owned(),
        }
    }
}

/// The origin of something in a file.
pub(super) fn origin(file: &Arc<str>, position: Position) -> Origin {
    Origin { file: Arc::clone(file), position: Some(position) }
}

/// The profiles that the condition of a document mentions, also negated ones. Placeholders are resolved within the document,
/// and an unresolved one is not a profile.
pub fn named_profiles(document: &Document) -> Vec<String> {
    let controls = Controls::of(document);
    let Some(expressions) = controls.list(document, Control::OnProfile) else {
        return Vec::new();
    };
    let mut named = Vec::new();
    for expression in expressions.raw() {
        let resolved = Resolver::new(document, expression.len()).text(expression);
        let expression = resolved.unwrap_or_default();
        let tokens = expression.split(['(', ')', '&', '|', '!', ',']).map(str::trim);
        let profiles = tokens.filter(|token| !token.is_empty() && !token.contains("${"));
        named.extend(profiles.map(str::to_owned));
    }
    named
}

impl ValueSource for Document {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(|property| property.value.text())
    }

    fn byte_count(&self) -> usize {
        0
    }
}

/// Evaluates an expression of names, `!`, `&`, `|` and parentheses. `None` if it is malformed. Mixing `&` and `|` without
/// parentheses is malformed.
fn matches(expression: &str, accepts: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut tokens = tokens(expression).into_iter().peekable();
    let value = any_of(&mut tokens, accepts, 0)?;
    tokens.next().is_none().then_some(value)
}

type Tokens<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn tokens(expression: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(['(', ')', '&', '|', '!']) {
        tokens.push(rest[..at].trim());
        tokens.push(&rest[at..=at]);
        rest = &rest[at + 1..];
    }
    tokens.push(rest.trim());
    tokens.retain(|token| !token.is_empty());
    tokens
}

fn any_of(tokens: &mut Tokens<'_>, accepts: &dyn Fn(&str) -> bool, depth: usize) -> Option<bool> {
    if depth > EXPRESSION_DEPTH_MAX {
        return None;
    }
    let mut value = operand(tokens, accepts, depth)?;
    let mut operator = None;
    while let Some(token @ ("&" | "|")) = tokens.peek().copied() {
        tokens.next();
        if operator.is_some_and(|operator| operator != token) {
            return None;
        }
        operator = Some(token);
        let right = operand(tokens, accepts, depth)?;
        value = if token == "&" { value && right } else { value || right };
    }
    Some(value)
}

fn operand(tokens: &mut Tokens<'_>, accepts: &dyn Fn(&str) -> bool, depth: usize) -> Option<bool> {
    if depth > EXPRESSION_DEPTH_MAX {
        return None;
    }
    match tokens.next()? {
        "!" => operand(tokens, accepts, depth + 1).map(|value| !value),
        "(" => {
            let value = any_of(tokens, accepts, depth + 1)?;
            (tokens.next()? == ")").then_some(value)
        }
        ")" | "&" | "|" => None,
        profile => Some(accepts(profile)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, accepted: &str, expected: Option<bool>) {
        let accepted: Vec<&str> = accepted.split(',').collect();
        assert_eq!(matches(expression, &|profile| accepted.contains(&profile)), expected);
    }

    #[test]
    fn expressions_follow_spring() {
        check("dev", "dev", Some(true));
        check("!dev", "dev", Some(false));
        check("dev & !prod", "dev", Some(true));
        check("dev & !prod", "dev,prod", Some(false));
        check("dev | qa", "qa", Some(true));
        check("(a & b) | c", "c", Some(true));
        check("a & (b | c)", "a,c", Some(true));
        check("!(a | b)", "c", Some(true));
        check("a & b | c", "c", None);
        check("", "a", None);
        check("(a", "a", None);
        check("a)", "a", None);
        check("a &", "a", None);
    }

    #[test]
    fn a_deep_expression_is_malformed_not_a_crash() {
        check(&"(".repeat(100_000), "a", None);
        check(&"!".repeat(100_000), "a", None);
    }
}
