//! Which documents count: profile expressions and cloud platforms (specification, section 8).

use super::{Loaded, profiles};
use crate::model::{Document, Origin, Problem};

const ON_PROFILE: &str = "spring.config.activate.on-profile";
const ON_CLOUD_PLATFORM: &str = "spring.config.activate.on-cloud-platform";
/// How deep parentheses and negations may be nested in a profile expression.
const EXPRESSION_DEPTH_MAX: usize = 32;

/// Whether a document is used for these accepted profiles; with `None` only documents without a profile condition are.
pub(super) fn is_active(
    file: &Loaded,
    document: &Document,
    accepted: Option<&[String]>,
) -> Result<bool, Problem> {
    if let Some(platforms) = profiles::list(document, ON_CLOUD_PLATFORM)
        && !platforms.values.iter().any(|platform| platform.eq_ignore_ascii_case("none"))
    {
        return Ok(false);
    }
    let Some(expressions) = profiles::list(document, ON_PROFILE) else {
        return Ok(true);
    };
    if expressions.values.is_empty() {
        return Ok(true);
    }
    let Some(accepted) = accepted else {
        return Ok(false);
    };
    for expression in &expressions.values {
        match matches(expression, &|profile| accepted.iter().any(|item| item == profile)) {
            Some(true) => return Ok(true),
            Some(false) => {}
            None => {
                return Err(Problem {
                    origin: Origin {
                        file: file.path.clone(),
                        position: Some(expressions.position),
                    },
                    key: Some(ON_PROFILE.into()),
                    message: "malformed profile expression".to_owned(),
                });
            }
        }
    }
    Ok(false)
}

/// The profiles that an expression names, whatever it makes of them.
pub fn named_profiles(document: &Document) -> Vec<String> {
    let Some(expressions) = profiles::list(document, ON_PROFILE) else {
        return Vec::new();
    };
    let mut named = Vec::new();
    for expression in &expressions.values {
        let tokens = expression.split(['(', ')', '&', '|', '!']).map(str::trim);
        named.extend(tokens.filter(|token| !token.is_empty()).map(str::to_owned));
    }
    named
}

/// Evaluates an expression of names, `!`, `&`, `|` and parentheses; `None` if it is malformed, which mixing `&` and `|`
/// without parentheses is.
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
