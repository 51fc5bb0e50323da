//! Tests of checks, expectations and differences.

use jiff::Timestamp;

use super::*;

fn context(now: &str) -> CheckContext<'static> {
    CheckContext { now: now.parse().unwrap(), storage: Storage::File, names: None }
}

/// The problems of a policy without the notice that no principal is an administrator.
fn checked(policy: &Policy, context: &CheckContext<'_>) -> Vec<String> {
    let problems = policy.check(context).into_iter();
    let problems = problems.filter(|problem| !problem.message.contains("the right admin"));
    problems.map(|problem| problem.to_string()).collect()
}

fn one_service(lines: &str) -> Policy {
    parse(&format!("version = 1\n[[principal]]\nname = \"orders\"\nkind = \"service\"\n{lines}"))
}

const NOW: &str = "2027-01-01T00:00:00Z";
const RULE: &str = "[[allow]]\nwho = [\"orders\"]\nmay = [\"metrics\"]\n";

#[test]
fn a_policy_without_faults_has_no_problems() {
    let policy = parse(&EXAMPLE.replace("expires = 2027-03-01", "expires = 2028-03-01"));
    assert_eq!(checked(&policy, &context(NOW)), [] as [&str; 0]);
}

#[test]
fn tokens_are_reported_before_and_after_they_expire() {
    let digest = "1".repeat(64);
    let token = |rest: &str| {
        one_service(&format!(
            "tokens = [{{ sha256 = \"{digest}\", expires = 2027-01-10 }}{rest}]\n{RULE}"
        ))
    };
    let alone = token("");
    assert_eq!(checked(&alone, &context("2026-12-26T23:59:59Z")), [] as [&str; 0]);
    let soon = checked(&alone, &context(NOW));
    assert_eq!(
        soon,
        ["policy.toml:5:11: warning: the token 11111111… of orders expires at \
          2027-01-10T00:00:00Z. Add a new one"]
    );
    let expired = alone.check(&context("2027-01-10T00:00:00Z"));
    let errors: Vec<&PolicyProblem> =
        expired.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{expired:#?}");
    assert!(errors[0].message.contains("all tokens of orders have expired"), "{expired:#?}");
    let other = token(&format!(", {{ sha256 = \"{}\" }}", "2".repeat(64)));
    let problems = other.check(&context("2027-01-10T00:00:00Z"));
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning), "{problems:#?}");
    let now: Timestamp = NOW.parse().unwrap();
    let expiring = other.expiring_tokens(now, EXPIRY_NOTICE);
    assert_eq!(expiring.len(), 1);
    assert_eq!((expiring[0].principal.name(), &*expiring[0].digest), ("orders", "11111111"));
}

#[test]
fn suspicious_parts_are_warnings() {
    let with = |rule: &str| one_service(&format!("san = [\"orders.test\"]\n{rule}{RULE}"));
    for (rule, expected) in [
        ("[[principal]]\nname = \"x\"\nkind = \"ci\"\n", "x has no tokens, san or jwt"),
        ("[[principal]]\nname = \"x\"\nkind = \"ci\"\nsan = [\"x\"]\n", "no rule names x"),
        (
            "[[allow]]\nwho = [\"kind:person\"]\nmay = [\"metrics\"]\n",
            "no declared principal is included",
        ),
        (
            "[[allow]]\nwho = [\"orders\"]\nmay = [\"list\"]\nbranch = [\"main\"]\n",
            "branch has no effect on list",
        ),
        (
            "[[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"x\", \"y*\"]\n\
             except = [\"*\", \"y*\"]\nprofile = [\"*\"]\n",
            "except removes every application",
        ),
        (
            "[[allow]]\nwho = [\"anonymous\"]\nmay = [\"unseal\"]\n",
            "without any credential may unseal",
        ),
        ("[[allow]]\nwho = [\"orders\"]\nmay = [\"clone\"]\n", "a service may clone"),
        (
            "[[area]]\npath = [\"x/**\"]\napplication = [\"a\"]\n\
             [[area]]\npath = [\"**/y\"]\napplication = [\"b\"]\n",
            "can match this area and the one in line 6. They belong to no application only",
        ),
        (
            "[[area]]\npath = [\"x/**\"]\napplication = [\"a\", \"a-b\"]\n",
            "a-b.yml belongs to a-b. It is absent from a with the profile b",
        ),
        (
            "[[issuer]]\nname = \"i\"\nissuer = \"i\"\naudience = \"x\"\njwks_file = \"x\"\n",
            "no principal uses the issuer i",
        ),
    ] {
        let problems = with(rule).check(&context(NOW));
        let found = problems.iter().find(|problem| problem.message.contains(expected));
        let found = found.unwrap_or_else(|| panic!("{expected}: {problems:#?}"));
        assert_eq!(found.severity, Severity::Warning);
    }
    assert_eq!(checked(&with(""), &context(NOW)), [] as [&str; 0]);
    let recording = parse(&EXAMPLE.replace("enforce = true", "enforce = false"));
    assert!(checked(&recording, &context(NOW))[0].contains("denials are recorded"));
}

#[test]
fn claims_that_match_every_token_are_a_warning() {
    let policy = parse(&EXAMPLE.replace("\"shop/payments\", ref_protected = \"true\"", "\"**\""));
    let found = checked(&policy, &context(NOW)).join("\n");
    assert!(found.contains("the claims match every JWT of gitlab"), "{found}");
}

#[test]
fn a_hosted_policy_keeps_an_administrator_who_can_authenticate() {
    let hosted = CheckContext { storage: Storage::Hosted, ..context(NOW) };
    let is_error = |policy: &Policy| {
        let problems = policy.check(&hosted);
        problems.iter().any(|problem| problem.severity == Severity::Error)
    };
    let rule = "[[allow]]\nwho = [\"orders\"]\nmay = [\"admin\"]\n";
    assert!(is_error(&parse(EXAMPLE)));
    assert!(is_error(&one_service(rule)));
    assert!(!is_error(&one_service(&format!("san = [\"orders.test\"]\n{rule}"))));
}

#[test]
fn patterns_are_compared_with_the_names_that_exist() {
    let policy = one_service(
        "san = [\"orders.test\"]\n\
         [[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"{principal}\"]\n\
         profile = [\"*\"]\n\
         [[allow]]\nwho = [\"orders\"]\nmay = [\"file\"]\npath = [\"docs/**\", \"dosc/**\"]\n\
         [[area]]\npath = [\"old/**\"]\napplication = [\"orders\"]\n",
    );
    let names = KnownNames {
        applications: vec!["orders".to_owned()],
        paths: vec!["orders.yml".to_owned(), "docs/x.md".to_owned()],
    };
    let problems = checked(&policy, &CheckContext { names: Some(&names), ..context(NOW) });
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].contains("dosc/** matches no file"), "{problems:#?}");
    assert!(problems[1].contains("old/** matches no file"), "{problems:#?}");
    let names = KnownNames { applications: vec!["billing".to_owned()], ..names };
    let problems = checked(&policy, &CheckContext { names: Some(&names), ..context(NOW) });
    assert!(problems[0].contains("matches none of the known applications"), "{problems:#?}");
}

const EXPECTATIONS: &str = "
[[expect]]
who = \"orders\"
may = \"read\"
application = \"orders\"
profile = \"prod\"
is = true
[[expect]]
who = \"orders\"
may = \"read\"
application = \"billing\"
is = false
[[expect]]
who = \"payments-ci\"
may = \"push\"
path = \"payments/x.yml\"
branch = \"main\"
is = true
[[expect]]
who = \"anonymous\"
may = \"metrics\"
is = false
";

#[test]
fn expectations_that_hold_are_no_problem() {
    let policy = parse(EXAMPLE);
    let report = policy.test("expect.toml", EXPECTATIONS).unwrap();
    assert_eq!((report.count, report.failures), (4, vec![]));
    let inside = parse(&format!("{EXAMPLE}{EXPECTATIONS}"));
    assert!(inside.failed_expectations().is_empty());
}

#[test]
fn a_failing_expectation_names_its_place_and_the_closest_rule() {
    let text = EXPECTATIONS.replace("is = true", "is = false");
    let policy = parse(EXAMPLE);
    let report = policy.test("expect.toml", &text).unwrap();
    let lines: Vec<usize> = report.failures.iter().map(|failed| failed.place.line).collect();
    assert_eq!(lines, [2, 13]);
    let message = report.failures[0].to_string();
    let expected = "expected to be denied. orders may read orders/prod at @default, by the rule";
    assert!(message.contains(expected), "{message}");
    let inside = parse(&format!("{EXAMPLE}{text}"));
    let errors = inside.check(&context(NOW));
    let errors = errors.iter().filter(|problem| problem.severity == Severity::Error);
    assert_eq!(errors.count(), 2);
}

#[test]
fn an_unusable_expectation_is_an_error() {
    let policy = parse(EXAMPLE);
    for (text, expected) in [
        ("", "has no valid [[expect]]"),
        ("[[expect]]\nwho = \"orders\"\nmay = \"metrics\"", "[[expect]] has no is"),
        (
            "[[expect]]\nwho = \"x\"\nmay = \"metrics\"\nis = true",
            "no [[principal]] is named \"x\"",
        ),
        ("[[expect]]\nwho = \"orders\"\nmay = \"x\"\nis = true", "unknown right"),
        ("[[expect]]\nwho = \"orders\"\nmay = \"read\"\nis = true", "read needs application"),
        (
            "[[expect]]\nwho = \"orders\"\nmay = \"audit\"\npath = \"x\"\nis = true",
            "path means nothing",
        ),
        ("[[expect]]\nwho = \"orders\"\nmay = \"audit\"\nis = \"no\"", "expected true or false"),
        ("[[expects]]\nwho = \"orders\"", "unknown key \"expects\""),
    ] {
        let error = policy.test("expect.toml", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

fn differences(old: &Policy, new: &Policy) -> Vec<String> {
    let difference = diff(old, new, &Universe::of(&[old, new]));
    assert!(difference.is_complete);
    difference.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_difference_describes_what_principals_gain_and_lose() {
    let rule = |application: &str, profile: &str, label: &str| {
        format!(
            "[[allow]]\nwho = [\"a\"]\nmay = [\"open\"]\napplication = [\"{application}\"]\n\
             profile = {profile}\nlabel = {label}\n"
        )
    };
    let every = policy(&rule("billing", "[\"*\"]", "[\"@default\"]"));
    let none = policy("");
    assert_eq!(differences(&every, &none), ["a may no longer open billing/*"]);
    assert_eq!(differences(&none, &every), ["a may now open billing/*"]);
    assert_eq!(differences(&every, &every.clone()), [] as [&str; 0]);
    let one = policy(&rule("billing", "[\"dev\"]", "[\"@default\"]"));
    assert_eq!(differences(&every, &one), ["a may no longer open billing/(other)"]);
    let labels = policy(&rule("billing", "[\"dev\"]", "[\"@default\", \"v*\"]"));
    assert_eq!(differences(&one, &labels), ["a may now open billing/dev at v*"]);
    let all = policy(&rule("billing", "[\"dev\"]", "[\"**\"]"));
    assert_eq!(differences(&none, &all), ["a may now open billing/dev at every label"]);
}

#[test]
fn the_difference_covers_pushes_files_and_rights_without_a_target() {
    let before = policy("[[allow]]\nwho = [\"ci\"]\nmay = [\"metrics\"]\n");
    let after = policy(
        "[[allow]]\nwho = [\"ci\"]\nmay = [\"push\"]\napplication = [\"a\"]\nbranch = [\"main\"]\n\
         [[allow]]\nwho = [\"jo\"]\nmay = [\"file\"]\npath = [\"docs/**\"]\n",
    );
    assert_eq!(
        differences(&before, &after),
        [
            "ci may no longer read metrics",
            "ci may now push (no path) to main",
            "ci may now push a.yml to main",
            "jo may now read the file docs/** at @default",
        ]
    );
}

#[test]
fn a_new_area_changes_who_may_push_a_file() {
    let rule = "[[allow]]\nwho = [\"ci\"]\nmay = [\"push\"]\napplication = [\"a\"]\n\
                branch = [\"main\"]\n";
    let before = policy(rule);
    let after = policy(&format!("{rule}[[area]]\npath = [\"lib/**\"]\napplication = [\"a\"]\n"));
    assert_eq!(differences(&before, &after), ["ci may now push lib/** to main"]);
}

#[test]
fn a_new_credential_is_part_of_the_difference() {
    let before = parse(EXAMPLE);
    let text = EXAMPLE
        .replace("sha256 = \"2222", "sha256 = \"3222")
        .replace("spiffe://shop/orders", "spiffe://evil/orders")
        .replace("gitlab.jwks", "evil.jwks");
    let after = parse(&text);
    let difference = diff(&before, &after, &Universe::of(&[&before, &after]));
    assert_eq!(difference.changes, []);
    let changes: Vec<String> = difference.credentials.iter().map(ToString::to_string).collect();
    let jwt = |verb: &str, keys: &str| {
        format!(
            "payments-ci {verb} proved by a JWT of https://gitlab.example.org for headwater \
             ([RS256, ES256, EdDSA], keys in {keys}) with project_path = shop/payments, \
             ref_protected = true"
        )
    };
    assert_eq!(
        changes,
        [
            "orders is now proved by the certificate name spiffe://evil/orders",
            "orders is no longer proved by the certificate name spiffe://shop/orders",
            "orders is no longer proved by the token 22222222…",
            "orders is now proved by the token 32222222…",
            &jwt("is now", "evil.jwks"),
            &jwt("is no longer", "gitlab.jwks"),
        ]
    );
}

#[test]
fn the_end_of_enforcement_is_part_of_the_difference() {
    let recording = parse(&EXAMPLE.replace("enforce = true", "enforce = false"));
    let enforced = parse(EXAMPLE);
    let compare = |old: &Policy, new: &Policy| diff(old, new, &Universe::of(&[old, new]));
    assert_eq!(compare(&enforced, &recording).enforcement, Some(false));
    assert_eq!(compare(&recording, &enforced).enforcement, Some(true));
    assert_eq!(compare(&enforced, &enforced).enforcement, None);
}

#[test]
fn areas_values_to_seal_and_expectations_are_part_of_the_difference() {
    let lines = |old: &str, new: &str| {
        let (old, new) = (policy(old), policy(new));
        let difference = diff(&old, &new, &Universe::of(&[&old, &new]));
        let tables: Vec<String> = difference.tables.iter().map(ToString::to_string).collect();
        assert_eq!(difference.is_empty(), difference.lines().is_empty());
        tables
    };
    let area = "[[area]]\npath = [\"b/**\", \"a/**\"]\napplication = [\"a\"]\n";
    let seal = "[[must_seal]]\nkey = [\"**.password\"]\n";
    let expect = "[[expect]]\nwho = \"a\"\nmay = \"metrics\"\nis = false\n";
    assert_eq!(lines("", area), ["the area a/**, b/** is added: owned by a"]);
    assert_eq!(lines(area, ""), ["the area a/**, b/** is removed: owned by a"]);
    let wider = area.replace("[\"a\"]", "[\"b\", \"a\"]\nvault = [\"shop/**\"]");
    assert_eq!(
        lines(area, &wider),
        ["the area a/**, b/** is changed: owned by a, b; vault shop/**. Before: owned by a"]
    );
    assert_eq!(lines("", seal), ["must_seal for all files is added: **.password"]);
    let more = "[[must_seal]]\nkey = [\"**.password\", \"**.secret\"]\n";
    assert_eq!(
        lines(seal, more),
        ["must_seal for all files is changed: **.password, **.secret. Before: **.password"]
    );
    assert_eq!(lines(expect, ""), ["the expectation a: read metrics is removed: denied"]);
    let both = format!("{area}{seal}{expect}");
    let swapped =
        format!("{expect}{seal}{area}").replace("\"b/**\", \"a/**\"", "\"a/**\", \"b/**\"");
    assert_eq!(lines(&both, &swapped), [] as [&str; 0]);
}
