//! References to secret files and to Vault: a file may name only those that its area allows, at a push, in a source that
//! is changed by hand, and after a change of the policy.

use headwater::settings::Settings;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{PolicyFile, RULES, Stream, bearer, get, policy, token};
use crate::fixture::{Address, Hosted, Repository, Server, clone, directory, eventually, settings};
use crate::secrets::references::Mount;
use crate::secrets::stand_in::StandIn;

/// The files of two services, each with its own secrets.
const SHOP: &str = "\
//- orders.yml
db: '{file}:orders-db'
password: '{vault}:shop/orders#password'
//- billing.yml
db: '{file}:billing-db'
password: '{vault}:shop/billing#password'
//- lister.yml
name: Lister
";

/// What orders would read of billing.
const FOREIGN: &str = "\
//- orders.yml
db: '{file}:orders-db'
stolen:
  file: '{file}:billing-db'
  vault: '{vault}:shop/billing#password'
";

/// The beginning of every secret of billing.
const CANARY: &str = "s3cret-billing";

/// Each service names its own secrets. Services open what they read, and `ops` opens everything.
fn rules() -> String {
    let rules = RULES.replace("may = [\"read\"]\napplication = [\"{principal}\"]", OPEN);
    let rules = rules.replace("may = [\"read\", \"file\", \"push\"]", OPEN_ALL);
    assert!(rules.contains(OPEN) && rules.contains(OPEN_ALL));
    rules + AREA
}

const OPEN: &str = "may = [\"read\", \"open\"]\napplication = [\"{principal}\"]";
const OPEN_ALL: &str = "may = [\"read\", \"open\", \"file\", \"push\"]";
const AREA: &str = "[[area]]\npath = [\"*.yml\"]\nfile = [\"{application}-*\"]\nvault = [\"shop/{application}\"]\n";
/// Lets orders name the secrets of billing.
const WIDER: &str =
    "[[area]]\npath = [\"orders.yml\"]\nfile = [\"billing-db\"]\nvault = [\"shop/billing\"]\n";

/// The secrets, and the policy.
struct Secrets {
    mount: Mount,
    vault: StandIn,
    policy: PolicyFile,
}

impl Secrets {
    fn new() -> Self {
        let vault = StandIn::start();
        vault.write("shop/orders", json!({"password": "s3cret-orders-vault"}));
        vault.write("shop/billing", json!({"password": format!("{CANARY}-vault")}));
        let file = format!("{CANARY}-file");
        let mount = Mount::new(&[("orders-db", "s3cret-orders-file"), ("billing-db", &file)]);
        Self { mount, vault, policy: PolicyFile::new(&policy(&rules())) }
    }

    fn add_to(&self, settings: &mut Settings) {
        settings.secrets = self.vault.settings();
        settings.secrets.directory = Some(self.mount.path().to_owned());
        settings.access.policy_file = Some(self.policy.path());
        settings.sources[0].default_label = Some("main".to_owned());
    }

    fn server(&self, uri: &str, change: impl FnOnce(&mut Settings)) -> Server {
        let mut settings = settings(uri);
        self.add_to(&mut settings);
        change(&mut settings);
        Server::with(settings)
    }
}

/// The flat form, once Vault was read.
fn flat(server: Address, application: &str) -> Json {
    let path = format!("/{application}-default.json");
    eventually("the secrets are read", || get(server, &path, application).status == 200);
    get(server, &path, application).json()
}

#[test]
fn a_push_with_a_secret_of_another_area_is_rejected_with_its_place() {
    let secrets = Secrets::new();
    let hosted = Hosted::with(SHOP, |settings| secrets.add_to(settings));
    let place = tempfile::tempdir().unwrap();
    let with_token = format!("http://ops:{}@", token("ops", 1));
    let url = hosted.url().replacen("http://", &with_token, 1);
    let work = clone(&url, &place.path().join("work"));
    for (reference, places) in [
        ("db: '{file}:billing-db'", ["orders.yml:2:", "db: "]),
        ("db: '{vault}:shop/billing#password'", ["orders.yml:2:", "db: "]),
        ("db: '{vault}:shop/orders/more#password'", ["orders.yml:2:", "db: "]),
        ("db: '{vault}:shop#password'", ["orders.yml:2:", "db: "]),
    ] {
        work.commit(&format!("//- orders.yml\nname: Orders\n{reference}\n"));
        let said = work.push(&["main"]).fails(&places);
        assert!(said.err.contains("policy"), "{}", said.err);
        assert!(!said.err.contains(CANARY), "{}", said.err);
        work.git(&["reset", "--quiet", "--hard", "origin/main"]).succeeds();
    }
    let own = "//- orders.yml\nname: Orders\ndb: '{file}:orders-db'\npassword: '{vault}:shop/orders#password'\n";
    work.commit(own);
    work.push(&["main"]).succeeds();
    let expected =
        json!({"name": "Orders", "db": "s3cret-orders-file", "password": "s3cret-orders-vault"});
    assert_eq!(flat(*hosted.server, "orders"), expected);
}

/// Checks that the secrets of billing that orders names by hand stay references, and are listed with their places.
fn assert_closed(server: Address, file: &str) {
    let expected = json!({
        "db": "s3cret-orders-file",
        "stolen": {"file": "{file}:billing-db", "vault": "{vault}:shop/billing#password"},
    });
    assert_eq!(flat(server, "orders"), expected);
    let billing = json!({"db": format!("{CANARY}-file"), "password": format!("{CANARY}-vault")});
    assert_eq!(flat(server, "billing"), billing);
    for path in ["/orders/default", "/orders-default.properties"] {
        let all = get(server, path, "orders").expect(200).everything();
        assert!(!all.contains(CANARY), "{all}");
    }
    let problems = get(server, "/-/problems", "ops").expect(200);
    let text = problems.text();
    for key in ["stolen.file", "stolen.vault"] {
        assert!(text.contains(&format!("\"key\":\"{key}\"")), "{key}: {text}");
    }
    assert!(text.contains(file) && text.contains("policy"), "{text}");
    assert!(!text.contains(CANARY), "{text}");
}

#[test]
fn a_reference_that_was_put_into_a_directory_by_hand_stays_sealed_and_is_listed() {
    let secrets = Secrets::new();
    let place: TempDir = directory(SHOP);
    let server = secrets.server(&format!("file://{}", place.path().display()), |_| {});
    flat(*server, "orders");
    for (path, bytes) in crate::fixture::files(FOREIGN) {
        std::fs::write(place.path().join(path), bytes).unwrap();
    }
    eventually("the file is read", || {
        get(*server, "/orders/default", "orders").text().contains("stolen")
    });
    assert_closed(*server, "orders.yml");
}

#[test]
fn a_reference_that_a_mirror_brings_stays_sealed_and_is_listed() {
    let secrets = Secrets::new();
    // The remote has no policy.
    let remote = Hosted::new(SHOP);
    let place = tempfile::tempdir().unwrap();
    let server = secrets.server(&remote.url(), |settings| {
        settings.data = place.path().join("data");
    });
    flat(*server, "orders");
    let work = remote.clone("work");
    work.commit(FOREIGN);
    work.push(&["main"]).succeeds();
    eventually("the commit is fetched", || {
        get(*server, "/orders/default", "orders").text().contains("stolen")
    });
    assert_closed(*server, "orders.yml");
}

/// Reads one event of an environment to its end.
fn event(stream: &mut Stream) -> String {
    stream.read_to("event: environment") + &stream.read_to("\n\n")
}

#[test]
fn a_change_of_the_areas_opens_and_closes_values_and_wakes_their_watchers_only() {
    let secrets = Secrets::new();
    let repository = Repository::new(SHOP);
    repository.commit(FOREIGN);
    let server = secrets.server(&repository.uri(), |_| {});
    for application in ["orders", "billing"] {
        flat(*server, application);
    }
    let open = |principal: &str| {
        Stream::open(*server, &format!("/{principal}/default"), &bearer(principal, 1))
    };
    let (mut orders, mut billing) = (open("orders"), open("billing"));
    let mut reader = Stream::open(*server, "/lister/default", &bearer("ops", 1));
    assert!(!event(&mut orders).contains(CANARY));
    assert!(event(&mut billing).contains(CANARY));
    event(&mut reader);
    for _ in 0..2 {
        secrets.policy.replace(&policy(&format!("{}{WIDER}", rules())));
        let opened = event(&mut orders);
        for value in ["file", "vault"] {
            assert!(opened.contains(&format!("{CANARY}-{value}")), "{opened}");
        }
        secrets.policy.replace(&policy(&rules()));
        let closed = event(&mut orders);
        assert!(closed.contains("{file}:billing-db") && !closed.contains(CANARY), "{closed}");
    }
    // The next events of the other watchers are those of a commit.
    repository.commit("//- billing.yml\nname: Later\n//- lister.yml\nname: Later\n");
    for stream in [&mut billing, &mut reader] {
        let event = event(stream);
        assert!(event.contains("Later"), "{event}");
    }
}
