//! Contracts: registered by instances, kept over a restart, and compared with pushes. A false contract keeps
//! existing keys and requires no new one.

use headwater::settings::Settings;
use headwater_wire::{CONTRACT_BYTES_MAX, Contract, ContractKey, ValueType};
use serde_json::Value;

use crate::access::{RULES, bearer, policy};
use crate::fixture::{Address, Hosted, Reply, Server, eventually};

const SHOP: &str = "\
//- product.yml
catalogue:
  page-size: 20
http:
  retries: 3
//- order.yml
http:
  retries: 5
";

/// A build of `product` that requires both of its keys.
fn product() -> Contract {
    contract("product", &[("catalogue.page-size", ValueType::U32), ("http.retries", ValueType::U8)])
}

fn contract(application: &str, keys: &[(&str, ValueType)]) -> Contract {
    let keys = keys.iter().map(|(key, value_type)| ContractKey {
        key: (*key).to_owned(),
        value_type: *value_type,
        required: true,
    });
    Contract::new(application.to_owned(), Some("1.4".to_owned()), keys.collect(), vec![]).unwrap()
}

fn path(contract: &Contract) -> String {
    format!("/-/contracts/{}/{}", contract.application, contract.digest)
}

fn put(server: Address, path: &str, headers: &str, body: &[u8]) -> Reply {
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    server.send(&[head.as_bytes(), body].concat())
}

/// Sends the request of an instance that names a contract, and reports that it accepts its configuration.
fn report(server: Address, name: &str, environment: &str, contract: &Contract) -> Reply {
    let first = server.get(environment).expect(200);
    let digest = first.header("etag").unwrap().strip_prefix("W/\"").unwrap();
    let digest = digest.split('.').next().unwrap();
    let applied = format!("{}.{digest} ok", first.header("headwater-revision").unwrap());
    let headers = [
        ("Headwater-Instance", name),
        ("Headwater-Applied", applied.as_str()),
        ("Headwater-Contract", contract.digest.as_str()),
    ];
    server.get_with(environment, &headers).expect(200)
}

/// Registers a contract as an instance does: it names the contract, is asked for it, and sends it.
fn register(server: Address, name: &str, environment: &str, contract: &Contract) {
    let asked = report(server, name, environment, contract);
    assert_eq!(asked.header("headwater-contract-wanted"), Some(contract.digest.as_str()));
    put(server, &path(contract), "", contract.to_json().as_bytes()).expect(201);
}

fn listed(server: Address) -> Vec<Value> {
    server.get("/-/contracts").expect(200).json()["contracts"].as_array().unwrap().clone()
}

#[test]
fn a_contract_is_asked_for_once_and_listed() {
    let hosted = Hosted::new(SHOP);
    let (server, product) = (*hosted.server, product());
    register(server, "web-1", "/product/default", &product);
    let known = report(server, "web-2", "/product/default", &product);
    assert_eq!(known.header("headwater-contract-wanted"), None);
    put(server, &path(&product), "", product.to_json().as_bytes()).expect(204);
    assert_eq!(server.get(&path(&product)).expect(200).text(), product.to_json());
    let known = &listed(server)[0];
    for (member, value) in [
        ("application", Value::from("product")),
        ("version", "1.4".into()),
        ("digest", product.digest.as_str().into()),
        ("key_count", 2.into()),
        ("instances", 0.into()),
        ("accepted", true.into()),
    ] {
        assert_eq!(known[member], value, "{member}");
    }
    assert_eq!(
        server.get("/-/contracts/order").expect(200).json()["contracts"],
        Value::Array(vec![])
    );
    let instance = &server.get("/-/instances").expect(200).json()["instances"][0];
    assert_eq!(instance["contract"], product.digest.as_str());
}

#[test]
fn bodies_that_are_no_contract_are_rejected() {
    let hosted = Hosted::new(SHOP);
    let (server, product) = (*hosted.server, product());
    let text = product.to_json();
    for (status, path, body, reason) in [
        (400, path(&product), text.replace("1.4", "1.5"), "the digest is not the SHA-256"),
        (400, path(&product).replace("product", "order"), text.clone(), "is not that of the path"),
        (400, path(&product), "{}".to_owned(), "malformed: missing field"),
        (400, path(&product), text.replace("\"keys\"", "\"more\":1,\"keys\""), "unknown field"),
        (400, path(&contract("product", &[])), text.clone(), "the digest is not the SHA-256"),
        (413, path(&product), " ".repeat(CONTRACT_BYTES_MAX + 1), "larger than 65536 bytes"),
        (413, path(&product), " ".repeat(10_000_000), "larger than 65536 bytes"),
        (404, "/-/contracts/product/0123".to_owned(), text.clone(), ""),
        (404, "/-/contracts/../0123".to_owned(), text.clone(), ""),
    ] {
        let reply = put(server, &path, "", body.as_bytes()).expect(status);
        assert!(reply.text().contains(reason), "{}", reply.everything());
    }
    server.ask("POST", &path(&product), &[]).expect(405);
    server.ask("PUT", "/-/contracts/product", &[]).expect(405);
    assert_eq!(listed(server), Vec::<Value>::new());
    // An invalid name of a contract changes nothing for the instance.
    let headers = [("Headwater-Instance", "a"), ("Headwater-Contract", "../../etc/passwd")];
    let reply = server.get_with("/product/default", &headers).expect(200);
    assert_eq!(reply.header("headwater-contract-wanted"), None);
}

#[test]
fn a_push_that_breaks_a_running_build_is_rejected_with_its_place() {
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    register(server, "web-1", "/product/default", &product());
    let tree = hosted.clone("work");
    let before = hosted.tip("main");
    tree.commit("//- product.yml\ncatalogue:\n  page-size: many\n");
    tree.push(&["main"]).fails(&[
        "remote: product.yml:2:14: catalogue.page-size: rejected: product 1.4 (no instance now) reads it as an integer from 0 to 4294967295",
        "remote: product.yml: http.retries: removed: rejected: product 1.4 (no instance now) requires it",
        "push again, or push with -o override=contract -o reason=<text>",
    ]);
    assert_eq!(hosted.tip("main"), before);
    // What the build accepts passes, and so does the same change of another application.
    tree.commit(
        "//- product.yml\ncatalogue:\n  pageSize: \"30\"\nhttp.retries: 4\n//- order.yml\na: 1\n",
    );
    tree.push(&["main"]).succeeds();
}

#[test]
fn a_push_overrides_contracts_with_a_reason() {
    let hosted = Hosted::new(SHOP);
    register(*hosted.server, "web-1", "/product/default", &product());
    let tree = hosted.clone("work");
    tree.commit("//- product.yml\ncatalogue:\n  page-size: many\nhttp.retries: 4\n");
    tree.push(&["main"]).fails(&["catalogue.page-size: rejected: product 1.4"]);
    tree.push(&["-o", "override=contract", "-o", "reason=the build is gone", "main"])
        .succeeds()
        .says(&[
            "warning: product.yml:2:14: catalogue.page-size: overridden: product 1.4",
            "published main at",
        ]);
}

#[test]
fn a_connected_instance_is_counted() {
    use std::io::Write;
    let hosted = Hosted::new(SHOP);
    let (server, product) = (*hosted.server, product());
    register(server, "web-1", "/product/default", &product);
    let mut stream = server.connect();
    let head = format!(
        "GET /product/default HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nHeadwater-Instance: web-1\r\n\
         Headwater-Contract: {}\r\n\r\n",
        product.digest
    );
    stream.write_all(head.as_bytes()).unwrap();
    eventually("it is connected", || listed(server)[0]["instances"] == 1);
    let tree = hosted.clone("work");
    tree.commit("//- product.yml\ncatalogue:\n  page-size: 20\n  opens: 8\n");
    tree.push(&["main"]).fails(&[
        "product.yml: http.retries: removed: rejected: product 1.4 (1 instance) requires it",
        "warning: product.yml:3:10: catalogue.opens: no instance of product reads it (1 of 1 report the keys that they read)",
    ]);
    let keys = server.get("/-/contracts/product/keys").expect(200).json();
    assert_eq!((&keys["instances"], &keys["reporting"]), (&1.into(), &1.into()));
    let size = &keys["keys"][0];
    assert_eq!((&size["key"], &size["unread"]), (&"catalogue.page-size".into(), &false.into()));
    assert_eq!(size["origins"][0], "product.yml:2:14");
    let reader = &size["readers"][0];
    assert_eq!((&reader["version"], &reader["type"]), (&"1.4".into(), &"u32".into()));
    assert_eq!((&reader["instances"], &reader["required"]), (&1.into(), &true.into()));
}

#[test]
fn contracts_survive_a_restart_of_the_server() {
    let place = tempfile::tempdir().unwrap();
    let seed = crate::fixture::directory(SHOP);
    let settings = || crate::fixture::hosted_settings(&place.path().join("data"), seed.path());
    {
        let server = Server::with(settings());
        register(*server, "web-1", "/product/default", &product());
    }
    // The server writes at its end that an instance has named the contract and accepted its configuration.
    let server = Server::with(settings());
    let known = &listed(*server)[0];
    assert_eq!(known["digest"], product().digest.as_str());
    assert_eq!(known["accepted"], true);
}

#[test]
fn a_contract_that_no_instance_accepted_protects_nothing() {
    let hosted = Hosted::new(SHOP);
    let (server, product) = (*hosted.server, product());
    put(server, &path(&product), "", product.to_json().as_bytes()).expect(201);
    let headers = [("Headwater-Instance", "a"), ("Headwater-Contract", product.digest.as_str())];
    server.get_with("/product/default", &headers).expect(200);
    let tree = hosted.clone("work");
    tree.commit("//- product.yml\ncatalogue:\n  page-size: many\n");
    tree.push(&["main"]).succeeds();
}

#[test]
fn lying_clients_demand_nothing_and_stop_no_other_application() {
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    // Keys that do not exist, wrong types of keys that do, and a type that contradicts the content.
    let greedy = contract(
        "product",
        &[
            ("new.key", ValueType::Text),
            ("catalogue.page-size", ValueType::Bool),
            ("catalogue.new", ValueType::U8),
            ("http.retries.deep", ValueType::Text),
        ],
    );
    register(server, "liar", "/product/default", &greedy);
    // A contract of another application, named in an environment of this one.
    let foreign = contract("order", &[("http.retries", ValueType::U8)]);
    put(server, &path(&foreign), "", foreign.to_json().as_bytes()).expect(201);
    report(server, "liar-2", "/product/default", &foreign);
    let tree = hosted.clone("work");
    tree.commit(
        "//- product.yml\ncatalogue:\n  page-size: false\n  new: many\n//- order.yml\nhttp.retries: none\n",
    );
    tree.push(&["main"]).succeeds();
}

#[test]
fn ten_thousand_identities_do_not_slow_a_push_down_or_fill_the_registry() {
    let hosted = Hosted::new(SHOP);
    let server = *hosted.server;
    let mut session = crate::fixture::Session::new(server);
    for number in 0..10_000 {
        let made_up = format!("made-up-{}", number % 500);
        let digest = format!("{number:064x}");
        let name = format!("liar-{number}");
        let headers =
            [("Headwater-Instance", name.as_str()), ("Headwater-Contract", digest.as_str())];
        session.get_with(&format!("/{made_up}/default"), &headers).expect(200);
    }
    for number in 0..40 {
        let contract = contract("product", &[(format!("key-{number}").as_str(), ValueType::Text)]);
        put(server, &path(&contract), "", contract.to_json().as_bytes()).expect(201);
    }
    assert_eq!(listed(server).len(), 16);
    // A running build still registers, because contracts without instances make room.
    register(server, "web-1", "/product/default", &product());
    let tree = hosted.clone("work");
    tree.commit("//- product.yml\ncatalogue:\n  page-size: 21\nhttp.retries: 2\n");
    tree.push(&["main"]).succeeds();
    tree.commit("//- product.yml\ncatalogue:\n  page-size: many\nhttp.retries: 2\n");
    tree.push(&["main"]).fails(&["catalogue.page-size: rejected: product 1.4"]);
}

#[test]
fn under_a_policy_a_principal_registers_contracts_of_its_applications_alone() {
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("policy.toml");
    std::fs::write(&file, policy(RULES)).unwrap();
    let permit = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, permit).unwrap();
    let seed = "//- orders.yml\nname: Orders\n//- billing.yml\nname: Billing\n";
    let hosted = Hosted::with(seed, |settings: &mut Settings| {
        settings.access.policy_file = Some(file.clone());
    });
    let server = *hosted.server;
    let orders = contract("orders", &[("name", ValueType::Text)]);
    let billing = contract("billing", &[("name", ValueType::Text)]);
    let send = |contract: &Contract, principal: Option<&str>| {
        let authorization = principal
            .map(|name| format!("Authorization: {}\r\n", bearer(name, 1)))
            .unwrap_or_default();
        put(server, &path(contract), &authorization, contract.to_json().as_bytes()).status
    };
    assert_eq!(send(&orders, None), 401);
    assert_eq!(send(&orders, Some("orders")), 201);
    assert_eq!(send(&billing, Some("orders")), 404);
    assert_eq!(send(&billing, Some("billing")), 201);
    let get = |path: &str, principal: &str| {
        server.get_with(path, &[("Authorization", bearer(principal, 1).as_str())])
    };
    get(&path(&billing), "orders").expect(404);
    get(&path(&orders), "orders").expect(200);
    get("/-/contracts/billing/keys", "orders").expect(404);
    // A principal that lists receives its own applications.
    let listed = get("/-/contracts", "lister").expect(200).json();
    assert_eq!(listed["contracts"].as_array().unwrap().len(), 1);
    assert_eq!(listed["contracts"][0]["application"], "orders");
}
