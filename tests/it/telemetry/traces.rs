//! Traces, received by a collector that reads them as the specification of OTLP says.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::Hosting;
use crate::fixture::{PATIENCE, eventually};

/// The answer of a collector to a request.
#[derive(Clone, Copy)]
enum Manner {
    Good,
    /// Accepts the connection and never answers.
    Silent,
    Fails,
    Garbage,
}

/// A collector on a port of its own. It ends with its first connection after this is dropped.
struct Collector {
    address: SocketAddr,
    bodies: mpsc::Receiver<Value>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (received, bodies) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(body) = receive(&stream) else { return };
                let answer: &[u8] = match manner {
                    Manner::Good => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                    Manner::Fails => b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
                    Manner::Garbage => &[b'x'; 100_000],
                    Manner::Silent => {
                        silent.push(stream);
                        continue;
                    }
                };
                // A server that has read enough may have closed the connection.
                let _ = (&stream).write_all(answer);
                if received.send(body).is_err() {
                    return;
                }
            }
        });
        Self { address, bodies, thread: Some(thread) }
    }

    fn settings(&self) -> String {
        format!("[tracing]\notlp_endpoint = \"http://{}\"", self.address)
    }

    /// Collects spans until one of this name is among them.
    fn spans_until(&self, name: &str) -> Vec<Value> {
        let mut spans = Vec::new();
        while !spans.iter().any(|span: &Value| span["name"] == name) {
            let body = self.bodies.recv_timeout(PATIENCE).expect("spans");
            let resource = &body["resourceSpans"][0];
            let service = &resource["resource"]["attributes"][0];
            assert_eq!(service["key"], "service.name");
            assert_eq!(service["value"]["stringValue"], "headwater");
            let of_scope = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
            spans.extend(of_scope.iter().cloned());
        }
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // An empty connection ends the thread. The listener is there until then.
        drop(TcpStream::connect(self.address));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the collector failed");
    }
}

/// Reads one request. Returns `None` for a connection without a complete one, such as that of a server that ends.
fn receive(mut stream: &TcpStream) -> Option<Value> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).expect("JSON"))
}

fn nanoseconds(span: &Value, name: &str) -> u128 {
    span[name].as_str().expect("a text").parse().expect("a number")
}

#[test]
fn a_push_is_one_trace_from_receive_to_published() {
    let collector = Collector::new(Manner::Good);
    let hosting = Hosting::new(&collector.settings());
    hosting.tree.commit("//- orders.yml\nname: Orders\npassword: canary-of-a-trace\n");
    hosting.tree.push(&["main"]).succeeds();
    let spans = collector.spans_until("push");
    let names: BTreeSet<&str> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
    let expected = ["push", "receive", "wait", "sync", "check", "publish"];
    assert_eq!(names, expected.into_iter().collect(), "{spans:#?}");
    assert_eq!(spans.len(), expected.len(), "{spans:#?}");
    let push = spans.iter().find(|span| span["name"] == "push").expect("the push");
    assert_eq!((&push["parentSpanId"], &push["kind"]), (&Value::Null, &Value::from(2)));
    let attributes = push["attributes"].to_string();
    for text in ["repository", "main", "outcome", "accepted"] {
        assert!(attributes.contains(&format!("\"{text}\"")), "{attributes}");
    }
    let trace = push["traceId"].as_str().expect("an id");
    assert!(trace.len() == 32 && push["spanId"].as_str().is_some_and(|id| id.len() == 16));
    let ids: BTreeSet<&str> = spans.iter().filter_map(|span| span["spanId"].as_str()).collect();
    assert_eq!(ids.len(), spans.len());
    for span in &spans {
        assert_eq!(span["traceId"], trace);
        let (start, end) =
            (nanoseconds(span, "startTimeUnixNano"), nanoseconds(span, "endTimeUnixNano"));
        assert!(start <= end, "{span}");
        if span["name"] != "push" {
            assert_eq!(span["parentSpanId"], push["spanId"]);
            assert!(start >= nanoseconds(push, "startTimeUnixNano"), "{span}");
        }
    }
    let of = |name: &str| spans.iter().find(|span| span["name"] == name).expect("a span");
    assert!(
        nanoseconds(of("receive"), "startTimeUnixNano")
            <= nanoseconds(of("publish"), "startTimeUnixNano")
    );
    let all = serde_json::to_string(&spans).unwrap();
    assert!(!all.contains("canary-of-a-trace") && !all.contains("password"), "{all}");
    eventually("they are counted", || hosting.figure("headwater_trace_spans_total") >= 6.0);
    assert_eq!(hosting.figure("headwater_trace_dropped_spans_total"), 0.0);
}

#[test]
fn a_read_is_traced_if_its_client_samples_it() {
    let collector = Collector::new(Manner::Good);
    let hosting = Hosting::new(&collector.settings());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (path, flags) in [("/orders/dev", "00"), ("/orders-dev.yml", "01"), ("/livez", "01")] {
        let header = format!("00-{trace}-00f067aa0ba902b7-{flags}");
        hosting.server.get_with(path, &[("traceparent", &header)]).expect(200);
    }
    hosting.server.get("/orders-dev.json").expect(200);
    let spans = collector.spans_until("read");
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((span["traceId"].as_str(), &span["kind"]), (Some(trace), &Value::from(2)));
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    assert!(span["attributes"].to_string().contains("\"flat\""), "{span}");
    assert!(!span.to_string().contains("orders"), "a span names what a client asks for: {span}");
    let rest = collector.bodies.recv_timeout(Duration::from_millis(1));
    assert!(rest.is_err(), "{rest:?}");
}

#[test]
fn a_bad_collector_delays_no_push_and_loses_its_spans() {
    for manner in [Manner::Silent, Manner::Fails, Manner::Garbage] {
        let collector = Collector::new(manner);
        let hosting = Hosting::new(&collector.settings());
        for limit in 2..5 {
            hosting.tree.commit(&format!("//- orders.yml\nname: Orders\nlimit: {limit}\n"));
            hosting.tree.push(&["main"]).succeeds();
            let answer = hosting.server.get("/orders/dev").expect(200).text();
            assert!(answer.contains(&format!("\"limit\":{limit}")), "{answer}");
        }
        eventually("spans are lost", || {
            hosting.figure("headwater_trace_dropped_spans_total") >= 1.0
        });
        assert_eq!(hosting.figure("headwater_trace_spans_total"), 0.0);
        let count = || hosting.server.log().matches("the collector does not accept traces").count();
        eventually("the outage is logged", || count() > 0);
        assert_eq!(count(), 1, "{}", hosting.server.log());
    }
}

#[test]
fn an_unreachable_collector_is_no_reason_not_to_start() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let hosting = Hosting::new(&format!("[tracing]\notlp_endpoint = \"http://{address}\""));
    hosting.tree.commit("//- orders.yml\nname: Orders\nlimit: 2\n");
    hosting.tree.push(&["main"]).succeeds();
    eventually("spans are lost", || hosting.figure("headwater_trace_dropped_spans_total") >= 6.0);
}
