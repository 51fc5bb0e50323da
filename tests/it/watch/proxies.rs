//! Through nginx and HAProxy as Debian sets them up: nothing is said about streams, buffering or HTTP versions.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Events, shop, watchers};
use crate::fixture::{Address, eventually, signal};

/// The longest that a stream says nothing, which `watch/lists.rs` gives the reason for.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long nginx waits for the next bytes of an answer unless it is told otherwise (`proxy_read_timeout`).
const NGINX_TIMEOUT: Duration = Duration::from_secs(60);
/// Through a proxy an event should be there long before anybody would ask again.
const PROMPT: Duration = Duration::from_secs(2);

/// A proxy in front of a server; killed by its id when it is dropped.
struct Proxy {
    process: Child,
    address: Address,
    _place: TempDir,
}

impl Proxy {
    fn start(
        program: &str,
        server: Address,
        configuration: fn(&Path, Address, Address) -> String,
    ) -> Self {
        let place = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = Address(free);
        let file = place.path().join("proxy.conf");
        std::fs::write(&file, configuration(place.path(), address, server)).unwrap();
        let program = format!("/usr/sbin/{program}");
        let mut command = Command::new(&program);
        if program.ends_with("nginx") {
            command.arg("-p").arg(place.path()).arg("-c").arg(&file);
        } else {
            command.arg("-db").arg("-f").arg(&file);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| {
            panic!("{program}: {error}: run scripts/install-test-deps.sh once")
        });
        let proxy = Self { process, address, _place: place };
        eventually("the proxy listens", || std::net::TcpStream::connect(free).is_ok());
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // TERM, so that nginx takes its workers along.
        let _ = signal("TERM", self.process.id());
        let _ = self.process.wait();
    }
}

fn nginx(place: &Path, listen: Address, server: Address) -> String {
    let place = place.display();
    format!(
        "daemon off; pid {place}/pid; error_log /dev/null crit;\n\
         events {{ worker_connections 768; }}\n\
         http {{\n\
           sendfile on; tcp_nopush on; types_hash_max_size 2048; gzip on; access_log off;\n\
           client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
           fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;\n\
           server {{ listen {}; location / {{ proxy_pass http://{}; }} }}\n\
         }}\n",
        listen.0, server.0
    )
}

fn haproxy(_place: &Path, listen: Address, server: Address) -> String {
    let installed = std::fs::read_to_string("/etc/haproxy/haproxy.cfg").unwrap();
    let timeouts: String = installed
        .lines()
        .filter(|line| line.trim_start().starts_with("timeout "))
        .map(|line| format!("{line}\n"))
        .collect();
    format!(
        "defaults\n    mode http\n{timeouts}\nfrontend front\n    bind {}\n    default_backend back\n\
         backend back\n    server one {}\n",
        listen.0, server.0
    )
}

fn works_through(program: &str, configuration: fn(&Path, Address, Address) -> String) {
    let (repository, server) = shop();
    let proxy = Proxy::start(program, *server, configuration);
    let mut events = Events::open(proxy.address, "/cart/default", "").after_head();
    events.environment();
    let mut moves = Events::open(proxy.address, "/-/events", "").after_head();
    let tag = proxy.address.get("/cart/default").expect(200).header("etag").unwrap().to_owned();
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| {
            let headers = [("If-None-Match", tag.as_str()), ("Prefer", "wait=45")];
            let reply = proxy.address.get_with("/cart/default", &headers);
            (reply, Instant::now())
        });
        eventually("all watch", || watchers(*server) == 3);
        let changed = Instant::now();
        let revision = repository.commit("//- cart.yml\na: 2\n");
        assert!(events.environment().0.id.starts_with(&revision));
        let (reply, answered) = poll.join().unwrap();
        assert_eq!(reply.expect(200).header("headwater-revision"), Some(revision.as_str()));
        let moved = std::iter::from_fn(|| moves.next()).find(|event| event.name == "move");
        assert!(moved.is_some_and(|moved| moved.data.contains(&revision)));
        assert!(changed.elapsed() < PROMPT, "{:?}", changed.elapsed());
        assert!(answered - changed < PROMPT);
    });
    let digest = tag.strip_prefix("W/\"").unwrap().split('.').next().unwrap();
    let behind = format!("Last-Event-ID: {}.{digest}\r\n", "f".repeat(40));
    let head = Events::open(proxy.address, "/cart/default", &behind).head();
    assert!(head.contains("503") && head.contains("retry-after"), "{head}");
    // Who goes away in front of the proxy goes away behind it, with HAProxy as soon as there is something to be said: an
    // event or a comment.
    drop((events, moves));
    let mut number = 2;
    eventually("all are gone", || {
        number += 1;
        repository.commit(&format!("//- cart.yml\na: {number}\n"));
        watchers(*server) == 0
    });
}

#[test]
fn watching_works_through_nginx_as_it_comes() {
    works_through("nginx", nginx);
}

#[test]
fn watching_works_through_haproxy_as_it_comes() {
    works_through("haproxy", haproxy);
}

/// A client that is idle for less than the time-outs of the proxies keeps its stream.
#[test]
fn a_silent_stream_says_something_before_any_proxy_takes_it_for_dead() {
    let installed = std::fs::read_to_string("/etc/haproxy/haproxy.cfg").unwrap();
    let timeouts: Vec<u64> = installed
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let names = (words.next()?, words.next()?);
            let is_idle = matches!(names, ("timeout", "client" | "server"));
            is_idle.then(|| words.next()?.parse().ok()).flatten()
        })
        .collect();
    assert_eq!(timeouts.len(), 2, "{installed}");
    assert!(timeouts.iter().all(|millis| Duration::from_millis(*millis) > SILENCE_MAX));
    assert!(NGINX_TIMEOUT > SILENCE_MAX);
    let (_repository, server) = shop();
    let mut events = Events::open(*server, "/cart/default", "").after_head();
    let mut moves = Events::open(*server, "/-/events", "").after_head();
    events.environment();
    assert!(!moves.next().unwrap().retry.is_empty());
    let silent_since = Instant::now();
    for stream in [&mut events, &mut moves] {
        assert_eq!(stream.chunk().as_deref(), Some(":\n\n"));
        // What the machine adds when it is busy.
        assert!(silent_since.elapsed() < SILENCE_MAX + PROMPT, "{:?}", silent_since.elapsed());
    }
}
