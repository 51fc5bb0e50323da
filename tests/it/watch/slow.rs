//! Clients that do not behave: they stop reading, half-close, leave without a word, or talk where they should listen.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::{Events, metric, shop, watchers};
use crate::fixture::{Address, Child, Repository, eventually};

/// Longer than a peer may leave unacknowledged what it was sent, with what the system adds.
const GIVEN_UP_MAX: Duration = Duration::from_secs(60);
/// Within this a watcher that went is forgotten.
const FORGOTTEN_MAX: Duration = Duration::from_secs(2);

const REQUEST: &[u8] = b"GET /big/default HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";

/// About so many bytes of values, another one for each number.
fn big(kib: usize, number: usize) -> String {
    let line = format!("{number:08}{}", "x".repeat(1_000));
    let lines: String = (0..kib).map(|key| format!("key-{key}: {line}\n")).collect();
    format!("//- big.yml\nnumber: {number}\n{lines}")
}

/// A watcher that takes hardly anything and reads nothing.
fn stalled(server: Address) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(&server.0.into()).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.write_all(REQUEST).unwrap();
    stream
}

#[test]
fn those_who_do_not_read_delay_nobody_cost_little_and_are_gone_in_the_end() {
    const STALLED_COUNT: u64 = 50;
    let repository = Repository::new(&big(64, 0));
    let server = Child::serve(&["--source", &repository.uri(), "--workers", "1"]);
    let mut reader = Events::open(*server, "/big/default", "").after_head();
    reader.environment();
    let before = server.resident_kib();
    let stalled: Vec<_> = (0..STALLED_COUNT).map(|_| stalled(*server)).collect();
    eventually("all watch", || watchers(*server) == STALLED_COUNT + 1);
    for number in 1..=100 {
        let revision = repository.commit(&big(64, number));
        let begun = Instant::now();
        while !reader.environment().0.id.starts_with(&revision) {}
        assert!(begun.elapsed() < Duration::from_secs(5), "held up by those who do not read");
    }
    // 50 watchers times 100 events of 64 KiB would be 320 MiB; each keeps one at most, and most of them the same.
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} KiB");
    let begun = Instant::now();
    while watchers(*server) > 1 {
        assert!(begun.elapsed() < GIVEN_UP_MAX, "{} are still there", watchers(*server));
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stalled);
    // The one that reads was told by a comment meanwhile that its stream lives, and is there still.
    let revision = repository.commit(&big(64, 1_000));
    assert!(reader.environment().0.id.starts_with(&revision));
}

#[test]
fn one_that_reads_again_is_told_the_newest_and_not_what_it_slept_through() {
    let repository = Repository::new(&big(64, 0));
    let server = Child::serve(&["--source", &repository.uri(), "--workers", "1"]);
    let mut sleeper = stalled(*server);
    eventually("it watches", || watchers(*server) == 1);
    const LAST: usize = 200;
    for number in 1..=LAST {
        let revision = repository.commit(&big(64, number));
        eventually("it is served", || {
            server.get("/big/default").header("headwater-revision") == Some(revision.as_str())
        });
    }
    sleeper.set_read_timeout(Some(GIVEN_UP_MAX)).unwrap();
    let (mut text, mut buffer) = (String::new(), vec![0; 256 * 1024]);
    let mut numbers: Vec<usize> = Vec::new();
    while numbers.last() != Some(&LAST) {
        let count = sleeper.read(&mut buffer).unwrap();
        assert!(count > 0, "it was let go while it slept for less than the limit");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        numbers = text
            .match_indices("\"number\":")
            .filter_map(|(at, name)| {
                let digits = &text[at + name.len()..];
                digits[..digits.find(',')?].parse().ok()
            })
            .collect();
    }
    assert!(numbers.is_sorted(), "{numbers:?}");
    // What had been sent before it stopped, what the system had taken, and the newest.
    assert!(numbers.len() < LAST / 2, "{} of {LAST}", numbers.len());
}

#[test]
fn those_who_close_or_half_close_are_forgotten_at_once() {
    let (_repository, server) = shop();
    let connect = || {
        let mut events = Events::open(*server, "/cart/default", "").after_head();
        events.environment();
        events
    };
    let half_closed: Vec<_> = (0..100).map(|_| connect()).collect();
    let closed: Vec<_> = (0..100).map(|_| connect()).collect();
    assert_eq!(watchers(*server), 200);
    let begun = Instant::now();
    for events in &half_closed {
        events.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }
    drop(closed);
    eventually("all are forgotten", || watchers(*server) == 0);
    assert!(begun.elapsed() < FORGOTTEN_MAX, "{:?}", begun.elapsed());
}

#[test]
fn a_long_poll_that_nobody_waits_for_any_more_is_forgotten_at_once() {
    let (_repository, server) = shop();
    let tag = server.get("/cart/default").expect(200).header("etag").unwrap().to_owned();
    let request = format!(
        "GET /cart/default HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\nPrefer: wait=45\r\n\r\n"
    );
    let polls: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually("all wait", || watchers(*server) == 50);
    let begun = Instant::now();
    drop(polls);
    eventually("all are forgotten", || watchers(*server) == 0);
    assert!(begun.elapsed() < FORGOTTEN_MAX, "{:?}", begun.elapsed());
}

#[test]
fn what_a_client_says_on_its_stream_is_passed_over_until_it_is_too_much() {
    let (repository, server) = shop();
    let mut events = Events::open(*server, "/cart/default", "").after_head();
    events.environment();
    events.0.get_mut().write_all(b"GET /order/default HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let revision = repository.commit("//- cart.yml\na: 2\n");
    assert!(events.environment().0.id.starts_with(&revision));
    // The server may be gone before all is written.
    let _ = events.0.get_mut().write_all(&[b'x'; 64 * 1024]);
    eventually("it is let go", || watchers(*server) == 0);
}

#[test]
fn a_stream_behind_other_requests_on_one_connection_comes_after_their_answers() {
    let (repository, server) = shop();
    server.get("/cart/default").expect(200);
    let mut stream = server.connect();
    let get = "GET /cart/default HTTP/1.1\r\nHost: x\r\n\r\n";
    let watch = "GET /cart/default HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(format!("{get}{get}{watch}").as_bytes()).unwrap();
    let revision = repository.commit("//- cart.yml\na: 2\n");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(&format!("id: {revision}")) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    let heads: Vec<_> = text.match_indices("HTTP/1.1 200").map(|(at, _)| at).collect();
    let stream_at = text.find("text/event-stream").unwrap();
    assert_eq!(heads.len(), 3, "{text}");
    assert!(heads[2] < stream_at && heads[1] < stream_at, "{text}");
}

#[test]
fn an_older_http_is_sent_the_same_events_without_chunks() {
    let (repository, server) = shop();
    let mut stream = server.connect();
    stream.write_all(b"GET /cart/default HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    let mut until = |end: &str| {
        while !text.contains(end) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        text.clone()
    };
    until("\"a\":1");
    repository.commit("//- cart.yml\na: 2\n");
    let text = until("\"a\":2");
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.starts_with("retry: ") && !body.contains('\r'), "{body}");
    assert_eq!(metric(*server, "headwater_watchers"), 1);
}
