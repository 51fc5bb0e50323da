//! Placeholders inside values: `${key}` and `${key:default}`.
//!
//! A key is looked up in this order: exactly in the configuration, exactly among the variables of the process, by relaxed
//! spelling in the configuration, by relaxed spelling among the variables. The value of a variable is not resolved again,
//! so that a password may contain `${`. `\${key}` stands for the text `${key}`. A placeholder without a value and
//! without a default is an error, as in Spring, but only when the property that contains it is read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::effective::Effective;
use crate::error::PlaceholderError;
use crate::names;

/// The largest nesting depth of placeholders.
const DEPTH_MAX: usize = 32;
/// The largest number of placeholders that one value may involve.
const STEP_COUNT_MAX: usize = 10_000;
/// The largest length of a resolved value, in bytes.
const LENGTH_MAX: usize = 1024 * 1024;

/// Reads a variable of the process. Tests supply their own function instead of changing the real variables.
pub(crate) type Variables = fn(&str) -> Option<String>;

/// Resolves the placeholders of one configuration.
///
/// Invariant: every call passes the same list of properties, because the index is built from the first one.
pub(crate) struct Resolver {
    /// Built on first use, because most configurations have no placeholder.
    index: OnceLock<Index>,
    variables: Variables,
}

/// The positions of the properties by exact and by relaxed name.
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

impl Resolver {
    pub(crate) fn new(variables: Variables) -> Resolver {
        Resolver { index: OnceLock::new(), variables }
    }

    /// Returns the position of the property `key`, by its exact or its relaxed spelling.
    pub(crate) fn position(&self, properties: &[Effective], key: &str) -> Option<usize> {
        let Index { exact, relaxed } = self.index(properties);
        exact.get(key).or_else(|| relaxed.get(&names::relaxed_key(key))).copied()
    }

    fn index(&self, properties: &[Effective]) -> &Index {
        self.index.get_or_init(|| Index::new(properties))
    }

    /// Returns the value of a property with its placeholders resolved.
    pub(crate) fn resolve<'p>(
        &self,
        properties: &'p [Effective],
        position: usize,
    ) -> Result<Cow<'p, Value>, PlaceholderError> {
        self.resolve_with(properties, position, &|_| ())
    }

    /// Calls [`Resolver::resolve`], and `note` with the key of each property that a placeholder refers to.
    pub(crate) fn resolve_with<'p>(
        &self,
        properties: &'p [Effective],
        position: usize,
        note: &dyn Fn(&str),
    ) -> Result<Cow<'p, Value>, PlaceholderError> {
        let value = &properties[position].value;
        match value {
            Value::String(text) if text.contains("${") => {
                let index = self.index(properties);
                let variables = self.variables;
                let active = vec![position];
                let mut resolution =
                    Resolution { index, variables, properties, active, step_count: 0, note };
                resolution.text(text).map(|text| Cow::Owned(Value::String(text)))
            }
            _ => Ok(Cow::Borrowed(value)),
        }
    }
}

/// The resolution of one value.
struct Resolution<'a> {
    index: &'a Index,
    variables: Variables,
    properties: &'a [Effective],
    /// The properties that are being resolved, outermost first.
    active: Vec<usize>,
    step_count: usize,
    /// Receives the key of each property that a placeholder refers to.
    note: &'a dyn Fn(&str),
}

impl Resolution<'_> {
    fn text(&mut self, text: &str) -> Result<String, PlaceholderError> {
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
                return Err(PlaceholderError::TooLarge { limit: LENGTH_MAX, unit: "bytes" });
            }
            rest = &rest[end + 1..];
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    /// Resolves the text between the braces of a placeholder.
    fn placeholder(&mut self, inside: &str) -> Result<String, PlaceholderError> {
        self.step_count += 1;
        if self.step_count > STEP_COUNT_MAX {
            return Err(PlaceholderError::TooLarge { limit: STEP_COUNT_MAX, unit: "placeholders" });
        }
        // The key itself may contain a colon.
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
            (None, None) => Err(PlaceholderError::Missing(key.trim().to_owned())),
        }
    }

    /// Resolves text inside a placeholder, which counts as one level of nesting.
    fn nested(&mut self, text: &str) -> Result<String, PlaceholderError> {
        if !text.contains("${") {
            return Ok(text.to_owned());
        }
        let innermost = *self.active.last().expect("a resolution begins with a property");
        self.descend(innermost, text)
    }

    fn lookup(&mut self, key: &str) -> Result<Option<String>, PlaceholderError> {
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

    fn property(&mut self, key: &str, position: usize) -> Result<String, PlaceholderError> {
        if self.active.contains(&position) {
            // A property that refers to itself, such as `PATH: ${PATH}`, means the variable of that name.
            let is_self_reference = self.active.last() == Some(&position);
            let variable = is_self_reference
                .then(|| names::variables(key).iter().find_map(|name| (self.variables)(name)));
            return variable.flatten().ok_or_else(|| PlaceholderError::Cycle(key.to_owned()));
        }
        (self.note)(&self.properties[position].key);
        match &self.properties[position].value {
            Value::String(text) => self.descend(position, text),
            Value::Null => Ok(String::new()),
            other => Ok(other.to_string()),
        }
    }

    fn descend(&mut self, position: usize, text: &str) -> Result<String, PlaceholderError> {
        if self.active.len() == DEPTH_MAX {
            return Err(PlaceholderError::TooLarge { limit: DEPTH_MAX, unit: "levels" });
        }
        self.active.push(position);
        let resolved = self.text(text);
        self.active.pop();
        resolved
    }
}

/// Finds the brace that closes a placeholder. `text` begins after its opening brace. Nested braces are counted.
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

/// Finds the colon before the default: the first one outside of nested placeholders.
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
