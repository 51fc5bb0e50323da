//! Servers that give no answer, or none that counts: exit code 2, and what to do.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Mutex;

use super::fake::{Fake, answer};
use super::{Said, compare};
use crate::fixture::{Repository, Server, settings};

const JSON: &str = "application/json";

/// One line, exit code 2, nothing on standard output, no value of a secret.
#[track_caller]
fn refuses(said: &Said, parts: &[&str]) {
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(said.out, "", "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    for part in parts {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}

fn shop() -> Repository {
    Repository::new("//- application.yml\na: 1\n//- orders.yml\nb: 2\n//- orders-prod.yml\nb: 3\n")
}

#[track_caller]
fn check(spring: &str, arguments: &[&str], parts: &[&str]) {
    let repository = shop();
    let quick = ["--retries", "0", "--timeout", "1"];
    let uri = repository.uri();
    let said = compare(repository.around(), &[&[spring, &uri], &quick[..], arguments].concat());
    refuses(&said, parts);
}

#[test]
fn a_server_that_is_not_there_or_no_configuration_server_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    check(
        &url,
        &[],
        &[&url, "did not answer", "Nothing was compared", "Check that this is the URL"],
    );
    check("ftp://me:hunter2@host", &[], &["URL of the Spring server", "http://"]);
    for (fake, part) in [
        (answer("200 OK", "text/html", "<html>Sign in</html>"), "an HTML page with status 200"),
        (answer("500 Oops", "text/html", "<html>Oops</html>"), "an HTML page with status 500"),
        (answer("200 OK", JSON, "[1, 2"), "not an environment in JSON"),
        (answer("200 OK", JSON, "{\"hello\": 1}"), "not an environment in JSON"),
        (answer("302 Found", JSON, ""), "status 302"),
        (answer("503 Later", JSON, ""), "status 503"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"name\":".to_owned(), "did not answer"),
        ("nonsense\r\n\r\n".to_owned(), "did not answer"),
    ] {
        check(&Fake::always(fake).url, &[], &[part, "Nothing was compared"]);
    }
}

#[test]
fn a_server_without_any_of_the_environments_is_the_wrong_one() {
    for status in ["404 Not Found", "500 Internal Server Error"] {
        let fake = Fake::always(answer(status, JSON, "{\"status\": 1}"));
        check(&fake.url, &[], &["none of the", "path prefix"]);
    }
}

#[test]
fn a_slow_server_is_given_up_after_the_timeout() {
    let held = Mutex::new(Vec::new());
    let fake = Fake::new(move |_, stream| held.lock().unwrap().push(stream));
    check(&fake.url, &[], &["no answer within 1000 ms"]);
    assert_eq!(fake.request_count(), 1);
    let body = answer("200 OK", JSON, "x").replace("Length: 1", "Length: 10");
    let held = Mutex::new(Vec::new());
    let fake = Fake::new(move |_, mut stream| {
        stream.write_all(body.as_bytes()).unwrap();
        held.lock().unwrap().push(stream);
    });
    check(&fake.url, &[], &["no answer within 1000 ms"]);
}

#[test]
fn a_failure_that_passes_is_tried_again() {
    let repository = shop();
    let server = Server::start(&repository.uri());
    let address = server.0;
    let asked = Mutex::new(HashSet::new());
    let fake = Fake::new(move |head, mut stream| {
        let target = head.lines().next().unwrap_or_default().to_owned();
        let is_first = asked.lock().unwrap().insert(target);
        if is_first {
            // A proxy whose server restarts.
            stream.write_all(answer("502 Bad Gateway", "text/html", "").as_bytes()).unwrap();
            return;
        }
        let mut upstream = std::net::TcpStream::connect(address).unwrap();
        upstream.write_all(head.as_bytes()).unwrap();
        std::io::copy(&mut upstream, &mut stream).unwrap();
    });
    let arguments = [&*fake.url, &repository.uri(), "--label", "main", "--concurrency", "1"];
    let said = compare(repository.around(), &arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn credentials_are_sent_and_a_rejection_is_named() {
    let repository = shop();
    let place = repository.around();
    fs::write(place.join("token"), "hunter2\n").unwrap();
    fs::write(place.join("wrong"), "hunter2-not\n").unwrap();
    let mut settings = settings(&repository.uri());
    settings.token_file = Some(place.join("token"));
    let server = Server::with(settings);
    let (url, uri) = (format!("http://{}", server.0), repository.uri());
    refuses(&compare(place, &[&url, &uri]), &["status 401", "--username", "--bearer-token-file"]);
    let wrong = ["--username", "ada", "--password-file", "wrong"];
    refuses(&compare(place, &[&[&*url, &uri], &wrong[..]].concat()), &["status 401"]);
    for right in [
        &["--username", "ada", "--password-file", "token"][..],
        &["--password-file", "token"],
        &["--bearer-token-file", "token"],
    ] {
        let said = compare(place, &[&[&*url, &uri], right].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let inside = url.replace("http://", "http://ada:hunter2@");
    let said = compare(place, &[&inside, &uri, "--output", "json"]);
    assert_eq!((said.code, said.json()["spring"].as_str()), (Some(0), Some(&*url)));
    refuses(&compare(place, &[&url, &uri, "--password-file", "none"]), &["password file none"]);
    let both = [&*url, &*url, "--bearer-token-file", "token", "--token-file", "token"];
    assert_eq!(compare(place, &both).code, Some(0));
    refuses(&compare(place, &both[..4]), &["status 401", "--token-file"]);
}

#[test]
fn what_cannot_be_planned_is_refused_before_anything_is_asked() {
    let fake = Fake::always(answer("200 OK", JSON, "{}"));
    check(&fake.url, &["--label", "nowhere"], &["no label nowhere", "Nothing was compared"]);
    check(&fake.url, &["--limit", "3"], &["more than the limit of 3", "--label"]);
    check(&fake.url, &["--config", "none.toml"], &["none.toml"]);
    assert_eq!(fake.request_count(), 0);
    let place = tempfile::tempdir().unwrap();
    refuses(&compare(place.path(), &[&fake.url, "nowhere"]), &["nowhere", "does not exist"]);
    let said = compare(place.path(), &["http://127.0.0.1:1", &fake.url]);
    refuses(&said, &["is not a Headwater", ".git"]);
}

#[test]
fn some_environments_without_an_answer_are_listed_and_the_code_is_2() {
    let repository = shop();
    let server = Server::start(&repository.uri());
    let address = server.0;
    let fake = Fake::new(move |head, mut stream| {
        if head.starts_with("GET /orders/prod") {
            return;
        }
        let mut upstream = std::net::TcpStream::connect(address).unwrap();
        upstream.write_all(head.as_bytes()).unwrap();
        std::io::copy(&mut upstream, &mut stream).unwrap();
    });
    let arguments = [&*fake.url, &repository.uri(), "--label", "main", "--retries", "0"];
    let said = compare(repository.around(), &arguments);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.starts_with("orders/prod at main: not compared: "), "{}", said.out);
    assert_eq!(
        said.summary(),
        "compared 4 environments on 1 label: 3 equal, 0 differ, 1 could not be compared"
    );
    let json =
        compare(repository.around(), &[&arguments[..], &["--output", "json"]].concat()).json();
    assert_eq!(
        (&json["unanswered"], &json["failures"][0]["profiles"]),
        (&1.into(), &"prod".into())
    );
}
