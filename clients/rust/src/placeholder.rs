//! `${key}` and `${key:default}` inside values.
//!
//! A key is looked up in the environment itself as it is written, then in the process environment, then in both by
//! its relaxed spellings. What the process environment holds is taken as it is, so that a password with a `${` in it
//! stays one. `\${key}` is the text `${key}`. A placeholder without a value and without a default is an error, as it
//! is in Spring, but only for whoever asks for the property that needs it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::effective::Effective;
use crate::names;

/// How far placeholders may lead to placeholders.
const DEPTH_MAX: usize = 32;
/// How many placeholders one value may lead to.
const STEP_COUNT_MAX: usize = 10_000;
/// How long one value may become.
const LENGTH_MAX: usize = 1024 * 1024;

/// Why the placeholders of a value have no answer. It names keys, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceholderProblem {
    /// No property and no variable has this name, and there is no default.
    #[error("nothing is called `{0}`, and the placeholder has no default")]
    Missing(String),
    /// The value leads back to itself.
    #[error("`{0}` leads back to itself")]
    Cycle(String),
    /// The answer would be too deep, too long or too much work.
    #[error("exceeds {limit} {unit}")]
    TooLarge {
        /// The bound that was hit.
        limit: usize,
        /// What is counted.
        unit: &'static str,
    },
}

/// Reads a variable of the process; a plain function, so that tests need not change the real ones.
pub(crate) type Variables = fn(&str) -> Option<String>;

/// Where placeholders are looked up.
pub(crate) struct Resolver {
    /// Most environments have no placeholder, so it is made when the first one is met.
    index: OnceLock<Index>,
    variables: Variables,
}

/// Positions of the properties, by their names.
struct Index {
    exact: HashMap<String, usize>,
    relaxed: HashMap<String, usize>,
}

impl Index {
    fn new(properties: &[Effective]) -> Index {
        let mut exact = HashMap::with_capacity(properties.len());
        let mut relaxed = HashMap::<String, usize>::with_capacity(properties.len());
        for (position, property) in properties.iter().enumerate() {
            exact.insert(property.key.clone(), position);
            let best = relaxed.entry(names::relaxed_key(&property.key)).or_insert(position);
            if property.source < properties[*best].source {
                *best = position;
            }
        }
        Index { exact, relaxed }
    }
}

/// It is asked about one and the same list of properties for as long as it is.
impl Resolver {
    pub(crate) fn new(variables: Variables) -> Resolver {
        Resolver { index: OnceLock::new(), variables }
    }

    /// Position of the property called `key`, as it is written or by a relaxed spelling.
    pub(crate) fn position(&self, properties: &[Effective], key: &str) -> Option<usize> {
        let Index { exact, relaxed } = self.index(properties);
        exact.get(key).or_else(|| relaxed.get(&names::relaxed_key(key))).copied()
    }

    fn index(&self, properties: &[Effective]) -> &Index {
        self.index.get_or_init(|| Index::new(properties))
    }

    /// The value of a property with its placeholders replaced.
    pub(crate) fn resolve<'p>(
        &self,
        properties: &'p [Effective],
        position: usize,
    ) -> Result<Cow<'p, Value>, PlaceholderProblem> {
        let value = &properties[position].value;
        match value {
            Value::String(text) if text.contains("${") => {
                let index = self.index(properties);
                let variables = self.variables;
                let active = vec![position];
                let mut run = Run { index, variables, properties, active, steps: 0 };
                run.text(text).map(|text| Cow::Owned(Value::String(text)))
            }
            _ => Ok(Cow::Borrowed(value)),
        }
    }
}

/// The resolving of one value.
struct Run<'a> {
    index: &'a Index,
    variables: Variables,
    properties: &'a [Effective],
    /// The properties that are being resolved, outermost first.
    active: Vec<usize>,
    steps: usize,
}

impl Run<'_> {
    fn text(&mut self, text: &str) -> Result<String, PlaceholderProblem> {
        let mut resolved = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(end) = closing_brace(&rest[start + 2..]).map(|end| start + 2 + end) else {
                break;
            };
            if let Some(before) = rest[..start].strip_suffix('\\') {
                resolved.extend([before, &rest[start..=end]]);
            } else {
                resolved.push_str(&rest[..start]);
                let value = self.placeholder(&rest[start + 2..end])?;
                resolved.push_str(&value);
            }
            if resolved.len() > LENGTH_MAX {
                return Err(PlaceholderProblem::TooLarge { limit: LENGTH_MAX, unit: "bytes" });
            }
            rest = &rest[end + 1..];
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    /// The answer to what stands between the braces.
    fn placeholder(&mut self, inside: &str) -> Result<String, PlaceholderProblem> {
        self.steps += 1;
        if self.steps > STEP_COUNT_MAX {
            return Err(PlaceholderProblem::TooLarge {
                limit: STEP_COUNT_MAX,
                unit: "placeholders",
            });
        }
        // A key may itself have a colon in it.
        if let Some(&position) = self.index.exact.get(inside.trim()) {
            return self.property(inside.trim(), position);
        }
        let (key, default) = match default_colon(inside) {
            Some(colon) => (&inside[..colon], Some(&inside[colon + 1..])),
            None => (inside, None),
        };
        let key = self.nested(key)?;
        match (self.lookup(key.trim())?, default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => self.nested(default),
            (None, None) => Err(PlaceholderProblem::Missing(key.trim().to_owned())),
        }
    }

    /// Text inside a placeholder, which counts as one level.
    fn nested(&mut self, text: &str) -> Result<String, PlaceholderProblem> {
        if !text.contains("${") {
            return Ok(text.to_owned());
        }
        let innermost = *self.active.last().expect("resolving begins with a property");
        self.descend(innermost, text)
    }

    fn lookup(&mut self, key: &str) -> Result<Option<String>, PlaceholderProblem> {
        let [as_written, relaxed @ ..] = names::variables(key);
        let variable = |name: &String| (self.variables)(name);
        if let Some(&position) = self.index.exact.get(key) {
            return self.property(key, position).map(Some);
        }
        if let Some(value) = variable(&as_written) {
            return Ok(Some(value));
        }
        if let Some(&position) = self.index.relaxed.get(&names::relaxed_key(key)) {
            return self.property(key, position).map(Some);
        }
        Ok(relaxed.iter().find_map(variable))
    }

    fn property(&mut self, key: &str, position: usize) -> Result<String, PlaceholderProblem> {
        if self.active.contains(&position) {
            // `PATH: ${PATH}` means the variable, where there is one.
            let own = self.active.last() == Some(&position);
            let variable =
                own.then(|| names::variables(key).iter().find_map(|name| (self.variables)(name)));
            return variable.flatten().ok_or_else(|| PlaceholderProblem::Cycle(key.to_owned()));
        }
        match &self.properties[position].value {
            Value::String(text) => self.descend(position, text),
            Value::Null => Ok(String::new()),
            other => Ok(other.to_string()),
        }
    }

    fn descend(&mut self, position: usize, text: &str) -> Result<String, PlaceholderProblem> {
        if self.active.len() == DEPTH_MAX {
            return Err(PlaceholderProblem::TooLarge { limit: DEPTH_MAX, unit: "levels" });
        }
        self.active.push(position);
        let resolved = self.text(text);
        self.active.pop();
        resolved
    }
}

/// Where the placeholder ends whose inside `text` begins with; braces inside it are counted.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// The first colon that is not part of a nested placeholder.
fn default_colon(inside: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => open = open.saturating_sub(1),
            b':' if open == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
