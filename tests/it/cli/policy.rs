//! `headwater policy` and `headwater token`, as an operator types them.

use tempfile::TempDir;

use super::{Said, refuses, type_in};
use crate::fixture::directory;

const POLICY: &str = r#"version = 1

[[principal]]
name = "orders"
kind = "service"
tokens = [{ sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8" }]

[[principal]]
name = "ops"
kind = "operator"
tokens = [{ sha256 = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35" }]

[[allow]]
who = ["kind:service"]
may = ["read"]
application = ["{principal}"]
profile = ["*"]

[[allow]]
who = ["ops"]
may = ["push"]
application = ["orders"]
branch = ["main"]

[[allow]]
who = ["ops"]
may = ["list", "overview", "metrics", "admin"]

[[expect]]
who = "orders"
may = "read"
application = "billing"
is = false
"#;

fn place() -> TempDir {
    directory(&format!("//- policy.toml\n{POLICY}"))
}

#[track_caller]
fn says(said: &Said, code: i32, out: &str, err: &str) {
    assert_eq!((said.out.as_str(), said.err.as_str()), (out, err));
    assert_eq!(said.code, Some(code));
}

fn policy(place: &TempDir, arguments: &[&str]) -> Said {
    type_in(place.path(), &[&["policy"], arguments].concat())
}

#[test]
fn a_policy_is_checked_as_the_server_checks_it() {
    let place = place();
    let write = |text: &str| std::fs::write(place.path().join("p.toml"), text).unwrap();
    says(&policy(&place, &["check", "policy.toml"]), 0, "", "0 errors, 0 warnings\n");
    write(&POLICY.replacen("version = 1\n", "version = 1\nenforce = false\n", 1));
    says(
        &policy(&place, &["check", "p.toml"]),
        0,
        "p.toml:1:1: warning: enforce = false: denials are recorded and not enforced\n",
        "0 errors, 1 warning\n",
    );
    write(&POLICY.replace("may = [\"push\"]", "may = [\"psuh\"]"));
    let said = policy(&place, &["check", "p.toml"]);
    assert!(said.out.starts_with("p.toml:21:8: unknown right \"psuh\""), "{}", said.out);
    assert_eq!(said.code, Some(1), "{}", said.err);
    write(&POLICY.replace("is = false", "is = true"));
    let said = policy(&place, &["check", "p.toml"]);
    assert!(said.out.starts_with("p.toml:29:1: expected to be allowed. "), "{}", said.out);
    assert_eq!(said.code, Some(1));
    refuses(&policy(&place, &["check", "none.toml"]), &["cannot read none.toml"]);
}

#[test]
fn expectations_are_tested() {
    let place = place();
    says(&policy(&place, &["test", "policy.toml"]), 0, "", "1 expectation, 0 failures\n");
    let more =
        "[[expect]]\nwho = \"orders\"\nmay = \"read\"\napplication = \"orders\"\nis = false\n";
    std::fs::write(place.path().join("more.toml"), more).unwrap();
    let said = policy(&place, &["test", "policy.toml", "--expect", "more.toml"]);
    says(
        &said,
        1,
        "more.toml:1:1: expected to be denied. orders may read orders/default at @default, by the \
         rule policy.toml:13\n",
        "2 expectations, 1 failure\n",
    );
    let without = POLICY.split("[[expect]]").next().unwrap();
    std::fs::write(place.path().join("p.toml"), without).unwrap();
    refuses(&policy(&place, &["test", "p.toml"]), &["p.toml: the policy has no [[expect]]"]);
}

#[test]
fn the_effective_difference_is_printed() {
    let place = place();
    says(
        &policy(&place, &["diff", "policy.toml", "policy.toml"]),
        0,
        "",
        "both policies allow the same\n",
    );
    let more = "[[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"billing\"]\n\
                profile = [\"prod\"]\n";
    std::fs::write(place.path().join("new.toml"), format!("{POLICY}{more}")).unwrap();
    says(
        &policy(&place, &["diff", "policy.toml", "new.toml"]),
        1,
        "orders may now read billing/prod\n",
        "",
    );
    says(
        &policy(&place, &["diff", "new.toml", "policy.toml"]),
        1,
        "orders may no longer read billing/prod\n",
        "",
    );
}

#[test]
fn areas_and_values_to_seal_are_part_of_the_printed_difference() {
    let place = place();
    let more = "[[area]]\npath = [\"common/**\"]\napplication = [\"application\"]\n\
                [[must_seal]]\nkey = [\"**.password\"]\n";
    std::fs::write(place.path().join("new.toml"), format!("{POLICY}{more}")).unwrap();
    let said = policy(&place, &["diff", "policy.toml", "new.toml"]);
    for line in [
        "must_seal for all files is added: **.password\n",
        "the area common/** is added: owned by application\n",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }
    assert_eq!(said.code, Some(1));
    let said = policy(&place, &["diff", "new.toml", "policy.toml"]);
    assert!(said.out.contains("must_seal for all files is removed: **.password\n"), "{}", said.out);
}

#[test]
fn a_policy_for_a_repository_keeps_an_administrator() {
    let place = place();
    let check = |arguments: &[&str]| policy(&place, &[&["check"], arguments].concat());
    says(&check(&["policy.toml", "--hosted"]), 0, "", "0 errors, 0 warnings\n");
    std::fs::write(place.path().join("p.toml"), POLICY.replace(", \"admin\"", "")).unwrap();
    assert_eq!(check(&["p.toml"]).code, Some(0));
    let said = check(&["p.toml", "--hosted"]);
    assert!(said.out.contains("no caller could change this policy again"), "{}", said.out);
    assert_eq!(said.code, Some(1));
}

#[test]
fn a_decision_is_explained_with_its_rule() {
    let place = place();
    let explain = |words: &[&str]| policy(&place, &[&["explain", "policy.toml"], words].concat());
    let said = explain(&["orders", "read", "orders/prod"]);
    says(&said, 0, "orders may read orders/prod at @default, by the rule policy.toml:13\n", "");
    let said = explain(&["orders", "read", "billing/prod"]);
    assert_eq!(said.code, Some(1));
    for part in ["orders may not read billing/prod", "the closest rule is policy.toml:13"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert_eq!(explain(&["ops", "push", "orders.yml", "main"]).code, Some(0));
    assert_eq!(explain(&["ops", "push", "orders.yml", "main", "--force"]).code, Some(1));
    assert_eq!(explain(&["ops", "metrics"]).code, Some(0));
    assert_eq!(explain(&["anonymous", "metrics"]).code, Some(1));
    refuses(&explain(&["nobody", "metrics"]), &["no principal has the name \"nobody\""]);
    refuses(&explain(&["ops", "raed"]), &["unknown right \"raed\""]);
    refuses(
        &explain(&["ops", "push", "orders.yml"]),
        &["expected PATH BRANCH, got \"orders.yml\""],
    );
}

#[test]
fn a_new_token_is_printed_once_with_its_digest() {
    let place = directory("");
    let new = |more: &[&str]| type_in(place.path(), &[&["token", "new"], more].concat());
    let said = new(&["orders", "--expires", "2099-03-01"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines: Vec<&str> = said.out.lines().collect();
    let [token, line] = lines[..] else { panic!("{}", said.out) };
    assert!(token.starts_with("hw_") && token.len() == 46, "{token}");
    let digest = crate::access::sha256(token);
    assert_eq!(line, format!("tokens = [{{ sha256 = \"{digest}\", expires = 2099-03-01 }}]"));
    assert!(!said.err.contains(token), "{}", said.err);
    let other = new(&["orders"]);
    assert_ne!(other.out.lines().next(), Some(token));
    // The line is one that a policy takes.
    let policy = POLICY.replacen("tokens = ", &format!("{line}\n#"), 1);
    std::fs::write(place.path().join("policy.toml"), policy).unwrap();
    let said = type_in(place.path(), &["policy", "check", "policy.toml"]);
    assert_eq!(said.code, Some(0), "{}", said.out);
    refuses(&new(&["a b"]), &["cannot be the name of a principal"]);
    refuses(&new(&["application"]), &["cannot be the name of a principal"]);
    refuses(&new(&["orders", "--expires", "2020-01-01"]), &["2020-01-01", "has begun"]);
    assert_eq!(new(&["orders", "--expires", "soon"]).code, Some(2));
}
