//! Renders Jinja templates in strict mode. Names stand for the configuration.
//!
//! Sections are maps and lists. A name finds its key in any spelling (`http.timeout_seconds` is `http.timeout-seconds`), and
//! `value("http.timeout-seconds")` finds a value by its flat key. A missing name is an error, and so is a value with an
//! unresolved placeholder.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};
use serde_json::Value as Json;

use super::form;
use super::values::KeyValues;

/// No rendered file is longer than this, in bytes.
pub(super) const LENGTH_MAX: usize = 16 * 1024 * 1024;
/// No template takes more steps than this, in instructions of the engine.
const STEP_COUNT_MAX: u64 = 10_000_000;

/// The reason for a missing text. It never contains a value.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct TemplateError {
    what: String,
}

/// Renders a template. `name` is its name in messages.
pub(super) fn render(name: &str, text: &str, values: &KeyValues) -> Result<String, TemplateError> {
    let root = root(values).map_err(|what| TemplateError { what })?;
    let mut engine = engine(values);
    let failed = |error: Error| TemplateError { what: message(name, &error) };
    engine.add_template(name, text).map_err(failed)?;
    let template = engine.get_template(name).map_err(failed)?;
    let mut out = BoundedWriter(Vec::new());
    template.render_captured_to(root, &mut out).map_err(failed)?;
    String::from_utf8(out.0)
        .map_err(|_| TemplateError { what: format!("{name} gives something that is no text") })
}

fn engine(values: &KeyValues) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
    engine.set_syntax(syntax.build().expect("the usual delimiters"));
    engine.set_fuel(Some(STEP_COUNT_MAX));
    // The engine would write Python's `True`.
    engine.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "true" } else { "false" })?),
        _ => escape_formatter(out, state, value),
    });
    let answered = values.0.iter().filter(|entry| entry.unanswered.is_none());
    let by_key: HashMap<String, Value> =
        answered.map(|entry| (entry.key.clone(), node(&entry.value))).collect();
    engine.add_function("value", move |key: &str| by_key.get(key).cloned().unwrap_or_default());
    engine
}

/// The engine's messages may quote values. Such a message is replaced.
fn message(name: &str, error: &Error) -> String {
    let place = error.line().map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
    let detail = match error.kind() {
        ErrorKind::SyntaxError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod => error.detail(),
        ErrorKind::WriteFailure => Some("more than 16 MB"),
        _ => None,
    };
    match detail {
        Some(detail) => format!("{place}: {}: {detail}", error.kind()),
        None => format!("{place}: {}", error.kind()),
    }
}

/// The whole configuration as one section.
fn root(values: &KeyValues) -> Result<Value, String> {
    let answered = values.0.iter().filter(|entry| entry.unanswered.is_none());
    let text = form::nested(answered).map_err(|problem| problem.to_string())?;
    let tree: Json = serde_json::from_str(&text).map_err(|_| "no tree of keys".to_owned())?;
    Ok(node(&tree))
}

fn node(json: &Json) -> Value {
    match json {
        // A gap in a list has no value.
        Json::Null => Value::UNDEFINED,
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::from(integer),
            // A number that would lose digits stays text.
            (None, Some(real)) if real.to_string() == number.to_string() => Value::from(real),
            _ => Value::from(number.to_string()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(node).collect(),
        Json::Object(members) => Value::from_object(Section::new(members)),
    }
}

/// A map whose names may be spelled in any way.
struct Section {
    names: Vec<Value>,
    exact: HashMap<String, Value>,
    relaxed: HashMap<String, Value>,
}

impl Section {
    fn new(members: &serde_json::Map<String, Json>) -> Self {
        let mut exact = HashMap::with_capacity(members.len());
        for (name, member) in members {
            exact.entry(bare(name).to_owned()).or_insert_with(|| node(member));
        }
        let mut by_spelling = HashMap::with_capacity(members.len());
        for name in members.keys().map(|name| bare(name)) {
            by_spelling.entry(relaxed(name)).or_insert_with(|| exact[name].clone());
        }
        let names = members.keys().map(|name| Value::from(bare(name))).collect();
        Self { names, exact, relaxed: by_spelling }
    }
}

/// `/**` for a key that stands in brackets because of its signs, `[/**]`.
fn bare(name: &str) -> &str {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

fn relaxed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

impl Object for Section {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        self.exact.get(name).or_else(|| self.relaxed.get(&relaxed(name))).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.names.clone())
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Takes so many bytes and no more.
struct BoundedWriter(Vec<u8>);

impl Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LENGTH_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::run::values::KeyValue;

    fn values() -> KeyValues {
        let pairs = [
            ("server.port", json!(8080)),
            ("server.ratio", json!(0.5)),
            ("http.timeout-seconds", json!("2")),
            ("routes[0].path", json!("/a")),
            ("routes[0].service", json!("one")),
            ("routes[1].path", json!("/b")),
            ("headers.[/**]", json!("no-store")),
            ("debug", json!(false)),
            ("empty", json!("")),
            ("markup", json!("<a & 'b'>")),
        ];
        let mut entries: Vec<_> = pairs
            .into_iter()
            .map(|(key, value)| KeyValue { key: key.into(), value, rank: 0, unanswered: None })
            .collect();
        entries.push(KeyValue {
            key: "open".into(),
            value: json!("s3cret ${nobody}"),
            rank: 0,
            unanswered: Some("why".into()),
        });
        KeyValues(entries)
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        assert_eq!(render("t.j2", template, &values()).unwrap(), expected, "{template}");
    }

    #[track_caller]
    fn refuses(template: &str, parts: &[&str]) {
        let problem = render("t.j2", template, &values()).unwrap_err().to_string();
        for part in parts {
            assert!(problem.contains(part), "{template}: {problem}");
        }
        assert!(!problem.contains("s3cret") && !problem.contains("no-store"), "{problem}");
    }

    #[test]
    fn names_stand_for_configured_values() {
        check("port {{ server.port }}\n", "port 8080\n");
        check("{{ server.ratio }} {{ debug }} [{{ empty }}]", "0.5 false []");
        check("{{ http.timeout_seconds }} {{ http['timeout-seconds'] }}", "2 2");
        check("{{ value('http.timeout-seconds') }} {{ value('routes[1].path') }}", "2 /b");
        check("{{ headers['/**'] }}", "no-store");
        check("{{ value('none') | default('x') }}", "x");
        check(
            "{{ markup }} {{ markup | tojson }}",
            r#"<a & 'b'> "\u003ca \u0026 \u0027b\u0027\u003e""#,
        );
    }

    #[test]
    fn lists_and_sections_are_walked_and_tags_leave_no_lines() {
        check(
            "{% for route in routes %}\n  use {{ route.path }}\n{% endfor %}\nend\n",
            "  use /a\n  use /b\nend\n",
        );
        check(
            "{% for name in server %}{{ name }}={{ server[name] }};{% endfor %}",
            "port=8080;ratio=0.5;",
        );
        check("{% if debug %}yes{% else %}no{% endif %}", "no");
    }

    #[test]
    fn a_missing_name_is_an_error_with_its_line() {
        refuses("a\n{{ server.prot }}\n", &["t.j2:2", "undefined"]);
        refuses("{{ value('none') }}", &["t.j2:1", "undefined"]);
        refuses("{{ routes[1].service }}", &["t.j2:1", "undefined"]);
        refuses("{% if nobody.home %}{% endif %}", &["undefined"]);
        // A placeholder without an answer is not there either.
        refuses("{{ open }}", &["undefined"]);
    }

    #[test]
    fn problems_of_a_template_contain_no_values() {
        refuses("a\nb\n{% for %}", &["t.j2:3", "syntax error"]);
        refuses("{{ server.port | frobnicate }}", &["unknown filter", "frobnicate"]);
        refuses("{{ headers['/**'] - 1 }}", &["t.j2:1"]);
        refuses("{{ headers['/**'].x.y }}", &["t.j2:1"]);
    }

    #[test]
    fn work_and_length_have_a_bound() {
        refuses(
            "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
            &["fuel"],
        );
        let long = format!("{{% for a in range(9000) %}}{}{{% endfor %}}", "x".repeat(2_000));
        refuses(&long, &["more than 16 MB"]);
    }
}
