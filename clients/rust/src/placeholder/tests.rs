//! The results of resolving placeholders.

use headwater_wire::PropertySource;
use serde_json::json;

use super::*;
use crate::effective::merge;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "HOME" => "/home/shop",
        "DB_PASSWORD" => "a${b}c",
        "SHOP_MAXITEMS" => "7",
        _ => return None,
    };
    Some(value.to_owned())
}

fn resolve(source: Value) -> Result<Value, PlaceholderError> {
    let source: PropertySource =
        serde_json::from_value(json!({"name": "s", "source": source})).unwrap();
    let properties = merge(&[source]);
    let resolver = Resolver::new(variables);
    let position = resolver.position(&properties, "value").expect("the fixture has a `value`");
    resolver.resolve(&properties, position).map(Cow::into_owned)
}

/// Resolves `value` in a configuration that also contains `foo`, `num`, `list`, `my-key` and `c:d`.
#[track_caller]
fn check(value: &str, expected: &str) {
    let source = json!({"value": value, "foo": "bar", "num": 5, "list[0]": "one", "my-key": "mine", "c:d": "colon"});
    assert_eq!(resolve(source), Ok(json!(expected)), "{value}");
}

#[track_caller]
fn fails(source: Value, expected: &str) {
    assert_eq!(resolve(source).unwrap_err().to_string(), expected);
}

#[test]
fn placeholders_resolve_against_the_environment_itself() {
    check("${foo}", "bar");
    check("${ foo }", "bar");
    check("a ${foo} ${num}!", "a bar 5!");
    check("${list[0]}", "one");
    check("$${foo}", "$bar");
    check("${c:d}", "colon");
    check("${myKey} ${my_key}", "mine mine");
}

#[test]
fn defaults_nest() {
    check("${nope:dflt}", "dflt");
    check("${nope:}", "");
    check("${nope:${foo}}", "bar");
    check("${nope:${nope2:x}y}", "xy");
    check("${nope:http://h:1/{id}}", "http://h:1/{id}");
    check("${${nope:foo}}", "bar");
    check("${foo:${missing}}", "bar");
}

#[test]
fn escaped_and_unclosed_placeholders_are_not_resolved() {
    check(r"\${foo}", "${foo}");
    check(r"\${foo:${num}} ${foo}", "${foo:${num}} bar");
    check("${foo", "${foo");
    check("${foo} ${a ${foo}", "bar ${a ${foo}");
    check("#{1+1} $foo {foo}", "#{1+1} $foo {foo}");
}

#[test]
fn variables_come_second_and_are_not_resolved_again() {
    check("${HOME}", "/home/shop");
    check("${db.password}", "a${b}c");
    check("${shop.max-items}", "7");
    assert_eq!(resolve(json!({"value": "${HOME}", "home": "${HOME}/x"})), Ok(json!("/home/shop")));
    assert_eq!(
        resolve(json!({"value": "${home}", "home": "${HOME}/x"})),
        Ok(json!("/home/shop/x"))
    );
    assert_eq!(
        resolve(json!({"value": "${HOME}", "HOME": "${HOME}/y"})),
        Ok(json!("/home/shop/y"))
    );
}

#[test]
fn a_missing_key_is_an_error_that_names_it() {
    fails(
        json!({"value": "x${a.b}"}),
        "no property or variable is named `a.b`, and the placeholder has no default",
    );
    fails(
        json!({"value": "${foo}", "foo": "${bar}"}),
        "no property or variable is named `bar`, and the placeholder has no default",
    );
}

#[test]
fn a_cycle_is_an_error() {
    fails(json!({"value": "${value}"}), "`value` refers to itself");
    fails(json!({"value": "${a}", "a": "${b}", "b": "${a:1}"}), "`a` refers to itself");
}

#[test]
fn work_is_bounded() {
    fails(json!({"value": "${a:".repeat(1000) + &"}".repeat(1000)}), "more than 32 levels");
    let mut source = json!({"value": "${l0}", "l30": "x"});
    for level in 0..30 {
        source[format!("l{level}")] = json!(format!("${{l{0}}}${{l{0}}}", level + 1));
    }
    fails(source, "more than 10000 placeholders");
    let long = "y".repeat(LENGTH_MAX);
    fails(json!({"value": "${l}${l}", "l": long}), "more than 1048576 bytes");
    assert!(resolve(json!({"value": "${".repeat(500_000)})).is_ok());
}
