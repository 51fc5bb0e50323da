//! Serve, clone, edit, push, served: and who hears of it when.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Instant;

use super::SHOP;
use crate::cli::watch::Running;
use crate::fixture::{Child, Hosted, Tree, clone, command, directory, eventually, repository_url};

#[test]
fn what_is_pushed_is_served_when_the_push_is_answered() {
    let hosted = Hosted::new(SHOP);
    let before = hosted.server.get("/orders/dev").expect(200).json();
    assert_eq!(before["propertySources"][0]["source"]["limit"], 1);
    let name = before["propertySources"][0]["name"].as_str().expect("a name");
    assert_eq!(name, "hosted:main/orders.yml");
    let tree = hosted.clone("work");
    let tip = tree.commit("//- orders.yml\nname: Orders\nlimit: 2\n");
    let said = tree.push(&["main"]).succeeds();
    let said =
        said.says(&["remote: changes 2 environments", "orders/dev", "limit", "published main at"]);
    assert!(!said.err.contains("limit: 2"), "{}", said.err);
    let after = hosted.server.get("/orders/dev").expect(200);
    assert_eq!(after.header("headwater-revision"), Some(&*tip));
    assert_eq!(after.json()["propertySources"][0]["source"]["limit"], 2);
    assert_eq!(hosted.tip("main"), tip);
    hosted.repository().git(&["fsck", "--strict"]).succeeds();
}

#[test]
fn a_watcher_has_the_event_when_the_push_is_over() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let mut stream = hosted.server.connect();
    let request =
        "GET /orders/dev HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut lines = BufReader::new(stream);
    let mut next = move || {
        let mut line = String::new();
        while !line.starts_with("data:") {
            line.clear();
            lines.read_line(&mut line).expect("a line");
        }
        (line, Instant::now())
    };
    assert!(next().0.contains("\"limit\":1"));
    let reader = std::thread::spawn(next);
    tree.commit("//- orders.yml\nname: Orders\nlimit: 2\n");
    let said = tree.push(&["main"]).succeeds();
    let pushed = Instant::now();
    said.says(&["1 watcher"]);
    let (event, heard) = reader.join().expect("an event");
    assert!(event.contains("\"limit\":2"), "{event}");
    // It is written before the push is answered; by how much it is heard before is a figure (`benches/`), and which of two
    // threads runs first is chance.
    assert!(heard < pushed + std::time::Duration::from_secs(1), "{:?} after", heard - pushed);
}

#[test]
fn branches_and_tags_come_and_go() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.allow_delete = true);
    let tree = hosted.clone("work");
    tree.git(&["checkout", "--quiet", "-b", "feature/x"]).succeeds();
    tree.commit("//- orders.yml\nname: Featured\n");
    tree.git(&["tag", "-a", "v1", "-m", "One"]).succeeds();
    tree.push(&["feature/x", "v1"]).succeeds();
    for label in ["feature(_)x", "v1"] {
        let text = hosted.server.get(&format!("/orders/dev/{label}")).expect(200).text();
        assert!(text.contains("Featured"), "{label}: {text}");
    }
    assert!(hosted.server.get("/orders/dev").expect(200).text().contains("\"limit\":1"));
    tree.push(&["--delete", "feature/x"]).succeeds().says(&["deleted feature/x"]);
    hosted.server.get("/orders/dev/feature(_)x").expect(404);
    hosted.server.get("/orders/dev/v1").expect(200);
}

#[test]
fn clones_and_fetches_have_what_is_published_in_every_version_of_the_protocol() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    for (round, version) in ["0", "1", "2"].into_iter().enumerate() {
        let tip = tree.commit(&format!("//- cart.yml\nname: Cart {round}\n"));
        tree.push(&["main"]).succeeds();
        let option = format!("protocol.version={version}");
        let place = directory("");
        let other = Tree { path: place.path().to_owned() };
        other.git(&["-c", &option, "clone", "--quiet", &hosted.url(), "again"]).succeeds();
        let other = Tree { path: place.path().join("again") };
        assert_eq!(other.git(&["rev-parse", "HEAD"]).out.trim(), tip, "version {version}");
        let tip = tree.commit(&format!("//- cart.yml\nname: Cart again {round}\n"));
        tree.push(&["main"]).succeeds();
        other.git(&["-c", &option, "fetch", "--quiet"]).succeeds();
        assert_eq!(other.git(&["rev-parse", "origin/main"]).out.trim(), tip, "version {version}");
    }
}

#[test]
fn ten_thousand_files_are_one_push() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let mut fixture = String::new();
    for number in 0..10_000 {
        fixture += &format!("//- d{}/service-{number}.yml\nnumber: {number}\n", number % 100);
    }
    let tip = tree.commit(&fixture);
    tree.push(&["main"]).succeeds();
    assert_eq!(
        hosted.server.get("/orders/dev").expect(200).header("headwater-revision"),
        Some(&*tip)
    );
    let file = hosted.server.get("/orders/dev/main/d42/service-4242.yml").expect(200);
    assert!(file.text().contains("4242"));
}

#[test]
fn a_repository_that_nobody_seeded_begins_with_its_first_push() {
    let hosted = Hosted::with(SHOP, |settings| settings.sources[0].seed = None);
    hosted.server.get("/orders/dev").expect(404);
    let tree = hosted.clone("work");
    tree.git(&["checkout", "--quiet", "-B", "main"]).succeeds();
    tree.commit(SHOP);
    tree.push(&["main"]).succeeds();
    assert!(hosted.server.get("/orders/dev").expect(200).text().contains("\"limit\":1"));
}

#[test]
fn a_data_directory_below_a_symbolic_link_takes_pushes() {
    let place = directory("");
    let (real, link) = (place.path().join("real"), place.path().join("link"));
    std::fs::create_dir(&real).expect("a directory");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    let hosted = Hosted::with(SHOP, |settings| settings.data = link.join("data"));
    let tree = hosted.clone("work");
    let tip = tree.commit("//- orders.yml\nname: Pushed\n");
    tree.push(&["main"]).succeeds();
    let after = hosted.server.get("/orders/dev").expect(200);
    assert_eq!(after.header("headwater-revision"), Some(&*tip));
}

#[test]
fn a_restarted_server_serves_the_same_and_a_second_one_is_told_who_holds_the_data() {
    let (place, seed) = (directory(""), directory(SHOP));
    let data = place.path().join("data").display().to_string();
    let seed = seed.path().display().to_string();
    let arguments = ["--source", "hosted:main", "--data", &data, "--seed", &seed];
    let server = Child::serve(&arguments);
    let hint = format!("git clone {}", repository_url(server.0));
    eventually("it says how to clone", || server.log().contains(&hint));
    let tree = clone(&repository_url(server.0), &place.path().join("work"));
    let tip = tree.commit("//- orders.yml\nname: Pushed\n");
    tree.push(&["main"]).succeeds();
    let second = crate::fixture::command(place.path())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("held by another server, process {}", server.id())), "{said}");
    let before = server.get("/orders/dev").expect(200);
    server.stop();
    let server = Child::serve(&arguments);
    let after = server.get("/orders/dev").expect(200);
    assert_eq!(
        (before.body, after.header("headwater-revision")),
        (after.body.clone(), Some(&*tip))
    );
    // A command reads it beside the server.
    std::fs::write(place.path().join("headwater.toml"), "data = \"data\"\n").expect("written");
    let elsewhere = directory("");
    for (place, variables) in
        [(place.path(), &[][..]), (elsewhere.path(), &[("HEADWATER_DATA", data.as_str())][..])]
    {
        let beside = crate::fixture::command(place)
            .args(["get", "orders", "dev", "--source", "hosted:main"])
            .envs(variables.iter().copied())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&beside.stdout);
        assert!(text.contains("Pushed"), "{text}{}", String::from_utf8_lossy(&beside.stderr));
    }
}

#[test]
fn a_hosted_repository_beside_another_source_moves_both_as_one() {
    let other = directory("//- application.yml\nregion: south\nother: true\n");
    let uri = other.path().display().to_string();
    let hosted = Hosted::with(SHOP, |settings| {
        settings.sources.push(headwater::settings::SourceSettings { uri, ..Default::default() });
    });
    hosted.server.get("/orders/dev").expect(200);
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nname: Both\n");
    tree.push(&["main"]).succeeds().says(&["changes 2 environments", "orders/dev"]);
    let text = hosted.server.get("/orders/dev").expect(200).text();
    assert!(text.contains("Both") && text.contains("\"other\":true"), "{text}");
}

#[test]
fn loose_objects_are_packed_while_readers_and_pushes_find_everything() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    // What a thousand pushes leave.
    let mut fixture = String::new();
    for number in 0..6_000 {
        fixture += &format!("//- d{}/service-{number}.yml\nnumber: {number}\n", number % 100);
    }
    let tip = tree.commit(&fixture);
    let unpacking =
        hosted.repository().command(&["unpack-objects", "-q"]).stdin(Stdio::piped()).spawn();
    let mut unpacking = unpacking.expect("git runs");
    let packing = tree
        .command(&["pack-objects", "--all", "--stdout", "-q"])
        .stdout(unpacking.stdin.take().expect("a pipe"))
        .status();
    assert!(packing.expect("git runs").success());
    assert!(unpacking.wait().expect("git ends").success());
    let loose = || hosted.repository().git(&["count-objects"]).out;
    assert!(loose().starts_with("6"), "{}", loose());
    tree.push(&["main"]).succeeds();
    let mut number = 0;
    crate::fixture::eventually("they are packed", || {
        number += 1;
        let path = format!("/orders/dev/main/d{}/service-{number}.yml", number % 100);
        let text = hosted.server.get(&path).expect(200).text().to_owned();
        assert!(text.contains(&number.to_string()), "{text}");
        loose().starts_with("0 ")
    });
    assert_eq!(
        hosted.server.get("/orders/dev").expect(200).header("headwater-revision"),
        Some(&*tip)
    );
    let tip = tree.commit("//- orders.yml\nname: After\n");
    tree.push(&["main"]).succeeds();
    assert_eq!(hosted.tip("main"), tip);
    hosted.repository().git(&["fsck", "--strict"]).succeeds();
    hosted.clone("again");
}

/// A git that takes as long over what it receives as the test likes.
fn slow_git(place: &std::path::Path) -> String {
    let real = std::env::var("PATH").unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n    *--advertise-refs*|*--http-backend-info-refs*) ;;\n    *receive-pack*)\n        \
         : >'{0}/begun'\n        while [ ! -e '{0}/go' ]; do sleep 0.01; done ;;\nesac\nPATH='{real}' exec git \"$@\"\n",
        place.display()
    );
    let git = place.join("git");
    std::fs::write(&git, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&git, mode).unwrap();
    format!("{}:{real}", place.display())
}

#[test]
fn a_server_waits_for_the_git_that_one_before_it_has_left_at_work() {
    let (place, seed) = (directory(""), directory(SHOP));
    let path = slow_git(place.path());
    let data = place.path().join("data").display().to_string();
    let seed = seed.path().display().to_string();
    let arguments = ["--source", "hosted:main", "--data", &data, "--seed", &seed];
    let server = Child::serve_with(&arguments, &[("PATH", &path)]);
    let mut push = server.connect();
    let head = "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
                Content-Type: application/x-git-receive-pack-request\r\n\r\n00";
    push.write_all(head.as_bytes()).unwrap();
    eventually("git receives", || place.path().join("begun").exists());
    drop(server);
    let mut next = command(place.path());
    next.arg("serve").args(arguments).args(["--listen", "127.0.0.1:0"]);
    let next = Running::spawn(next);
    eventually("it waits", || next.err().contains("a killed server left running"));
    assert!(!next.err().contains("listening"), "{}", next.err());
    std::fs::write(place.path().join("go"), "").unwrap();
    eventually("it listens", || next.err().contains("listening"));
}
