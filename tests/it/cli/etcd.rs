//! `check`, `diff`, `explain` and `get` of what lies in etcd.

use std::net::TcpListener;

use serde_json::Value;

use super::{refuses, type_in};
use crate::fixture::{Cluster, Repository};

#[test]
fn revisions_and_labels_in_etcd_are_compared_explained_and_checked() {
    let cluster = Cluster::shared();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // One of the members is away.
    let uri = cluster.uri("cli").replace("etcd://", &format!("etcd://{closed},"));
    let repository = Repository::new("//- application.yml\na: 1\n//- orders.yml\nport: 8080\n");
    let run = |arguments: &[&str]| type_in(repository.around(), arguments);
    let copy = |label: &str| {
        let arguments = ["copy", &repository.uri(), &uri, "--label", label, "--output", "json"];
        let report: Value = serde_json::from_str(&run(&arguments).out).unwrap();
        report["to"]["revision"].as_str().unwrap().to_owned()
    };
    let first = copy("main");
    repository.commit_on("side", "//- orders.yml\nport: 7070\n");
    repository.commit("//- orders.yml\nport: 9090\nhost: here\n");
    let (second, _) = (copy("main"), copy("side"));
    for (old, new, expected) in [
        (&*first, &*second, "orders/default: 1 key added, 1 key changed\n  + host\n  ~ port\n"),
        ("side", "main", "orders/default: 1 key added, 1 key changed\n  + host\n  ~ port\n"),
        (&*first, "side", "orders/default: 1 key changed\n  ~ port\n"),
    ] {
        let said = run(&["diff", old, new, "--source", &uri]);
        assert_eq!((said.code, said.out.as_str()), (Some(1), expected), "{}", said.err);
    }
    let said = run(&["explain", "port", "orders", "--source", &uri]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "port  orders.yml:1:7  9090\n"));
    let said = run(&["get", "orders", "--source", &uri, "--label", "side", "--output", "yaml"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "a: 1\nport: 7070\n"), "{}", said.err);
    let said = run(&["check", &uri, "--base", &first]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.err.contains("changes 1 environment"), "{}", said.err);
    let unknown = "ab".repeat(32);
    refuses(&run(&["diff", "main", &unknown, "--source", &uri]), &["unknown label"]);
    let nobody = format!("etcd://{closed}/cli");
    refuses(&run(&["diff", "main", "side", "--source", &nobody]), &["is unreachable"]);
    refuses(&run(&["check", &nobody]), &["is unreachable"]);
}
