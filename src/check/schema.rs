//! The rule that an environment keeps its schemas: JSON Schema over the nested form of what a service sees.
//!
//! A violation says which key, where its value was written, and what the schema wants there. It never says the value: the
//! messages of the schema library quote it, so they are not used.

mod bind;
mod cost;
mod wants;

use std::collections::HashMap;
use std::sync::Arc;

use headwater_schema::{ReferencingError, ValidationError, ValidationErrorKind, Validator};
use serde_json::Value;

use self::wants::{alternatives, wanted};
use super::Strictness;
use super::effective::Effective;
use crate::model::{ContentId, Document, Environment, Origin, Position, Problem};
use crate::render::flat::{self, FlatError, Placeholders};
use crate::tree::{File, Tree, TreeError};

/// The largest schema that is read, in bytes.
const SCHEMA_BYTES_MAX: u64 = 256 * 1024;
/// The most violations that are told of one environment and one schema.
const VIOLATION_COUNT_MAX: usize = 20;
/// How many times values are read as another type because the schema wants that.
const BIND_COUNT_MAX: usize = 4;

/// The schemas that were needed so far, each compiled once.
#[derive(Default)]
pub(super) struct Schemas(HashMap<(Arc<str>, ContentId), Result<Arc<Schema>, Problem>>);

/// A schema that can be asked.
pub(super) struct Schema {
    path: Arc<str>,
    root: Value,
    validator: Validator,
    /// The same file as flat keys, which know where they stand.
    places: Arc<[Document]>,
}

impl Schemas {
    /// A schema of a tree, or why it is none.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub(super) fn get(
        &mut self,
        tree: &Tree,
        path: &Arc<str>,
        file: &File,
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

fn read(tree: &Tree, path: &Arc<str>, file: &File) -> Result<Result<Schema, Problem>, TreeError> {
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
            Err(problem(position, format!("not a valid schema: {}", wanted(&error))))
        }
    })
}

/// What a schema may not do here: leave its file, or call one of its parts by a name of its own.
fn refused_keyword(places: &[Document]) -> Option<(Position, &'static str)> {
    let properties = places.iter().flat_map(|document| &document.properties);
    properties.into_iter().find_map(|property| {
        let (above, keyword) = property.key.rsplit_once('.').unwrap_or(("", &property.key));
        let message = match keyword {
            "$ref" if !matches!(property.value.text().as_bytes(), [b'#'] | [b'#', b'/', ..]) => {
                "not a valid schema: a $ref has to stay in its file, as #/… does; nothing is fetched"
            }
            "$dynamicRef" | "$recursiveRef" | "$anchor" | "$dynamicAnchor" => {
                "not a valid schema: parts of a schema are referred to by $ref and #/… only"
            }
            "$id" if !above.is_empty() => {
                "not a valid schema: only the whole schema may have an $id"
            }
            _ => return None,
        };
        Some((property.position, message))
    })
}

/// Where a flat key of a schema, or the first below it, stands.
fn place_of(places: &[Document], key: &str) -> Option<Position> {
    let mut properties = places.iter().flat_map(|document| &document.properties);
    let found = properties.find(|property| {
        let rest = property.key.strip_prefix(key);
        rest.is_some_and(|rest| key.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
    });
    found.map(|property| property.position)
}

/// Where the reference stands that leads nowhere; `$schema` is one too.
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

/// The flat key of what a pointer leads to: names with dots between them, places of lists in brackets.
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

/// What of a schema an environment does not keep. `whose` is its name, for what is missing in it.
pub(super) fn violations(
    schema: &Schema,
    environment: &Environment,
    effective: &Effective<'_>,
    whose: &str,
    strictness: Strictness,
) -> Vec<Problem> {
    let judged = Judged { schema, effective, whose };
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
                .take(VIOLATION_COUNT_MAX)
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
        .take(VIOLATION_COUNT_MAX)
        .collect()
}

/// The nested form with everything resolved that can be; with placeholders as they are written where that never ends.
fn nested(environment: &Environment) -> Result<Value, FlatError> {
    let text = match flat::json(environment, Placeholders::Resolve) {
        Err(FlatError::Placeholder(_)) => flat::json(environment, Placeholders::Keep)?,
        other => other?,
    };
    serde_json::from_str(&text).map_err(|_| FlatError::TooLarge)
}

/// Whether an error is about something that is not known here: what a placeholder will stand for, or what is sealed.
fn is_open(error: &ValidationError<'_>, strictness: Strictness) -> bool {
    match &**error.instance() {
        Value::String(text) => is_unknown(text, strictness),
        within if alternatives(error.kind()) => holds_unknown(within, strictness),
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

/// What a violation is put into words with.
struct Judged<'a> {
    schema: &'a Schema,
    effective: &'a Effective<'a>,
    whose: &'a str,
}

impl Judged<'_> {
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
            _ => vec![self.of_key(&key, at, &wanted(error))],
        }
    }

    /// A problem with what is written under a key, or under the nearest one above it that is written at all.
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
        let why = "keys contradict each other, so that no schema can be applied";
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
