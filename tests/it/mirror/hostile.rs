//! Addresses that lead elsewhere, and remotes that do not behave.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::access::refused;
use super::host::{Host, Manner};
use super::{Home, comes, failed, remote};
use crate::fixture::{Child, Repository, eventually};

/// A port that nobody may come to; counts who does.
struct Trap {
    port: u16,
    visitor_count: Arc<AtomicUsize>,
}

impl Trap {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let visitor_count = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visitor_count);
        // Ends with the process: nobody comes, so that nobody wakes it.
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { port, visitor_count }
    }

    fn visitor_count(&self) -> usize {
        self.visitor_count.load(Ordering::Relaxed)
    }
}

/// The server's children, dead ones that nobody fetched included.
fn children(server: &Child) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("its threads");
    tasks
        .flatten()
        .flat_map(|task| {
            let children = std::fs::read_to_string(task.path().join("children"));
            children.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn ssrf_1_and_2_addresses_that_lead_elsewhere_are_refused_at_start() {
    let trap = Trap::new();
    let port = trap.port;
    for uri in [
        "https://{application}.example/r.git".to_owned(),
        format!("http://{{profile}}:{port}/r.git"),
        format!("http://localhost:{{label}}{port}/r.git"),
        format!("{{label}}://localhost:{port}/r.git"),
        format!("ext::sh -c 'echo >/dev/tcp/127.0.0.1/{port}'"),
        format!("ssh://-oProxyCommand=nc 127.0.0.1 {port}/r.git"),
        format!("ssh://git@-oProxyCommand=nc:{port}/r.git"),
        "git@-oX:r.git".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        format!("http://[::ffff:127.0.0.1]:{port}/r.git"),
        format!("http://2130706433:{port}/r.git"),
        format!("http://0x7f.1:{port}/r.git"),
        format!("http://0177.0.0.1:{port}/r.git"),
        format!("http://user@good@localhost:{port}/r.git"),
        format!("http://user:hunter2@localhost:{port}/r.git"),
        format!("git://localhost:{port}/r.git"),
        format!("ftp://localhost:{port}/r.git"),
    ] {
        let home = Home::new(&format!("[[source]]\nuri = \"{uri}\"\n"));
        let (code, said) = refused(&home, &[]);
        assert_eq!(code, Some(2), "{uri}: {said}");
        assert!(said.contains("the address of") && !said.contains("hunter2"), "{uri}: {said}");
        assert!(!home.place().join("headwater-data/mirrors").exists(), "{uri}");
    }
    assert_eq!(trap.visitor_count(), 0);
}

#[test]
fn ssrf_2_redirects_are_not_followed() {
    let trap = Trap::new();
    let secret = Repository::new("//- orders.yml\nsecret: 1\n");
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    for location in [
        format!("http://127.0.0.1:{}/r.git/info/refs?service=git-upload-pack", trap.port),
        format!("file://{}/info/refs", secret.uri()),
        "ssh://localhost/r.git/info/refs?service=git-upload-pack".to_owned(),
        "ext::sh -c true/info/refs?service=git-upload-pack".to_owned(),
    ] {
        host.behave(Manner::Good);
        eventually("it is fetched", || remote(&server)["error"].is_null());
        host.behave(Manner::Redirect(location));
        eventually("it is said", || {
            remote(&server)["error"]
                .as_str()
                .is_some_and(|error| error.contains("the remote redirects"))
        });
    }
    assert_eq!(trap.visitor_count(), 0);
    let answer = server.get("/orders/dev").expect(200);
    assert!(!answer.text().contains("secret"), "{}", answer.text());
}

#[test]
fn ssrf_3_what_a_repository_says_makes_nobody_connect() {
    let trap = Trap::new();
    let at = format!("http://127.0.0.1:{}/x", trap.port);
    let repository = Repository::new(&format!(
        "//- orders.yml\nspring.config.import: {at}.yml\na: \"!include {at}\"\n\
         //- .gitmodules\n[submodule \"x\"]\n\tpath = x\n\turl = {at}\n\
         //- .lfsconfig\n[lfs]\n\turl = {at}\n"
    ));
    let host = Host::of(&repository);
    let home = Home::of(&host.uri());
    let server = home.serve();
    comes(&server, "/orders/dev", "spring.config.import", &format!("{at}.yml"));
    assert_eq!(trap.visitor_count(), 0);
}

#[test]
fn ssrf_4_a_remote_that_is_slow_cut_off_or_no_git_is_given_up() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\npoll_seconds = 1\nfetch_seconds_max = 1\n",
        host.uri()
    ));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    for (manner, message) in [
        (Manner::Silent, "git did not end within 1 s"),
        (Manner::Cut, "truncated or malformed"),
        (Manner::Html, "the remote lists no branch"),
        (Manner::Away, ""),
    ] {
        host.behave(Manner::Good);
        eventually("it is fetched", || remote(&server)["error"].is_null());
        host.behave(manner.clone());
        let mut said = String::new();
        eventually(&format!("{manner:?} is given up"), || {
            said = remote(&server)["error"].as_str().unwrap_or_default().to_owned();
            !said.is_empty()
        });
        assert!(said.contains(message), "{manner:?}: {said}");
        server.get("/orders/dev").expect(200);
    }
    host.behave(Manner::Good);
    repository.commit("//- orders.yml\na: 2\n");
    comes(&server, "/orders/dev", "a", "2");
    // None of the processes is left, neither alive nor dead.
    eventually("nobody is left", || children(&server).is_empty());
}

#[test]
fn ssrf_4_a_pack_without_an_end_is_cut_off_by_its_size() {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let host = Host::of(&repository);
    let bytes_max = 4 * 1024 * 1024;
    let home = Home::new(&format!(
        "[[source]]\nuri = \"{}\"\npoll_seconds = 1\nfetch_bytes_max = {bytes_max}\n",
        host.uri()
    ));
    let server = home.serve();
    comes(&server, "/orders/dev", "a", "1");
    let resident = server.resident_kib();
    repository.commit("//- orders.yml\na: 2\n");
    host.behave(Manner::Endless);
    let begun = Instant::now();
    eventually("it is said", || {
        let expected = format!("the remote sends more than {bytes_max} bytes");
        failed(&server, &expected)
    });
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(host.sent_count() > bytes_max, "{}", host.sent_count());
    assert!(server.resident_kib() < resident + 32 * 1024);
    server.get("/orders/dev").expect(200);
    host.behave(Manner::Good);
    comes(&server, "/orders/dev", "a", "2");
    eventually("nobody is left", || children(&server).is_empty());
    let packs = home.copy().join("objects/pack");
    let size = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().metadata().unwrap().len();
    let left: u64 = std::fs::read_dir(packs).into_iter().flatten().map(size).sum();
    assert!(left < 64 * 1024, "{left} bytes left behind");
}
