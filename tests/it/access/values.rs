//! The content of pushes: values that only look sealed, values in earlier commits, and names that differ in case.

use super::pushes::Shop;

/// The rejection of a plain value.
const PLAIN: &str = "the policy requires a sealed value for this key";
const CIPHERTEXT: &str = "00AABBCCDDEEFF0011223344556677889900aabbccddeeff0011223344556600";

#[test]
fn a_value_that_only_looks_sealed_is_rejected() {
    let shop = Shop::new();
    let work = shop.clone("own");
    for line in [
        "password: hunter2",
        "\"[password]\": hunter2",
        "\"pass word\": hunter2",
        "db: {\"[pass_word]\": hunter2}",
        "users: [{password: hunter2}]",
        "password: [hunter2]",
        "password: '{cipher}hunter2'",
        "password: '{cipher}{key:hunter2}'",
        "password: '{sealed}id.hunter2'",
        "password: 'ENC[hunter2]'",
        "password: 'ENC[AES256_GCM,data:hunter2]'",
        "password: '{vault}hunter2'",
        "password: '{vault}:hunter2'",
        "password: '{file}hunter2'",
        "password: '{file}:hunter2 and more'",
        "password: '${X:hunter2}'",
    ] {
        work.commit(&format!("//- orders.yml\n{line}\n"));
        let said = shop.push(&work, "builder", &["main"]).fails(&["orders.yml:1", PLAIN]);
        assert!(!said.err.contains("hunter2"), "{line}: {}", said.err);
        work.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    let sealed = format!("password: '{{cipher}}{{key:new}}{CIPHERTEXT}'\n");
    for text in [
        &sealed,
        "password: '{vault}:shop/orders#password'\n",
        "password: '{file}:orders-db'\n",
        "password: ${DB_PASSWORD}\n",
        // Keys below the key are other keys. A pattern such as **.password.** names them.
        "password: {hint: a colour}\n",
    ] {
        work.commit(&format!("//- orders.yml\n{text}"));
        shop.accepts(&work, "builder", &["main"]);
    }
}

#[test]
fn a_value_that_a_later_commit_of_the_push_removes_is_rejected() {
    let shop = Shop::new();
    let work = shop.clone("own");
    let copied = "key: '{cipher}00AABBCCDDEEFF0011223344556677889900aabbccddeeff00112233445566'\n";
    for (text, reason) in [
        ("db.password: hunter2\n", PLAIN),
        (copied, "this sealed text is already in a file of another area"),
    ] {
        let first = work.commit(&format!("//- orders.yml\nname: Orders\n{text}"));
        work.commit("//- orders.yml\nname: Other\n");
        work.commit("//- orders.yml\nname: Last\n");
        let place = format!("(in commit {})", &first[..7]);
        shop.rejects(&work, &["main"], &["orders.yml:2", reason, &place]);
        // The rule is for everyone, also at a new branch.
        let pushed = shop.push(&work, "ops", &["main:refs/heads/feature"]);
        let said = pushed.fails(&["orders.yml:2", reason, &place]);
        assert!(!said.err.contains("hunter2"), "{}", said.err);
        assert_eq!(said.err.matches(reason).count(), 1, "{}", said.err);
        work.git(&["reset", "--quiet", "--soft", "origin/main"]).succeeds();
        work.commit("//- orders.yml\nname: Last\n");
        shop.accepts(&work, "builder", &["main"]);
        work.git(&["fetch", "--quiet", "origin"]).succeeds();
        work.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    // A value that is published already may be in the commits of a push.
    let sealed = format!("db.password: '{{cipher}}{CIPHERTEXT}'\n");
    for text in [&sealed, "name: Other\n", &sealed] {
        work.commit(&format!("//- orders.yml\n{text}"));
    }
    shop.accepts(&work, "builder", &["main"]);
}

#[test]
fn a_name_that_differs_in_case_from_a_hidden_one_is_rejected_without_naming_it() {
    const AREA: &str = "[[area]]\npath = [\"orders-Canary.yml\"]\napplication = [\"billing\"]\n";
    let shop = Shop::with("//- orders-Canary.yml\nx: 1\n", AREA);
    let work = shop.clone("own");
    work.commit("//- orders-canary.yml\nx: 2\n");
    let said = shop.push(&work, "builder", &["main"]);
    let said = said.fails(&["orders-canary.yml", "differs from another file only in case"]);
    assert!(!said.err.contains("Canary"), "{}", said.err);
    shop.push(&work, "ops", &["main"]).fails(&["differs from orders-Canary.yml only in case"]);
}
