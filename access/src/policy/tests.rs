//! Tests of the policy: parsing, authentication, decisions, areas, checks, differences.

mod authentication;
mod decisions;
mod files;
mod model;
mod parsing;
mod review;

use super::*;
use crate::request::{Change, Environment, Label, RawFile, Reference, Request};

/// The policy of the documentation.
const EXAMPLE: &str = r#"
version = 1
enforce = true
issuer = [{ name = "gitlab", issuer = "https://gitlab.example.org", audience = "headwater", jwks_file = "gitlab.jwks" }]
[[principal]]
name = "orders"
kind = "service"
tokens = [
  { sha256 = "1111111111111111111111111111111111111111111111111111111111111111", expires = 2027-03-01 },
  { sha256 = "2222222222222222222222222222222222222222222222222222222222222222", comment = "new" },
]
san = ["spiffe://shop/orders"]
[[principal]]
name = "billing"
kind = "service"
san = ["billing.shop.svc"]
[[principal]]
name = "payments-ci"
kind = "ci"
jwt = [{ issuer = "gitlab", project_path = "shop/payments", ref_protected = "true" }]
[[allow]]
who = ["kind:service"]
may = ["read", "open"]
application = ["{principal}"]
profile = ["prod", "default"]
label = ["@default"]
[[allow]]
who = ["payments-ci"]
may = ["push", "seal"]
application = ["payments"]
branch = ["main"]
[[area]]
path = ["payments/**"]
application = ["payments", "payouts"]
vault = ["shop/payments/**"]
[[must_seal]]
key = ["**.password", "**.secret", "**.private-key"]
"#;

fn parse(text: &str) -> Policy {
    Policy::parse("policy.toml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// A policy with the services a and b, the ci user ci and the person jo, without rules.
fn policy(rules: &str) -> Policy {
    let mut text = "version = 1\n".to_owned();
    for (name, kind) in [("a", "service"), ("b", "service"), ("ci", "ci"), ("jo", "person")] {
        text +=
            &format!("[[principal]]\nname = {name:?}\nkind = {kind:?}\nsan = [\"{name}.test\"]\n");
    }
    parse(&(text + rules))
}

fn principal(policy: &Policy, name: &str) -> Principal {
    policy.principal(name).unwrap_or_else(|| panic!("{name} is declared"))
}

fn allows(policy: &Policy, name: &str, request: &Request<'_>) -> bool {
    let principal = principal(policy, name);
    let decision = policy.decide(&principal, request);
    let explanation = policy.explain(&principal, request);
    assert_eq!(explanation.decision, decision, "{explanation}");
    decision.is_allowed()
}

fn read<'a>(application: &'a str, profile: &'a str, label: Label<'a>) -> Request<'a> {
    Request::Read(Environment::of(application, profile, label))
}

fn push<'a>(path: &'a str, branch: &'a str) -> Request<'a> {
    Request::Push(Change {
        reference: Reference::Branch(branch.into()),
        path: Some(path.into()),
        force: false,
        delete: false,
    })
}

fn file(path: &str) -> Request<'_> {
    Request::File(RawFile { path: path.into(), labels: vec![Label::Default(None)] })
}
