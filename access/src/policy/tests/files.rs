//! Tests of areas, raw files and pushes.

use super::*;

fn owners(policy: &Policy, path: &str) -> (OwnershipKind, Vec<String>) {
    let ownership = policy.ownership(path);
    let claims = ownership.claims.iter();
    let claims = claims.map(|claim| format!("{}/{}", claim.application, claim.profiles.join("+")));
    (ownership.kind, claims.collect())
}

/// A policy that knows the given applications.
fn knowing(applications: &[&str], rest: &str) -> Policy {
    policy(&format!(
        "[[allow]]\nwho = [\"jo\"]\nmay = [\"read\"]\napplication = {applications:?}\n\
         profile = [\"*\"]\n{rest}"
    ))
}

#[test]
fn a_file_belongs_to_the_longest_known_application() {
    use OwnershipKind::{Area, Directory, Name, Shared, Unknown};
    let policy = knowing(
        &["orders", "orders-admin", "billing", "team/tool"],
        "[[area]]\npath = [\"common/**\"]\napplication = [\"application\"]\n\
         [[area]]\npath = [\"money/**\"]\napplication = [\"billing\", \"payouts\"]\n",
    );
    for (path, kind, claims) in [
        ("orders.yml", Name, &["orders/default"][..]),
        ("orders-prod.yml", Name, &["orders/prod"]),
        ("orders-admin.yml", Name, &["orders-admin/default"]),
        ("orders-admin-prod.yml", Name, &["orders-admin/prod"]),
        ("config/orders-prod.properties", Name, &["orders/prod"]),
        ("billing", Name, &["billing/default"]),
        ("team/tool-dev.yml", Name, &["team/tool/dev"]),
        ("team/tool/application-dev.yml", Directory, &["team/tool/dev"]),
        ("orders/application.yml", Directory, &["orders/default"]),
        ("orders/prod/application-x.yml", Directory, &["orders/x"]),
        ("orders/billing.yml", Directory, &["orders/default"]),
        ("orders/logback.xml", Directory, &["orders/default"]),
        ("orders-files/billing.yml", Name, &["billing/default"]),
        ("orders-prod/application.yml", Directory, &["orders/default"]),
        ("application.yml", Shared, &["application/default"]),
        ("application-prod.yml", Shared, &["application/prod"]),
        ("prod/application.yml", Shared, &["application/default"]),
        ("applications.yml", Unknown, &["applications/default"]),
        ("new-dev-eu.yml", Unknown, &["new-dev-eu/default", "new-dev/eu", "new/dev-eu"]),
        ("x/new.yml", Unknown, &["new/default", "x/default"]),
        (".gitignore", Unknown, &[".gitignore/default"]),
        ("common/orders.yml", Area, &["application/default"]),
        ("money/a/b-prod.yml", Area, &["billing/default", "payouts/default"]),
        ("money/billing-prod.yml", Area, &["billing/prod", "payouts/default"]),
    ] {
        let claims: Vec<String> = claims.iter().map(ToString::to_string).collect();
        assert_eq!(owners(&policy, path), (kind, claims), "{path}");
    }
}

#[test]
fn a_file_in_several_areas_belongs_to_their_common_applications() {
    let policy = knowing(
        &["a"],
        "[[area]]\npath = [\"x/**\"]\napplication = [\"a\", \"b\"]\n\
         [[area]]\npath = [\"**/y\"]\napplication = [\"b\", \"c\"]\n\
         [[area]]\npath = [\"x/z/**\"]\napplication = [\"d\"]\n",
    );
    assert_eq!(owners(&policy, "x/y").1, ["b/default"]);
    assert!(owners(&policy, "x/z/q").1.is_empty());
    assert!(!policy.may_load(&["a", "b", "d"], "x/z/q"));
}

#[test]
fn an_environment_loads_its_own_and_shared_files() {
    let policy = knowing(&["orders", "orders-admin", "billing"], "");
    for (applications, path, expected) in [
        (&["orders"][..], "orders-prod.yml", true),
        (&["orders"], "application-prod.yml", true),
        (&["orders"], "billing.yml", false),
        (&["orders"], "orders-admin.yml", false),
        (&["orders-admin"], "orders-admin.yml", true),
        (&["orders"], "billing/application.yml", false),
        (&["orders", "billing"], "billing.yml", true),
        (&["orders"], "shared.yml", false),
        (&["new"], "new-dev.yml", true),
        (&["new-dev"], "new-dev.yml", true),
        (&["dev"], "new-dev.yml", false),
        (&["orders"], "../orders.yml", false),
        (&["orders"], "/orders.yml", false),
        (&["orders"], "x//orders.yml", false),
        (&["orders"], "", false),
        (&[], "orders.yml", false),
    ] {
        assert_eq!(policy.may_load(applications, path), expected, "{applications:?} {path}");
    }
}

#[test]
fn a_path_without_bounds_belongs_to_no_application() {
    let policy = knowing(&["orders"], "");
    let deep = |depth: usize| format!("{}orders.yml", "x/".repeat(depth));
    assert!(policy.may_load(&["orders"], &deep(63)));
    assert!(!policy.may_load(&["orders"], &deep(64)));
    assert!(!policy.may_load(&["orders"], &format!("{}/orders.yml", "x".repeat(5000))));
}

#[test]
fn a_raw_file_is_open_to_readers_of_its_application_and_profile() {
    let policy = policy(
        "[[allow]]\nwho = [\"kind:service\"]\nmay = [\"read\"]\napplication = [\"{principal}\"]\n\
         profile = [\"dev\", \"default\"]\n\
         [[allow]]\nwho = [\"jo\"]\nmay = [\"file\"]\npath = [\"docs/**\", \"*.yml\"]\n\
         [[allow]]\nwho = [\"ci\"]\nmay = [\"file\"]\npath = [\"**\"]\napplication = [\"b\"]\n\
         [[allow]]\nwho = [\"jo\"]\nmay = [\"read\"]\napplication = [\"z\"]\n\
         profile = [\"prod\"]\n",
    );
    for (who, path, expected) in [
        ("a", "a.yml", true),
        ("a", "a/logback.xml", true),
        ("a", "a-dev.yml", true),
        ("a", "a-prod.yml", false),
        ("a", "a/application-prod.yml", false),
        ("a", "a/prod/application.yml", false),
        ("a", "prod/a.yml", false),
        ("a", "prod/a-dev.yml", false),
        ("a", "dev/a.yml", true),
        ("a", "b.yml", false),
        ("a", "application.yml", false),
        ("jo", "docs/x/readme.md", true),
        ("jo", "new.yml", true),
        ("jo", "a.yml", false),
        ("jo", "application.yml", false),
        ("ci", "b-prod.yml", true),
        ("ci", "a.yml", false),
        ("anonymous", "a.yml", false),
        ("a", "./a.yml", false),
        ("a", "a/../b.yml", false),
    ] {
        assert_eq!(allows(&policy, who, &file(path)), expected, "{who} {path}");
    }
    let labelled = Request::File(RawFile {
        path: "a.yml".into(),
        labels: vec![Label::Default(None), Label::Named("old".into())],
    });
    assert!(!allows(&policy, "a", &labelled));
}

#[test]
fn a_push_needs_the_area_the_path_and_the_branch() {
    let policy = policy(
        "[[allow]]\nwho = [\"ci\"]\nmay = [\"push\"]\napplication = [\"a\"]\nbranch = [\"main\"]\n\
         [[allow]]\nwho = [\"ci\"]\nmay = [\"push\"]\npath = [\"docs/**\"]\nbranch = [\"*\"]\n\
         [[allow]]\nwho = [\"jo\"]\nmay = [\"push\"]\napplication = [\"team-*\"]\n\
         branch = [\"**\", \"tag:v*\"]\nforce = true\n\
         [[allow]]\nwho = [\"jo\"]\nmay = [\"read\"]\napplication = [\"b\"]\nprofile = [\"*\"]\n",
    );
    for (who, path, branch, expected) in [
        ("ci", "a.yml", "main", true),
        ("ci", "a/x/y.txt", "main", true),
        ("ci", "a.yml", "dev", false),
        ("ci", "b.yml", "main", false),
        ("ci", "application.yml", "main", false),
        ("ci", "docs/readme.md", "dev", true),
        ("ci", "docs/b.yml", "dev", false),
        ("ci", "docs/../b.yml", "dev", false),
        ("ci", "other.txt", "main", false),
        ("jo", "team-x.yml", "feature/x", false),
        ("jo", "team-x", "feature/x", false),
        ("a", "a.yml", "main", false),
    ] {
        assert_eq!(allows(&policy, who, &push(path, branch)), expected, "{who} {path} {branch}");
    }
}

#[test]
fn a_file_that_two_unknown_applications_could_load_needs_both() {
    let policy = policy(
        "[[allow]]\nwho = [\"jo\"]\nmay = [\"push\"]\napplication = [\"team*\"]\n\
         branch = [\"main\"]\n\
         [[allow]]\nwho = [\"ci\"]\nmay = [\"push\"]\napplication = [\"team-*\"]\n\
         branch = [\"main\"]\n",
    );
    assert!(allows(&policy, "jo", &push("team-x.yml", "main")));
    assert!(!allows(&policy, "ci", &push("team-x.yml", "main")));
    assert!(!allows(&policy, "jo", &push("team/other.yml", "main")));
}

#[test]
fn references_are_changed_only_as_the_rule_says() {
    let policy = policy(
        "[[allow]]\nwho = [\"ci\"]\nmay = [\"push\"]\napplication = [\"a\"]\n\
         branch = [\"main\", \"tag:v*\"]\n\
         [[allow]]\nwho = [\"jo\"]\nmay = [\"push\"]\napplication = [\"**\"]\nbranch = [\"**\"]\n\
         force = true\ndelete = true\n",
    );
    let change =
        |reference, force, delete| Request::Push(Change { reference, path: None, force, delete });
    let branch = |name: &'static str| Reference::Branch(name.into());
    let tag = |name: &'static str| Reference::Tag(name.into());
    for (who, request, expected) in [
        ("ci", change(branch("main"), false, false), true),
        ("ci", change(branch("main"), true, false), false),
        ("ci", change(branch("main"), false, true), false),
        ("ci", change(branch("v1"), false, false), false),
        ("ci", change(tag("v1"), false, false), true),
        ("ci", change(tag("main"), false, false), false),
        ("jo", change(branch("x/y"), true, true), true),
        ("jo", change(tag("v1"), false, false), false),
    ] {
        assert_eq!(allows(&policy, who, &request), expected, "{who} {request}");
    }
}

#[test]
fn an_area_lists_the_secrets_that_its_files_may_name() {
    use SecretReference::{File, Vault};
    let policy = parse(&format!(
        "{EXAMPLE}[[area]]\npath = [\"**\"]\nvault = [\"shop/{{application}}/**\"]\n\
         file = [\"{{application}}-*\"]\n"
    ));
    for (path, reference, expected) in [
        ("payments/x.yml", Vault("shop/payments/db"), true),
        ("payments/x.yml", Vault("shop/payouts/db"), true),
        ("payments/x.yml", Vault("shop/billing/db"), false),
        ("billing.yml", Vault("shop/billing/a/b"), true),
        ("billing.yml", Vault("shop/payments/db"), false),
        ("orders-prod.yml", File("orders-password"), true),
        ("orders-prod.yml", File("billing-password"), false),
        ("application.yml", Vault("shop/application/db"), true),
        ("*.yml", Vault("shop/billing/db"), false),
        ("../billing.yml", Vault("shop/billing/db"), false),
    ] {
        assert_eq!(policy.may_reference(path, reference), expected, "{path} {reference:?}");
    }
    assert!(!parse(EXAMPLE).may_reference("orders.yml", Vault("shop/orders/db")));
}

#[test]
fn values_have_to_be_sealed_by_their_keys() {
    let policy = parse(&format!("{EXAMPLE}[[must_seal]]\nkey = [\"api.*\"]\npath = [\"a/**\"]\n"));
    for (path, key, expected) in [
        ("x.yml", "spring.datasource.password", true),
        ("x.yml", "password", true),
        ("x.yml", "users[0].password", true),
        ("x.yml", "tls.privateKey", true),
        ("x.yml", "tls.PRIVATE_KEY", true),
        ("x.yml", "secrets[3]", false),
        ("x.yml", "a.secret[3]", true),
        ("x.yml", "password.hint", false),
        ("x.yml", "api.token", false),
        ("a/x.yml", "api.token", true),
    ] {
        assert_eq!(policy.requires_sealing(path, key), expected, "{path} {key}");
    }
}

#[test]
fn a_schema_belongs_to_the_application_in_its_name() {
    let policy = knowing(&["orders", "orders-admin"], "");
    assert_eq!(owners(&policy, "orders.schema.json").1, ["orders/default"]);
    assert_eq!(owners(&policy, "orders-admin.schema.json").1, ["orders-admin/default"]);
    assert_eq!(owners(&policy, "application.schema.json").0, OwnershipKind::Shared);
    assert_eq!(owners(&policy, ".schema.json").1, [".schema/default"]);
}

#[test]
fn files_of_different_applications_are_separate() {
    let policy = knowing(
        &["orders", "billing"],
        "[[area]]\npath = [\"common/**\"]\napplication = [\"application\"]\n\
         [[area]]\npath = [\"both/**\"]\napplication = [\"orders\", \"billing\"]\n",
    );
    let rules = policy.file_rules();
    for (file, other, expected) in [
        ("billing.yml", "orders.yml", true),
        ("billing.yml", "application.yml", true),
        ("billing.yml", "new.yml", true),
        ("billing.yml", "billing-prod.yml", false),
        ("application.yml", "orders.yml", false),
        ("common/x.yml", "orders.yml", false),
        ("new.yml", "orders.yml", false),
        ("both/x.yml", "orders.yml", false),
        ("both/x.yml", "new.yml", true),
    ] {
        assert_eq!(rules.separates(file, other), expected, "{file} {other}");
    }
    assert_eq!(rules.owner("orders-prod.yml"), Some("orders"));
    assert_eq!(rules.owner("both/x.yml"), None);
    assert_eq!(rules.owner("new.yml"), None);
    assert!(rules.is_shared("application-prod.yml") && !rules.is_shared("orders.yml"));
}

#[test]
fn rules_about_files_are_the_same_until_an_area_changes() {
    let area = "[[area]]\npath = [\"x/**\"]\napplication = [\"a\"]\n";
    let rules = |applications: &[&str], rest: &str| knowing(applications, rest).file_rules();
    let before = rules(&["orders"], area);
    assert!(before.has_same_areas(&rules(&["orders"], area)));
    let token = "[[must_seal]]\nkey = [\"x\"]\n";
    assert!(before.has_same_areas(&rules(&["orders"], &format!("{area}{token}"))));
    for other in [
        rules(&["orders"], ""),
        rules(&["orders", "billing"], area),
        rules(&["orders"], &area.replace("x/**", "y/**")),
        rules(&["orders"], &format!("{area}vault = [\"x\"]\n")),
    ] {
        assert!(!before.has_same_areas(&other));
    }
}

#[test]
fn a_push_of_every_file_is_recognised() {
    let of = |rule: &str| {
        policy(&format!(
            "[[allow]]\nwho = [\"ci\"]\nmay = [\"push\"]\nbranch = [\"main\"]\n{rule}\n"
        ))
    };
    let every = |policy: &Policy, force: bool| {
        let change = Change {
            reference: Reference::Branch("main".into()),
            path: None,
            force,
            delete: false,
        };
        policy.allows_every_path(&principal(policy, "ci"), &change)
    };
    let all = "application = [\"*\"]";
    assert!(every(&of(all), false));
    assert!(!every(&of(all), true));
    assert!(every(&of(&format!("{all}\nforce = true")), true));
    assert!(every(&of(&format!("{all}\npath = [\"**\"]")), false));
    for rule in [
        format!("{all}\npath = [\"*\"]"),
        format!("{all}\nexcept = [\"b\"]"),
        "application = [\"a*\"]".to_owned(),
        "path = [\"**\"]".to_owned(),
        format!("{all}\n[[area]]\npath = [\"x\"]\napplication = [\"team/tool\"]"),
    ] {
        assert!(!every(&of(&rule), false), "{rule}");
    }
    let policy = of(all);
    assert!(policy.allows_some_push(&principal(&policy, "ci")));
    assert!(!policy.allows_some_push(&principal(&policy, "jo")));
}

#[test]
fn some_environment_can_be_readable_at_a_label() {
    let policy = policy(
        "[[allow]]\nwho = [\"jo\"]\nmay = [\"read\"]\napplication = [\"x\"]\nprofile = [\"*\"]\n\
         label = [\"v*\"]\n",
    );
    let reads = |who: &str, labels: &[&str]| {
        let labels: Vec<Label<'_>> =
            labels.iter().map(|name| Label::Named((*name).into())).collect();
        policy.allows_some_read(&principal(&policy, who), &labels)
    };
    assert!(reads("jo", &["v1"]));
    assert!(!reads("jo", &["v1", "main"]));
    assert!(!reads("jo", &[]));
    assert!(!reads("a", &["v1"]));
}

#[test]
fn some_environment_of_an_application_can_be_readable() {
    let policy = policy(
        "[[allow]]\nwho = [\"jo\"]\nmay = [\"read\"]\napplication = [\"x*\"]\nprofile = [\"dev\"]\n\
         label = [\"v1\"]\nexcept = [\"xy\"]\n[[allow]]\nwho = [\"jo\"]\nmay = [\"seal\"]\n",
    );
    let reads = |who: &str, names: &[&str]| {
        policy.allows_some_environment(&principal(&policy, who), names.iter().copied())
    };
    assert!(reads("jo", &["x"]) && reads("jo", &["x", "xa"]));
    assert!(!reads("jo", &["xy"]) && !reads("jo", &["x", "y"]));
    assert!(!reads("jo", &[]));
    assert!(!reads("a", &["x"]));
}

#[test]
fn principals_share_what_does_not_contain_their_names() {
    let long: Vec<String> = (0..40).map(|number| format!("profile-{number}")).collect();
    let policy = policy(&format!(
        "[[allow]]\nwho = [\"kind:service\"]\nmay = [\"read\"]\napplication = [\"{{principal}}\"]\n\
         profile = {long:?}\nlabel = [\"v1\", \"v2\"]\nexcept = [\"x\"]\n"
    ));
    let rule = |name| &policy.grants(&principal(&policy, name)).unwrap()[0];
    let (a, b) = (rule("a"), rule("b"));
    assert!(std::sync::Arc::ptr_eq(&a.profile, &b.profile));
    assert!(std::sync::Arc::ptr_eq(&a.label, &b.label));
    assert!(std::sync::Arc::ptr_eq(&a.except, &b.except));
    assert!(std::sync::Arc::ptr_eq(&a.who, &b.who));
    assert_ne!(a.application, b.application);
    // Its own rule, its only own pattern, and their allocations.
    let pattern = &a.application.as_ref().unwrap()[0];
    assert!(size_of_val(&**a) + size_of_val(pattern) < 400);
}

#[test]
fn rules_share_equal_lists() {
    let rule = |who: &str, profile: &str| {
        format!(
            "[[allow]]\nwho = [\"{who}\"]\nmay = [\"read\"]\napplication = [\"*\"]\n\
             profile = [\"{profile}\"]\n"
        )
    };
    let policy = policy(&(rule("a", "dev*") + &rule("b", "dev*") + &rule("jo", "prod")));
    let of = |name| &policy.grants(&principal(&policy, name)).unwrap()[0];
    assert!(std::sync::Arc::ptr_eq(&of("a").profile, &of("b").profile));
    assert_ne!(of("a").profile, of("jo").profile);
    assert!(allows(&policy, "b", &read("x", "dev1", Label::Default(None))));
    assert!(!allows(&policy, "jo", &read("x", "dev1", Label::Default(None))));
}

#[test]
fn a_rule_of_several_entries_is_granted_once_to_each_principal() {
    let policy = policy(
        "[[allow]]\nwho = [\"kind:person\", \"jo\", \"a\", \"a\", \"anonymous\"]\nmay = [\"list\"]\n\
         [[allow]]\nwho = [\"kind:service\", \"ci\"]\nmay = [\"metrics\"]\n",
    );
    let lines = |who: &Principal| {
        let grants = policy.grants(who).unwrap_or_default();
        grants.iter().map(|rule| rule.place.line).collect::<Vec<_>>()
    };
    let of = |name: &str| lines(&principal(&policy, name));
    let (first, second) = (of("jo"), of("ci"));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(of("a"), [first.clone(), second.clone()].concat());
    assert_eq!((of("b"), lines(&Principal::anonymous())), (second, first));
    let numbers = policy.principals().map(|one| policy.number_of(one));
    assert_eq!(numbers.collect::<Vec<_>>(), [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(policy.number_of(&Principal::anonymous()), None);
}
