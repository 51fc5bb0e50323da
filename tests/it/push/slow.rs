//! Clients that hardly read, and pushes that hardly send: other clients get their turn.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use headwater::push::{FETCH_COUNT_MAX, PUSH_COUNT_MAX};

use super::SHOP;
use crate::fixture::{Address, Hosted, Server, Until, eventually, settings};

/// What a slow clone leaves unread has to be more than all buffers on the way hold.
const FILE_BYTES: usize = 6 << 20;
/// How small the receive buffer of a slow client is.
const RECEIVE_BYTES: usize = 4 * 1024;

/// A connection from an address of this machine.
fn connect_from(server: Address, last_octet: u8) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last_octet], 0)).into()).unwrap();
    socket.connect(&server.0.into()).unwrap();
    socket.into()
}

/// A request for a whole repository. `more` are further headers.
fn clone_request(tip: &str, more: &str) -> String {
    let body = format!("0032want {tip}\n00000009done\n");
    format!(
        "POST /-/git/main.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\n{more}\
         Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The first bytes of the answer, which show that the request has a place.
fn first_bytes(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.read_exact(&mut head).expect("an answer");
    String::from_utf8_lossy(&head).into_owned()
}

/// Reads a byte a second from each of these until it is over.
fn read_slowly(mut streams: Vec<TcpStream>, over: &AtomicBool) {
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    while !over.load(Ordering::Relaxed) {
        streams.retain_mut(|stream| match stream.read(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        thread::sleep(Duration::from_secs(1));
    }
}

/// Bytes that do not become smaller.
fn noise() -> String {
    (0..FILE_BYTES).map(|_| fastrand::alphanumeric()).collect()
}

#[test]
fn clones_that_hardly_read_shut_out_nobody() {
    let hosted = Hosted::with(SHOP, |settings| settings.workers = Some(2));
    let tree = hosted.clone("work");
    let tip = tree.commit(&format!("//- noise.txt\n{}\n", noise()));
    tree.push(&["main"]).succeeds();
    let place = tempfile::tempdir().unwrap();
    let mut mirror = settings(&hosted.url());
    mirror.data = place.path().join("data");
    let mirror = Server::with(mirror);
    eventually("the mirror has its copy", || mirror.get("/cart/dev").status == 200);
    let address = *hosted.server;
    // Anonymous clients get 24 places, and those of this machine, which may push, the rest.
    let slow = |number: usize| {
        let octet = 2 + u8::try_from(number % 5).unwrap();
        let more = if number.is_multiple_of(4) { "" } else { "Via: 1.1 somebody\r\n" };
        let mut stream = connect_from(address, octet);
        stream.write_all(clone_request(&tip, more).as_bytes()).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..FETCH_COUNT_MAX).map(slow).collect();
    for stream in &mut streams {
        assert!(first_bytes(stream).ends_with("200"));
    }
    // These wait for a place already.
    streams.extend((0..FETCH_COUNT_MAX).map(slow));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| read_slowly(streams, &over));
        let _until = Until(&over);
        let begun = Instant::now();
        let newest = tree.commit("//- cart.yml\nname: Next\n");
        tree.push(&["main"]).succeeds();
        // Behind a slow clone it would wait for the 20 s after which that is cut.
        assert!(begun.elapsed() < Duration::from_secs(15), "a push took {:?}", begun.elapsed());
        let fetching = scope.spawn(|| hosted.clone("other").git(&["rev-parse", "HEAD"]).out);
        let moved = |reply: crate::fixture::Reply| reply.text().contains("Next");
        while !moved(mirror.get("/cart/dev")) {
            assert!(begun.elapsed() < Duration::from_secs(100), "the mirror is shut out");
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(fetching.join().unwrap().trim(), newest);
        assert!(begun.elapsed() < Duration::from_secs(100), "a clone took {:?}", begun.elapsed());
    });
}

#[test]
fn a_clone_on_a_slow_link_comes_to_its_end() {
    let hosted = Hosted::new(SHOP);
    let tip = hosted.tip("main");
    let tree = hosted.clone("work");
    let big = tree.commit(&format!("//- noise.txt\n{}\n", &noise()[..400_000]));
    tree.push(&["main"]).succeeds();
    assert_ne!(tip, big);
    let mut stream = connect_from(*hosted.server, 2);
    let request = clone_request(&big, "Connection: close\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (mut whole, mut buffer) = (0, [0; 8 * 1024]);
    // A few kibibytes a second while the server waits, then the rest.
    let slow_until = Instant::now() + Duration::from_secs(25);
    loop {
        let count = stream.read(&mut buffer).expect("the connection stays");
        whole += count;
        if count == 0 {
            break;
        }
        if Instant::now() < slow_until {
            thread::sleep(Duration::from_secs(1));
        }
    }
    assert!(whole > 250_000, "{whole}");
}

#[test]
fn pushes_that_hardly_send_shut_out_nobody() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let head = "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 1000\r\n\r\n00";
    let open = |number: usize| {
        let mut stream = connect_from(*hosted.server, 2 + u8::try_from(number % 2).unwrap());
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..PUSH_COUNT_MAX).map(open).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // One that was let go takes no more.
                streams.retain_mut(|stream| stream.write_all(b"0").is_ok());
                thread::sleep(Duration::from_secs(1));
            }
        });
        let _until = Until(&over);
        let begun = Instant::now();
        tree.commit("//- cart.yml\nname: Next\n");
        tree.push(&["main"]).succeeds();
        assert!(begun.elapsed() < Duration::from_secs(45), "a push took {:?}", begun.elapsed());
    });
}
