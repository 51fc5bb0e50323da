//! The programs in `examples`: built, run against a server, and checked for what they print.

#![cfg(all(feature = "mock", feature = "figment", feature = "config"))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use headwater_client::Mock;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Longer than it takes to build an example.
const PATIENCE: Duration = Duration::from_secs(300);

struct Stage {
    mock: Mock,
    /// Runs the server.
    _runtime: Runtime,
}

/// A running program. Dropping it ends the program.
struct Running {
    process: Child,
    lines: Receiver<String>,
}

impl Stage {
    fn new(properties: &Value) -> Stage {
        let runtime = Runtime::new().unwrap();
        let mock = runtime.block_on(Mock::start()).unwrap();
        let stage = Stage { mock, _runtime: runtime };
        stage.set(properties);
        stage
    }

    fn set(&self, properties: &Value) {
        self.mock.set("product", "default", properties);
    }

    fn run(&self, example: &str) -> Running {
        let mut command = Command::new(std::env::var_os("CARGO").expect("tests are run by cargo"));
        command.args(["run", "--quiet", "--offline", "--package", "headwater-client"]);
        command.args(["--all-features", "--example", example]);
        // Examples write their copies below TMPDIR.
        let place = tempfile::tempdir().unwrap();
        command.env("HEADWATER_URL", self.mock.url()).env("TMPDIR", place.path());
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        std::thread::spawn(move || {
            let _place = place;
            // The receiver is dropped when the test ends.
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok());
        });
        Running { process, lines }
    }
}

impl Running {
    /// Waits for a line that contains `part`.
    fn says(&self, part: &str) -> String {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => said.push(line),
                Err(_) => panic!("{part} was not said: {said:?}"),
            }
        }
    }

    fn ends_well(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn examples_that_connect_once_print_their_configuration() {
    let stage = Stage::new(&json!({ "log-level": "debug" }));
    for (example, said) in [
        ("hello", "log-level is set by product.yml"),
        ("figment", "logging at debug"),
        ("config", "logging at debug"),
    ] {
        let running = stage.run(example);
        running.says(said);
        running.ends_well();
    }
}

#[test]
fn examples_that_follow_print_changes() {
    let books = |count: u32, off: u32| json!({ "catalogue": { "page-size": count, "discount-percent": off } });
    let stage = Stage::new(&books(20, 5));
    let live = stage.run("live");
    live.says("20 books on a page, 5 % off");
    stage.set(&books(20, 101));
    stage.set(&books(30, 10));
    live.says("30 books on a page, 10 % off");
}

#[test]
fn a_web_service_answers_with_its_present_configuration() {
    let of = |greeting: Value| json!({ "server": { "port": 0 }, "greeting": greeting });
    let stage = Stage::new(&of(json!("good morning")));
    let service = stage.run("actix_service");
    let line = service.says("listening on [");
    let address = line.split(['[', ']']).nth(1).unwrap();
    assert!(get(address, "/").ends_with("good morning\n"));
    assert!(get(address, "/health").contains(r#""rejected":null"#));
    stage.set(&of(json!("good evening")));
    let eventually = |path: &str, part: &str| {
        let begun = std::time::Instant::now();
        while !get(address, path).contains(part) {
            assert!(begun.elapsed() < PATIENCE, "{part} never came");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    eventually("/", "good evening\n");
    stage.set(&json!({ "server": { "port": "none" } }));
    eventually("/health", "`server.port` is a string, expected a u16");
    assert!(get(address, "/").ends_with("good evening\n"));
}
