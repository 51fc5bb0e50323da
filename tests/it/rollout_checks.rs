//! Checks of rollouts: with a real Prometheus, which scrapes a service whose canary fails, and from the settings to a
//! verdict.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater::conduct::{
    Canary, CheckDefinition, CheckKind, CheckRunner, CheckTarget, Question, Server, TargetGroup,
};
use headwater::settings::{RolloutCheckSettings, RolloutDefault};
use headwater_client::{Client, Live};
use headwater_rollout::check::{CheckRule, Judgement, Measured, Measurement};
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use crate::fixture::{Hosted, directory, eventually};

/// A Prometheus, which ends with the test.
struct Prometheus {
    program: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes an address.
    fn start(scraped: &str) -> Self {
        let directory = directory(&format!(
            "//- prometheus.yml\nglobal:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n\
             scrape_configs:\n  - job_name: shop\n    static_configs:\n      - targets: [\"{scraped}\"]\n"
        ));
        let mut program = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Prometheus is installed by scripts/install-test-deps.sh");
        let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("\"Listening on\" address=")?;
            Some(address.trim().to_owned())
        });
        let address = address.expect("Prometheus listens");
        // Its log has to be read, or it would wait.
        std::thread::spawn(move || log.for_each(drop));
        Self { program, address, _directory: directory }
    }

    fn check(&self, name: &str, rule: CheckRule, question: Question) -> CheckDefinition {
        let server = Server::new(&format!("http://{}", self.address), None, None);
        let rule = CheckRule { every: Duration::from_millis(200), ..rule };
        CheckDefinition {
            name: name.into(),
            rule,
            kind: CheckKind::Prometheus { server, question },
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A service of two instances. Of 1,000 requests between two scrapes, 300 of the canary `web.1` fail, and none of `web-2`,
/// which therefore has no series for failures.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let scrapes = AtomicU64::new(0);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let count = 1000 * scrapes.fetch_add(1, Ordering::Relaxed);
            let failed = count * 3 / 10;
            let body = format!(
                "requests_total{{app=\"order\",pod=\"web.1\",code=\"200\"}} {}\n\
                 requests_total{{app=\"order\",pod=\"web.1\",code=\"500\"}} {failed}\n\
                 requests_total{{app=\"order\",pod=\"web-2\",code=\"200\"}} {count}\n\
                 seconds{{pod=\"web.1\"}} 0.3\nseconds{{pod=\"web-2\"}} 0.1\n",
                count - failed
            );
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n"
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

fn target(checks: &[&str]) -> CheckTarget {
    let group = TargetGroup {
        canaries: vec![Canary { name: "web.1".into(), restarts: 0 }],
        others: vec!["web-2".into()],
    };
    CheckTarget {
        rollout: "r-1".into(),
        number: 1,
        stage: 0,
        is_last: false,
        checks: checks.iter().map(|name| (*name).into()).collect(),
        groups: BTreeMap::from([("order".into(), group)]),
    }
}

/// The first result of a check that a condition selects. The first queries find no data yet.
async fn result(
    results: &mut Receiver<Measured>,
    check: &str,
    is_wanted: impl Fn(&Measurement) -> bool,
) -> Measurement {
    loop {
        let measured = results.recv().await.expect("measurements go on");
        if *measured.check == *check && is_wanted(&measured.measurement) {
            return measured.measurement;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_tells_canaries_from_other_instances() {
    let prometheus = Prometheus::start(&service());
    let text = |query: &str| query.to_owned();
    let errors = Question::Errors {
        bad: text(
            "sum(increase(requests_total{app=\"{application}\",pod=~\"{group}\",code=~\"5..\"}[1m]))",
        ),
        all: text("sum(increase(requests_total{app=\"{application}\",pod=~\"{group}\"}[1m]))"),
    };
    let limits = |query: &str| Question::Limits { query: text(query), min: None, max: Some(0.2) };
    let checks = [
        prometheus.check("errors", CheckRule::default(), errors),
        prometheus.check(
            "latency",
            CheckRule::latency(),
            Question::Latency { query: text("max(seconds{pod=~\"{group}\"})") },
        ),
        prometheus.check("slow", CheckRule::default(), limits("max(seconds{pod=~\"{canaries}\"})")),
        prometheus.check("quick", CheckRule::default(), limits("max(seconds{pod=~'{others}'})")),
        prometheus.check("several", CheckRule::default(), limits("requests_total")),
        prometheus.check("invalid", CheckRule::default(), limits("max(")),
        prometheus.check("absent", CheckRule::default(), limits("no_such_metric")),
        prometheus.check("infinite", CheckRule::default(), limits("vector(1) / 0")),
    ];
    let names: Vec<&str> = checks.iter().map(|check| &*check.name).collect();
    let (runner, mut results) = CheckRunner::new(&checks, tokio::runtime::Handle::current());
    runner.follow(vec![target(&names)]);
    let is_bad = |own: &Measurement| own.judge(&CheckRule::default(), 1) == Judgement::Bad;
    let errors = result(&mut results, "errors", is_bad).await;
    let Measurement::Requests { canaries, others } = errors else { panic!("{errors:?}") };
    assert!(canaries.0 > 0 && canaries.0 < canaries.1, "{canaries:?}");
    assert!(others.0 == 0 && others.1 > 0, "a service without failures: {others:?}");
    let is_latency = |own: &Measurement| matches!(own, Measurement::Latency { .. });
    let latency = result(&mut results, "latency", is_latency).await;
    assert!(matches!(latency, Measurement::Latency { ratio } if (2.9..3.1).contains(&ratio)));
    let is_made = |own: &Measurement| !matches!(own, Measurement::Failed { .. });
    assert_eq!(result(&mut results, "slow", is_made).await, Measurement::Bad);
    assert_eq!(result(&mut results, "quick", is_made).await, Measurement::Good);
    for (check, expected) in [
        ("several", "the query returns 3 series instead of one"),
        ("invalid", "Prometheus reports bad_data"),
        ("absent", "the query returns no data"),
        ("infinite", "the query returns no number"),
    ] {
        let why = |own: &Measurement| *own == Measurement::Failed { why: expected.into() };
        result(&mut results, check, why).await;
    }
}

const SHOP: &str = "\
//- orders.yml
limit: 1
//- .headwater/rollout.toml
[plan.checked]
stages = [\"1\", \"all\"]
bake = \"1s\"
checks = [\"smoke\"]
[[rule]]
plan = \"checked\"
";

#[derive(Debug, Deserialize)]
struct Orders {
    limit: u64,
}

/// A server with a check that runs a script, and two instances of a service.
fn shop(runtime: &Runtime, script: &str) -> (Hosted, Vec<Live<Orders>>) {
    let check: RolloutCheckSettings = toml::from_str(&format!(
        "name = \"smoke\"\nexec = ['/bin/sh', '-c', '{script}']\nevery = \"1s\"\nsamples = 1\n"
    ))
    .unwrap();
    let hosted = Hosted::with(SHOP, |settings| {
        settings.rollout.default = RolloutDefault::Auto;
        settings.rollout.check = vec![check];
    });
    let server = *hosted.server;
    let service = |name: &str| -> Live<Orders> {
        let builder = Client::builder().urls([format!("http://{}", server.0)]);
        let builder = builder.application("orders").profiles(["dev"]).instance(name);
        let accept = |_: &Orders| Ok::<(), &str>(());
        let live = runtime.block_on(async { builder.live_with(accept).await });
        eventually("the instance has acknowledged", || {
            let listed = server.get("/-/instances").expect(200).json();
            let listed = listed["instances"].as_array().unwrap().clone();
            listed.iter().any(|it| it["instance"] == name && it["outcome"] == "ok")
        });
        live.unwrap()
    };
    let services = ["web-1", "web-2"].map(service).into();
    (hosted, services)
}

fn push(hosted: &Hosted) {
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["main"]).succeeds().says(&["held for orders: rollout r-"]);
}

#[test]
fn a_check_that_finds_a_change_bad_rolls_it_back() {
    let runtime = Runtime::new().unwrap();
    let script = "[ \"$HEADWATER_APPLICATIONS\" = orders ] && [ -n \"$HEADWATER_CANARIES\" ] \
                  && exit 1; exit 2";
    let (hosted, services) = shop(&runtime, script);
    push(&hosted);
    let withheld = || {
        let problems = hosted.server.get("/-/problems").expect(200).text();
        problems.contains("check smoke is over its threshold")
    };
    eventually("the change is withheld", withheld);
    let limits = || services.iter().map(|live| live.current().limit).collect::<Vec<_>>();
    eventually("the canary has stable content again", || limits() == [1, 1]);
}

#[test]
fn a_check_that_finds_a_change_good_lets_it_through() {
    let runtime = Runtime::new().unwrap();
    let (hosted, services) = shop(&runtime, "exit 0");
    push(&hosted);
    let limits = || services.iter().map(|live| live.current().limit).collect::<Vec<_>>();
    eventually("every instance has the change", || limits() == [2, 2]);
}
