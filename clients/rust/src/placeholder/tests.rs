//! What placeholders resolve to.

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

fn resolve(source: Value) -> Result<Value, PlaceholderProblem> {
    let source: PropertySource =
        serde_json::from_value(json!({"name": "s", "source": source})).unwrap();
    let properties = merge(&[source]);
    let resolver = Resolver::new(variables);
    let position = resolver.position(&properties, "value").expect("the fixture has a `value`");
    resolver.resolve(&properties, position).map(Cow::into_owned)
}

/// `value` beside `foo: bar`, `num: 5`, `list: [one]`, `my-key: mine`.
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
fn what_is_escaped_or_not_closed_stays() {
    check(r"\${foo}", "${foo}");
    check(r"\${foo:${num}} ${foo}", "${foo:${num}} bar");
    check("${foo", "${foo");
    check("${foo} ${a ${foo}", "bar ${a ${foo}");
    check("#{1+1} $foo {foo}", "#{1+1} $foo {foo}");
}

#[test]
fn the_process_environment_comes_second_and_is_taken_as_it_is() {
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
fn a_missing_one_is_an_error_that_names_it() {
    fails(
        json!({"value": "x${a.b}"}),
        "nothing is called `a.b`, and the placeholder has no default",
    );
    fails(
        json!({"value": "${foo}", "foo": "${bar}"}),
        "nothing is called `bar`, and the placeholder has no default",
    );
}

#[test]
fn a_cycle_is_an_error() {
    fails(json!({"value": "${value}"}), "`value` leads back to itself");
    fails(json!({"value": "${a}", "a": "${b}", "b": "${a:1}"}), "`a` leads back to itself");
}

#[test]
fn work_is_bounded() {
    fails(json!({"value": "${a:".repeat(1000) + &"}".repeat(1000)}), "exceeds 32 levels");
    let mut source = json!({"value": "${l0}", "l30": "x"});
    for level in 0..30 {
        source[format!("l{level}")] = json!(format!("${{l{0}}}${{l{0}}}", level + 1));
    }
    fails(source, "exceeds 10000 placeholders");
    let long = "y".repeat(LENGTH_MAX);
    fails(json!({"value": "${l}${l}", "l": long}), "exceeds 1048576 bytes");
    assert!(resolve(json!({"value": "${".repeat(500_000)})).is_ok());
}
