//! Durations and traces of a running server, in a process of its own, because both belong to the process.

mod traces;

use std::io::{BufRead, BufReader, Write};

use tempfile::TempDir;

use crate::fixture::{Child, Tree, clone, directory, eventually, repository_url};

const SHOP: &str = "//- orders.yml\nname: Orders\nlimit: 1\n//- plain.txt\nplain\n";

/// A server that hosts a repository, and a clone of it.
struct Hosting {
    server: Child,
    tree: Tree,
    _place: TempDir,
}

impl Hosting {
    /// `settings` stands before the source.
    fn new(settings: &str) -> Self {
        let place = directory("");
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir(path("seed")).unwrap();
        for (name, text) in crate::fixture::files(SHOP) {
            std::fs::write(path("seed").join(name), text).unwrap();
        }
        let text = format!(
            "workers = 1\ndata = {:?}\n{settings}\n[[source]]\nuri = \"hosted:main\"\nseed = {:?}\n",
            path("data"),
            path("seed")
        );
        std::fs::write(path("headwater.toml"), text).unwrap();
        let server = Child::serve(&["--config", &path("headwater.toml").display().to_string()]);
        eventually("it is ready", || server.get("/readyz").status == 200);
        let tree = clone(&repository_url(server.0), &path("work"));
        Self { server, tree, _place: place }
    }

    fn figure(&self, name: &str) -> f64 {
        let text = self.server.get("/metrics").expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }
}

#[test]
fn durations_of_reads_pushes_and_events_are_counted() {
    let hosting = Hosting::new("");
    let figure = |name: &str| hosting.figure(&format!("headwater_{name}"));
    // The first read leaves the hot path, and later ones do not.
    for _ in 0..5 {
        hosting.server.get("/orders/dev").expect(200);
    }
    assert_eq!(figure("read_seconds_count{route=\"environment\"}"), 1.0);
    hosting.server.get("/orders-dev.yml").expect(200);
    hosting.server.get("/orders/dev/main/plain.txt").expect(200);
    assert_eq!(figure("read_seconds_count{route=\"flat\"}"), 1.0);
    assert_eq!(figure("read_seconds_count{route=\"file\"}"), 1.0);
    // A long poll waits for a change, so that its duration says nothing of the server.
    hosting.server.get_with("/other/dev", &[("Prefer", "wait=0")]).expect(200);
    assert_eq!(figure("read_seconds_count{route=\"environment\"}"), 1.0);

    let mut stream = hosting.server.connect();
    let request = "GET /orders/dev HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("data:")).expect("the first event");

    hosting.tree.commit("//- orders.yml\nname: Orders\nlimit: 2\n");
    hosting.tree.push(&["main"]).succeeds();
    lines.find(|line| line.contains("\"limit\":2")).expect("the second event");
    assert_eq!(figure("push_seconds_count{outcome=\"accepted\"}"), 1.0);
    for stage in ["receive", "wait", "sync", "check", "publish"] {
        let count = figure(&format!("push_stage_seconds_count{{stage=\"{stage}\"}}"));
        assert_eq!(count, 1.0, "{stage}");
    }
    assert_eq!(figure("push_stage_seconds_count{stage=\"replicate\"}"), 0.0);
    assert!(figure("publication_seconds_count") >= 1.0);
    // The figure is taken after the event was written.
    eventually("the delay is counted", || figure("event_delay_seconds_count") >= 1.0);
    assert!(figure("git_process_seconds_count{use=\"hosted\"}") >= 1.0);

    hosting.tree.commit("//- orders.yml\nname: [\n");
    hosting.tree.push(&["main"]).fails(&["push rejected"]);
    assert_eq!(figure("push_seconds_count{outcome=\"rejected\"}"), 1.0);
    assert_eq!(figure("push_seconds_count{outcome=\"accepted\"}"), 1.0);
    let sum = figure("push_seconds_sum{outcome=\"accepted\"}");
    assert!(sum > 0.0 && figure("push_stage_seconds_sum{stage=\"check\"}") < sum, "{sum}");
}

#[test]
fn the_process_and_its_version_are_told() {
    let hosting = Hosting::new("");
    let text = hosting.server.get("/metrics").expect(200).text();
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains(&format!("headwater_build_info{{version=\"{version}\"}} 1\n")), "{text}");
    let resident = hosting.figure("process_resident_memory_bytes");
    assert!(resident > 1e6 && resident < 1e9, "{resident}");
    assert!(hosting.figure("process_open_fds") < hosting.figure("process_max_fds"));
    assert!(hosting.figure("process_threads") >= 2.0);
    let before = hosting.figure("process_cpu_seconds_total");
    eventually("processor time passes", || hosting.figure("process_cpu_seconds_total") > before);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - hosting.figure("process_start_time_seconds");
    assert!((-5.0..600.0).contains(&age), "{age}");
}

#[test]
fn the_older_text_format_has_the_same_samples() {
    let hosting = Hosting::new("");
    hosting.server.get("/orders/dev").expect(200);
    let samples = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let open_metrics = hosting.server.get("/metrics").expect(200);
    let plain = hosting.server.get_with("/metrics", &[("Accept", "text/plain")]).expect(200);
    assert!(plain.header("content-type").is_some_and(|it| it.starts_with("text/plain")));
    assert!(!plain.text().contains("# EOF") && open_metrics.text().ends_with("# EOF\n"));
    assert!(samples(&plain.text()).len() > 100);
    assert_eq!(samples(&plain.text()), samples(&open_metrics.text()));
}
