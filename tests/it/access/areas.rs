//! Attacks on the border between two applications: nothing of `billing` reaches a caller that may read `orders` only.
//!
//! Every value of billing is a canary, which no answer to `orders` may contain.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::{Guarded, PolicyFile, RULES, Stream, bearer, get, policy};
use crate::fixture::{
    Address, Cluster, Hosted, Repository, Server, Until, clone, directory, eventually, files,
    settings,
};

/// The files of two applications, with imports, folders and names that lead from `orders` to `billing`.
const SHOP: &str = "\
//- application.yml
shared: everywhere
//- orders.yml
name: own-name
//- orders-import.yml
spring.config.import: billing.yml
own: import
//- orders-optional.yml
spring.config.import: optional:billing-prod.yml;optional:billing/
own: optional
//- orders-wild.yml
spring.config.import: optional:*/secret.yml
own: wild
//- orders-placeholder.yml
target: billing
spring.config.import: ${target}.yml
own: placeholder
//- orders-admin.yml
z: canary-of-admin
//- orders/notes.txt
The notes of ${name}.
//- orders/guess.txt
${secret:nothing}
//- billing.yml
name: canary-name
secret: canary-secret
//- billing-prod.yml
canary.key: canary-prod
//- billing-canaryprofile.yml
x: canary-profile
//- billing/application.yml
x: canary-folder
//- billing/orders.yml
x: canary-in-folder
//- billing/secret.yml
y: canary-wild
//- billing/canary.txt
canary-text
";

/// The rules of this module. The policy knows `orders-admin` as an application of its own.
fn rules() -> String {
    let more = "[[allow]]\nwho = [\"ops\"]\nmay = [\"read\"]\napplication = [\"orders-admin\"]\nprofile = [\"*\"]\n";
    format!("{RULES}{more}")
}

/// The links from orders to billing.
const LINKS: [(&str, &str); 3] = [
    ("orders-link.yml", "billing-prod.yml"),
    ("orders-linked", "billing"),
    ("orders/link.txt", "../billing/canary.txt"),
];

/// A served shop, and what has to live as long as it.
struct Shop {
    server: Address,
    /// The links that the source has.
    links: &'static [&'static str],
    _policy: PolicyFile,
    _keep: Box<dyn std::any::Any>,
}

fn shop(open: impl FnOnce(&PolicyFile) -> (Address, Box<dyn std::any::Any>)) -> Shop {
    let file = PolicyFile::new(&policy(&rules()));
    let (server, keep) = open(&file);
    Shop { server, links: &["orders-link.yml"], _policy: file, _keep: keep }
}

/// The settings for a source with search paths that lead everywhere.
fn with_search_paths(uri: &str, file: &PolicyFile) -> headwater::settings::Settings {
    let mut settings = settings(uri);
    let paths = ["{profile}", "{application}", "*"];
    settings.sources[0].search_paths = paths.map(str::to_owned).to_vec();
    settings.sources[0].default_label = Some("main".to_owned());
    settings.access.policy_file = Some(file.path());
    settings
}

fn repository() -> Shop {
    shop(|file| {
        let repository = Repository::new(SHOP);
        for (link, target) in LINKS {
            repository.commit_link(link, target);
        }
        let server = Server::with(with_search_paths(&repository.uri(), file));
        (*server, Box::new((server, repository)))
    })
}

fn plain_directory() -> Shop {
    shop(|file| {
        let directory: TempDir = directory(SHOP);
        for (link, target) in LINKS {
            std::os::unix::fs::symlink(target, directory.path().join(link)).unwrap();
        }
        let uri = format!("file://{}", directory.path().display());
        let server = Server::with(with_search_paths(&uri, file));
        (*server, Box::new((server, directory)))
    })
}

/// The paths that `orders` tries, with the status of each.
const ATTEMPTS: [(&str, u16); 22] = [
    ("/orders/import", 200),
    ("/orders/optional", 200),
    ("/orders/wild", 200),
    ("/orders/placeholder", 200),
    ("/orders/link", 200),
    ("/orders/linked", 200),
    ("/orders/admin", 200),
    ("/orders/billing", 200),
    ("/orders/import,link,wild,placeholder,optional,billing", 200),
    ("/orders-import.yml", 200),
    ("/orders-link.properties", 200),
    ("/billing/prod", 404),
    ("/orders,billing/prod", 404),
    ("/application,billing/prod", 404),
    ("/orders/prod/main/billing.yml", 404),
    ("/orders/billing/main/secret.yml", 404),
    ("/orders/prod/main/billing/canary.txt", 404),
    ("/orders/prod/main/canary.txt", 404),
    ("/orders/link/main/orders.yml", 200),
    ("/orders/prod/main/link.txt", 404),
    ("/orders/prod/main/guess.txt", 200),
    ("/orders/prod/main/notes.txt", 200),
];

fn assert_closed(shop: &Shop) {
    for (path, status) in ATTEMPTS {
        let reply = get(shop.server, path, "orders").expect(status);
        let all = reply.everything();
        assert!(!all.contains("canary-"), "{path}: {all}");
    }
    let notes = get(shop.server, "/orders/prod/main/notes.txt", "orders").text();
    assert_eq!(notes, "The notes of own-name.\n");
    // A file that another application owns is answered like one that does not exist.
    let existing = get(shop.server, "/orders/prod/main/billing.yml", "orders");
    let absent = get(shop.server, "/orders/prod/main/billing-no.yml", "orders");
    assert_eq!((existing.status, existing.body), (absent.status, absent.body));
    for (path, principal) in [
        ("/billing/prod", "billing"),
        ("/orders-admin/default", "ops"),
        ("/billing/default", "ops"),
    ] {
        let text = get(shop.server, path, principal).expect(200).text();
        assert!(text.contains("canary-"), "{path}: {text}");
    }
    assert_lists_are_closed(shop);
}

fn assert_lists_are_closed(shop: &Shop) {
    let problems = |principal: &str| get(shop.server, "/-/problems", principal).expect(200);
    let all = problems("ops").text();
    for file in ["orders-import.yml", "orders-placeholder.yml"].iter().chain(shop.links) {
        assert!(all.contains(file), "{file}: {all}");
    }
    assert!(all.contains("leads to a file of another area"), "{all}");
    for path in ["/-/problems", "/-/environments", "/-/instances", "/-/fleet", "/-/rollouts"] {
        let text = get(shop.server, path, "lister").expect(200).text();
        assert!(!text.contains("canary") && !text.contains("billing.yml"), "{path}: {text}");
    }
    let environments = get(shop.server, "/-/environments", "lister").json();
    assert_eq!(environments["applications"], serde_json::json!(["orders"]));
    let all = get(shop.server, "/-/environments", "ops").text();
    assert!(all.contains("canaryprofile") && all.contains("orders-admin"), "{all}");
}

#[test]
fn a_git_repository_opens_no_file_of_another_area() {
    assert_closed(&repository());
}

#[test]
fn a_directory_opens_no_file_of_another_area() {
    assert_closed(&plain_directory());
}

#[test]
fn etcd_opens_no_file_of_another_area() {
    let (cluster, prefix) = (Cluster::shared(), "config-of-areas");
    for (path, bytes) in files(SHOP) {
        cluster.put(&format!("{prefix}/v1/files/main/{path}"), &bytes);
    }
    let mut shop = shop(|file| {
        let server = Server::with(with_search_paths(&cluster.uri(prefix), file));
        (*server, Box::new(server))
    });
    shop.links = &[];
    assert_closed(&shop);
}

#[test]
fn a_hosted_repository_and_its_mirror_open_no_file_of_another_area() {
    let file = PolicyFile::new(&policy(&rules()));
    let search_paths = ["{profile}", "{application}", "*"].map(str::to_owned).to_vec();
    let hosted = Hosted::with(SHOP, |settings| {
        settings.sources[0].search_paths = search_paths.clone();
        settings.sources[0].default_label = Some("main".to_owned());
    });
    let place = tempfile::tempdir().unwrap();
    let work = clone(&hosted.url(), &place.path().join("clone"));
    for (link, target) in LINKS {
        std::os::unix::fs::symlink(target, work.path.join(link)).unwrap();
    }
    work.commit("");
    work.push(&["--quiet", "main"]).succeeds();
    let mut settings = with_search_paths(&hosted.url(), &file);
    settings.data = place.path().join("mirror");
    let server = Server::with(settings);
    let keep = Box::new((server, hosted));
    let links = &["orders-link.yml"];
    let shop = Shop { server: *keep.0, links, _policy: file, _keep: keep };
    eventually("the mirror serves", || get(shop.server, "/orders/link", "ops").status == 200);
    assert_closed(&shop);
}

/// A shop in which an area shares a file of billing with orders.
const SHARING: &str =
    "[[area]]\npath = [\"billing-rates.yml\"]\napplication = [\"billing\", \"orders\"]\n";

fn sharing(rules: &str) -> Guarded {
    let guarded = Guarded::new(&format!("{rules}{SHARING}"));
    guarded.repository.commit(
        "//- billing-rates.yml\nrate: canary-rate\n//- orders.yml\nname: own\nspring.config.import: billing-rates.yml\n",
    );
    eventually("the area shares the file", || {
        guarded.get("/orders/prod", "orders").expect(200).text().contains("canary-rate")
    });
    guarded
}

#[test]
fn a_change_of_the_areas_takes_effect_and_wakes_watchers() {
    let guarded = sharing(RULES);
    let mut stream = Stream::open(*guarded.server, "/orders/prod", &bearer("orders", 1));
    stream.read_to("canary-rate");
    stream.read_to("\n\n");
    let known = guarded.get("/orders/prod", "orders");
    let tag = known.header("etag").expect("an entity tag").to_owned();
    guarded.policy.replace(&policy(RULES));
    let event = stream.read_to("event: environment") + &stream.read_to("\n\n");
    assert!(!event.contains("canary-rate"), "{event}");
    let changed = guarded.get("/orders/prod", "orders").expect(200);
    assert!(!changed.everything().contains("canary-rate"), "{}", changed.everything());
    assert_ne!(changed.header("etag"), Some(&*tag));
    guarded.policy.replace(&policy(&format!("{RULES}{SHARING}")));
    eventually("the area shares the file again", || {
        guarded.get("/orders/prod", "orders").expect(200).text().contains("canary-rate")
    });
}

#[test]
fn no_caller_of_one_policy_receives_what_the_other_one_shares() {
    // One policy shares the file, and the other one lets `lister` read the environment.
    let (readable, hidden) =
        ("who = [\"lister\"]\nmay = [\"read\"]", "who = [\"builder\"]\nmay = [\"read\"]");
    assert!(RULES.contains(readable));
    let rules = RULES.replacen(readable, hidden, 1);
    let guarded = sharing(&rules);
    let (shared, read) = (policy(&format!("{rules}{SHARING}")), policy(RULES));
    let (server, is_over) = (*guarded.server, AtomicBool::new(false));
    let ask = || get(server, "/orders/prod", "lister");
    std::thread::scope(|scope| {
        let until = Until(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let reply = ask();
                assert!(!reply.text().contains("canary-rate"), "{}", reply.everything());
            }
        });
        for _ in 0..10 {
            guarded.policy.replace(&read);
            eventually("the environment is readable", || ask().status == 200);
            guarded.policy.replace(&shared);
            eventually("the environment is hidden", || ask().status == 404);
        }
        drop(until);
    });
}

#[test]
fn a_change_of_tokens_resolves_nothing_again() {
    let guarded = sharing(RULES);
    let count = || super::metric(*guarded.server, "headwater_publishes_total");
    let before = count();
    let more = "[[allow]]\nwho = [\"lister\"]\nmay = [\"metrics\"]\n";
    guarded.policy.replace(&policy(&format!("{RULES}{SHARING}{more}")));
    eventually("the policy is in force", || guarded.get("/metrics", "lister").status == 200);
    assert_eq!(count(), before);
}

#[test]
fn without_enforcement_a_foreign_file_is_loaded_and_listed() {
    let text = policy(RULES).replacen("version = 1\n", "version = 1\nenforce = false\n", 1);
    let guarded = Guarded::new(RULES);
    guarded.repository.commit("//- orders-import.yml\nspring.config.import: billing.yml\n");
    eventually("the commit is served", || {
        let text = guarded.get("/orders/import", "orders").expect(200).text();
        text.contains("orders-import.yml") && !text.contains("hunter2billing")
    });
    guarded.policy.replace(&text);
    eventually("the file is loaded", || {
        guarded.get("/orders/import", "orders").expect(200).text().contains("hunter2billing")
    });
    let problems: Value = guarded.get("/-/problems", "ops").expect(200).json();
    assert!(problems.to_string().contains("will be ignored when"), "{problems}");
}

#[test]
fn a_list_at_a_label_without_rules_does_not_load_it() {
    let guarded = Guarded::new(RULES);
    guarded.repository.commit_on("secret", "//- orders.yml\na: 1\n");
    guarded.get("/-/environments?label=secret", "lister").expect(404);
    let health = guarded.get("/actuator/health", "ops").expect(200).text();
    assert!(!health.contains("secret"), "{health}");
}
