//! A policy in a hosted repository: real git clients change it, and no other principal learns that it exists.

use std::path::Path;

use headwater::settings::Settings;
use headwater_access::audit::AuditEvent;
use tempfile::TempDir;

use super::{RULES, SHOP, bearer, get, metric, policy, sha256, token};
use crate::audit::TrailFile;
use crate::fixture::{Child, Hosted, Reply, Said, Server, Tree, clone, directory, eventually};

/// A rule that the seed does not have.
const BILLING: &str = "[[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"billing\"]\n\
                       profile = [\"*\"]\n";
const FAULT: &str = "headwater_faults{kind=\"policy-unusable\"}";

/// The address of the policy's repository, with the token of a principal.
pub(crate) fn policy_url(server: std::net::SocketAddr, principal: &str) -> String {
    format!("http://{principal}:{}@{server}/-/git/policy.git", token(principal, 1))
}

/// Settings with a policy in the hosted repository `policy`.
pub(crate) fn follow_repository(settings: &mut Settings, seed: Option<&Path>) {
    settings.access.policy = Some("hosted:policy".to_owned());
    settings.access.policy_seed = seed.map(Path::to_owned);
}

/// The seed with a policy.
pub(crate) fn seed(text: &str) -> TempDir {
    directory(&format!("//- policy.toml\n{text}"))
}

struct Place {
    hosted: Hosted,
    trail: TrailFile,
    _seed: TempDir,
    work: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let (seed, trail) = (seed(&policy(RULES)), TrailFile::new());
        let hosted = Hosted::with(SHOP, |settings| {
            settings.sources[0].default_label = Some("main".to_owned());
            follow_repository(settings, Some(seed.path()));
            settings.audit.file = Some(trail.path());
            change(settings);
        });
        Self { hosted, trail, _seed: seed, work: tempfile::tempdir().unwrap() }
    }

    fn clone(&self, principal: &str) -> Tree {
        let url = policy_url(self.hosted.server.0, principal);
        clone(&url, &self.work.path().join(principal))
    }

    /// Commits a policy and pushes it.
    fn push(&self, tree: &Tree, text: &str) -> Said {
        tree.commit(&format!("//- policy.toml\n{text}"));
        tree.push(&["main"])
    }

    fn get(&self, path: &str, principal: &str) -> Reply {
        get(*self.hosted.server, path, principal)
    }

    /// The server's commit of the default branch of the policy.
    fn tip(&self) -> String {
        let main = self.hosted.repository().path;
        let repository = Tree { path: main.with_file_name("policy.git") };
        repository.git(&["rev-parse", "refs/heads/main"]).succeeds().out.trim().to_owned()
    }
}

#[test]
fn a_push_of_an_administrator_is_in_force_when_it_returns_and_is_recorded() {
    let place = Place::new();
    place.get("/orders/prod", "orders").expect(200);
    place.get("/billing/prod", "orders").expect(404);
    let tree = place.clone("ops");
    let more = format!("{}{BILLING}", policy(RULES));
    let said = place.push(&tree, &more).succeeds();
    said.says(&["orders may now read billing/*", "published main"]);
    place.get("/billing/prod", "orders").expect(200);
    let loaded = place.trail.of(AuditEvent::PolicyLoaded).pop().unwrap();
    assert_eq!(loaded.principal.as_deref(), Some("ops"));
    assert_eq!(loaded.digest.as_deref(), Some(&sha256(&more)[..8]));
    assert_eq!(loaded.path.as_deref(), Some("policy"));
    assert_eq!(loaded.commits, [place.tip()]);
    assert_eq!(loaded.details[0], "orders may now read billing/*", "{:?}", loaded.details);
    place.push(&tree, &policy(RULES)).succeeds().says(&["orders may no longer read billing/*"]);
    place.get("/billing/prod", "orders").expect(404);
    // The start, and the two pushes. No line records the same change twice.
    assert_eq!(place.trail.of(AuditEvent::PolicyLoaded).len(), 3);
    place.trail.verify();
}

#[test]
fn the_repository_is_absent_for_other_principals() {
    let place = Place::new();
    let refs = |repository: &str, principal: &str, service: &str| {
        let path = format!("/-/git/{repository}.git/info/refs?service={service}");
        let reply =
            place.hosted.server.get_with(&path, &[("Authorization", &bearer(principal, 1))]);
        (reply.status, reply.body)
    };
    for service in ["git-upload-pack", "git-receive-pack", "nonsense"] {
        for principal in ["orders", "lister", "builder"] {
            let absent = refs("absent", principal, service);
            assert_eq!(refs("policy", principal, service), absent, "{principal} {service}");
        }
    }
    assert_eq!(refs("policy", "ops", "git-upload-pack").0, 200);
    let anonymous = place.hosted.server.get("/-/git/policy.git/info/refs?service=git-upload-pack");
    assert_eq!(anonymous.status, 401);
    // Neither the index nor the configuration shows it.
    let index = place.get("/", "ops").expect(200).text();
    assert!(index.contains("/-/git/main.git") && !index.contains("policy"), "{index}");
    for path in ["/policy/default", "/application/default"] {
        let served = place.get(path, "ops").expect(200).text();
        assert!(!served.contains("sha256"), "{served}");
    }
    let url = policy_url(place.hosted.server.0, "builder");
    let tree = place.clone("ops");
    tree.git(&["push", "--quiet", &url, "main"]).fails(&["not found"]);
    tree.git(&["fetch", "--quiet", &url]).fails(&["not found"]);
}

#[test]
fn recorded_denials_do_not_open_the_repository() {
    let place = Place::new();
    let tree = place.clone("ops");
    let open = policy(RULES).replacen("version = 1\n", "version = 1\nenforce = false\n", 1);
    place.push(&tree, &open).succeeds().says(&["denials are now recorded and not enforced"]);
    place.get("/billing/prod", "orders").expect(200);
    let url = policy_url(place.hosted.server.0, "orders");
    tree.git(&["fetch", "--quiet", &url]).fails(&["not found"]);
    tree.git(&["push", "--quiet", &url, "main"]).fails(&["not found"]);
    place.push(&tree, &policy(RULES)).succeeds();
    place.get("/billing/prod", "orders").expect(404);
}

#[test]
fn callers_without_a_credential_cannot_tell_the_repository_from_an_absent_one() {
    let place = Place::new();
    let tree = place.clone("ops");
    let open = policy(RULES).replacen("version = 1\n", "version = 1\nenforce = false\n", 1);
    for is_enforced in [true, false] {
        if !is_enforced {
            place.push(&tree, &open).succeeds();
        }
        for path in [
            "info/refs?service=git-upload-pack",
            "info/refs?service=git-receive-pack",
            "info/refs?service=nonsense",
            "info/refs",
            "git-upload-pack",
        ] {
            let get = |repository: &str| {
                let reply = place.hosted.server.get(&format!("/-/git/{repository}.git/{path}"));
                (reply.status, reply.body)
            };
            let absent = get("absent");
            assert_eq!(get("policy"), absent, "{path} {is_enforced}");
            let status = if path.starts_with("info") { 401 } else { absent.0 };
            assert_eq!(absent.0, status, "{path} {is_enforced}");
        }
    }
    // The repository with the configuration is open to them as before.
    let main = place.hosted.server.get("/-/git/main.git/info/refs?service=git-upload-pack");
    assert_eq!(main.status, 200);
}

#[test]
fn a_policy_that_cannot_take_effect_is_rejected_with_its_lines_and_the_old_one_stays() {
    let place = Place::with(|settings| {
        // No setting accepts a broken policy.
        settings.push.checks = headwater::settings::Checks::Warn;
    });
    let (tree, before) = (place.clone("ops"), place.tip());
    let good = policy(RULES);
    let without_admin = good.replace(", \"admin\"", "");
    let expectation =
        "[[expect]]\nwho = \"orders\"\nmay = \"read\"\napplication = \"billing\"\nis = true\n";
    let issuer = "[[issuer]]\nname = \"i\"\nissuer = \"https://i\"\naudience = \"h\"\njwks_file = \"keys.jwks\"\n";
    for (text, parts) in [
        (good.replace("who =", "whom ="), &["policy.toml:", "unknown key \"whom\""][..]),
        ("version = 1\n[[".to_owned(), &["policy.toml:2:", "this is not TOML"]),
        (without_admin, &["no principal with a valid credential has the right admin"]),
        (format!("{good}{expectation}"), &["expected to be allowed", "orders may not read"]),
        (format!("{good}{issuer}"), &["jwks_file: the commit has no file keys.jwks"]),
        (format!("{good}#{}", "x".repeat(1024 * 1024)), &["more than 1048576 bytes"]),
    ] {
        let said = place.push(&tree, &text).fails(parts);
        said.says(&["the policy cannot take effect", "[remote rejected]"]);
        assert_eq!(place.tip(), before);
        tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    tree.git(&["rm", "--quiet", "policy.toml"]).succeeds();
    tree.git(&["commit", "--quiet", "-m", "Remove"]).succeeds();
    tree.push(&["main"]).fails(&["the commit has no file policy.toml"]);
    tree.push(&[":main"]).fails(&[]);
    assert_eq!(place.tip(), before);
    place.get("/orders/prod", "orders").expect(200);
    assert_eq!(metric(*place.hosted.server, FAULT), 0);
    let rejected = place.trail.of(AuditEvent::Push);
    assert!(rejected.iter().all(|line| line.outcome.as_deref() == Some("rejected")));
    assert_eq!(rejected.len(), 8, "{rejected:?}");
    // Keys in the same commit are used. A draft is not read.
    tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    tree.commit(&format!("//- policy.toml\n{good}{issuer}\n//- keys.jwks\n{{\"keys\":[]}}\n"));
    let said = tree.push(&["main"]);
    assert!(said.err.contains("jwks_file") || said.code == Some(0), "{}", said.err);
    tree.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    tree.commit("//- policy.toml\nnot a policy\n");
    tree.push(&["main:draft"]).succeeds().says(&["draft: a draft, which the server does not read"]);
    place.get("/orders/prod", "orders").expect(200);
}

#[test]
fn an_administrator_whose_right_was_removed_can_change_nothing_more() {
    let place = Place::new();
    let two = format!("{}[[allow]]\nwho = [\"lister\"]\nmay = [\"admin\"]\n", policy(RULES));
    let ops = place.clone("ops");
    place.push(&ops, &two).succeeds().says(&["lister may now change the policy"]);
    let lister = place.clone("lister");
    lister.commit(&format!("//- policy.toml\n{two}# of lister\n"));
    place.push(&ops, &policy(RULES)).succeeds();
    lister.push(&["main"]).fails(&["not found"]);
    lister.git(&["fetch", "--quiet"]).fails(&["not found"]);
    // A removed token is rejected like any unknown one.
    let digest = sha256(&token("ops", 1));
    place.push(&ops, &policy(RULES).replace(&digest, &sha256("another"))).succeeds();
    ops.git(&["fetch", "--quiet"]).fails(&["Authentication failed"]);
}

#[test]
fn one_of_two_pushes_at_once_wins() {
    let place = Place::new();
    let before = place.clone("ops");
    let mut accepted = Vec::new();
    for round in 0..5 {
        let trees = ["a", "b"].map(|name| {
            let path = place.work.path().join(format!("{name}{round}"));
            let tree = clone(&policy_url(place.hosted.server.0, "ops"), &path);
            tree.commit(&format!("//- policy.toml\n{}# {name} {round}\n", policy(RULES)));
            tree
        });
        let said = std::thread::scope(|scope| {
            let pushes = trees.each_ref().map(|tree| scope.spawn(|| tree.push(&["main"])));
            pushes.map(|push| push.join().expect("git runs"))
        });
        let tips = trees
            .each_ref()
            .map(|tree| tree.git(&["rev-parse", "HEAD"]).succeeds().out.trim().to_owned());
        let won = said.iter().position(|said| said.code == Some(0)).expect("one push is accepted");
        assert_ne!(said[1 - won].code, Some(0), "both were accepted: {said:?}");
        assert_eq!(place.tip(), tips[won]);
        accepted.push(won);
    }
    before.git(&["fetch", "--quiet"]).succeeds();
    let overview = place.get("/-/replicas", "ops").expect(200).json();
    let name = ["a", "b"][accepted[4]];
    let expected = sha256(&format!("{}# {name} 4\n", policy(RULES)));
    assert_eq!(overview["replicas"][0]["policy"]["digest"], expected[..8]);
}

#[test]
fn a_policy_that_cannot_be_recorded_is_rejected() {
    let place = Place::new();
    let (tree, before) = (place.clone("ops"), place.tip());
    place.trail.block();
    let said = place.push(&tree, &format!("{}{BILLING}", policy(RULES)));
    crate::audit::is_rejected_by_the_trail(said);
    assert_eq!(place.tip(), before);
    place.get("/billing/prod", "orders").expect(404);
    place.trail.unblock();
    eventually("the trail is written again", || tree.push(&["main"]).code == Some(0));
    place.get("/billing/prod", "orders").expect(200);
}

/// The reason for which a server does not start.
fn start_error(settings: &Settings) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let built = headwater::server::build(settings, runtime.handle().clone());
    runtime.shutdown_background();
    built.err().expect("the server does not start").to_string()
}

#[test]
fn a_server_starts_with_the_policy_of_its_repository_only() {
    let (shop, data, work) = (directory(SHOP), directory(""), directory(""));
    let mut settings = crate::fixture::hosted_settings(&data.path().join("data"), shop.path());
    settings.sources[0].default_label = Some("main".to_owned());
    follow_repository(&mut settings, None);
    let error = start_error(&settings);
    assert!(error.contains("hosted:policy") && error.contains("access.policy_seed"), "{error}");
    // A seed that cannot take effect makes no commit, so that it can be corrected.
    let bad = seed("version = 1\n");
    settings.access.policy_seed = Some(bad.path().to_owned());
    let error = start_error(&settings);
    assert!(error.contains("has the right admin"), "{error}");
    let good = seed(&policy(RULES));
    settings.access.policy_seed = Some(good.path().to_owned());
    let server = Server::with(settings.clone());
    get(*server, "/billing/prod", "orders").expect(404);
    let tree = clone(&policy_url(server.0, "ops"), &work.path().join("clone"));
    tree.commit(&format!("//- policy.toml\n{}{BILLING}", policy(RULES)));
    tree.push(&["main"]).succeeds();
    drop(server);
    // The seed has no effect any more, even if it is missing.
    drop(good);
    eventually("the data directory is free", || {
        headwater::data::DataDirectory::open(&settings.data).is_ok()
    });
    let server = Server::with(settings.clone());
    get(*server, "/billing/prod", "orders").expect(200);
    drop(server);
    // Neither its name nor its path can be a source.
    eventually("the data directory is free", || {
        headwater::data::DataDirectory::open(&settings.data).is_ok()
    });
    settings.sources[0].uri = settings.data.join("hosted/policy.git").display().to_string();
    settings.sources[0].seed = None;
    let error = start_error(&settings);
    assert!(error.contains("cannot be a source of configuration too"), "{error}");
}

#[test]
fn a_policy_that_was_acknowledged_survives_a_kill() {
    let (shop, seed, work) = (directory(SHOP), seed(&policy(RULES)), directory(""));
    let config = work.path().join("headwater.toml");
    let text = format!(
        "data = {:?}\n[access]\npolicy = \"hosted:policy\"\npolicy_seed = {:?}\n\
         [[source]]\nuri = \"hosted:main\"\nseed = {:?}\ndefault_label = \"main\"\n",
        work.path().join("data"),
        seed.path(),
        shop.path(),
    );
    std::fs::write(&config, text).unwrap();
    let serve = || Child::serve(&["--config", config.to_str().unwrap()]);
    let mut server = serve();
    let tree = clone(&policy_url(server.0, "ops"), &work.path().join("clone"));
    for round in 0..6 {
        tree.git(&["remote", "set-url", "origin", &policy_url(server.0, "ops")]).succeeds();
        let rule = if round % 2 == 0 { BILLING } else { "" };
        tree.commit(&format!("//- policy.toml\n{}{rule}# {round}\n", policy(RULES)));
        tree.push(&["main"]).succeeds();
        // Killed by its id, without a chance to write anything more.
        drop(server);
        server = serve();
        let expected = if round % 2 == 0 { 200 } else { 404 };
        assert_eq!(get(*server, "/billing/prod", "orders").status, expected, "{round}");
    }
}

#[test]
fn an_expired_token_is_rejected_and_keeps_no_server_from_its_start() {
    let (shop, data, work) = (directory(SHOP), directory(""), directory(""));
    let mut settings = crate::fixture::hosted_settings(&data.path().join("data"), shop.path());
    settings.sources[0].default_label = Some("main".to_owned());
    let seed = seed(&policy(RULES));
    follow_repository(&mut settings, Some(seed.path()));
    let server = Server::with(settings.clone());
    let tree = clone(&policy_url(server.0, "ops"), &work.path().join("clone"));
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(10);
    let temporary = format!(
        "[[principal]]\nname = \"temporary\"\nkind = \"service\"\ntokens = [{{ sha256 = \"{}\", \
         expires = {expires} }}]\n",
        sha256(&token("temporary", 1)),
    );
    let text = policy(RULES) + &temporary;
    tree.commit(&format!("//- policy.toml\n{text}"));
    tree.push(&["main"]).succeeds();
    get(*server, "/temporary/default", "temporary").expect(200);
    eventually("the token has expired", || {
        get(*server, "/temporary/default", "temporary").status == 401
    });
    drop(server);
    eventually("the data directory is free", || {
        headwater::data::DataDirectory::open(&settings.data).is_ok()
    });
    let server = Server::with(settings);
    get(*server, "/orders/default", "orders").expect(200);
    get(*server, "/temporary/default", "temporary").expect(401);
    // A push is checked against the clock.
    tree.git(&["remote", "set-url", "origin", &policy_url(server.0, "ops")]).succeeds();
    tree.commit(&format!("//- policy.toml\n{text}# again\n"));
    tree.push(&["main"]).fails(&["all tokens of temporary have expired"]);
}
