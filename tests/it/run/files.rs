//! Configuration as files: what they are made from, who may read them, and that nobody ever sees half of one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::bed::{Run, children, run, signal};
use crate::fixture::{Repository, Server, Until, directory, eventually};

const APP: &str = "//- app.yml\nserver:\n  port: 8081\nroutes:\n- path: /a\n  to: one\n- path: /b\n  to: two\n\
    text: it's\n//- app.cfg\nbind :${server.port} ${nobody:}\n//- app.cfg.j2\n{% for route in routes %}\n\
    use {{ route.to }} if {{ route.path }}\n{% endfor %}\n";

fn read(place: &Path, name: &str) -> String {
    fs::read_to_string(place.join(name)).unwrap_or_default()
}

#[test]
fn files_are_made_from_everything_from_templates_and_from_texts_of_the_server() {
    let repository = Repository::new(APP);
    let server = Server::start(&repository.uri());
    let place = directory("//- own.j2\nport {{ server.port }} {{ value('routes[1].to') }}\n");
    let place = place.path();
    let arguments = [
        "--file",
        "yaml:a.yml",
        "--file",
        "json:a.json",
        "--file",
        "properties:a.properties",
        "--file",
        "env:.env",
        "--file",
        "own.j2:own",
        "--file",
        "server:app.cfg:text",
        "--file",
        "server:app.cfg.j2:remote",
        "--",
        "sh",
        "-c",
        // The program finds its files when it starts, and no variables that it was not to have.
        r#"cat own; echo "[$SERVER_PORT]"; . ./.env; echo "$SERVER_PORT $TEXT""#,
    ];
    let ended = run(place, *server, &arguments);
    assert_eq!(ended.out, "port 8081 two\n[]\n8081 it's\n", "{}", ended.err);
    assert!(read(place, "a.yml").contains("server:\n  port: 8081\n"), "{}", read(place, "a.yml"));
    let json: serde_json::Value = serde_json::from_str(&read(place, "a.json")).unwrap();
    assert_eq!(json["routes"][1]["to"], "two");
    assert!(read(place, "a.properties").starts_with("server.port=8081\n"));
    assert_eq!(read(place, "text"), "bind :8081 \n");
    assert_eq!(read(place, "remote"), "use one if /a\nuse two if /b\n");
    for name in ["a.yml", ".env", "own", "text"] {
        assert_eq!(fs::metadata(place.join(name)).unwrap().mode() & 0o7777, 0o600, "{name}");
    }
    assert_eq!(fs::read_dir(place).unwrap().count(), 8);
}

#[test]
fn mode_and_owner_are_as_told() {
    let repository = Repository::new(APP);
    let server = Server::start(&repository.uri());
    let place = directory("");
    let us = fs::metadata(place.path()).unwrap();
    let owner = format!("{}:{}", us.uid(), us.gid());
    let arguments =
        ["--file", "yaml:a.yml", "--mode", "0640", "--owner", owner.as_str(), "--", "true"];
    assert!(run(place.path(), *server, &arguments).status.success());
    let found = fs::metadata(place.path().join("a.yml")).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o640);
    assert_eq!((found.uid(), found.gid()), (us.uid(), us.gid()));
}

#[test]
fn what_cannot_be_made_at_the_start_is_said_and_nothing_starts() {
    let repository = Repository::new(APP);
    let server = Server::start(&repository.uri());
    let place = directory(
        "//- missing.j2\none\n{{ server.prot }}\n//- broken.j2\n{% for %}\n//- good.j2\ns3cret\n//- old\nold\n\
         //- d/x\nx\n",
    );
    let place = place.path();
    for (arguments, parts) in [
        (&["--file", "missing.j2:out"][..], &["out", "missing.j2:2", "undefined"][..]),
        (&["--file", "broken.j2:out"], &["broken.j2:1", "syntax error"]),
        (&["--file", "none.j2:out"], &["none.j2", "No such file"]),
        (&["--file", "good.j2:nowhere/out"], &["cannot write nowhere/out", "No such file"]),
        (&["--file", "good.j2:d"], &["cannot write d", "directory"]),
        (&["--file", "server:none.cfg:out"], &["out", "no file `none.cfg`"]),
        (&["--file", "good.j2:old", "--check", "false"], &["old", "the check command rejected"]),
        (&["--file", "good.j2:old", "--check", "./none"], &["old", "the check command rejected"]),
        // One that fails keeps all of them back.
        (&["--file", "good.j2:old", "--file", "missing.j2:out"], &["missing.j2:2"]),
    ] {
        let ended = run(place, *server, &[arguments, &["--", "echo", "started"]].concat());
        ended.refuses(parts);
        assert!(!ended.err.contains("s3cret"), "{}", ended.err);
    }
    assert_eq!(read(place, "old"), "old\n");
    let mut names: Vec<_> =
        fs::read_dir(place).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["broken.j2", "d", "good.j2", "missing.j2", "old"]);
}

#[test]
fn flags_that_cannot_be_meant_are_refused() {
    let place = directory("");
    let nobody = crate::fixture::Address(([127, 0, 0, 1], 1).into());
    for arguments in [
        &["--file", "nocolon", "--", "true"][..],
        &["--signal", "HUP", "--", "true"],
        &["--reload", "true", "--", "true"],
        &["--check", "true", "--", "true"],
        &["--file", "yaml:a", "--signal", "HUP", "--restart", "--", "true"],
        &["--file", "yaml:a", "--signal", "KILL", "--", "true"],
        &["--file", "yaml:a", "--mode", "9", "--", "true"],
        &["--env-prefix", "a-b", "--", "true"],
        &["--env"],
    ] {
        let ended = run(place.path(), nobody, arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert!(ended.err.contains("error: "), "{}", ended.err);
    }
}

/// A reader that opens the file at any moment finds the old one or the new one, whole.
#[test]
fn a_file_is_never_seen_torn() {
    const ROUNDS: usize = 25;
    let number = |number: usize| format!("//- app.yml\nnumber: {number}\n");
    let repository = Repository::new(&number(0));
    let server = Server::start(&repository.uri());
    let place = directory("//- big.j2\n{% for i in range(20000) %}\n{{ number }}\n{% endfor %}\n");
    let target = place.path().join("big");
    let arguments = ["--file", "big.j2:big", "--", "sh", "-c", "while :; do sleep 0.02; done"];
    let run = Run::start(place.path(), *server, &arguments);
    eventually("the file is there", || target.exists());
    let (over, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&target).unwrap();
                let first = text.lines().next().unwrap();
                assert_eq!(text.lines().count(), 20_000);
                assert!(text.lines().all(|line| line == first));
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        let until = Until(&over);
        for round in 1..=ROUNDS {
            repository.commit(&number(round));
            let begin = format!("{round}\n");
            let before = seen.load(Ordering::Relaxed);
            eventually("the change is there, and the reader reads meanwhile", || {
                assert!(!reader.is_finished(), "the reader saw something torn");
                let is_there = fs::read_to_string(&target).unwrap().starts_with(&begin);
                is_there && seen.load(Ordering::Relaxed) > before
            });
        }
        drop(until);
        reader.join().unwrap();
    });
    assert_eq!(run.stop().status.code(), Some(143));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
}

/// Killed at any moment, before its program is there or while it replaces its file, it leaves the old one or the new one.
#[test]
fn a_run_that_is_killed_leaves_a_whole_file() {
    const ROUNDS: u64 = 25;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let number = |number: u64| format!("//- app.yml\nnumber: {number}\n");
    let repository = Repository::new(&number(0));
    let server = Server::start(&repository.uri());
    let place = directory("//- big.j2\n{% for i in range(20000) %}\n{{ number }}\n{% endfor %}\n");
    let target = place.path().join("big");
    let arguments = ["--file", "big.j2:big", "--", "sleep", "20"];
    for round in 1..=ROUNDS {
        let run = Run::start(place.path(), *server, &arguments);
        if random.bool() {
            run.says("the configuration is up to date again");
        }
        repository.commit(&number(round));
        std::thread::sleep(std::time::Duration::from_micros(random.u64(..150_000)));
        let program = children(run.id());
        run.signal("KILL");
        program.iter().for_each(|id| signal("KILL", *id));
        assert_eq!(run.ended().status.code(), None);
        if let Ok(text) = fs::read_to_string(&target) {
            let first = text.lines().next().unwrap();
            assert!(first.parse::<u64>().unwrap() <= round);
            assert_eq!(text.lines().count(), 20_000, "round {round}");
            assert!(text.lines().all(|line| line == first), "round {round}");
        }
    }
    let run = Run::start(place.path(), *server, &arguments);
    run.says("the configuration is up to date again");
    let newest = format!("{ROUNDS}\n").repeat(20_000);
    assert_eq!(fs::read_to_string(&target).unwrap(), newest);
    run.stop();
}
