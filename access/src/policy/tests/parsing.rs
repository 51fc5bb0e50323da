//! Tests of the file format and its messages.

use proptest::prelude::*;

use super::*;

fn problems(text: &str) -> Vec<String> {
    let error = Policy::parse("policy.toml", text.as_bytes()).expect_err("the policy is invalid");
    error.problems.iter().map(ToString::to_string).collect()
}

fn only_problem(text: &str) -> String {
    let problems = problems(text);
    let [problem] = &problems[..] else {
        panic!("expected one problem: {problems:#?}");
    };
    problem.clone()
}

/// A policy that is valid except for the given lines, which begin at line 5.
fn with_service(lines: &str) -> String {
    format!("version = 1\n[[principal]]\nname = \"orders\"\nkind = \"service\"\n{lines}")
}

#[test]
fn the_example_is_valid() {
    let policy = parse(EXAMPLE);
    assert!(policy.is_enforced());
    let names: Vec<&str> = policy.principals().map(Principal::name).collect();
    assert_eq!(names, ["orders", "billing", "payments-ci"]);
    assert_eq!(policy.known_applications(), ["billing", "orders", "payments", "payouts"]);
    assert_eq!(policy.issuers().len(), 1);
    assert_eq!(policy.digest(), Sha256::of(EXAMPLE.as_bytes()));
    assert!(!policy.admits_anonymous());
}

#[test]
fn unknown_keys_are_rejected_with_their_place() {
    assert_eq!(
        only_problem("version = 1\nenforced = true\n"),
        "policy.toml:2:1: unknown key \"enforced\" in the file. The known keys are version, \
         enforce, issuer, principal, mapping, allow, area, must_seal, expect"
    );
    let rule = "[[allow]]\nwho = [\"orders\"]\nmay = [\"metrics\"]\n  deny = true\n";
    let problem = only_problem(&with_service(rule));
    assert!(
        problem.starts_with("policy.toml:8:3: unknown key \"deny\" in [[allow]]."),
        "{problem}"
    );
    let token = "tokens = [{ sha265 = \"x\" }]\n";
    let found = problems(&with_service(token));
    assert!(found.iter().any(|one| one.contains("unknown key \"sha265\"")), "{found:#?}");
}

#[test]
fn all_problems_are_reported_in_order() {
    let text = "version = 2\nenforce = 1\n[[allow]]\nwho = [\"nobody\"]\nmay = [\"reed\"]\n";
    let found = problems(text);
    let lines: Vec<&str> = found.iter().map(|one| one.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["1", "2", "3", "5"], "{found:#?}");
}

#[test]
fn each_mistake_has_a_message_with_the_remedy() {
    for (lines, expected) in [
        ("tokens = [{ sha256 = \"abc\" }]", "expected 64 hexadecimal digits, got 3 characters"),
        ("tokens = [{ expires = 2027-01-01 }]", "a token has no sha256"),
        ("tokens = \"x\"", "tokens: expected a list of tables"),
        ("san = [\"*.shop\"]", "expected one URI or DNS name without wildcards"),
        ("jwt = [{ issuer = \"x\", sub = \"y\" }]", "no [[issuer]] is named \"x\""),
        ("[[principal]]\nname = \"a b\"\nkind = \"ci\"", "cannot be the name of a principal"),
        (
            "[[principal]]\nname = \"application\"\nkind = \"ci\"",
            "neither anonymous nor application",
        ),
        ("[[principal]]\nname = \"orders\"\nkind = \"ci\"", "is declared twice"),
        ("[[principal]]\nname = \"x\"\nkind = \"robot\"", "unknown kind \"robot\". The kinds are"),
        ("[[principal]]\nname = \"x\"", "[[principal]] has no kind"),
        ("[[allow]]\nmay = [\"metrics\"]", "[[allow]] has no who"),
        ("[[allow]]\nwho = []\nmay = [\"metrics\"]", "who is an empty list"),
        ("[[allow]]\nwho = \"orders\"\nmay = [\"metrics\"]", "who: expected a list of texts"),
        (
            "[[allow]]\nwho = [\"ordres\"]\nmay = [\"metrics\"]",
            "no [[principal]] is named \"ordres\"",
        ),
        ("[[allow]]\nwho = [\"kind:robot\"]\nmay = [\"metrics\"]", "unknown kind \"robot\""),
        ("[[allow]]\nwho = [\"orders\"]\nmay = [\"wirte\"]", "unknown right \"wirte\""),
        ("[[area]]\napplication = [\"x\"]", "[[area]] has no path"),
        ("[[area]]\npath = [\"x/**\"]\napplication = [\"x*\"]", "without patterns"),
        ("[[area]]\npath = [\"{principal}/**\"]", "braces mean nothing here"),
        (
            "[[area]]\npath = [\"x\"]\nvault = [\"{name}\"]",
            "only {application} can stand in braces",
        ),
        ("[[must_seal]]\npath = [\"x\"]", "[[must_seal]] has no key"),
        (
            "[[mapping]]\nissuer = \"x\"\nname = \"orders\"\namong = [\"orders\"]",
            "a claim in braces",
        ),
        ("[[issuer]]\nname = \"x\"\nissuer = \"y\"", "has no audience"),
    ] {
        let found = problems(&with_service(lines));
        assert!(found.iter().any(|one| one.contains(expected)), "{lines}: {found:#?}");
    }
}

#[test]
fn rules_have_to_say_what_limits_their_rights() {
    let rule = |may: &str, rest: &str| {
        with_service(&format!("[[allow]]\nwho = [\"orders\"]\nmay = [{may}]\n{rest}"))
    };
    for (may, rest, expected) in [
        ("\"read\"", "profile = [\"*\"]", "read needs application"),
        ("\"open\"", "application = [\"x\"]", "open needs profile"),
        ("\"file\"", "", "file needs application or path"),
        ("\"push\"", "branch = [\"main\"]", "push needs application or path"),
        ("\"push\"", "path = [\"x\"]", "push needs branch"),
        ("\"rollout\"", "", "rollout needs application"),
        ("\"metrics\"", "except = [\"x\"]", "except needs application"),
        ("\"unseal\"", "application = [\"x\"]", "unseal covers the whole server"),
        (
            "\"read\", \"clone\"",
            "application = [\"x\"]\nprofile = [\"*\"]",
            "clone covers the whole",
        ),
        ("\"read\"", "application = [\"{name}\"]\nprofile = [\"*\"]", "only {principal} can stand"),
        ("\"read\"", "application = [\"x***\"]\nprofile = [\"*\"]", "three stars in a row"),
        ("\"read\"", "application = [\"\"]\nprofile = [\"*\"]", "an empty pattern"),
        ("\"read\"", "application = [\"x\"]\nprofile = [\"*\"]\nlabel = [\"HEAD\"]", "@default"),
        ("\"push\"", "path = [\"x\"]\nbranch = [\"refs/heads/main\"]", "is not a branch"),
    ] {
        let found = problems(&rule(may, rest));
        assert!(found.iter().any(|one| one.contains(expected)), "{may} {rest}: {found:#?}");
    }
}

#[test]
fn a_message_never_repeats_what_could_be_a_token() {
    let token = crate::token::Token::generate().unwrap();
    for lines in [
        format!("tokens = [{{ sha256 = \"{}\" }}]", token.as_str()),
        format!("tokens = [\"{}\"]", token.as_str()),
        format!("tokens = \"{}\"", token.as_str()),
    ] {
        let found = problems(&with_service(&lines)).join("\n");
        assert!(!found.contains(&token.as_str()[3..]), "{found}");
    }
}

#[test]
fn a_token_or_a_name_in_a_certificate_belongs_to_one_principal() {
    let digest = "1".repeat(64);
    let other = format!(
        "tokens = [{{ sha256 = \"{digest}\" }}]\nsan = [\"x.test\"]\n[[principal]]\nname = \"b\"\n\
         kind = \"ci\"\ntokens = [{{ sha256 = \"{digest}\" }}]\nsan = [\"X.test\"]\n"
    );
    let found = problems(&with_service(&other));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].contains("policy.toml:10:11: the token 11111111… appears twice"),
        "{found:#?}"
    );
    assert!(found[1].contains("the certificate name \"X.test\" appears twice"), "{found:#?}");
}

#[test]
fn expiry_dates_are_dates_or_times_with_an_offset() {
    let token = |expires: &str| {
        let digest = "1".repeat(64);
        with_service(&format!("tokens = [{{ sha256 = \"{digest}\", expires = {expires} }}]"))
    };
    for expires in ["2027-03-01", "2027-03-01T00:00:00Z", "2027-03-01T01:00:00.5+01:00"] {
        parse(&token(expires));
    }
    for expires in ["2027-03-01T00:00:00", "12:00:00"] {
        let problem = only_problem(&token(expires));
        assert!(problem.contains("a time with an offset"), "{problem}");
    }
    let problem = only_problem(&token("\"2027-03-01\""));
    assert!(problem.contains("expected a date without quotes"), "{problem}");
}

#[test]
fn an_issuer_has_one_source_of_keys() {
    let issuer = |rest: &str| {
        format!("version = 1\n[[issuer]]\nname = \"x\"\nissuer = \"y\"\naudience = \"z\"\n{rest}")
    };
    for (rest, expected) in [
        ("", "exactly one of jwks_file and jwks_url"),
        ("jwks_file = \"x\"\njwks_url = \"https://x\"", "exactly one of jwks_file and jwks_url"),
        ("jwks_file = \"x\"\nca_file = \"y\"", "only beside jwks_url"),
        ("jwks_url = \"http://x\"", "begins with https://"),
        ("jwks_file = \"x\"\nalgorithms = [\"HS256\"]", "unknown algorithm \"HS256\""),
        ("jwks_file = \"x\"\nalgorithms = [\"none\"]", "unknown algorithm \"none\""),
    ] {
        let found = problems(&issuer(rest));
        assert!(found.iter().any(|one| one.contains(expected)), "{rest}: {found:#?}");
    }
    let policy = parse(&issuer("jwks_url = \"https://x\"\nca_file = \"y\""));
    let keys = KeySource::Url { url: "https://x".to_owned(), ca_file: Some("y".to_owned()) };
    assert_eq!(policy.issuers()[0].keys, keys);
}

#[test]
fn text_that_is_no_policy_is_rejected() {
    assert!(only_problem("").contains("the version is missing"));
    assert!(only_problem("version = \"1\"").contains("version: expected an integer, got a text"));
    assert!(only_problem("version = 2").contains("version 2 is not supported"));
    assert!(only_problem("version = 1\nversion = 1").contains("policy.toml:2:1: this is not TOML"));
    assert!(only_problem("{\"version\": 1}").contains("this is not TOML"));
    let error = Policy::parse("policy.toml", b"version = 1\n# \xff").unwrap_err();
    assert!(error.to_string().contains("is not UTF-8"), "{error}");
    let long = format!("version = 1\n#{}", "x".repeat(1024 * 1024));
    assert!(only_problem(&long).contains("at most 1048576 are read"));
}

#[test]
fn every_beginning_of_a_file_is_a_policy_or_an_error_with_a_place() {
    for end in (0..EXAMPLE.len()).filter(|end| EXAMPLE.is_char_boundary(*end)) {
        if let Err(error) = Policy::parse("policy.toml", &EXAMPLE.as_bytes()[..end]) {
            assert!(error.problems.iter().all(|problem| problem.place.line > 0), "{error}");
            assert!(!error.problems.is_empty());
        }
    }
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "[a-z\\[\\]{}=\"' \n.,*@0-9-]{0,200}") {
        let _ = Policy::parse("policy.toml", text.as_bytes());
        let _ = Policy::parse("policy.toml", format!("version = 1\n{text}").as_bytes());
    }

    #[test]
    fn no_changed_byte_causes_a_panic(at in 0..EXAMPLE.len(), byte in any::<u8>()) {
        let mut text = EXAMPLE.as_bytes().to_vec();
        text[at] = byte;
        let _ = Policy::parse("policy.toml", &text);
    }
}
