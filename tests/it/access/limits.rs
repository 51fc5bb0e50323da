//! Limits on bad credentials, and headers that never select a principal.

use std::io::Write;
use std::net::TcpStream;

use super::{Guarded, RULES, basic, bearer, get, metric, token};
use crate::fixture::{Reply, eventually, read};

/// More requests than the burst, as long as a machine sends more than 30 in a second.
const REQUEST_COUNT_MAX: usize = 10_000;
/// The bad credentials of one kind that an address may send at once.
const BURST: usize = 2_000;

fn send(stream: &mut TcpStream, authorization: &str) -> Reply {
    let request =
        format!("GET /orders/prod HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read(stream, false)
}

/// Sends different bad credentials until the server limits them. Returns how many were examined.
fn send_until_limited(stream: &mut TcpStream, bad: impl Fn(usize) -> String) -> usize {
    for number in 0..REQUEST_COUNT_MAX {
        match send(stream, &bad(number)).status {
            401 => {}
            429 => return number,
            status => panic!("{status} for the request {number}"),
        }
    }
    panic!("{REQUEST_COUNT_MAX} bad credentials were examined");
}

#[test]
fn bad_credentials_are_limited_and_good_ones_are_not() {
    let guarded = Guarded::new(RULES);
    let mut stream = guarded.server.connect();
    let unknown = |number| format!("Bearer hw_{number:032}");
    assert!(send_until_limited(&mut stream, unknown) >= BURST);
    let limited = metric(*guarded.server, "headwater_access_limited_credentials_total");
    assert!(limited >= 1);
    // The same body for every path and every credential.
    let mut answers = Vec::new();
    eventually("two limited answers follow one another", || {
        answers.clear();
        for (path, credential) in
            [("/orders/prod", unknown(1)), ("/nosuch/path/", basic("billing", &token("orders", 1)))]
        {
            answers.push(guarded.server.get_with(path, &[("Authorization", &credential)]));
        }
        answers.iter().all(|reply| reply.status == 429)
    });
    assert_eq!(answers[0].body, answers[1].body);
    assert_eq!(answers[0].header("retry-after"), Some("1"));
    // Good credentials of the same address, on the same connection and on others.
    for _ in 0..50 {
        assert_eq!(send(&mut stream, &bearer("orders", 1)).status, 200);
        get(*guarded.server, "/orders/prod", "orders").expect(200);
        send(&mut stream, &unknown(2));
    }
    // JWTs have room of their own, and the issuer of this one is unknown.
    let jwt = |number: usize| {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let claims = encode(&format!("{{\"iss\":\"x\",\"jti\":{number}}}"));
        format!("Bearer {}.{claims}.x", encode("{\"alg\":\"EdDSA\"}"))
    };
    assert!(send_until_limited(&mut stream, jwt) >= BURST);
    assert_eq!(send(&mut stream, &bearer("orders", 1)).status, 200);
}

#[test]
fn no_header_and_no_part_of_the_address_selects_a_principal() {
    let guarded = Guarded::new(RULES);
    let ask = |path: &str, headers: &[(&str, &str)]| guarded.server.get_with(path, headers);
    let (own, other) = (bearer("orders", 1), token("billing", 1));
    let certificate = "By=spiffe://shop/x;URI=spiffe://shop/billing";
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-User", "billing"),
        ("X-Forwarded-Client-Cert", certificate),
        ("X-Forwarded-Authorization", "Bearer x"),
        ("X-Forwarded-Uri", "/billing/prod"),
        ("X-Original-Uri", "/billing/prod"),
        ("X-Original-Url", "/billing/prod"),
        ("X-Rewrite-Url", "/billing/prod"),
        ("X-HTTP-Method-Override", "POST"),
        ("X-Principal", "billing"),
        ("X-Remote-User", "billing"),
        ("Remote-User", "billing"),
        ("X-Ssl-Client-S-Dn", "CN=billing"),
        ("Ssl-Client-Cert", certificate),
        ("Proxy-Authorization", &format!("Bearer {other}")),
        ("Forwarded", "for=127.0.0.1;host=billing"),
        ("Cookie", &format!("token={other}")),
        ("User-Agent", "Nacos-Server"),
        // A good token in this header means Vault beside the other one.
        ("X-Config-Token", &other),
    ] {
        let headers = [("Authorization", own.as_str()), (name, value)];
        for _ in 0..2 {
            ask("/orders/prod", &headers).expect(200);
            ask("/billing/prod", &headers).expect(404);
        }
        if name != "X-Config-Token" {
            ask("/billing/prod", &[(name, value)]).expect(401);
        }
    }
    for path in [
        format!("/billing/prod?token={other}"),
        format!("/billing/prod?access_token={other}"),
        format!("/billing/prod?X-Config-Token={other}"),
        format!("/billing/prod?Authorization=Bearer%20{other}"),
        format!("/{other}/billing/prod"),
    ] {
        ask(&path, &[]).expect(401);
        ask(&path, &[("Authorization", &own)]).expect(404);
    }
    let address = guarded.server.0;
    let mut stream = guarded.server.connect();
    let target = format!("http://billing:{other}@{address}/billing/prod");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let status = read(&mut stream, false).status;
    assert!(status == 401 || status == 400, "{status}");
    // One header twice, in either order.
    let billing = bearer("billing", 1);
    for pair in [[&own, &billing], [&billing, &own], [&own, &own]] {
        ask("/orders/prod", &pair.map(|value| ("Authorization", value.as_str()))).expect(401);
    }
}
