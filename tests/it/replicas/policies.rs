//! The policies of replicas, which have to be the same.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{Meeting, replica, shop};
use crate::fixture::{Address, Server, command, directory, eventually};

const TOKEN: &str = "hw_ops_0123456789abcdef0123456789abcdef";

/// A policy whose tokens of `ops` expire at a date.
fn policy(comment: &str, expires: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, TOKEN.as_bytes());
    let digest = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    format!(
        "# {comment}\nversion = 1\n[[principal]]\nname = \"ops\"\nkind = \"operator\"\n\
         tokens = [{{ sha256 = \"{digest}\"{expires} }}]\n\
         [[allow]]\nwho = [\"ops\"]\nmay = [\"overview\", \"list\"]\n"
    )
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(directory.join("new"), text).unwrap();
    std::fs::rename(directory.join("new"), &path).unwrap();
    path
}

/// The exit code and the output of `headwater status`.
fn status(server: Address, place: &Path) -> (Option<i32>, String) {
    let token = write(place, "token", TOKEN);
    let mut command = command(place);
    command.arg("status").env("HEADWATER_URL", format!("http://{}", server.0));
    let output = command.env("HEADWATER_TOKEN_FILE", token).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn different_policies_are_a_finding_until_they_are_the_same() {
    let meeting = Meeting::new();
    let (place, (_shop, source)) = (directory(""), shop());
    let [first, second] = ["one", "two"].map(|name| {
        let mut settings = replica(name, &source, &meeting.uri());
        let file = write(place.path(), &format!("{name}.toml"), &policy(name, ""));
        settings.access.policy_file = Some(file);
        Server::with(settings)
    });
    let status = |server: &Server| status(**server, place.path());
    for server in [&first, &second] {
        eventually("the replicas know each other's policy", || {
            let (code, text) = status(server);
            code == Some(1) && text.contains("live replicas have different policies: ")
        });
    }
    let listed = list(*first);
    let digests: Vec<&str> = listed
        .iter()
        .map(|replica| {
            assert!(replica["policy"]["age_seconds"].is_u64(), "{replica}");
            replica["policy"]["digest"].as_str().unwrap()
        })
        .collect();
    assert_eq!(digests.len(), 2);
    assert!(digests.iter().all(|it| it.len() == 8) && digests[0] != digests[1], "{digests:?}");
    write(place.path(), "two.toml", &policy("one", ""));
    for server in [&first, &second] {
        eventually("the policies are the same", || status(server).0 == Some(0));
    }
}

#[test]
fn a_token_that_expires_soon_is_a_notice_and_no_finding() {
    let (place, (_shop, source)) = (directory(""), shop());
    let mut settings = crate::fixture::settings(&source);
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let text = policy("", &format!(", expires = {expires}"));
    settings.access.policy_file = Some(write(place.path(), "policy.toml", &text));
    let server = Server::with(settings);
    let (code, output) = status(*server, place.path());
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("notice: credentials: the token "), "{output}");
    assert!(output.contains(" of ops expires at "), "{output}");
    write(place.path(), "policy.toml", &policy("", ""));
    eventually("the notice is gone", || !status(*server, place.path()).1.contains("notice: "));
    assert!(list(*server)[0]["policy"]["digest"].is_string());
}

fn list(server: Address) -> Vec<serde_json::Value> {
    let headers = [("Authorization", format!("Bearer {TOKEN}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let listed = server.get_with("/-/replicas", &headers).expect(200).json();
    listed["replicas"].as_array().unwrap().clone()
}
