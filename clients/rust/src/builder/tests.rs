//! What a client is made of, and what is refused before anything is sent.

use super::*;

#[track_caller]
fn refused(builder: Builder, expected: &str) {
    assert_eq!(builder.build().unwrap_err().to_string(), expected);
}

#[test]
fn variables_are_enough_for_a_client() {
    let client = Builder::default()
        .variables(|name| {
            let value = match name {
                "HEADWATER_URL" => " http://a:1, http://b:2/x/ ",
                "HEADWATER_APPLICATION" => "product",
                "HEADWATER_PROFILES" => "prod, eu",
                "HEADWATER_LABEL" => "release/7",
                "HEADWATER_TOKEN_FILE" => "/run/token",
                "HEADWATER_INSTANCE" => "product-7f9c",
                "HEADWATER_LAST_KNOWN_GOOD" => "/var/lib/product/configuration",
                other => panic!("nobody documents {other}"),
            };
            Some(value.to_owned())
        })
        .build()
        .unwrap();
    let names: Vec<_> = client.servers.iter().map(Server::name).collect();
    assert_eq!(names, ["http://a:1", "http://b:2/x"]);
    assert_eq!(
        (client.query.application.as_str(), client.query.profiles.as_str()),
        ("product", "prod,eu")
    );
    assert_eq!(client.query.label.as_deref(), Some("release/7"));
    assert_eq!(client.instance, "product-7f9c");
    assert!(client.last_known_good.is_some());
    assert!(matches!(client.credentials, Credentials::TokenFile(path) if *path == *"/run/token"));
}

#[test]
fn empty_variables_count_as_not_set_and_code_stands_above_them() {
    let blank = Builder::default().variables(|_| Some(" ".to_owned()));
    refused(blank.clone(), "no application: call `application` or set HEADWATER_APPLICATION");
    let client = blank.application("product").build().unwrap();
    assert_eq!(
        (client.servers[0].name(), client.query.profiles.as_str()),
        ("http://localhost:8888", "default")
    );
    assert_eq!((client.query.label, client.limits.deadline), (None, Duration::from_secs(60)));

    let set = Builder::default().variables(|_| Some("set".to_owned()));
    let client = set.url("http://a").application("a").profiles(["p"]).build().unwrap();
    assert_eq!((client.query.application.as_str(), client.query.profiles.as_str()), ("a", "p"));
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_sent() {
    let builder = Builder::default().application("product");
    refused(builder.clone().application(".."), "the application cannot be `..`");
    refused(builder.clone().profiles(["a/b"]), "the profiles `a/b` contain a slash");
    refused(builder.clone().label(""), "the label is empty");
    refused(builder.clone().deadline(Duration::MAX), "a timeout is longer than 31622400 s");
    refused(
        builder.clone().url("ftp://h"),
        "a server url is not usable: it must begin with http:// or https://",
    );
    refused(builder.token("a\nb"), "the token has characters that no header can carry");
}
