//! SOPS files in YAML, with scalars typed as SOPS types them: YAML 1.2 with Go's numbers, and timestamps.
//!
//! SOPS resolves anchors when it seals a file. Aliases that a person adds later are expanded within a budget.

mod scalar;

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

use super::SopsError;
use super::value::Value;

/// The deepest value.
const DEPTH_MAX: usize = 50;
/// The bytes that the values of a file may take, with aliases expanded.
const EXPANDED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The bytes that a value takes besides its text.
const VALUE_BYTES: usize = 64;
const NAMESPACE: &str = "tag:yaml.org,2002:";
const MALFORMED: SopsError = SopsError::Syntax("it is not YAML");

/// Parses all documents of a text.
pub(super) fn parse(text: &str) -> Result<Vec<Value>, SopsError> {
    let options = granit_parser::options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut composer = Composer { parser, anchors: HashMap::new(), bytes_left: EXPANDED_BYTES_MAX };
    let mut documents = Vec::new();
    loop {
        match composer.next()? {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(..) => {
                composer.anchors.clear();
                let event = composer.next()?;
                documents.push(composer.value(event, 0)?);
            }
            _ => {}
        }
    }
}

struct Composer<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The complete values of anchors in this document.
    anchors: HashMap<usize, Value>,
    bytes_left: usize,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<Event<'a>, SopsError> {
        match self.parser.next_event() {
            Some(Ok((event, _))) => Ok(event),
            // The parser's own message quotes the text.
            Some(Err(_)) | None => Err(MALFORMED),
        }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, SopsError> {
        if depth > DEPTH_MAX {
            return Err(SopsError::Syntax("it is nested deeper than 50"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = match standard_tag(tag.as_deref())?.as_deref() {
                    Some("str") => Value::text(text),
                    None if style != ScalarStyle::Plain => Value::text(text),
                    None | Some("int" | "float" | "bool" | "null" | "timestamp") => {
                        scalar::resolve(&text)
                    }
                    Some(_) => return Err(SopsError::Syntax("a tag is not supported")),
                };
                (value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break,
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
                (Value::List(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).ok_or(MALFORMED)?.clone();
                self.spend(weight(&value))?;
                return Ok(value);
            }
            _ => return Err(MALFORMED),
        };
        self.spend(own_weight(&value))?;
        if anchor != 0 {
            self.spend(weight(&value))?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn map(&mut self, depth: usize) -> Result<Value, SopsError> {
        let mut entries = Vec::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(SopsError::Syntax("a key is not a text")),
            };
            self.spend(key.len())?;
            let event = self.next()?;
            entries.push((key, self.value(event, depth + 1)?));
        }
    }

    /// Takes bytes from the budget.
    fn spend(&mut self, bytes: usize) -> Result<(), SopsError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or(SopsError::Syntax("its aliases stand for more than 32 MiB"))?;
        Ok(())
    }
}

/// The bytes of a value and of all values in it.
fn weight(value: &Value) -> usize {
    let below: usize = match value {
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(entries) => entries.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        _ => 0,
    };
    own_weight(value) + below
}

fn own_weight(value: &Value) -> usize {
    VALUE_BYTES + value.scalar_text().map_or(0, |text| text.len())
}

/// The name of a tag such as `!!str`. Other tags are errors.
fn standard_tag(tag: Option<&Tag>) -> Result<Option<String>, SopsError> {
    let Some(tag) = tag else { return Ok(None) };
    match tag.suffix_in_namespace(NAMESPACE) {
        Some(name) => Ok(Some(name.into_owned())),
        None => Err(SopsError::Syntax("a tag is not supported")),
    }
}
