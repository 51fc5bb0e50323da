//! Real, unmodified clients against Headwater, beside what the original gave them (`tests/clients/README.md`).
//!
//! A Spring Boot application, npm's `cloud-config-client`, PyPI's `config-client`, and our own crate: all boot from the
//! repository `shop`, and all see the same effective values.

mod access;
mod program;
mod rust;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use self::program::Output;
pub(crate) use self::program::{Program, installed};
use crate::fixture::Server;
use crate::oracle;

/// Where Headwater serves more than the original does: the run, one that gives the same there, and why.
const SERVED_BESIDES: &[(&str, &str, &str)] = &[
    ("node-branch-slash", "node-branch", "A slash in a label may be percent-encoded"),
    ("python-default-label", "python-dev", "master and main stand for each other"),
];

/// Items of a list below the one that counts: a look-up by key still finds them in Spring and in Node. A list that is
/// bound to a type has them nowhere, and in our crate no look-up finds them either.
const LEFT_OVER: [(&str, &str); 2] =
    [("spring-dev", "client.list[1]"), ("node-dev", "client.list[1]")];

/// With several labels one name can occur twice among the sources. Spring's client then keeps the later place for it,
/// which for `application.yml` is below what the first label's `cart.yml` says; ours and Node's keep the server's order.
const RESORTED: &str = "spring-all-labels";

/// An error that is final is returned within this time, well before a client's own deadline.
const FINAL_MAX: Duration = Duration::from_secs(20);

/// The server of the recording, and its repositories.
struct Shop {
    server: Server,
    recorded: Value,
    _place: TempDir,
}

impl Shop {
    fn open() -> Self {
        Self::open_with(|_, _| {})
    }

    fn open_with(settle: impl FnOnce(&mut headwater::settings::Settings, &Path)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let recorded = oracle::recording("clients");
        let mut settings = oracle::lay_out(&recorded, place.path());
        settle(&mut settings, place.path());
        Self { server: Server::with(settings), recorded, _place: place }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.0)
    }

    fn runs(&self) -> &[Value] {
        self.recorded["exchanges"].as_array().unwrap()
    }

    fn run(&self, id: &str) -> &Value {
        self.runs().iter().find(|run| run["id"] == id).unwrap()
    }
}

#[test]
fn real_clients_get_what_the_original_gives_them() {
    if !installed() {
        return;
    }
    let shop = Shop::open();
    let url = shop.url();
    let waiting = Mutex::new(shop.runs().iter());
    let problems = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some(run) = waiting.lock().unwrap().next() else { break };
            let output = Program::of(run).start(&url);
            if let Err(problem) = compare(&shop, run, &output) {
                problems.lock().unwrap().push(problem);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    let differences = include_str!("../../docs/differences.md");
    for (_, _, heading) in SERVED_BESIDES {
        assert!(differences.contains(&format!("## {heading}\n")), "{heading}");
    }
}

fn compare(shop: &Shop, run: &Value, output: &Output) -> Result<(), String> {
    let id = run["id"].as_str().unwrap();
    let besides = SERVED_BESIDES.iter().find(|(besides, _, _)| *besides == id);
    let Some((_, same_as, _)) = besides else {
        return match (output.code == run["exit"].as_i64(), output.line == run["output"]) {
            (true, true) => Ok(()),
            _ => Err(format!("{id}\n  theirs {}\n  ours   {}\n{}", run, output.line, output.error)),
        };
    };
    if run["exit"] == 0 {
        return Err(format!("{id}: the original serves this now, too"));
    }
    let same_as = shop.run(same_as);
    for key in run["keys"].as_str().unwrap().split(',') {
        if output.line["values"][key] != same_as["output"]["values"][key] {
            return Err(format!("{id}: {key} is {}\n{}", output.line, output.error));
        }
    }
    Ok(())
}

/// Our own crate sees every value that any other client was given, as it was sent and as a type.
#[test]
fn the_rust_client_sees_what_the_others_see() {
    let shop = Shop::open();
    let mut compared_count = 0;
    for run in shop.runs().iter().filter(|run| run["exit"] == 0) {
        let id = run["id"].as_str().unwrap();
        let configuration = rust::connect(&shop.url(), run);
        let raw = run["client"] != "spring-boot";
        for (key, theirs) in run["output"]["values"].as_object().unwrap() {
            if LEFT_OVER.contains(&(id, key)) {
                assert_eq!(rust::raw(&configuration, key), Value::Null, "{id} {key}");
                continue;
            }
            let ours =
                if raw { rust::raw(&configuration, key) } else { rust::text(&configuration, key) };
            assert!(rust::is_same(&ours, theirs), "{id} {key}: {ours} instead of {theirs}");
            compared_count += 1;
        }
        if let Some(theirs) = run["output"].get("bound")
            && id != RESORTED
        {
            assert_eq!(&rust::bound(&configuration), theirs, "{id}");
        }
        if let Some(theirs) = run["output"].get("version") {
            assert_eq!(configuration.revision(), theirs.as_str(), "{id}");
        }
    }
    assert!(compared_count >= 60, "{compared_count}");
}

/// One question, one answer: the recordings do not contradict one another.
#[test]
fn all_clients_see_the_same_value_of_a_key() {
    let shop = Shop::open();
    let mut seen: BTreeMap<(String, String), (Value, &str)> = BTreeMap::new();
    let mut shared_count = 0;
    for run in shop.runs().iter().filter(|run| run["exit"] == 0) {
        let id = run["id"].as_str().unwrap();
        let configuration = rust::connect(&shop.url(), run);
        let environment = configuration.environment();
        let asked = format!(
            "{} {} {}",
            environment.name,
            environment.profiles.join(","),
            environment.version.as_deref().unwrap()
        );
        for (key, value) in run["output"]["values"].as_object().unwrap() {
            // Placeholders are each client's own affair.
            if value.as_str().is_some_and(|text| text.contains("${")) || key == "greeting" {
                continue;
            }
            let value = rust::as_text(value);
            let (known, by) =
                seen.entry((asked.clone(), key.clone())).or_insert((value.clone(), id));
            assert_eq!(*known, value, "{key}: {by} and {id}");
            shared_count += usize::from(*by != id);
        }
    }
    assert!(shared_count >= 20, "{shared_count}");
}

#[test]
fn a_service_without_its_server_does_not_start() {
    if !installed() {
        return;
    }
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let shop = Shop::open();
    for id in ["spring-dev", "node-dev", "python-dev"] {
        let output = Program::of(shop.run(id)).start(&closed);
        assert_eq!((output.code, output.line), (Some(1), Value::Null), "{id}\n{}", output.error);
    }
    let mut optional = Program::of(shop.run("spring-dev"));
    optional.optional();
    let output = optional.start(&closed);
    assert_eq!(output.code, Some(0), "{}", output.error);
    assert_eq!(output.line["sources"], serde_json::json!([]));

    let client = rust::builder(&closed, shop.run("spring-dev"));
    let begun = Instant::now();
    let refused = client.deadline(Duration::from_millis(300)).connect_blocking();
    assert!(matches!(refused, Err(headwater_client::Error::Deadline(_))), "{refused:?}");
    assert!(begun.elapsed() < FINAL_MAX);
}

#[test]
fn an_unknown_label_is_final_for_the_rust_client() {
    let shop = Shop::open();
    let begun = Instant::now();
    let answer = rust::builder(&shop.url(), shop.run("spring-unknown-label")).connect_blocking();
    assert!(matches!(answer, Err(headwater_client::Error::NotFound { .. })), "{answer:?}");
    assert!(begun.elapsed() < FINAL_MAX);
}

#[test]
fn clients_show_the_token_as_they_always_did() {
    const TOKEN: &str = "a-read-token-of-the-tests";
    let shop = Shop::open_with(|settings, place| {
        let file = place.join("token");
        std::fs::write(&file, TOKEN).unwrap();
        settings.token_file = Some(file);
    });
    let run = shop.run("spring-dev");
    let client = |builder: headwater_client::Builder| builder.connect_blocking();
    let refused = client(rust::builder(&shop.url(), run));
    assert!(matches!(refused, Err(headwater_client::Error::Unauthorized { .. })), "{refused:?}");
    client(rust::builder(&shop.url(), run).token(TOKEN)).unwrap();
    client(rust::builder(&shop.url(), run).basic("anyone", TOKEN)).unwrap();
    if !installed() {
        return;
    }
    let with_user = format!("http://anyone:{TOKEN}@{}", shop.server.0);
    for id in ["spring-dev", "node-dev", "python-dev"] {
        let run = shop.run(id);
        let refused = Program::of(run).start(&shop.url());
        assert_eq!((refused.code, refused.line), (Some(1), Value::Null), "{id}");
        let output = Program::of(run).start(&with_user);
        assert_eq!(output.line, run["output"], "{id}\n{}", output.error);
    }
}
