//! Pushes to a repository with rollouts, by git itself: what is held, what the pusher reads, and how a wait ends.

use headwater::settings::{NowSetting, RolloutDefault, Settings};
use headwater_client::Live;
use tokio::runtime::Runtime;

use super::SHOP;
use super::wait::{Orders, commit, ends, service};
use crate::fixture::{
    Child, Hosted, Server, Tree, apply, clone, directory, eventually, repository_url,
};
use crate::rollouts::{body, command};

/// A plan whose stages are watched for a moment.
const QUICK: &str = "\
//- .headwater/rollout.toml
[plan.quick]
stages = [\"1\", \"all\"]
bake = \"1s\"

[[rule]]
plan = \"quick\"
";

/// A shop with rollouts, three instances of a service, and a clone.
struct Shop {
    hosted: Hosted,
    services: Vec<Live<Orders>>,
    tree: Tree,
    _runtime: Runtime,
}

impl Shop {
    fn new() -> Self {
        Self::with(QUICK, |_| {})
    }

    /// A shop with further files, and with other settings.
    fn with(files: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let hosted = Hosted::with(&format!("{SHOP}{files}"), |settings| {
            settings.rollout.default = RolloutDefault::Auto;
            change(settings);
        });
        let runtime = Runtime::new().unwrap();
        let names = ["web-1", "web-2", "web-3"];
        let services = names.map(|name| service(&runtime, *hosted.server, name)).into();
        let tree = hosted.clone("work");
        Self { hosted, services, tree, _runtime: runtime }
    }

    fn limits(&self) -> Vec<u64> {
        self.services.iter().map(|live| live.current().limit).collect()
    }
}

#[test]
fn a_change_goes_to_one_instance_first_and_the_push_waits_until_all_have_it() {
    let shop = Shop::new();
    let tip = commit(&shop.tree, 2);
    let said = shop.tree.push(&["-o", "wait", "main"]).succeeds().says(&[
        &format!("remote: published main at {}; held for orders: rollout r-", &tip[..10]),
        ", 1 of 3 first, 1 s, then all",
        " s  orders: 1 of 3 has it",
        " s  orders: going to all",
        " s  done",
        "main -> main",
    ]);
    assert!(!said.err.contains("not awaited"), "{}", said.err);
    eventually("all instances have it", || shop.limits() == [2, 2, 2]);
    // A change of another service, which has no instance, is served at once.
    shop.tree.commit("//- cart.yml\nname: Basket\n");
    let said = shop.tree.push(&["main"]).succeeds();
    assert!(!said.err.contains("held for"), "{}", said.err);
    let served = shop.hosted.server.get("/cart/default").expect(200);
    assert!(String::from_utf8_lossy(&served.body).contains("Basket"));
}

#[test]
fn a_change_that_a_canary_rejects_is_rolled_back_and_the_push_fails() {
    let shop = Shop::new();
    let (first, tip) = (shop.hosted.tip("main"), commit(&shop.tree, 100));
    let said = shop.tree.push(&["-o", "wait", "main"]).fails(&[
        "; held for orders: rollout r-",
        " s  orders: web-",
        " rejected it",
        &format!(
            "rolled back: orders is back at {}. main stays at {}, withheld for orders until a push changes it",
            &first[..10],
            &tip[..10]
        ),
    ]);
    assert!(said.err.contains("main -> main") && !said.err.contains("rejected]"), "{}", said.err);
    assert_eq!(shop.hosted.tip("main"), tip);
    assert_eq!(shop.limits(), [1, 1, 1]);
    // A push of something else names what is still held.
    shop.tree.commit("//- cart.yml\nname: Basket\n");
    shop.tree.push(&["main"]).succeeds().says(&["still held: orders, without ", " rejected it"]);
    // A push without a change of an environment is quiet.
    shop.tree.commit("//- readme.txt\nhello\n");
    let said = shop.tree.push(&["main"]).succeeds();
    assert!(!said.err.contains("still held"), "{}", said.err);
    // The revert is served at once.
    commit(&shop.tree, 1);
    let said = shop.tree.push(&["main"]).succeeds();
    said.says(&["served at once: orders: the content was stable before", "released for orders"]);
    commit(&shop.tree, 3);
    shop.tree.push(&["-o", "wait", "main"]).succeeds().says(&[" s  done"]);
    eventually("all instances have it", || shop.limits() == [3, 3, 3]);
}

#[test]
fn the_option_now_skips_the_stages_if_the_operator_permits_it() {
    let shop = Shop::new();
    commit(&shop.tree, 2);
    let said = shop.tree.push(&["-o", "now", "-o", "wait", "main"]).succeeds().says(&[
        "served at once: orders: the push has the option now",
        "orders/dev 3 instances",
        "3 of 3 have it",
    ]);
    assert!(!said.err.contains("held for"), "{}", said.err);
    let shop = Shop::with(QUICK, |settings| settings.rollout.now = NowSetting::Reason);
    let before = shop.hosted.tip("main");
    commit(&shop.tree, 2);
    shop.tree.push(&["-o", "now", "main"]).fails(&[
        "push rejected, no branch was updated",
        "the option now needs a reason. Push again with -o now -o reason=",
    ]);
    assert_eq!(shop.hosted.tip("main"), before);
    shop.tree.push(&["-o", "now", "-o", "reason=incident 7", "main"]).succeeds();
    let shop = Shop::with(QUICK, |settings| settings.rollout.now = NowSetting::Denied);
    commit(&shop.tree, 2);
    let options = ["-o", "now", "-o", "reason=incident 7", "main"];
    shop.tree.push(&options).fails(&["the operator does not permit the option now"]);
}

#[test]
fn a_pusher_can_ask_for_a_stricter_plan_only() {
    let shop = Shop::new();
    commit(&shop.tree, 2);
    for (plan, reason) in [
        ("all-at-once", "plan all-at-once is not at least as strict as quick"),
        ("swift", "no plan is named \"swift\". The plans are all-at-once, auto, careful, quick"),
    ] {
        let option = format!("plan={plan}");
        shop.tree.push(&["-o", &option, "main"]).fails(&["no branch was updated", reason]);
    }
    let said = shop.tree.push(&["-o", "plan=careful", "main"]).succeeds();
    said.says(&["held for orders: rollout r-", ", 1 of 3 first, 12 min, then all"]);
    // A push of other content takes its place.
    commit(&shop.tree, 3);
    shop.tree.push(&["main"]).succeeds().says(&["superseded for orders by r-", "held for orders"]);
}

#[test]
fn limits_apply_to_what_goes_out_without_stages() {
    let plan = format!("{QUICK}\n[limits]\napplications = 1\n");
    let shop = Shop::with(&plan, |_| {});
    apply(*shop.hosted.server, "/cart/dev", "cart-1");
    let before = shop.hosted.tip("main");
    shop.tree.commit("//- application.yml\nregion: south\n");
    shop.tree.push(&["-o", "now", "main"]).fails(&[
        "the change would reach 2 applications without stages, and [limits] permits 1",
        "push with -o blast",
    ]);
    assert_eq!(shop.hosted.tip("main"), before);
    shop.tree.push(&["-o", "now", "-o", "blast", "main"]).succeeds().says(&["served at once: "]);
}

#[test]
fn the_plan_before_the_push_governs_the_push() {
    let shop = Shop::new();
    let weakened = "//- .headwater/rollout.toml\n[[rule]]\nplan = \"all-at-once\"\n";
    shop.tree.commit(&format!("{weakened}//- orders.yml\nname: Orders\nlimit: 100\n"));
    let said = shop.tree.push(&["-o", "wait", "main"]);
    said.fails(&["held for orders: rollout r-", "rolled back: orders is back at"]);
    assert_eq!(shop.limits(), [1, 1, 1]);
}

#[test]
fn a_weakened_plan_governs_no_push_while_its_change_is_held() {
    let shop = Shop::new();
    let weakened = "//- .headwater/rollout.toml\n[[rule]]\nplan = \"all-at-once\"\n";
    shop.tree.commit(&format!("{weakened}//- orders.yml\nname: Orders\nlimit: 100\n"));
    shop.tree.push(&["-o", "wait", "main"]).fails(&["rolled back: orders is back at"]);
    shop.tree.commit("//- orders.yml\nname: Renamed\nlimit: 100\n");
    let said = shop.tree.push(&["-o", "wait", "main"]);
    said.fails(&["held for orders: rollout r-", "1 of 3 first", "rolled back: orders is back at"]);
    assert_eq!(shop.limits(), [1, 1, 1]);
    // A correction that all instances accept makes the plan the stable one.
    commit(&shop.tree, 2);
    shop.tree.push(&["-o", "wait", "main"]).succeeds().says(&["held for orders", " s  done"]);
    commit(&shop.tree, 3);
    let said = shop.tree.push(&["main"]).succeeds();
    assert!(!said.err.contains("held for"), "{}", said.err);
    eventually("all instances have it", || shop.limits() == [3, 3, 3]);
}

#[test]
fn a_plan_that_cannot_be_used_rejects_the_push() {
    let shop = Shop::new();
    let before = shop.hosted.tip("main");
    for (plan, place) in [
        (
            "[plan.x]\nstages = [\"1\", \"all\"]\nbake = \"1s\"\nexec = \"reboot\"\n",
            "4:1: exec: a plan cannot run",
        ),
        ("[plan.x]\nstages = \"lots\"\n", "2:"),
        ("nonsense\n", "1:"),
        (
            "[plan.x]\nstages = [\"1\", \"all\"]\nbake = \"1s\"\nchecks = [\"errors\"]\n",
            "4:11: checks: the operator has defined no check",
        ),
    ] {
        shop.tree.commit(&format!("//- .headwater/rollout.toml\n{plan}"));
        let place = format!(".headwater/rollout.toml:{place}");
        shop.tree.push(&["main"]).fails(&[&place, "push rejected, no branch was updated"]);
    }
    assert_eq!(shop.hosted.tip("main"), before);
    shop.tree.commit(QUICK);
    shop.tree.push(&["main"]).succeeds();
}

#[test]
fn a_dry_run_names_the_stages() {
    let shop = Shop::new();
    commit(&shop.tree, 2);
    let said = shop.tree.push(&["-o", "dry-run", "main"]).fails(&[
        "would be held for orders, with plan quick:",
        "  stage 1: 1 of 3 after 0 s. A fault that 20 % of the instances show is seen with 20 %",
        "  stage 2: all 3 after 1 s, watched for 1 s",
        "dry run: the push would be accepted",
    ]);
    assert!(!said.err.contains("r-"), "{}", said.err);
    assert_eq!(shop.limits(), [1, 1, 1]);
    let said = shop.tree.push(&["-o", "dry-run", "-o", "plan=all-at-once", "main"]);
    said.fails(&["plan all-at-once is not at least as strict as quick"]);
}

#[test]
fn a_push_without_an_instance_says_once_what_a_canary_needs() {
    const LINE: &str =
        "no canary: it takes two connected instances, one of which reports what it applies";
    let hosted = Hosted::with(SHOP, |settings| settings.rollout.default = RolloutDefault::Auto);
    let tree = hosted.clone("work");
    tree.commit("//- application.yml\nregion: south\n");
    let said = tree.push(&["main"]).succeeds().says(&[LINE]);
    assert_eq!(said.err.matches(LINE).count(), 1, "{}", said.err);
    tree.commit("//- readme.txt\nhello\n");
    let said = tree.push(&["main"]).succeeds();
    assert!(!said.err.contains(LINE), "{}", said.err);
    for default in [RolloutDefault::AllAtOnce, RolloutDefault::Off] {
        let hosted = Hosted::with(SHOP, |settings| settings.rollout.default = default);
        let tree = hosted.clone("work");
        tree.commit("//- application.yml\nregion: south\n");
        let said = tree.push(&["main"]).succeeds();
        assert!(!said.err.contains(LINE), "{}", said.err);
    }
}

#[test]
fn a_plan_is_served_under_no_name() {
    let hosted = Hosted::with(&format!("{SHOP}{QUICK}"), |settings| {
        settings.sources[0].search_paths = vec!["*".to_owned(), ".headwater".to_owned()];
    });
    let server = *hosted.server;
    for path in [
        "/orders/dev/main/.headwater/rollout.toml",
        "/orders/dev/main/rollout.toml",
        "/orders/dev/main/%2eheadwater/rollout.toml",
    ] {
        server.get(path).expect(404);
    }
    for path in ["/rollout/dev", "/orders/dev"] {
        let text = server.get(path).expect(200).text();
        assert!(!text.contains("quick") && !text.contains("headwater/"), "{text}");
    }
    let known = server.get("/-/environments").expect(200).json();
    assert_eq!(known["applications"], serde_json::json!(["cart", "orders"]));
    // A change of the plan alone changes no environment.
    let tree = hosted.clone("work");
    tree.commit(&QUICK.replace("1s", "2s"));
    tree.push(&["main"]).succeeds().says(&["changes no environment"]);
}

#[test]
fn the_end_of_the_time_is_an_error_and_the_rollout_continues() {
    let hosted = Hosted::with(&format!("{SHOP}{QUICK}"), |_| {});
    let tree = hosted.clone("work");
    for name in ["a", "b"] {
        apply(*hosted.server, "/orders/dev", name);
    }
    let tip = commit(&tree, 2);
    let pushing = tree.begin_push(&["-o", "wait", "-o", "timeout=2", "main"]);
    ends(
        pushing,
        false,
        &[
            "held for orders: rollout r-",
            "the wait ended after 2 s: orders: ",
            &format!("main has moved to {} and stays there: the rollout continues", &tip[..10]),
        ],
    );
    // Every other client still receives what is stable.
    let served = hosted.server.get("/orders/dev").expect(200);
    assert!(served.text().contains("\"limit\":1"), "{}", served.text());
}

#[test]
fn a_server_that_stops_ends_the_wait_for_a_rollout_with_a_line() {
    let (place, seed) = (directory(""), directory(&format!("{SHOP}{QUICK}")));
    let (data, seed) = (place.path().join("data"), seed.path().display().to_string());
    let data = data.display().to_string();
    let server = Child::serve(&["--source", "hosted:main", "--data", &data, "--seed", &seed]);
    let tree = clone(&repository_url(server.0), &place.path().join("work"));
    for name in ["a", "b"] {
        apply(*server, "/orders/dev", name);
    }
    commit(&tree, 2);
    let pushing = tree.begin_push(&["-o", "wait", "main"]);
    pushing.says("held for orders: rollout r-");
    let (status, log) = server.stop();
    assert!(status.success(), "{log}");
    ends(pushing, false, &["and this server stops. main has moved to", "the rollout continues"]);
}

#[test]
fn a_plan_without_an_effect_is_a_notice() {
    let files = directory(&format!("{SHOP}{QUICK}"));
    let server = Server::start(&files.path().display().to_string());
    server.get("/orders/dev").expect(200);
    let found = server.get("/-/problems").expect(200).json();
    let [notice] = &found["problems"].as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!(
        (&notice["kind"], &notice["file"]),
        (&"notice".into(), &".headwater/rollout.toml".into())
    );
    assert!(notice["reason"].as_str().unwrap().contains("has no effect here"), "{notice}");
    let hosted = Hosted::with(&format!("{SHOP}{QUICK}"), |_| {});
    hosted.server.get("/orders/dev").expect(200);
    let found = hosted.server.get("/-/problems").expect(200).json();
    assert_eq!(found["problems"], serde_json::json!([]));
}

/// A plan whose first stage lasts until a person decides.
const SLOW: &str = "\
//- .headwater/rollout.toml
[plan.slow]
stages = [\"1\", \"all\"]
bake = [\"1h\", \"1s\"]

[[rule]]
plan = \"slow\"
";

/// The id of the rollout that a push has opened.
fn rollout_in(said: &str) -> String {
    let (_, rest) = said.split_once("; held for orders: rollout ").expect("a rollout");
    rest.split(',').next().unwrap().to_owned()
}

#[test]
fn a_paused_rollout_keeps_the_push_waiting_until_a_person_decides() {
    let shop = Shop::with(SLOW, |_| {});
    commit(&shop.tree, 2);
    let mut pushing = shop.tree.begin_push(&["-o", "wait", "main"]);
    pushing.says(" s  orders: 1 of 3 has it");
    let id = rollout_in(&pushing.said());
    command(*shop.hosted.server, &id, &body("pause"), &[]).expect(200);
    pushing.says(" s  orders: paused: by pusher: a test");
    assert!(pushing.is_running());
    command(*shop.hosted.server, &id, &body("promote"), &[]).expect(200);
    let said = ends(pushing, true, &["promoted by pusher: a test", " s  done", "main -> main"]);
    assert!(!said.contains("rejected"), "{said}");
    eventually("all instances have it", || shop.limits() == [2, 2, 2]);
}

#[test]
fn an_abort_by_a_person_ends_the_wait_with_the_place_of_the_service() {
    let shop = Shop::with(SLOW, |_| {});
    commit(&shop.tree, 2);
    let pushing = shop.tree.begin_push(&["-o", "wait", "main"]);
    pushing.says(" s  orders: 1 of 3 has it");
    let id = rollout_in(&pushing.said());
    command(*shop.hosted.server, &id, &body("abort"), &[]).expect(200);
    let parts = ["orders: aborted by pusher: a test", "rolled back: orders is back at "];
    ends(pushing, false, &parts);
    eventually("all instances are back", || shop.limits() == [1, 1, 1]);
}

#[test]
fn a_rollout_that_a_later_push_supersedes_ends_the_wait() {
    let shop = Shop::with(SLOW, |_| {});
    commit(&shop.tree, 2);
    let pushing = shop.tree.begin_push(&["-o", "wait", "main"]);
    pushing.says(" s  orders: 1 of 3 has it");
    let first = rollout_in(&pushing.said());
    let other = shop.hosted.clone("other");
    commit(&other, 3);
    let second = rollout_in(&other.push(&["main"]).succeeds().err);
    let superseded = format!("superseded: a later push has opened {second} in place of {first}");
    ends(pushing, false, &[&superseded]);
}
