//! What `docs/watching.md` tells people to type does what the page says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::watch::Running;
use crate::fixture::{Repository, Server, command, directory, eventually};

const SHOP: &str = "//- application.yml\nshared: 1\n//- orders.yml\nlimit: 1\n";

/// The block of the page that holds this text, with addresses of ports that are free here.
fn block(part: &str, server: &Server, application: &TcpListener) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/watching.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let found = blocks.find(|block| block.contains(part));
    let found = found.unwrap_or_else(|| panic!("no block has {part}"));
    found
        .replace("localhost:8888", &server.0.to_string())
        .replace("localhost:8080", &application.local_addr().unwrap().to_string())
}

/// A block of the page, typed into a shell that finds the binary.
struct Typed {
    repository: Repository,
    server: Server,
    place: TempDir,
    running: Running,
    /// What came to the application's port.
    requests: Arc<Mutex<String>>,
}

impl Typed {
    fn new(part: &str) -> Self {
        let repository = Repository::new(SHOP);
        let server = Server::start(&repository.uri());
        let (place, application) = (directory(""), TcpListener::bind("127.0.0.1:0").unwrap());
        let block = block(part, &server, &application);
        let binary = command(place.path());
        let binary = Path::new(binary.get_program()).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(block).current_dir(place.path()).env("PATH", path);
        shell.env("HEADWATER_URL", format!("http://{}", server.0)).env_remove("HEADWATER_LABEL");
        let running = Running::spawn(shell);
        Self { repository, server, place, running, requests: answer_all(application) }
    }

    fn change(&self, limit: u32) -> String {
        self.repository.commit(&format!("//- orders.yml\nlimit: {limit}\n"))
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.path().join(name)).unwrap_or_default()
    }
}

/// An application that says yes to everything.
fn answer_all(listener: TcpListener) -> Arc<Mutex<String>> {
    let requests = Arc::<Mutex<String>>::default();
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or_default();
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&head[..length]));
            // Whoever asked may have gone.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]");
        }
    });
    requests
}

#[test]
fn curl_shows_a_stream() {
    let typed = Typed::new("text/event-stream");
    typed.running.says("\"limit\":1");
    assert!(typed.running.out().starts_with("retry: "), "{}", typed.running.out());
    let revision = typed.change(2);
    typed.running.says(&format!("id: {revision}."));
    typed.running.says("\"limit\":2");
}

#[test]
fn curl_polls_until_there_is_something_else() {
    let typed = Typed::new("Prefer: wait=30");
    eventually("the present", || typed.file("orders.json").contains("\"limit\":1"));
    typed.change(2);
    eventually("the change", || typed.file("orders.json").contains("\"limit\":2"));
    assert_eq!(typed.running.err(), "");
}

#[test]
fn curl_says_what_became_of_a_configuration() {
    let typed = Typed::new("Headwater-Applied");
    typed.running.says("\"instance\":\"orders-1\"");
    typed.running.says("\"outcome\":\"ok\"");
    let revision =
        typed.server.get("/orders/prod").header("headwater-revision").unwrap().to_owned();
    typed.running.says(&format!("\"revision\":\"{revision}\""));
    assert_eq!(typed.running.err(), "");
}

#[test]
fn people_are_shown_keys() {
    let typed = Typed::new("headwater watch orders prod\n");
    typed.running.says("current, 2 keys");
    let revision = typed.change(2);
    typed.running.says(&format!("  {}  1 key changed\n  ~ limit\n", &revision[..10]));
}

#[test]
fn scripts_read_lines() {
    let typed = Typed::new("--output json");
    eventually("the present", || typed.file("events.log").contains("\"current\""));
    typed.change(2);
    eventually("the change", || typed.file("events.log").contains("\"changed\":[\"limit\"]"));
}

#[test]
fn a_script_waits_for_one_change() {
    let mut typed = Typed::new("--once");
    typed.running.says("current");
    typed.change(2);
    assert_eq!(typed.running.code(), Some(0));
    typed.running.says("orders is configured differently now");
}

#[test]
fn a_spring_application_is_told_to_refresh() {
    let typed = Typed::new("/actuator/refresh");
    typed.running.says("current");
    assert_eq!(*typed.requests.lock().unwrap(), "");
    typed.change(2);
    eventually("the request", || {
        typed.requests.lock().unwrap().starts_with("POST /actuator/refresh HTTP/1.1\r\n")
    });
}
