//! Replicas that know each other through leases in a real etcd: who is there, who is missing, and how far each is.

mod fleet;
mod policies;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headwater::settings::{Settings, ShareSettings};
use headwater::source::OpenOptions;
use headwater::source::etcd::{Content, EtcdSource, NewRevision};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixture::{
    Address, Child, Cluster, Proxy, Repository, Server, clone, directory, eventually,
    hosted_settings, repository_url, settings,
};

/// How long a replica counts as live that is not heard of.
const LEASE: Duration = Duration::from_secs(10);

/// Where the replicas of one test meet.
struct Meeting {
    cluster: Arc<Cluster>,
    prefix: String,
}

impl Meeting {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("meeting-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { cluster: Cluster::shared(), prefix }
    }

    fn uri(&self) -> String {
        self.cluster.uri(&self.prefix)
    }

    /// A replica on a thread of this process.
    fn replica(&self, name: &str, source: &str) -> Server {
        Server::with(replica(name, source, &self.uri()))
    }

    /// A replica that can be killed.
    fn child(&self, name: &str, source: &str) -> Child {
        Child::serve(&["--source", source, "--share", &self.uri(), "--replica", name])
    }

    fn key(&self, id: &str) -> String {
        format!("{}/replicas/v1/{id}", self.prefix)
    }
}

fn replica(name: &str, source: &str, share: &str) -> Settings {
    let share = ShareSettings {
        uri: Some(share.to_owned()),
        replica: Some(name.to_owned()),
        ..ShareSettings::default()
    };
    Settings { share, ..settings(source) }
}

/// A directory as source, and its address.
fn shop() -> (TempDir, String) {
    let place = directory("//- orders.yml\nlimit: 1\n");
    let uri = format!("file:{}", place.path().display());
    (place, uri)
}

fn list(server: Address) -> Value {
    server.get("/-/replicas").expect(200).json()
}

fn of(server: Address) -> Vec<Value> {
    list(server)["replicas"].as_array().unwrap().clone()
}

/// Names and states, as a server tells of them.
fn states(server: Address) -> Vec<(String, String)> {
    let text = |replica: &Value, key: &str| replica[key].as_str().unwrap().to_owned();
    of(server).iter().map(|it| (text(it, "name"), text(it, "state"))).collect()
}

#[track_caller]
fn sees(server: Address, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> =
        expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect();
    eventually(&format!("it sees {expected:?}"), || states(server) == expected);
}

/// What a server tells of one replica.
fn one(server: Address, name: &str) -> Value {
    of(server).into_iter().find(|replica| replica["name"] == name).unwrap()
}

#[test]
fn a_server_without_others_lists_itself() {
    let repository = Repository::new("//- orders.yml\nlimit: 1\n");
    let server = Server::start(&repository.uri());
    server.get("/orders/dev").expect(200);
    let found = list(*server);
    assert_eq!((&found["share"], &found["left_out"]), (&Value::Null, &json!(0)));
    let [own] = &*of(*server) else { panic!("{found}") };
    assert_eq!((&own["this"], &own["state"]), (&json!(true), &json!("live")));
    assert_eq!((&own["heard_seconds"], &own["lag_seconds"]), (&json!(0), &json!(0)));
    assert_eq!(own["address"], format!("http://{}", server.0));
    assert_eq!(own["version"], env!("CARGO_PKG_VERSION"));
    assert!(own["name"].as_str().is_some_and(|name| !name.is_empty()));
    let first = own["labels"][0]["revision"].clone();
    repository.commit("//- orders.yml\nlimit: 2\n");
    eventually("it serves the next revision", || {
        let label = of(*server)[0]["labels"][0].clone();
        label["revision"] != first && label["lag_seconds"] == 0
    });
}

#[test]
fn all_see_each_other_and_one_that_stops_is_forgotten_at_once() {
    let meeting = Meeting::new();
    let (_place, uri) = shop();
    let replicas = ["one", "two"].map(|name| meeting.replica(name, &uri));
    let third = meeting.child("three", &uri);
    for server in &replicas {
        sees(**server, &[("one", "live"), ("three", "live"), ("two", "live")]);
        server.get("/orders/dev").expect(200);
    }
    sees(*third, &[("one", "live"), ("three", "live"), ("two", "live")]);
    let told = one(*replicas[0], "three");
    assert_eq!(told["address"], format!("http://{}", third.0));
    assert_eq!(told["this"], false);
    eventually("what it serves is known", || {
        let [here, there] = [&*replicas[1], &*third].map(|server| one(*server, "three"));
        here["labels"] == there["labels"] && here["labels"][0]["revision"].is_string()
    });
    let metrics = replicas[0].get("/metrics").expect(200).text();
    for line in ["headwater_replicas 3", "headwater_share_away_seconds 0"] {
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }

    let begun = Instant::now();
    let (ended, log) = third.stop();
    assert!(ended.success(), "{log}");
    for server in &replicas {
        eventually("it is forgotten", || {
            let states = states(**server);
            assert!(states.iter().all(|(_, state)| state == "live"), "{states:?}");
            states.len() == 2
        });
    }
    assert!(begun.elapsed() < LEASE, "only its lease has ended");
}

#[test]
fn one_that_is_killed_is_missed_once_its_lease_has_ended() {
    let meeting = Meeting::new();
    let (_place, uri) = shop();
    let server = meeting.replica("one", &uri);
    let killed = meeting.child("two", &uri);
    sees(*server, &[("one", "live"), ("two", "live")]);
    drop(killed);
    sees(*server, &[("one", "live"), ("two", "gone")]);
    let gone = one(*server, "two");
    assert!(gone["heard_seconds"].as_u64().is_some_and(|seconds| seconds < LEASE.as_secs()));
    assert_eq!(gone["lag_seconds"], Value::Null);
    // Another replica that comes later hears of those only who are there.
    let late = meeting.replica("three", &uri);
    sees(*late, &[("one", "live"), ("three", "live")]);
    sees(*server, &[("one", "live"), ("three", "live"), ("two", "gone")]);
}

#[test]
fn whoever_does_not_have_the_newest_revision_lags() {
    let meeting = Meeting::new();
    let [(first, here), (second, there)] = [shop(), shop()];
    let servers = [meeting.replica("one", &here), meeting.replica("two", &there)];
    for server in &servers {
        server.get("/orders/dev").expect(200);
    }
    let lags =
        |server: &Server| ["one", "two"].map(|name| one(**server, name)["lag_seconds"].as_u64());
    let all_lag = |expected: fn(u64, u64) -> bool| {
        servers.iter().all(|server| match lags(server) {
            [Some(one), Some(two)] => expected(one, two),
            _ => false,
        })
    };
    for server in &servers {
        sees(**server, &[("one", "live"), ("two", "live")]);
    }
    eventually("nobody lags", || all_lag(|one, two| one == 0 && two == 0));
    for round in 2..4 {
        let text = format!("limit: {round}\n");
        std::fs::write(first.path().join("orders.yml"), &text).unwrap();
        eventually("the other one lags", || all_lag(|one, two| one == 0 && two > 0));
        std::fs::write(second.path().join("orders.yml"), &text).unwrap();
        eventually("nobody lags any more", || all_lag(|one, two| one == 0 && two == 0));
    }
    let metrics = servers[1].get("/metrics").expect(200).text();
    assert!(metrics.contains("headwater_replica_lag_seconds 0\n"), "{metrics}");
}

/// They hold what was pushed to any of them, and their own repositories tell who has it.
#[test]
fn what_is_pushed_to_one_is_known_to_be_at_all_who_share_it() {
    let meeting = Meeting::new();
    let (seed, place) = (directory("//- orders.yml\nlimit: 1\n"), directory(""));
    let servers = ["one", "two"].map(|name| {
        let shared = replica(name, "hosted:main", &meeting.uri());
        let hosted = hosted_settings(&place.path().join(name), seed.path());
        Server::with(Settings { share: shared.share, ..hosted })
    });
    let tree = clone(&repository_url(servers[0].0), &place.path().join("work"));
    let tip = tree.commit("//- orders.yml\nlimit: 2\n");
    for server in &servers {
        eventually("it serves", || server.get("/orders/dev").status == 200);
    }
    tree.push(&["main"]).succeeds();
    for server in &servers {
        eventually("both are told to have it", || {
            let all = of(**server);
            let has = |it: &Value| {
                it["labels"][0]["revision"] == *tip && it["labels"][0]["lag_seconds"] == 0
            };
            all.len() == 2 && all.iter().all(has)
        });
        assert_eq!(one(**server, "two")["sources"][0]["failure"], Value::Null);
    }
}

/// A history tells which of two revisions is older, whoever is there first.
#[test]
fn who_serves_an_old_copy_of_a_repository_lags() {
    let repository = Repository::new("//- orders.yml\nlimit: 1\n");
    let place = directory("");
    let copy = place.path().join("copy.git").display().to_string();
    let uri = repository.uri();
    let cloned = std::process::Command::new("git")
        .args(["clone", "--quiet", "--bare", &uri, &copy])
        .status();
    assert!(cloned.unwrap().success());
    for limit in 2..5 {
        repository.commit(&format!("//- orders.yml\nlimit: {limit}\n"));
    }
    for order in [[("new", &uri), ("old", &copy)], [("old", &copy), ("new", &uri)]] {
        let meeting = Meeting::new();
        let servers = order.map(|(name, source)| {
            let server = meeting.replica(name, source);
            server.get("/orders/dev").expect(200);
            server
        });
        for server in servers.iter().rev() {
            eventually("the old copy lags and the new one does not", || {
                let all = of(**server);
                let lag = |at: usize| all.get(at).and_then(|it| it["lag_seconds"].as_u64());
                lag(0) == Some(0) && lag(1).is_some_and(|lag| lag > 0)
            });
        }
    }
}

/// Publishes a file under a label of a source in etcd.
fn publish(cluster: &Cluster, uri: &str, label: &str, text: &str) -> String {
    let runtime = cluster.runtime().handle();
    let source =
        EtcdSource::open(uri, OpenOptions::default(), headwater_etcd::Access::default(), runtime);
    let (source, label) = (Arc::new(source.unwrap()), label.to_owned());
    let content = Content::File(text.as_bytes().to_vec().into());
    let publication = NewRevision {
        files: [("orders.yml".to_owned(), content)].into(),
        author: "Ada".to_owned(),
        subject: "Change".to_owned(),
        seconds: 1_700_000_000,
    };
    cluster.on(async move {
        use headwater::model::Label;
        use headwater::source::Source;
        let before = source.load(&Label::Named(label.as_str().into()), None).await.ok();
        let before = before.map(|snapshot| snapshot.revision);
        let published = source.publish(&label, before.as_ref(), publication).await;
        published.unwrap().as_str().to_owned()
    })
}

#[test]
fn what_is_published_is_soon_known_to_be_at_every_replica() {
    let meeting = Meeting::new();
    let source = meeting.cluster.uri(&format!("{}-config", meeting.prefix));
    publish(&meeting.cluster, &source, "main", "limit: 0\n");
    let servers = ["one", "two", "three"].map(|name| meeting.replica(name, &source));
    for server in &servers {
        server.get("/orders/dev/main").expect(200);
    }
    for round in 1..4 {
        let revision = publish(&meeting.cluster, &source, "main", &format!("limit: {round}\n"));
        let published = Instant::now();
        for server in &servers {
            eventually("all are told to have it", || {
                let all = of(**server);
                let has = |replica: &Value| {
                    let labels = replica["labels"].as_array().unwrap();
                    let at = labels.iter().find(|label| label["label"] == "main");
                    at.is_some_and(|at| at["revision"] == *revision && at["lag_seconds"] == 0)
                };
                all.len() == 3 && all.iter().all(has)
            });
        }
        // Long before the key would have been written anyway.
        assert!(published.elapsed() < LEASE, "{:?}", published.elapsed());
    }
    let own = one(*servers[0], "one");
    assert_eq!(own["sources"][0]["failure"], Value::Null);
}

#[test]
fn one_that_is_cut_off_says_so_and_is_missed_until_it_is_back() {
    let meeting = Meeting::new();
    let config = format!("{}-config", meeting.prefix);
    let source = meeting.cluster.uri(&config);
    publish(&meeting.cluster, &source, "main", "limit: 1\n");
    let way = Proxy::to(meeting.cluster.address(0));
    let server = meeting.replica("one", &source);
    let behind = |prefix: &str| format!("etcd://{}/{prefix}", way.address);
    let cut_off = Server::with(replica("two", &behind(&config), &behind(&meeting.prefix)));
    for server in [*server, *cut_off] {
        eventually("it serves", || server.get("/orders/dev").status == 200);
    }
    let both = [("one", "live"), ("two", "live")];
    sees(*server, &both);
    sees(*cut_off, &both);
    let share = list(*cut_off)["share"].clone();
    assert_eq!((&share["away_seconds"], &share["failure"]), (&Value::Null, &Value::Null));

    way.cut();
    eventually("it says that it is cut off", || {
        let share = &list(*cut_off)["share"];
        share["away_seconds"].is_u64() && share["failure"].is_string()
    });
    let revision = publish(&meeting.cluster, &source, "main", "limit: 2\n");
    sees(*server, &[("one", "live"), ("two", "gone")]);
    sees(*cut_off, &[("one", "unknown"), ("two", "live")]);
    let own = &one(*cut_off, "two")["sources"][0];
    assert!(own["failure"].is_string() && own["heard_seconds"].is_u64(), "{own}");
    let known = one(*cut_off, "one");
    assert!(known["heard_seconds"].as_u64().is_some_and(|seconds| seconds >= LEASE.as_secs()));
    assert_eq!(known["lag_seconds"], Value::Null);
    cut_off.get("/orders/dev").expect(200);
    let metrics = cut_off.get("/metrics").expect(200).text();
    assert!(metrics.contains("headwater_replicas 1\n"), "{metrics}");
    assert!(!metrics.contains("headwater_share_away_seconds 0\n"), "{metrics}");

    way.mend();
    sees(*server, &both);
    sees(*cut_off, &both);
    eventually("it says that etcd is back", || list(*cut_off)["share"]["away_seconds"].is_null());
    eventually("all have the newest", || {
        let servers = [*server, *cut_off];
        servers.into_iter().flat_map(of).all(|replica| {
            let label = &replica["labels"][0];
            label["revision"] == *revision && label["lag_seconds"] == 0
        })
    });
}

#[test]
fn a_key_that_is_gone_is_put_back_and_strange_ones_are_passed_over() {
    let meeting = Meeting::new();
    let (_place, uri) = shop();
    let server = meeting.child("one", &uri);
    let other = meeting.replica("two", &uri);
    sees(*other, &[("one", "live"), ("two", "live")]);
    let id = one(*other, "one")["id"].as_str().unwrap().to_owned();
    meeting.cluster.delete(&meeting.key(&id));
    eventually("it is back", || meeting.cluster.keys(&meeting.key(&id)).len() == 1);
    sees(*other, &[("one", "live"), ("two", "live")]);
    let large = vec![b'a'; 100 * 1024];
    for (id, value) in [
        ("strange", &b"nonsense"[..]),
        ("nameless", b"{}"),
        ("a/b", br#"{"name":"three"}"#),
        ("large", &large),
        ("late", br#"{"name":"late"}"#),
    ] {
        meeting.cluster.put(&meeting.key(id), value);
    }
    sees(*other, &[("late", "live"), ("one", "live"), ("two", "live")]);
    sees(*server, &[("late", "live"), ("one", "live"), ("two", "live")]);
    let (_, log) = server.stop();
    assert_eq!(
        log.matches("foreign keys below the prefix of the replicas are ignored").count(),
        1,
        "{log}"
    );
    assert!(!log.contains("nonsense"), "{log}");
}

#[test]
fn members_of_etcd_may_die_and_nobody_is_missed() {
    let cluster = Arc::new(Cluster::start(3));
    let meeting = Meeting { cluster: Arc::clone(&cluster), prefix: "meeting".to_owned() };
    let (_place, uri) = shop();
    let servers = ["one", "two"].map(|name| meeting.replica(name, &uri));
    let both = [("one", "live"), ("two", "live")];
    sees(*servers[0], &both);
    sees(*servers[1], &both);
    cluster.kill(cluster.leader());
    let end = Instant::now() + LEASE + Duration::from_secs(4);
    eventually("longer than a lease has gone by", || {
        for server in &servers {
            let states = states(**server);
            assert!(states.iter().all(|(_, state)| state != "gone"), "{states:?}");
        }
        Instant::now() > end
    });
    sees(*servers[0], &both);
    sees(*servers[1], &both);
}
