//! `{vault}` references, against a stand-in that answers as Vault does, or as it does not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater::settings::{VaultLoginSettings, VaultRoleSettings};
use serde_json::json;

use super::references::{flat, server, tag, wait_for};
use super::stand_in::{Manner, StandIn};
use crate::fixture::{Hosted, Repository, Server, eventually};

const FILES: &str = "//- orders.yml\npassword: '{vault}:shop/orders#password'\n\
                     //- other.yml\nx: '{vault}:shop/other#x'\n//- plain.yml\na: 1\n";

fn is_faulty(server: &Server) -> bool {
    let metrics = server.get("/metrics").expect(200).text();
    !metrics.contains("headwater_faults{kind=\"vault-unreadable\"} 0\n")
}

/// Waits for the first read.
fn until_served(server: &Server, application: &str) {
    let path = format!("/{application}/none");
    eventually("the secret is read", || server.get(&path).status == 200);
}

#[test]
fn a_new_version_wakes_the_services_that_name_it_and_one_login_serves_all() {
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "one", "more": {}}));
    vault.write("shop/other", json!({"x": 1.5}));
    let repository = Repository::new(FILES);
    vault.behave(Manner::Status(503));
    let server = server(&repository, vault.settings());
    let first = server.get("/orders/none").expect(503);
    assert_eq!(first.header("retry-after"), Some("1"));
    server.get("/plain/none").expect(200);
    vault.behave(Manner::Good);
    until_served(&server, "orders");
    until_served(&server, "other");
    assert_eq!(flat(&server, "orders"), json!({"password": "one"}));
    assert_eq!(flat(&server, "other"), json!({"x": 1.5}));
    let tags = ["other", "plain"].map(|name| tag(&server, name));
    let changed = wait_for(&server, "orders", || {
        vault.write("shop/orders", json!({"password": "two"}));
    });
    assert!(changed.text().contains("\"password\":\"two\""), "{}", changed.text());
    assert_eq!(["other", "plain"].map(|name| tag(&server, name)), tags);
    assert_eq!(vault.login_count(), 1);
    vault.expire();
    eventually("the server logs in again", || vault.login_count() == 2);
    vault.write("shop/orders", json!({"password": "three"}));
    eventually("the new token is used", || flat(&server, "orders") == json!({"password": "three"}));
    // Another replica has the same tags.
    let replica = super::references::server(&repository, vault.settings());
    until_served(&replica, "other");
    assert_eq!(tag(&replica, "other"), tags[0]);
}

#[test]
fn values_stay_in_use_while_vault_fails_in_every_way() {
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "s3cret-kept"}));
    let repository = Repository::new(FILES);
    let server = server(&repository, vault.settings());
    until_served(&server, "orders");
    let before = tag(&server, "orders");
    for manner in [
        Manner::Status(403),
        Manner::Status(404),
        Manner::Status(500),
        Manner::Status(503),
        Manner::Redirect,
        Manner::Large,
        Manner::Away,
        Manner::Silent,
    ] {
        vault.behave(manner);
        eventually(&format!("{manner:?} is reported"), || is_faulty(&server));
        assert_eq!(tag(&server, "orders"), before, "{manner:?}");
        let problems = server.get("/-/problems").expect(200).text();
        assert!(problems.contains("vault-unreadable"), "{manner:?}: {problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
        vault.behave(Manner::Good);
        eventually(&format!("{manner:?} is over"), || !is_faulty(&server));
    }
    let requests = vault.state.requests.lock().unwrap();
    assert!(!requests.iter().any(|request| request.contains("stolen")), "{requests:?}");
}

#[test]
fn an_environment_without_its_value_waits_and_one_with_a_past_stays_there() {
    let vault = StandIn::start();
    vault.behave(Manner::Status(503));
    let hosted = Hosted::with("//- orders.yml\na: 1\n", |settings| {
        settings.secrets = vault.settings();
    });
    assert_eq!(flat(&hosted.server, "orders"), json!({"a": 1}));
    // The push is accepted: it does not wait for Vault.
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\na: 2\npassword: '{vault}:shop/orders#password'\n//- new.yml\nb: '{vault}:new#b'\n");
    tree.push(&["main"]).succeeds();
    let held = hosted.server.get("/orders/none").expect(200);
    assert!(held.header("headwater-held-at").is_some());
    assert_eq!(held.json()["propertySources"][0]["source"], json!({"a": 1}));
    hosted.server.get("/new/none").expect(503);
    vault.write("shop/orders", json!({"password": "late"}));
    vault.behave(Manner::Good);
    let expected = json!({"a": 2, "password": "late"});
    eventually("the value arrives", || flat(&hosted.server, "orders") == expected);
    // A path that Vault lacks is a problem of the environment, and no request to retry.
    eventually("the lack is known", || hosted.server.get("/new/none").status == 500);
    let error = hosted.server.get("/new/none").text();
    assert!(error.contains("new.yml:1:4: b: Vault has no secret at this path (404)"), "{error}");
    vault.write("new", json!({"b": true}));
    eventually("the secret exists", || hosted.server.get("/new/none").status == 200);
    // A reference that cannot be one is rejected.
    tree.commit("//- orders.yml\npassword: '{vault}:../sys#password'\n");
    tree.push(&["main"]).fails(&["orders.yml:1:11: password: is no reference to Vault"]);
    tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    tree.commit("//- orders.yml\npassword: '{vault:two}:a#password'\n");
    tree.push(&["main"]).fails(&["the settings of the server have no Vault of this name"]);
}

/// A figure of the Vault without a name.
fn figure(server: &Server, name: &str) -> u64 {
    let metrics = server.get("/metrics").expect(200).text();
    let prefix = format!("headwater_{name}{{vault=\"\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
    line.expect("a figure").parse().unwrap()
}

#[test]
fn a_vault_with_tls_is_trusted_by_its_authority_only() {
    let vault = StandIn::with_tls();
    vault.write("shop/orders", json!({"password": "s3cret-tls"}));
    let repository = Repository::new(FILES);
    let trusted = server(&repository, vault.settings());
    until_served(&trusted, "orders");
    assert_eq!(flat(&trusted, "orders"), json!({"password": "s3cret-tls"}));
    // The authority of another Vault, and an address that is not in the certificate.
    let other = StandIn::with_tls();
    let mut untrusted = vault.settings();
    untrusted.vault[0].ca_file = other.settings().vault[0].ca_file.clone();
    let mut misnamed = vault.settings();
    misnamed.vault[0].uri = misnamed.vault[0].uri.replace("localhost", "127.0.0.1");
    let request_count = vault.state.requests.lock().unwrap().len();
    drop(trusted);
    for (settings, reason) in [(untrusted, "certificate"), (misnamed, "certificate")] {
        let server = server(&repository, settings);
        server.get("/orders/none").expect(503);
        eventually("the fault is reported", || is_faulty(&server));
        let problems = server.get("/-/problems").expect(200).text();
        assert!(problems.contains(reason), "{problems}");
    }
    let requests = &vault.state.requests.lock().unwrap()[request_count..];
    assert!(!requests.iter().any(|request| request.contains("login")), "{requests:?}");
}

#[test]
fn secrets_of_the_first_engine_have_a_fingerprint_as_their_version() {
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "one"}));
    vault.write("shop/other", json!({"x": true}));
    let mut settings = vault.settings();
    settings.vault[0].mount = "/kv/".to_owned();
    settings.vault[0].kv_version = 1;
    let repository = Repository::new(FILES);
    let first = server(&repository, settings.clone());
    until_served(&first, "orders");
    until_served(&first, "other");
    assert_eq!(flat(&first, "other"), json!({"x": true}));
    let other = tag(&first, "other");
    // Another version of the same value is no change.
    let same = tag(&first, "orders");
    let read = || vault.request_count("GET /v1/kv/shop/orders");
    vault.write("shop/orders", json!({"password": "one"}));
    let before = read();
    eventually("it is read again", || read() >= before + 2);
    assert_eq!(tag(&first, "orders"), same);
    let changed = wait_for(&first, "orders", || {
        vault.write("shop/orders", json!({"password": "two"}));
    });
    assert!(changed.text().contains("\"password\":\"two\""), "{}", changed.text());
    assert!(!changed.header("etag").unwrap().contains("two"));
    assert_eq!(tag(&first, "other"), other);
    assert_eq!(vault.request_count("GET /v1/secret/data/shop/orders"), 0);
}

#[test]
fn each_way_to_log_in_reads_its_files_at_each_login() {
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "s3cret"}));
    let repository = Repository::new(FILES);
    let role = |mount: Option<&str>| VaultRoleSettings {
        role: "headwater".to_owned(),
        token_file: Some(vault.credentials.path().join("jwt")),
        mount: mount.map(str::to_owned),
    };
    for (auth, request) in [
        (VaultLoginSettings::Kubernetes(role(None)), "POST /v1/auth/kubernetes/login"),
        (VaultLoginSettings::Kubernetes(role(Some("east"))), "POST /v1/auth/east/login"),
        (VaultLoginSettings::Jwt(role(None)), "POST /v1/auth/jwt/login"),
        (VaultLoginSettings::Jwt(role(Some("/ci/"))), "POST /v1/auth/ci/login"),
    ] {
        let before = vault.login_count();
        let server = server(&repository, vault.settings_with(auth));
        until_served(&server, "orders");
        assert_eq!(vault.request_count(request), 1, "{request}");
        assert_eq!(vault.login_count(), before + 1);
        // A rewritten token is used for the next login, as the kubelet does it. The stand-in knows the first one only.
        vault.write_credential("jwt", "jwt-2\n");
        vault.expire();
        eventually("the login is rejected", || is_faulty(&server));
        assert_eq!(flat(&server, "orders"), json!({"password": "s3cret"}));
        assert_eq!(vault.login_count(), before + 1);
        vault.write_credential("jwt", "jwt-1\n");
        eventually("the login is accepted", || !is_faulty(&server));
        assert_eq!(vault.login_count(), before + 2);
    }
    let file = vault.credentials.path().join("token");
    let server = server(&repository, vault.settings_with(VaultLoginSettings::TokenFile(file)));
    server.get("/orders/none").expect(503);
    eventually("the token is rejected", || is_faulty(&server));
    vault.accept("s3cret-token-file");
    until_served(&server, "orders");
    // The program that keeps it valid replaces it.
    vault.accept("s3cret-token-later");
    eventually("the old token is rejected", || is_faulty(&server));
    vault.write_credential("token", "s3cret-token-later\n");
    eventually("the new token is read", || !is_faulty(&server));
    let problems = server.get("/-/problems").expect(200).text();
    assert!(!problems.contains("s3cret"), "{problems}");
}

#[test]
fn a_token_is_renewed_at_two_thirds_and_replaced_when_that_is_refused() {
    const LEASE: Duration = Duration::from_secs(9);
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "s3cret"}));
    vault.state.lease_seconds.store(LEASE.as_secs(), Ordering::Relaxed);
    let repository = Repository::new(FILES);
    let mut settings = vault.settings();
    // The next read of the path is later than the renewal.
    settings.vault[0].poll_seconds = 3_600;
    let server = server(&repository, settings);
    until_served(&server, "orders");
    eventually("the token is renewed", || vault.renewal_count() == 1);
    let after = vault.renewed_after().expect("a renewal");
    assert!(after >= LEASE * 2 / 3 - Duration::from_millis(100), "{after:?}");
    assert_eq!(vault.login_count(), 1);
    vault.state.renews.store(false, Ordering::Relaxed);
    eventually("the server logs in again", || vault.login_count() == 2);
    assert_eq!(vault.renewal_count(), 2, "one attempt is refused");
    assert!(!is_faulty(&server));
    assert_eq!(flat(&server, "orders"), json!({"password": "s3cret"}));
}

#[test]
fn metrics_show_the_age_of_values_and_unused_paths_are_forgotten() {
    let vault = StandIn::start();
    vault.write("shop/orders", json!({"password": "one"}));
    vault.write("shop/other", json!({"x": 1}));
    let repository = Repository::new(FILES);
    let server = server(&repository, vault.settings());
    assert_eq!(figure(&server, "vault_paths"), 0);
    until_served(&server, "orders");
    until_served(&server, "other");
    assert_eq!(figure(&server, "vault_paths"), 2);
    vault.behave(Manner::Status(500));
    eventually("the values age", || figure(&server, "vault_age_seconds") >= 3);
    vault.behave(Manner::Good);
    eventually("the values are new", || figure(&server, "vault_age_seconds") <= 2);
    repository.commit("//- other.yml\nx: none\n");
    eventually("the commit is served", || flat(&server, "other") == json!({"x": "none"}));
    let kept = tag(&server, "orders");
    eventually("the path is forgotten", || figure(&server, "vault_paths") == 1);
    let read = || vault.request_count("GET /v1/secret/data/shop/other");
    let (before, of_orders) = (read(), vault.request_count("GET /v1/secret/data/shop/orders"));
    eventually("the other path is read further", || {
        vault.request_count("GET /v1/secret/data/shop/orders") >= of_orders + 3
    });
    assert_eq!(read(), before);
    assert_eq!(tag(&server, "orders"), kept);
    // A path that is named again is read again.
    repository.commit("//- other.yml\nx: '{vault}:shop/other#x'\n");
    eventually("the value is back", || {
        server.get("/other/none").status == 200 && flat(&server, "other") == json!({"x": 1})
    });
}
