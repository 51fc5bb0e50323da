//! Lists and events contain only entries that the caller may read.

use serde_json::{Value, json};

use super::{Guarded, RULES, Stream, bearer};
use crate::fixture::eventually;

#[test]
fn lists_are_reduced_to_readable_entries() {
    let guarded = Guarded::new(RULES);
    let list = |path: &str, principal: &str| guarded.get(path, principal).expect(200).json();
    let all = list("/-/environments", "ops");
    assert_eq!(all["applications"], json!(["billing", "orders"]));
    let own = list("/-/environments", "lister");
    assert_eq!(own["applications"], json!(["orders"]));
    for (application, principal) in [("orders", "orders"), ("billing", "billing")] {
        let path = format!("/{application}/prod");
        let headers = [
            ("Authorization", bearer(principal, 1)),
            ("Headwater-Instance", format!("{application}-1")),
        ];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        guarded.server.get_with(&path, &headers).expect(200);
    }
    let names = |list: &Value| {
        let instances = list["instances"].as_array().unwrap().iter();
        instances.map(|it| it["instance"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&list("/-/instances", "ops")), ["billing-1", "orders-1"]);
    assert_eq!(names(&list("/-/instances", "lister")), ["orders-1"]);
    let applications = |principal: &str| {
        let fleet = list("/-/fleet?instance=orders-1", principal);
        let all = list("/-/fleet", principal);
        assert_eq!(fleet["instances"][0]["status"]["instance"], "orders-1");
        let environments = all["environments"].as_array().unwrap().iter();
        environments.map(|it| it["application"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (applications("ops"), applications("lister")),
        (vec!["billing".to_owned(), "orders".to_owned()], vec!["orders".to_owned()],)
    );
    // A caller that may not read /-/replicas learns their number alone.
    let replicas = |principal: &str| list("/-/fleet", principal)["replicas"].clone();
    assert_eq!(replicas("lister")[0]["name"], "1");
    assert_ne!(replicas("ops")[0]["name"], "1");
    guarded.repository.commit("//- orders.yml\na: [\n//- billing.yml\nb: [\n");
    let problems = |principal: &str| guarded.get("/-/problems", principal).expect(200).text();
    eventually("both are held back", || {
        problems("ops").contains("billing.yml") && problems("ops").contains("orders.yml")
    });
    assert!(problems("lister").contains("orders"));
    assert!(!problems("lister").contains("billing"), "{}", problems("lister"));
    // The expired tokens of the policy concern its operators only.
    let notice = " expired at 2020-01-01T00:00:00Z";
    assert!(problems("ops").contains(notice) && !problems("lister").contains(notice));
}

#[test]
fn a_label_without_readable_applications_is_listed_like_an_absent_one() {
    let guarded = Guarded::new(RULES);
    guarded.repository.commit_on("secret", "//- orders.yml\na: 1\n");
    guarded.get("/-/environments?label=secret", "ops").expect(200);
    let existing = guarded.get("/-/environments?label=secret", "lister").expect(404);
    let absent = guarded.get("/-/environments?label=absent", "lister").expect(404);
    assert_eq!(existing.body, absent.body);
}

#[test]
fn events_name_only_readable_environments() {
    let guarded = Guarded::new(RULES);
    // The answers are known, so that moves name them.
    guarded.get("/orders/prod", "orders").expect(200);
    guarded.get("/billing/prod", "billing").expect(200);
    let mut own = Stream::open(*guarded.server, "/-/events", &bearer("lister", 1));
    let mut all = Stream::open(*guarded.server, "/-/events", &bearer("ops", 1));
    own.read_to("retry: ");
    all.read_to("retry: ");
    guarded.repository.commit("//- billing.yml\nname: Changed\n");
    let first = all.read_to("event: move") + &all.read_to("\n\n\r\n");
    assert!(first.contains("billing"), "{first}");
    guarded.repository.commit("//- orders.yml\nname: Changed\n//- billing.yml\nname: Again\n");
    let seen = own.read_to("event: move") + &own.read_to("\n\n\r\n");
    assert!(seen.contains("orders") && !seen.contains("billing"), "{seen}");
    assert!(seen.contains("\"commit\":null") && seen.contains("\"actor\":\"\""), "{seen}");
}

#[test]
fn the_name_of_an_application_decides_before_its_instances() {
    let readable = "may = [\"read\"]\napplication = [\"orders\"]\nprofile = [\"*\"]";
    assert!(RULES.contains(readable));
    let guarded = Guarded::new(&RULES.replacen(readable, &readable.replace('*', "prod"), 1));
    // No instance reports yet, and the default environment is not readable.
    let own = guarded.get("/-/contracts/orders", "lister").expect(200);
    assert_eq!(own.json()["contracts"], json!([]));
    let headers = [("Authorization", bearer("billing", 1)), ("Headwater-Instance", "b-1".into())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    guarded.server.get_with("/billing/prod", &headers).expect(200);
    for path in ["/-/contracts/", "/-/instances?application=", "/-/fleet?local&application="] {
        let [denied, absent] = ["billing", "absent"].map(|name| {
            let reply = guarded.get(&format!("{path}{name}"), "lister");
            // The document of an error contains its time and path.
            (reply.status, if reply.status == 200 { reply.body } else { Vec::new() })
        });
        assert_eq!(denied, absent, "{path}");
    }
}
