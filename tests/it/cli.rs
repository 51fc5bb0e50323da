//! What a user types and sees: exit codes, one clear line for what does not work, tables and JSON for what does.

mod audit;
mod copy;
mod diff;
mod etcd;
mod examples;
mod on_a_terminal;
mod origins;
mod policy;
mod rollout;
mod terminal;
pub(crate) mod watch;
mod watching_page;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::{Repository, command, directory, eventually};

/// How a command ended, and what it said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

#[track_caller]
fn run(mut command: Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    let said = Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert!(!said.err.contains(" at src/"), "{}", said.err);
    said
}

#[track_caller]
fn type_in(place: &Path, arguments: &[&str]) -> Said {
    let mut command = command(place);
    command.args(arguments);
    run(command)
}

/// Exit code 2, and one line for people.
#[track_caller]
fn refuses(said: &Said, parts: &[&str]) {
    assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 1, "{}", said.err);
    assert!(lines[0].starts_with("headwater: "), "{}", said.err);
    for part in parts {
        assert!(lines[0].to_lowercase().contains(&part.to_lowercase()), "{part}: {}", said.err);
    }
    assert_eq!(said.out, "");
}

#[test]
fn settings_that_nobody_knows_are_refused_with_their_line() {
    let place = directory("//- config-repo/a.yml\na: 1\n");
    for (text, parts) in [
        (
            "listen = \"127.0.0.1:0\"\nlisten_on = 1\n",
            ["headwater.toml:2:", "unknown field `listen_on`"],
        ),
        (
            "[[source]]\nuri = \"x\"\nbranch = \"y\"\n",
            ["headwater.toml:3:", "unknown field `branch`"],
        ),
        ("listen = \n", ["headwater.toml:1:", ""]),
        ("listen = 8888\n", ["headwater.toml:1:", "expected a string"]),
        ("workers = 0\n", ["workers", "at least 1"]),
        ("listen = \"everywhere\"\n", ["listen", "everywhere"]),
        ("prefix = \"cfg\"\n", ["prefix", "slash"]),
        ("tls_cert = \"x\"\n", ["tls_cert and tls_key", ""]),
    ] {
        std::fs::write(place.path().join("headwater.toml"), text).unwrap();
        refuses(&type_in(place.path(), &["serve"]), &parts);
    }
    refuses(&type_in(place.path(), &["serve", "--config", "none.toml"]), &["none.toml"]);
}

#[test]
fn a_port_in_use_is_said() {
    let repository = Repository::new("//- a.yml\na: 1\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = type_in(
        repository.around(),
        &["serve", "--source", &repository.uri(), "--listen", &address],
    );
    refuses(&said, &["cannot listen on", &address, "in use"]);
}

#[test]
fn a_source_that_cannot_be_served_is_said() {
    let place = directory(
        "//- file.yml\na: 1\n//- broken/.git/config\n[core]\n//- not-git/HEAD\nnonsense\n//- not-git/objects/x\nx\n\
         //- not-git/refs/x\nx\n//- gitfile/.git\ngitdir: /nowhere/at/all\n",
    );
    for (source, parts) in [
        ("nowhere", &["nowhere", "does not exist"][..]),
        ("file.yml", &["file.yml", "is a file"]),
        ("broken", &["broken", "no complete git repository"]),
        ("gitfile", &["gitfile"]),
        ("https://user:hunter2@host.invalid/x.git", &["credentials_file"]),
        ("git@-oX:x.git", &["not a valid host"]),
        ("ext::sh -c x", &["a program for git to run"]),
        ("hosted:../x", &["name of a repository"]),
        ("etcd://ada:hunter2@127.0.0.1:1/x", &["credentials_file"]),
        ("etcd://127.0.0.1:1", &["etcd://host:2379[,host:2379]/prefix"]),
        ("file:%zz", &["percent"]),
        ("/srv/{application}", &["placeholders"]),
    ] {
        for verb in [&["serve", "--listen", "127.0.0.1:0", "--source"][..], &["check"]] {
            let said = type_in(place.path(), &[verb, &[source]].concat());
            refuses(&said, parts);
            assert!(!said.err.contains("hunter2"), "{}", said.err);
        }
    }
    // The default source is missing as well.
    refuses(&type_in(place.path(), &["serve", "--listen", "127.0.0.1:0"]), &["config-repo"]);
}

#[test]
fn what_may_not_be_read_is_said() {
    let place = directory("//- config/a.yml\na: 1\n//- token\nsecret\n");
    let repository = Repository::new("//- a.yml\na: 1\n");
    // Root may read everything, so the command runs as somebody else, who has to be able to start it.
    let is_root =
        std::fs::metadata("/proc/self").map(|it| std::os::unix::fs::MetadataExt::uid(&it));
    let is_root = is_root.unwrap() == 0;
    let binary = place.path().join("headwater");
    // Not by this process: a test that forks meanwhile would keep the copy open, and it could not be started.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_headwater")).arg(&binary).status();
    assert!(copied.unwrap().success());
    let close = |path: &Path, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).unwrap();
    };
    close(place.path(), 0o755);
    close(repository.around(), 0o755);
    close(&place.path().join("config"), 0);
    close(&place.path().join("token"), 0);
    close(&repository.path(), 0);
    let closed = place.path().join("config").display().to_string();
    let uri = repository.uri();
    let mut closed_token =
        vec!["serve", "--listen", "127.0.0.1:0", "--token-file", "token", "--source"];
    let open = directory("//- a.yml\na: 1\n");
    close(open.path(), 0o755);
    let open_path = open.path().display().to_string();
    closed_token.push(&open_path);
    for (arguments, part) in [
        (vec!["serve", "--listen", "127.0.0.1:0", "--source", &closed], "cannot be read"),
        (vec!["serve", "--listen", "127.0.0.1:0", "--source", &uri], "cannot be read"),
        (vec!["check", &closed], "cannot be read"),
        (closed_token, "token"),
    ] {
        let mut command = Command::new(&binary);
        command.current_dir(place.path()).args(arguments);
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        refuses(&run(command), &[part, "permission denied"]);
    }
    close(&place.path().join("config"), 0o755);
    close(&repository.path(), 0o755);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = directory("");
    for arguments in [
        &["serve", "--nonsense"][..],
        &["nonsense"],
        &[],
        &["explain"],
        &["serve", "--workers", "x"],
    ] {
        let said = type_in(place.path(), arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
        assert!(!said.err.is_empty());
    }
    for arguments in
        [&["--help"][..], &["--version"], &["serve", "--help"], &["serve", "--print-settings"]]
    {
        let said = type_in(place.path(), arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
        assert!(!said.out.is_empty());
    }
    // What stands in the environment may hold a password, and is not shown.
    for verb in ["serve", "check", "get", "watch", "diff", "explain"] {
        let mut help = command(place.path());
        help.args([verb, "--help"])
            .env("HEADWATER_SOURCE", "https://user:hunter2@host/x.git")
            .env("HEADWATER_URL", "https://user:hunter2@host");
        assert!(!run(help).out.contains("hunter2"), "{verb}");
    }
}

const SHOP: &str = "\
//- application.yml
shared: everywhere
//- orders.yml
name: Orders
port: 8080
//- orders-dev.yml
port: 8081
";

#[test]
fn check_says_yes_no_or_that_it_did_not_work() {
    let repository = Repository::new(SHOP);
    let uri = repository.uri();
    let place = repository.around();
    let good = type_in(place, &["check", &uri]);
    assert_eq!((good.code, good.out.as_str()), (Some(0), ""));
    assert_eq!(good.err, "checked 3 files, 4 environments: no problem\n");

    repository.commit_on("side", "//- orders.yml\nname: Orders\nport: [hunter2\n");
    let bad = type_in(place, &["check", &uri, "--label", "side"]);
    assert_eq!(bad.code, Some(1), "{}", bad.err);
    assert!(bad.out.starts_with("orders.yml:"), "{}", bad.out);
    assert_eq!(bad.out.lines().count(), 1, "{}", bad.out);
    assert!(bad.err.ends_with("environments: 1 problem\n"), "{}", bad.err);
    assert!(!bad.out.contains("hunter2"));

    let json = type_in(place, &["check", &uri, "--label", "side", "--output", "json"]);
    assert_eq!(json.code, Some(1));
    let report: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(report["problems"][0]["file"], "orders.yml");
    assert!(report["problems"][0]["line"].is_u64() && report["problems"][0]["column"].is_u64());
    assert!(!json.out.contains("hunter2"));

    let known = type_in(place, &["check", &uri, "--label", "side", "--base", "side"]);
    assert_eq!(known.code, Some(0), "{}{}", known.out, known.err);
    let unknown = type_in(place, &["check", &uri, "--label", "nope"]);
    assert_eq!((unknown.code, unknown.err.as_str()), (Some(1), "headwater: unknown label nope\n"));
    assert_eq!(type_in(place, &["check", "nowhere"]).code, Some(2));
}

#[test]
fn explain_shows_who_sets_a_key_and_what_it_overrides() {
    let repository = Repository::new(SHOP);
    let uri = repository.uri();
    let place = repository.around();
    let said = type_in(place, &["explain", "port", "orders", "dev", "--source", &uri]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        said.out,
        "port         orders-dev.yml:1:7  8081\n  overrides  orders.yml:2:7      8080\n"
    );
    let json =
        type_in(place, &["explain", "port", "orders", "dev", "--source", &uri, "--output", "json"]);
    let rows: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(rows[0]["effective"], true);
    assert_eq!(rows[1]["origin"], "orders.yml:2:7");
    let nothing = type_in(place, &["explain", "nope", "orders", "--source", &uri]);
    assert_eq!(nothing.code, Some(1));
    assert_eq!(nothing.err, "headwater: no file sets nope for orders/default\n");
}

#[test]
fn the_example_repository_is_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = root.join("config-repo").display().to_string();
    let place = directory("");
    let said = type_in(place.path(), &["check", "--toml", &example]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.err.ends_with("environments: no problem\n"), "{}", said.err);
    let mut settings = crate::fixture::settings(&example);
    settings.sources[0].toml = Some(true);
    let server = crate::fixture::Server::with(settings);
    for service in ["product", "cart", "order", "gateway"] {
        for profile in ["dev", "prod"] {
            let environment = server.get(&format!("/{service}/{profile}")).expect(200).json();
            let names: Vec<&str> = environment["propertySources"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|source| source["name"].as_str())
                .collect();
            for own in
                [format!("/{service}."), format!("/application-{profile}."), "/application.".into()]
            {
                let found = names.iter().any(|name| name.contains(&own));
                assert!(found, "{service} {profile}: {own} is not in {names:?}");
            }
            // Every placeholder of the example has a value in the example.
            let flat = server.get(&format!("/{service}-{profile}.properties")).expect(200).text();
            assert!(!flat.contains("${"), "{service} {profile}: {flat}");
        }
    }
}

#[test]
fn a_server_without_a_token_beyond_loopback_warns_once() {
    let repository = Repository::new(SHOP);
    let server =
        crate::fixture::Child::serve(&["--source", &repository.uri(), "--listen", "0.0.0.0:0"]);
    eventually("the server is ready", || server.log().contains("\"ready\""));
    assert_eq!(
        server.log().matches("any client that reaches this address").count(),
        1,
        "{}",
        server.log()
    );
    let (status, _) = server.stop();
    assert_eq!(status.code(), Some(0));
}
