//! The rule that an environment satisfies its schemas: JSON Schema applied to the nested effective properties.
//!
//! A violation names the key, the place of its value and the requirement of the schema. Invariant: it never contains the
//! value. The messages of the schema library quote values and are not used.

mod bind;
mod cost;
mod expectation;
mod relevance;
mod validator;

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::ReferencingError;
use jsonschema::error::{ValidationError, ValidationErrorKind};
use serde_json::Value;

use self::expectation::{expectation, judges_descendants};
use self::validator::Validator;
use super::Strictness;
use super::effective::EffectiveProperties;
use crate::model::{ContentId, Document, Environment, Origin, Position, Problem};
use crate::render::flat::{self, FlatError, PlaceholderMode};
use crate::resolve::FoundSchema;
use crate::tree::{Tree, TreeError, TreeFile};

/// The largest schema that is read, in bytes.
const SCHEMA_BYTES_MAX: u64 = 256 * 1024;
/// The most rounds in which values are converted to the types that the schema expects.
const BIND_COUNT_MAX: usize = 4;

/// A cache of compiled schemas.
#[derive(Default)]
pub(super) struct Schemas(HashMap<(Arc<str>, ContentId), Result<Arc<Schema>, Problem>>);

/// A compiled schema.
pub(super) struct Schema {
    path: Arc<str>,
    root: Value,
    validator: Validator,
    /// The file as flat properties with positions.
    places: Arc<[Document]>,
}

impl Schemas {
    /// Compiles a schema or returns it from the cache. The inner error is a problem of the schema.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn get(
        &mut self,
        (tree, FoundSchema { path, file }): &(Tree, FoundSchema),
    ) -> Result<Result<Arc<Schema>, Problem>, TreeError> {
        let id = (Arc::clone(path), file.id());
        if let Some(known) = self.0.get(&id) {
            return Ok(known.clone());
        }
        let schema = read(tree, path, file)?.map(Arc::new);
        self.0.insert(id, schema.clone());
        Ok(schema)
    }
}

impl Schema {
    /// Returns true if another value of a key can change the result of the schema.
    pub(super) fn depends_on(&self, key: &str) -> bool {
        relevance::depends_on(&self.root, key)
    }
}

fn read(
    tree: &Tree,
    path: &Arc<str>,
    file: &TreeFile,
) -> Result<Result<Schema, Problem>, TreeError> {
    let problem = |position: Option<Position>, message: String| Problem {
        origin: Origin { file: Arc::clone(path), position },
        key: None,
        message,
    };
    if tree.size(file)? > SCHEMA_BYTES_MAX {
        return Ok(Err(problem(None, format!("schema is larger than {SCHEMA_BYTES_MAX} bytes"))));
    }
    let places = match tree.documents(file)? {
        Ok(places) => places,
        Err(error) => return Ok(Err(problem(error.position, error.message))),
    };
    if let Some((position, message)) = refused_keyword(&places) {
        return Ok(Err(problem(Some(position), message.to_owned())));
    }
    let Ok(root) = serde_json::from_slice::<Value>(&tree.bytes(file)?) else {
        return Ok(Err(problem(None, "schema is not readable as JSON".to_owned())));
    };
    Ok(match Validator::compile(&root) {
        Ok(validator) => Ok(Schema { path: Arc::clone(path), root, validator, places }),
        Err(error) => {
            let position = match error.kind() {
                ValidationErrorKind::Referencing(error) => place_of_reference(&places, error),
                _ => place_of(&places, &key_of(&root, error.instance_path().as_str())),
            };
            Err(problem(position, format!("not a valid schema: {}", expectation(&error))))
        }
    })
}

/// Finds a keyword that Headwater does not support: references to other files and names for parts of a schema.
fn refused_keyword(places: &[Document]) -> Option<(Position, &'static str)> {
    let properties = places.iter().flat_map(|document| &document.properties);
    properties.into_iter().find_map(|property| {
        let (above, keyword) = property.key.rsplit_once('.').unwrap_or(("", &property.key));
        let message = match keyword {
            "$ref" if !matches!(property.value.text().as_bytes(), [b'#'] | [b'#', b'/', ..]) => {
                "not a valid schema: a $ref has to begin with #/ because no other file is read"
            }
            "$dynamicRef" | "$recursiveRef" | "$anchor" | "$dynamicAnchor" => {
                "not a valid schema: refer to parts of a schema by $ref and #/… instead"
            }
            "$id" if !above.is_empty() => {
                "not a valid schema: only the whole schema may have an $id"
            }
            _ => return None,
        };
        Some((property.position, message))
    })
}

/// The position of a flat key of a schema, or of the first key below it.
fn place_of(places: &[Document], key: &str) -> Option<Position> {
    let mut properties = places.iter().flat_map(|document| &document.properties);
    let found = properties.find(|property| {
        let rest = property.key.strip_prefix(key);
        rest.is_some_and(|rest| key.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
    });
    found.map(|property| property.position)
}

/// The position of a reference without a target, which can also be `$schema`.
fn place_of_reference(places: &[Document], error: &ReferencingError) -> Option<Position> {
    let ReferencingError::PointerToNowhere { pointer } = error else {
        return place_of(places, "$schema");
    };
    let mut properties = places.iter().flat_map(|document| &document.properties);
    let found = properties.find(|property| {
        property.key.ends_with("$ref") && property.value.text().strip_prefix('#') == Some(pointer)
    });
    found.map(|property| property.position)
}

/// Converts a JSON pointer to a flat key: names separated by dots, list indices in brackets.
fn key_of(root: &Value, pointer: &str) -> String {
    let (mut key, mut at) = (String::new(), Some(root));
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        if let Some(Value::Array(items)) = at {
            key.push_str(&format!("[{name}]"));
            at = name.parse().ok().and_then(|index: usize| items.get(index));
        } else {
            key = joined(&key, &name);
            at = at.and_then(|value| value.get(&name));
        }
    }
    key
}

fn joined(key: &str, name: &str) -> String {
    match key {
        "" => name.to_owned(),
        key => format!("{key}.{name}"),
    }
}

/// The violations of a schema by an environment. `whose` is the name of the environment, for messages on missing keys.
pub(super) fn violations(
    schema: &Schema,
    environment: &Environment,
    effective: &EffectiveProperties<'_>,
    whose: &str,
    strictness: Strictness,
) -> Vec<Problem> {
    let judged = ViolationReporter { schema, effective, whose };
    let mut instance = match nested(environment) {
        Ok(instance) => instance,
        Err(error) => return vec![judged.unnestable(&error)],
    };
    for _ in 0..BIND_COUNT_MAX {
        if !cost::is_affordable(&schema.root, &instance) {
            let message = format!("takes too long to apply to {whose}");
            return vec![judged.of_schema("", None, message)];
        }
        let errors = schema.validator.errors(&instance);
        if errors.is_empty() {
            return Vec::new();
        }
        let bound = bind::bind(&instance, &errors);
        let Some(bound) = bound else {
            return errors
                .iter()
                .filter(|error| !is_open(error, strictness))
                .flat_map(|error| judged.problems(&instance, error))
                .collect();
        };
        drop(errors);
        instance = bound;
    }
    let errors = schema.validator.errors(&instance);
    errors
        .iter()
        .filter(|error| !is_open(error, strictness))
        .flat_map(|error| judged.problems(&instance, error))
        .collect()
}

/// The nested form with resolved placeholders. If resolving fails, placeholders stay as they are written.
fn nested(environment: &Environment) -> Result<Value, FlatError> {
    let text = match flat::json(environment, PlaceholderMode::Resolve) {
        Err(FlatError::Placeholder(_)) => flat::json(environment, PlaceholderMode::Keep)?,
        other => other?,
    };
    serde_json::from_str(&text).map_err(|_| FlatError::TooLarge)
}

/// Returns true if an error is about an unknown value: an unresolved placeholder or a sealed value.
fn is_open(error: &ValidationError<'_>, strictness: Strictness) -> bool {
    match &**error.instance() {
        Value::String(text) => is_unknown(text, strictness),
        within if judges_descendants(error.kind()) => holds_unknown(within, strictness),
        _ => false,
    }
}

fn holds_unknown(value: &Value, strictness: Strictness) -> bool {
    match value {
        Value::String(text) => is_unknown(text, strictness),
        Value::Array(items) => items.iter().any(|item| holds_unknown(item, strictness)),
        Value::Object(map) => map.values().any(|value| holds_unknown(value, strictness)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_unknown(text: &str, strictness: Strictness) -> bool {
    text.starts_with("{cipher}") || (strictness == Strictness::Lenient && text.contains("${"))
}

/// The context for the message of a violation.
struct ViolationReporter<'a> {
    schema: &'a Schema,
    effective: &'a EffectiveProperties<'a>,
    whose: &'a str,
}

impl ViolationReporter<'_> {
    fn problems(&self, instance: &Value, error: &ValidationError<'_>) -> Vec<Problem> {
        let key = key_of(instance, error.instance_path().as_str());
        let at = error.schema_path().as_str();
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let missing = joined(&key, property.as_str().unwrap_or_default());
                let message = format!("is missing in {} ({}{at})", self.whose, self.schema.path);
                vec![self.of_schema(at, Some(&missing), message)]
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let keys = unexpected.iter().map(|name| joined(&key, name));
                keys.map(|key| self.of_key(&key, at, "is not in the schema")).collect()
            }
            _ => vec![self.of_key(&key, at, &expectation(error))],
        }
    }

    /// A problem with the value of a key. Its place is that of the key, or of the nearest key above it.
    fn of_key(&self, key: &str, at: &str, wanted: &str) -> Problem {
        let message = format!("{wanted} ({}{at})", self.schema.path);
        let mut near = key;
        loop {
            let written = self.effective.at_or_below(near);
            if let Some(origin) = written.and_then(|written| written.origin()) {
                return Problem { origin, key: named(key), message };
            }
            if near.is_empty() {
                return self.of_schema(at, Some(key), message);
            }
            near = &near[..near.rfind(['.', '[']).unwrap_or(0)];
        }
    }

    fn of_schema(&self, at: &str, key: Option<&str>, message: String) -> Problem {
        let Schema { path, root, places, .. } = self.schema;
        let position = place_of(places, &key_of(root, at));
        Problem {
            origin: Origin { file: Arc::clone(path), position },
            key: key.and_then(named),
            message,
        }
    }

    fn unnestable(&self, error: &FlatError) -> Problem {
        let why = "has keys that contradict each other, so no schema can be applied";
        match error {
            FlatError::UnnestableKey { key } | FlatError::ShapeConflict { key } => {
                self.of_key(key, "", why)
            }
            FlatError::TooLarge | FlatError::Placeholder(_) => {
                let message = format!("{} is too large to apply a schema to", self.whose);
                self.of_schema("", None, message)
            }
        }
    }
}

fn named(key: &str) -> Option<Arc<str>> {
    (!key.is_empty()).then(|| key.into())
}
