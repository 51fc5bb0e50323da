//! Tests of decisions and their explanations.

use std::borrow::Cow;

use super::*;
use crate::request::ServerRight;
use crate::right::Right;

const DEFAULT: Label<'static> = Label::Default(None);

#[test]
fn each_service_reads_its_own_environment_only() {
    let policy = parse(EXAMPLE);
    assert!(allows(&policy, "orders", &read("orders", "prod", DEFAULT)));
    assert!(allows(&policy, "billing", &read("billing", "default", DEFAULT)));
    for (who, application, profile, label) in [
        ("orders", "billing", "prod", DEFAULT),
        ("orders", "nosuch", "prod", DEFAULT),
        ("orders", "application", "prod", DEFAULT),
        ("orders", "Orders", "prod", DEFAULT),
        ("orders", "orders*", "prod", DEFAULT),
        ("orders", "orders", "dev", DEFAULT),
        ("orders", "orders", "prod", Label::Named("v1".into())),
        ("payments-ci", "payments", "prod", DEFAULT),
        ("anonymous", "orders", "prod", DEFAULT),
    ] {
        assert!(!allows(&policy, who, &read(application, profile, label)), "{who} {application}");
    }
}

#[test]
fn every_name_of_a_list_has_to_be_allowed() {
    let policy = policy(
        "[[allow]]\nwho = [\"a\"]\nmay = [\"read\"]\napplication = [\"x\"]\nprofile = [\"dev\"]\n\
         [[allow]]\nwho = [\"a\"]\nmay = [\"read\"]\napplication = [\"y\"]\nprofile = [\"*\"]\n",
    );
    let request = |applications: &[&'static str], profiles: &[&'static str]| {
        let names =
            |names: &[&'static str]| names.iter().map(|name| Cow::Borrowed(*name)).collect();
        Request::Read(Environment {
            applications: names(applications),
            profiles: names(profiles),
            labels: vec![DEFAULT],
        })
    };
    assert!(allows(&policy, "a", &request(&["x", "y"], &["dev"])));
    assert!(allows(&policy, "a", &request(&["y"], &["dev", "prod"])));
    assert!(!allows(&policy, "a", &request(&["x", "y"], &["dev", "prod"])));
    assert!(!allows(&policy, "a", &request(&["y", "z"], &["dev"])));
    assert!(!allows(&policy, "a", &request(&[], &["dev"])));
    assert!(!allows(&policy, "a", &request(&["y"], &[])));
}

#[test]
fn a_request_without_names_is_denied() {
    let policy = policy(
        "[[allow]]\nwho = [\"a\"]\nmay = [\"read\", \"file\", \"rollout\"]\n\
         application = [\"**\"]\nprofile = [\"**\"]\nlabel = [\"**\"]\n",
    );
    let principal = principal(&policy, "a");
    let empty = Environment { applications: vec![], profiles: vec![], labels: vec![] };
    let no_label = RawFile { path: "x.yml".into(), labels: vec![] };
    for request in [Request::Read(empty), Request::File(no_label), Request::Rollout(vec![])] {
        let outcome = policy.decide(&principal, &request).outcome;
        assert_eq!(outcome, Outcome::Denied(Denial::NoName), "{request}");
    }
}

#[test]
fn too_many_combinations_are_denied_unless_one_rule_allows_all() {
    let rules = |application: &str| {
        policy(&format!(
            "[[allow]]\nwho = [\"a\"]\nmay = [\"read\"]\napplication = [\"{application}\"]\n\
             profile = [\"*\"]\n"
        ))
    };
    let names: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
    let names: Vec<Cow<'_, str>> = names.iter().map(Cow::from).collect();
    let request = Request::Read(Environment {
        applications: names.clone(),
        profiles: names,
        labels: vec![DEFAULT],
    });
    let everything = rules("*");
    assert!(everything.decide(&principal(&everything, "a"), &request).is_allowed());
    let some = rules("n0");
    let outcome = some.decide(&principal(&some, "a"), &request).outcome;
    assert_eq!(outcome, Outcome::Denied(Denial::TooManyNames));
}

#[test]
fn labels_are_the_default_unless_a_rule_names_more() {
    let rule = |label: &str| {
        policy(&format!(
            "[[allow]]\nwho = [\"a\"]\nmay = [\"read\"]\napplication = [\"a\"]\nprofile = [\"*\"]\n\
             {label}\n"
        ))
    };
    let main = || Label::Default(Some("main".into()));
    let named = |name| Label::Named(Cow::Borrowed(name));
    for (label, requested, expected) in [
        ("", DEFAULT, true),
        ("", main(), true),
        ("", named("HEAD"), true),
        ("", named("dev"), false),
        ("", named("0123456789abcdef0123456789abcdef01234567"), false),
        ("label = [\"@default\", \"v*\"]", named("v1"), true),
        ("label = [\"@default\", \"v*\"]", named("x"), false),
        ("label = [\"v*\"]", DEFAULT, false),
        ("label = [\"main\"]", main(), true),
        ("label = [\"main\"]", DEFAULT, false),
        ("label = [\"main\"]", named("master"), false),
        ("label = [\"*\"]", DEFAULT, true),
        ("label = [\"*\"]", named("feature/x"), false),
        ("label = [\"**\"]", named("feature/x"), true),
    ] {
        let policy = rule(label);
        let text = format!("{label} {requested:?}");
        assert_eq!(allows(&policy, "a", &read("a", "prod", requested)), expected, "{text}");
    }
}

#[test]
fn rights_do_not_include_each_other() {
    for right in Right::ALL {
        let limits = match right {
            _ if right.is_global() || right == Right::List => "",
            Right::Push => "application = [\"**\"]\nbranch = [\"**\"]\n",
            _ => "application = [\"**\"]\nprofile = [\"**\"]\nlabel = [\"**\"]\n",
        };
        let policy = policy(&format!("[[allow]]\nwho = [\"a\"]\nmay = [\"{right}\"]\n{limits}"));
        let target = Environment::of("x", "dev", DEFAULT);
        let mut requests = vec![
            Request::Read(target.clone()),
            Request::Open(target),
            push("x.yml", "main"),
            file("x.yml"),
            Request::Seal(vec!["x".into()]),
            Request::Rollout(vec!["x".into()]),
        ];
        requests.extend(ServerRight::ALL.map(Request::Server));
        for request in requests {
            // A caller that may read an application may read its raw files.
            let is_own_file = right == Right::Read && request.right() == Right::File;
            let expected = request.right() == right || is_own_file;
            assert_eq!(allows(&policy, "a", &request), expected, "{right}: {request}");
            assert!(!allows(&policy, "b", &request), "{right}: {request}");
        }
    }
}

#[test]
fn an_exception_removes_applications_from_its_rule_only() {
    let policy = policy(
        "[[allow]]\nwho = [\"jo\", \"ci\"]\nmay = [\"read\"]\napplication = [\"*\"]\n\
         except = [\"billing\", \"secret-*\"]\nprofile = [\"*\"]\n\
         [[allow]]\nwho = [\"ci\"]\nmay = [\"read\"]\napplication = [\"billing\"]\n\
         profile = [\"*\"]\n",
    );
    assert!(allows(&policy, "jo", &read("orders", "dev", DEFAULT)));
    assert!(!allows(&policy, "jo", &read("billing", "dev", DEFAULT)));
    assert!(!allows(&policy, "jo", &read("secret-x", "dev", DEFAULT)));
    assert!(allows(&policy, "ci", &read("billing", "dev", DEFAULT)));
}

#[test]
fn a_rollout_of_every_application_needs_a_rule_for_all() {
    let policy = policy(
        "[[allow]]\nwho = [\"a\"]\nmay = [\"rollout\"]\napplication = [\"*\"]\n\
         [[allow]]\nwho = [\"b\"]\nmay = [\"rollout\"]\napplication = [\"*\"]\nexcept = [\"x\"]\n\
         [[allow]]\nwho = [\"ci\"]\nmay = [\"rollout\"]\napplication = [\"*-web\", \"x\"]\n",
    );
    let rollout = |names: &[&'static str]| {
        Request::Rollout(names.iter().map(|name| Cow::Borrowed(*name)).collect())
    };
    for (who, names, expected) in [
        ("a", &["x", "*"][..], true),
        ("b", &["y"], true),
        ("b", &["*"], false),
        ("ci", &["x", "shop-web"], true),
        ("ci", &["x", "*"], false),
        ("jo", &["x"], false),
    ] {
        assert_eq!(allows(&policy, who, &rollout(names)), expected, "{who} {names:?}");
        let is_named = who != "jo";
        assert_eq!(policy.allows_some_rollout(&principal(&policy, who)), is_named, "{who}");
    }
}

#[test]
fn an_application_is_readable_at_a_label_if_each_of_its_names_is() {
    let policy = policy(
        "[[allow]]\nwho = [\"a\"]\nmay = [\"read\"]\napplication = [\"x\"]\nprofile = [\"dev\"]\n\
         [[allow]]\nwho = [\"a\"]\nmay = [\"read\"]\napplication = [\"y\"]\nprofile = [\"*\"]\n\
         label = [\"v1\"]\n",
    );
    let v1 = || Label::Named("v1".into());
    for (application, labels, expected) in [
        ("x", vec![DEFAULT], true),
        ("x", vec![v1()], false),
        ("x", vec![DEFAULT, v1()], false),
        ("y", vec![v1()], true),
        ("y", vec![DEFAULT], false),
        ("x", vec![], false),
    ] {
        let reads = policy.allows_some_profile(&principal(&policy, "a"), application, &labels);
        assert_eq!(reads, expected, "{application} {labels:?}");
    }
}

#[test]
fn anonymous_and_kinds_are_different_callers() {
    let policy = policy(
        "[[allow]]\nwho = [\"anonymous\"]\nmay = [\"metrics\"]\n\
         [[allow]]\nwho = [\"kind:service\"]\nmay = [\"list\"]\n",
    );
    assert!(policy.admits_anonymous());
    let metrics = Request::Server(ServerRight::Metrics);
    let list = Request::Server(ServerRight::List);
    assert!(allows(&policy, "anonymous", &metrics));
    assert!(!allows(&policy, "a", &metrics));
    assert!(allows(&policy, "a", &list));
    assert!(!allows(&policy, "jo", &list));
    assert!(!allows(&policy, "anonymous", &list));
}

#[test]
fn a_principal_of_another_policy_may_do_nothing() {
    let rules = "[[allow]]\nwho = [\"a\", \"kind:service\"]\nmay = [\"metrics\"]\n";
    let policy = policy(rules);
    let request = Request::Server(ServerRight::Metrics);
    let unknown = Principal::new("gone".into(), Kind::Service);
    let changed = Principal::new("a".into(), Kind::Person);
    for principal in [unknown, changed] {
        let outcome = policy.decide(&principal, &request).outcome;
        assert_eq!(outcome, Outcome::Denied(Denial::UnknownPrincipal));
    }
}

#[test]
fn without_enforcement_denials_are_recorded() {
    let text = EXAMPLE.replace("enforce = true", "enforce = false");
    let policy = parse(&text);
    let orders = principal(&policy, "orders");
    let denied = policy.decide(&orders, &read("billing", "prod", DEFAULT));
    assert!(!denied.is_allowed() && denied.is_permitted() && denied.is_recorded_denial());
    let allowed = policy.decide(&orders, &read("orders", "prod", DEFAULT));
    assert!(allowed.is_allowed() && allowed.is_permitted() && !allowed.is_recorded_denial());
    let enforced = parse(EXAMPLE);
    let denied = enforced.decide(&orders, &read("billing", "prod", DEFAULT));
    assert!(!denied.is_permitted() && !denied.is_recorded_denial());
}

#[test]
fn an_explanation_names_the_rule_or_the_closest_one() {
    let policy = parse(EXAMPLE);
    let orders = principal(&policy, "orders");
    let allowed = policy.explain(&orders, &read("orders", "prod", DEFAULT)).to_string();
    let expected = "orders may read orders/prod at @default, by the rule policy.toml:21";
    assert_eq!(allowed, expected);
    let denied = policy.explain(&orders, &read("billing", "dev", DEFAULT)).to_string();
    let expected = "orders may not read billing/dev at @default: no rule allows it\n  \
                    read billing/dev at @default: the closest rule is policy.toml:21\n    \
                    application: the rule has orders, the request billing\n    \
                    profile: the rule has prod, default, the request dev";
    assert_eq!(denied, expected);
    let push = policy.explain(&orders, &push("payments/x.yml", "dev")).to_string();
    for difference in [
        "may: the rule has read, open, the request push",
        "application: the rule has orders, the request payments or payouts (by its area)",
        "branch: the rule has none, the request dev",
    ] {
        assert!(push.contains(difference), "{push}");
    }
    let empty = super::policy("");
    let none = empty.explain(&principal(&empty, "a"), &read("x", "y", DEFAULT)).to_string();
    assert!(none.ends_with("the policy has no rule"), "{none}");
}

#[test]
fn sealing_may_be_limited_to_applications() {
    let policy = parse(EXAMPLE);
    assert!(allows(&policy, "payments-ci", &Request::Seal(vec!["payments".into()])));
    assert!(allows(&policy, "payments-ci", &Request::Seal(vec![])));
    assert!(!allows(&policy, "payments-ci", &Request::Seal(vec!["orders".into()])));
    assert!(!allows(&policy, "orders", &Request::Seal(vec![])));
}
