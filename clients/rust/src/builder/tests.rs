//! Environment variables, defaults, and the settings that `build` rejects.

use super::*;

#[track_caller]
fn rejects(builder: Builder, expected: &str) {
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
                "HEADWATER_ATTRIBUTES" => "version=1.4, zone=eu-1",
                "HEADWATER_LAST_KNOWN_GOOD" => "/var/lib/product/configuration",
                other => panic!("{other} is not documented"),
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
    assert_eq!(client.identity.name().unwrap(), "product-7f9c");
    assert!(client.last_known_good.is_some());
    assert!(matches!(client.credentials, Credentials::TokenFile(path) if *path == *"/run/token"));
}

#[test]
fn blank_variables_count_as_not_set_and_calls_override_variables() {
    let blank = Builder::default().variables(|_| Some(" ".to_owned()));
    rejects(
        blank.clone(),
        "the application is not set: call `application` or set HEADWATER_APPLICATION",
    );
    let client = blank.application("product").build().unwrap();
    assert_eq!(
        (client.servers[0].name(), client.query.profiles.as_str()),
        ("http://localhost:8888", "default")
    );
    assert_eq!((client.query.label, client.limits.deadline), (None, Duration::from_secs(60)));

    let set = Builder::default()
        .variables(|name| (name != "HEADWATER_ATTRIBUTES").then(|| "set".to_owned()));
    let client = set.url("http://a").application("a").profiles(["p"]).build().unwrap();
    assert_eq!((client.query.application.as_str(), client.query.profiles.as_str()), ("a", "p"));
}

#[test]
fn invalid_settings_are_rejected_before_anything_is_sent() {
    let builder = Builder::default().application("product");
    rejects(builder.clone().application(".."), "the application must not be `..`");
    rejects(builder.clone().profiles(["a/b"]), "the profiles `a/b` must not contain a slash");
    rejects(builder.clone().label(""), "the label must not be empty");
    rejects(
        builder.clone().deadline(Duration::MAX),
        "a timeout is longer than the maximum of 31622400 s",
    );
    rejects(
        builder.clone().url("ftp://h"),
        "a server URL is invalid: it must begin with http:// or https://",
    );
    rejects(
        builder.token("a\nb"),
        "the token contains characters that an HTTP header must not contain",
    );
}
