//! What only etcd does: replicas, publishing at the same time, members that die, and keys that do not belong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headwater::model::{Label, Revision};
use headwater::source::etcd::{Content, EtcdSource, PublishError};
use headwater::source::{OpenOptions, Source, SourceError};
use headwater_etcd::{Access, ClientFiles};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::bed::{Bed, Branches, EtcdBed, open_etcd, publication};
use super::{changed, load, named, refusal, text};
use crate::fixture::{Cluster, Proxy, Server, eventually};

fn files(texts: &[(&str, &str)]) -> BTreeMap<String, Content> {
    let file = |text: &str| Content::File(text.as_bytes().to_vec().into());
    texts.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

async fn publish(
    source: &EtcdSource,
    label: &str,
    expected: Option<&Revision>,
    texts: &[(&str, &str)],
) -> Result<Revision, PublishError> {
    source.publish(label, expected, publication(files(texts), 1_700_000_000)).await
}

/// Why a label of a source cannot be read.
async fn reason(source: &dyn Source, label: &Label) -> String {
    match refusal(source, label).await {
        SourceError::Unavailable { message, .. } => message,
        error @ SourceError::UnknownLabel(_) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_publishes_all_serve_with_the_same_bytes() {
    let bed = EtcdBed::new();
    let other = bed.another();
    let mut before = None;
    for round in 0..10 {
        let content = format!("a: {round}");
        let (publisher, reader) = match round % 2 {
            0 => (bed.etcd_source(), &other),
            _ => (&other, bed.etcd_source()),
        };
        let texts = [("application.yml", &*content), ("team/orders.yml", &*content)];
        let revision = publish(publisher, "main", before.as_ref(), &texts).await.unwrap();
        if let Some(before) = &before {
            changed(&**reader, &Label::Default, before).await;
        } else {
            eventually("it is seen", || {
                let reader = Arc::clone(reader);
                bed.cluster.on(async move { reader.load(&Label::Default, None).await.is_ok() })
            });
        }
        let there = load(&**reader, &Label::Default).await;
        let here = load(&**publisher, &Label::Default).await;
        assert_eq!((&there.revision, &here.revision), (&revision, &revision));
        assert_eq!(there.members[0].tree.id(), here.members[0].tree.id());
        assert_eq!(text(&there, "team/orders.yml"), Some(content));
        before = Some(revision);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_publish_at_the_same_time_one_wins() {
    const ROUND_COUNT: usize = 10;
    let bed = EtcdBed::new();
    let sources = [Arc::clone(bed.etcd_source()), bed.another(), bed.another()];
    let mut before = None;
    for round in 0..ROUND_COUNT {
        let tasks: Vec<_> = sources
            .iter()
            .enumerate()
            .map(|(at, source)| {
                let (source, before) = (Arc::clone(source), before.clone());
                tokio::spawn(async move {
                    let content = format!("round: {round}\nby: {at}");
                    publish(&source, "main", before.as_ref(), &[("application.yml", &content)])
                        .await
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        let winners: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for outcome in &outcomes {
            if let Err(error) = outcome {
                assert_eq!(*error, PublishError::Moved { now: Some(winners[0].clone()) });
            }
        }
        before = Some(winners[0].clone());
    }
    // All that won, and nothing else, is what the label went through.
    let tip = load(&**bed.etcd_source(), &Label::Default).await;
    assert_eq!(Some(&tip.revision), before.as_ref());
    let history = tip.members[0].history.as_ref().unwrap();
    assert_eq!(history.ancestors().count(), ROUND_COUNT - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_and_large_files_are_published_whole() {
    let bed = EtcdBed::new();
    let names: Vec<String> = (0..3000).map(|at| format!("services/service-{at}.yml")).collect();
    let mut all: BTreeMap<String, Content> = names
        .iter()
        .map(|name| (name.clone(), Content::File(format!("name: {name}").into_bytes().into())))
        .collect();
    let large: Vec<u8> = (0..3_500_000_u32).map(|at| (at % 251) as u8).collect();
    all.insert("large.bin".to_owned(), Content::File(large.clone().into()));
    all.insert("link.yml".to_owned(), Content::Link(b"services/service-7.yml".to_vec().into()));
    let source = bed.etcd_source();
    let first = source.publish("main", None, publication(all.clone(), 1)).await.unwrap();
    let objects = bed.key("objects/");
    let before = bed.cluster.keys(&objects).len();

    all.insert(names[7].clone(), Content::File(b"name: changed".to_vec().into()));
    let second = source.publish("main", Some(&first), publication(all, 2)).await.unwrap();
    let moved = bed.cluster.keys(&objects).len() - before;
    assert!(moved <= 6, "{moved} objects for one file");

    let fresh = bed.another();
    let found = load(&*fresh, &Label::Default).await;
    assert_eq!(found.revision, second);
    assert_eq!(text(&found, &names[7]).as_deref(), Some("name: changed"));
    assert_eq!(text(&found, "link.yml").as_deref(), Some("name: changed"));
    assert_eq!(text(&found, &names[2999]), Some(format!("name: {}", names[2999])));
    let tree = &found.members[0].tree;
    let file = tree.file("large.bin").unwrap().unwrap();
    assert_eq!(tree.size(&file).unwrap(), large.len() as u64);
    assert!(tree.bytes(&file).unwrap() == large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_leads_to_is_collected_and_what_is_kept_is_not() {
    let bed = EtcdBed::new();
    let source = bed.etcd_source();
    let first = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    bed.commit_on("gone", &[("application.yml", Some("gone: 1")), ("x/y.yml", Some("gone: 2"))]);
    bed.delete_branch("gone");
    bed.commit_on("main", &[("application.yml", Some("a: 2"))]);
    let objects = bed.key("objects/");
    let before = bed.cluster.keys(&objects).len();
    assert_eq!(source.collect().await.unwrap(), 5);
    assert_eq!(bed.cluster.keys(&objects).len(), before - 5);
    assert_eq!(source.collect().await.unwrap(), 0);
    // The last revision and the one before it are whole, also for one who comes now.
    let fresh = bed.another();
    let tip = load(&*fresh, &Label::Default).await;
    assert_eq!(text(&tip, "application.yml").as_deref(), Some("a: 2"));
    let old = load(&*fresh, &named(first.as_str())).await;
    assert_eq!(text(&old, "application.yml").as_deref(), Some("a: 1"));
    // What was collected can be published again.
    bed.commit_on("gone", &[("application.yml", Some("gone: 3"))]);
    let back = load(&**source, &named("gone")).await;
    assert_eq!(text(&back, "x/y.yml").as_deref(), Some("gone: 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collecting_never_takes_what_is_being_published() {
    let bed = EtcdBed::new();
    let source = Arc::clone(bed.etcd_source());
    let collector = bed.another();
    let count = Arc::new(AtomicUsize::new(0));
    let collecting = {
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                let collected = collector.collect().await.unwrap_or(0);
                count.fetch_add(collected, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        })
    };
    for round in 0..30 {
        // The same content comes back, so that what is garbage is needed again.
        let content = format!("a: {}", round % 3);
        let label = format!("label-{}", round % 2);
        let texts = [("application.yml", &*content)];
        let found = publish(&source, &label, None, &texts).await;
        match found {
            Ok(revision) => {
                let there = load(&*bed.another(), &named(&label)).await;
                assert_eq!(there.revision, revision);
                assert_eq!(text(&there, "application.yml"), Some(content));
            }
            Err(PublishError::Unavailable(message)) => {
                assert!(message.contains("collections of objects"))
            }
            Err(error) => panic!("{error}"),
        }
        if round % 2 == 1 {
            bed.cluster.delete(&bed.key("refs/label-0"));
            bed.cluster.delete(&bed.key("refs/label-1"));
        }
    }
    collecting.abort();
    println!("{} objects collected meanwhile", count.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_leads_nowhere_says_why() {
    let bed = EtcdBed::new();
    let source = bed.source();
    let good = bed.commit_on("good", &[("application.yml", Some("a: 1"))]);
    let check = |label: &'static str, expected: &'static str| {
        let source = Arc::clone(&source);
        eventually(expected, || {
            let source = Arc::clone(&source);
            let found = bed.cluster.on(async move { source.load(&named(label), None).await });
            matches!(found, Err(SourceError::Unavailable { .. }))
        });
        let (source, cluster) = (Arc::clone(&source), &bed.cluster);
        let said = cluster.on(async move { reason(&*source, &named(label)).await });
        assert!(said.contains(expected) && said.contains(label), "{said}");
    };
    let hash = "ab".repeat(32);
    bed.cluster.put(&bed.key("refs/words"), b"secret words");
    bed.cluster.put(&bed.key("refs/nothing"), hash.as_bytes());
    bed.cluster.put(&bed.key("refs/both"), good.as_str().as_bytes());
    bed.cluster.put(&bed.key("files/both/application.yml"), b"a: 1");
    bed.cluster.put(&bed.key("files/torn/a"), b"");
    bed.cluster.put(&bed.key("files/torn/a/b"), b"");
    check("words", "not the id of a revision");
    check("nothing", "missing");
    check("both", "also has files written by hand");
    check("torn", "a file in place of a directory");
    // A blob is no revision, though it is there.
    let objects = bed.cluster.keys(&bed.key("objects/"));
    let other = objects.iter().find(|key| !key.ends_with(good.as_str())).unwrap();
    bed.cluster.put(&bed.key("refs/blob"), other.rsplit('/').next().unwrap().as_bytes());
    check("blob", "is no revision");
    // A part of the tree that is gone makes the label unreadable, not smaller.
    bed.cluster.put(&bed.key("refs/partial"), good.as_str().as_bytes());
    for key in objects.iter().filter(|key| !key.ends_with(good.as_str())) {
        bed.cluster.delete(key);
    }
    let fresh = bed.another();
    let said = reason(&*fresh, &named("partial")).await;
    assert!(said.contains("is missing"), "{said}");
    let refused = publish(bed.etcd_source(), "words", None, &[("a.yml", "")]).await.unwrap_err();
    assert!(matches!(refused, PublishError::Refused(_)), "{refused}");
    let refused = publish(bed.etcd_source(), "torn", None, &[("a.yml", "")]).await.unwrap_err();
    assert!(refused.to_string().contains("written by hand"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_do_not_belong_are_passed_over_and_left_alone() {
    // No other test writes there.
    let bed = EtcdBed::of(Arc::new(Cluster::start(1)));
    let hash = "cd".repeat(32);
    let strange = [
        "refs/feature/x",
        "objects/short",
        &format!("objects/{hash}"),
        "files/other",
        "files/other/../../escape.yml",
        "files/other/a\\b",
        "elsewhere",
    ];
    for rest in strange {
        bed.cluster.put(&bed.key(rest), b"{not: yaml");
    }
    bed.cluster.put(&format!("{}/v2/refs/main", bed.prefix), b"another version");
    let revision = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let fresh = bed.another();
    assert_eq!(load(&*fresh, &Label::Default).await.revision, revision);
    bed.etcd_source().collect().await.unwrap();
    let left = bed.cluster.keys(&format!("{}/", bed.prefix));
    // An object whose value has another hash is garbage like any other.
    for rest in strange.iter().filter(|rest| !rest.contains(&hash)) {
        assert!(left.contains(&bed.key(rest)), "{rest}");
    }
    let outside = bed.cluster.keys("").into_iter().filter(|key| !key.starts_with(&bed.prefix));
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_cut_off_catches_up_even_over_what_was_compacted() {
    let cluster = Arc::new(Cluster::start(1));
    let bed = EtcdBed::of(Arc::clone(&cluster));
    let mut revision = bed.commit_on("main", &[("application.yml", Some("a: 0"))]);
    let proxy = Proxy::to(cluster.address(0));
    let uri = format!("etcd://{}/{}", proxy.address, bed.prefix);
    let runtime = cluster.runtime().handle();
    let reader = EtcdSource::open(&uri, OpenOptions::default(), Access::default(), runtime);
    let reader = reader.unwrap();
    assert_eq!(load(&reader, &Label::Default).await.revision, revision);
    for round in 1..=4 {
        proxy.cut();
        eventually("it is noticed", || reader.outage().is_some());
        let content = format!("a: {round}");
        let next = bed.commit_on("main", &[("application.yml", Some(&content))]);
        if round % 2 == 0 {
            let mut client = cluster.client();
            let newest = client.get("x", None).await.unwrap().header().unwrap().revision();
            client.compact(newest, None).await.unwrap();
        }
        // The last that was there goes on being served.
        assert_eq!(load(&reader, &Label::Default).await.revision, revision);
        let refused = publish(&reader, "main", Some(&next), &[("a.yml", "")]).await.unwrap_err();
        assert!(matches!(refused, PublishError::Unavailable(_)), "{refused}");
        proxy.mend();
        changed(&reader, &Label::Default, &revision).await;
        let found = load(&reader, &Label::Default).await;
        assert_eq!((&found.revision, text(&found, "application.yml")), (&next, Some(content)));
        eventually("it is back", || reader.outage().is_none());
        revision = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_when_its_leader_is_killed() {
    let cluster = Arc::new(Cluster::start(3));
    let bed = EtcdBed::of(Arc::clone(&cluster));
    let mut acknowledged = vec![bed.commit_on("main", &[("application.yml", Some("a: 0"))])];
    let reader = bed.another();
    let mut seen = load(&*reader, &Label::Default).await.revision.clone();
    for round in 1..=2 {
        let leader = cluster.leader();
        cluster.kill(leader);
        let content = format!("a: {round}");
        let texts = [("application.yml", &*content)];
        let before = acknowledged.last().cloned();
        let begun = std::time::Instant::now();
        let revision = loop {
            match publish(bed.etcd_source(), "main", before.as_ref(), &texts).await {
                Ok(revision) => break revision,
                Err(PublishError::Unavailable(_)) if begun.elapsed().as_secs() < 60 => {}
                Err(error) => panic!("{error}"),
            }
        };
        println!("published {} ms after the leader was killed", begun.elapsed().as_millis());
        acknowledged.push(revision.clone());
        changed(&*reader, &Label::Default, &seen).await;
        seen = load(&*reader, &Label::Default).await.revision.clone();
        assert_eq!(seen, revision);
        cluster.restart(leader);
        eventually("all are followed", || {
            bed.etcd_source().outage().is_none() && reader.outage().is_none()
        });
    }
    // Every acknowledged publication is in the history, and nothing else.
    let fresh = open_etcd(&cluster, &bed.prefix);
    let tip = load(&*fresh, &Label::Default).await;
    let history = tip.members[0].history.as_ref().unwrap();
    let mut found: Vec<Revision> =
        history.ancestors().map(|ancestor| ancestor.unwrap().revision).collect();
    found.reverse();
    found.push(tip.revision.clone());
    assert_eq!(found, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_in_is_told_so() {
    let cluster = Arc::new(Cluster::start(1));
    let bed = EtcdBed::of(Arc::clone(&cluster));
    let revision = bed.commit_on("main", &[("application.yml", Some("a: 1"))]);
    let mut client = cluster.client();
    client.role_add("root").await.unwrap();
    client.user_add("root", "hunter2", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.role_add("reader").await.unwrap();
    let may = etcd_client::Permission::read(bed.key("")).with_prefix();
    client.role_grant_permission("reader", may).await.unwrap();
    client.user_add("ada", "hunter3", None).await.unwrap();
    client.user_grant_role("ada", "reader").await.unwrap();
    client.auth_enable().await.unwrap();
    let open = |username: &str, password: &str| {
        let login = (username.to_owned(), password.to_owned());
        let access =
            Access { login: Some(Arc::new(move || Ok(login.clone()))), ..Access::default() };
        let (uri, runtime) = (cluster.uri(&bed.prefix), cluster.runtime().handle());
        EtcdSource::open(&uri, OpenOptions::default(), access, runtime).unwrap()
    };
    let said = reason(&open("ada", "hunter9"), &Label::Default).await;
    assert!(said.contains("rejected the user name or the password"), "{said}");
    assert!(!said.contains("hunter"), "{said}");
    let said = reason(&*bed.another(), &Label::Default).await;
    assert!(said.contains("rejected the user name or the password"), "{said}");
    // Who may only read below the prefix reads, and cannot publish.
    let reader = open("ada", "hunter3");
    assert_eq!(load(&reader, &Label::Default).await.revision, revision);
    let refused = publish(&reader, "main", Some(&revision), &[("a.yml", "")]).await.unwrap_err();
    assert!(refused.to_string().contains("lacks permission for this prefix"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_etcd_is_said() {
    // A server that speaks something else, and a port that nobody listens at.
    let web = Server::start(
        crate::fixture::directory("//- application.yml\na: 1\n").path().to_str().unwrap(),
    );
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [web.0, closed] {
        let uri = format!("etcd://{address}/config");
        let runtime = tokio::runtime::Handle::current();
        let source = EtcdSource::open(&uri, OpenOptions::default(), Access::default(), &runtime);
        let said = reason(&source.unwrap(), &Label::Default).await;
        println!("{said}");
        assert!(said.contains("is unreachable") || said.contains("not etcd"), "{said}");
    }
}

/// Certificates of one authority in a directory: `ca.crt`, and `<name>.crt` with `<name>.key` for each name.
pub(crate) fn certificates(place: &Path, names: &[(&str, i32)]) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(place.join("ca.crt"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    for (name, last_year) in names {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        leaf.not_after = rcgen::date_time_ymd(*last_year, 1, 1);
        let signed = leaf.signed_by(&key, &issuer).unwrap();
        std::fs::write(place.join(format!("{name}.crt")), signed.pem()).unwrap();
        std::fs::write(place.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// etcd that shows one of the certificates and wants to see one.
pub(crate) fn cluster_with_tls(place: &Path, name: &str) -> Cluster {
    let file = |option: &str, name: String| format!("--{option}={}", place.join(name).display());
    let arguments = [
        file("cert-file", format!("{name}.crt")),
        file("key-file", format!("{name}.key")),
        file("trusted-ca-file", "ca.crt".to_owned()),
        "--client-cert-auth".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Cluster::at(tempfile::tempdir().unwrap(), 1, "https", &arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_a_certificate() {
    let (place, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(place.path(), &[("server", 4000), ("client", 4000), ("expired", 2001)]);
    certificates(foreign.path(), &[("client", 4000)]);
    let client = |place: &Path| ClientFiles {
        certificate: place.join("client.crt"),
        key: place.join("client.key"),
    };
    let open = |cluster: &Cluster, authority: &Path, client: Option<ClientFiles>| {
        let ca_file = Some(authority.join("ca.crt"));
        let access = Access { login: None, ca_file, client };
        let (uri, runtime) = (cluster.uri("config"), cluster.runtime().handle());
        Arc::new(EtcdSource::open(&uri, OpenOptions::default(), access, runtime).unwrap())
    };
    let cluster = cluster_with_tls(place.path(), "server");
    let good = open(&cluster, place.path(), Some(client(place.path())));
    eventually("etcd is there", || {
        good.outage().is_none() && {
            let good = Arc::clone(&good);
            let found = cluster.on(async move { good.load(&Label::Default, None).await });
            matches!(found, Err(SourceError::UnknownLabel(_)))
        }
    });
    let revision = publish(&good, "main", None, &[("application.yml", "a: 1")]).await.unwrap();
    assert_eq!(load(&*good, &Label::Default).await.revision, revision);
    for (authority, client) in [
        (place.path(), None),
        (place.path(), Some(client(foreign.path()))),
        (foreign.path(), Some(client(place.path()))),
    ] {
        let said = reason(&*open(&cluster, authority, client), &Label::Default).await;
        assert!(said.contains("certificate"), "{said}");
    }
    let cluster = cluster_with_tls(place.path(), "expired");
    let mut said = String::new();
    eventually("etcd shows its certificate", || {
        // Until it listens another reason is given, so a new source is asked.
        let source = open(&cluster, place.path(), Some(client(place.path())));
        said = cluster.on(async move { reason(&*source, &Label::Default).await });
        said.contains("was not accepted")
    });
    assert!(said.contains("expired"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_goes_on_without_etcd_and_catches_up() {
    let cluster = Arc::new(Cluster::start(1));
    let bed = EtcdBed::of(Arc::clone(&cluster));
    let first = bed.commit_on("main", &[("orders.yml", Some("a: 1"))]);
    let uri = cluster.uri(&bed.prefix);
    let server = tokio::task::spawn_blocking(move || Server::start(&uri)).await.unwrap();
    let address = *server;
    tokio::task::spawn_blocking(move || {
        let before = address.get("/orders/prod").expect(200).json();
        assert_eq!(before["version"], first.as_str());
        let source = &before["propertySources"][0];
        assert_eq!(source["name"], format!("etcd:{}/orders.yml", bed.prefix));
        cluster.kill(0);
        eventually("health says so", || {
            let health = address.get("/actuator/health").expect(200).text();
            health.contains("\"lastFetchSeconds\"") && health.contains("\"error\"")
        });
        // Also an application that nobody asked for before, and a label.
        assert_eq!(address.get("/orders/other").expect(200).json()["version"], first.as_str());
        assert_eq!(address.get("/billing/prod/main").expect(200).json()["version"], first.as_str());
        cluster.restart(0);
        let second = bed.commit_on("main", &[("orders.yml", Some("a: 2"))]);
        eventually("the server catches up", || {
            address.get("/orders/prod").expect(200).json()["version"] == second.as_str()
        });
    })
    .await
    .unwrap();
}
