//! What a push is checked for: every environment that is watched or that files speak of, and none that a client made up.

use std::io::{BufRead, BufReader, Write};

use headwater::settings::UnfinishedChecks;

use super::SHOP;
use crate::fixture::{Hosted, Server};

/// Opens a stream of an environment and reads the first event.
fn watch(server: &Server, path: &str) -> BufReader<std::net::TcpStream> {
    let mut stream = server.connect();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("data:") {
        line.clear();
        reader.read_line(&mut line).expect("a line");
    }
    reader
}

#[test]
fn names_that_clients_make_up_take_no_part_in_checks() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    tree.commit("//- application.schema.json\n{\"required\": [\"name\"]}\n");
    tree.push(&["main"]).succeeds().says(&["3 environments: no problem"]);
    for number in 0..100 {
        hosted.server.get(&format!("/made-up-{number}/default")).expect(200);
        hosted.server.get(&format!("/orders/made-up-{number}")).expect(200);
    }
    // The known ones, and one for all the profiles that nobody speaks of.
    tree.commit("//- application.yml\nregion: south\n");
    let said = tree.push(&["main"]).succeeds().says(&[
        "changes 4 environments:",
        "  orders/default ",
        "  orders/made-up-",
        "checked 1 file, 4 environments: no problem",
    ]);
    assert!(!said.err.contains(" made-up"), "{}", said.err);
    // They have no name, which would break the schema: clients could keep everybody from pushing.
    tree.commit(
        "//- application.schema.json\n{\"required\": [\"name\"], \"properties\": {\"region\": {\"enum\": [\"south\"]}}}\n",
    );
    tree.push(&["main"]).succeeds();
    // A service that really has the shared files only is watched, and counts.
    let _watcher = watch(&hosted.server, "/made-up-7/default");
    tree.commit("//- application.schema.json\n{\"required\": [\"name\", \"region\"]}\n//- application.yml\nother: 1\n");
    tree.push(&["main"]).fails(&[
        "region: is missing in made-up-7/default (application.schema.json/required)",
        "region: is missing in orders/default (application.schema.json/required)",
        "push rejected, no branch was updated",
    ]);
}

#[test]
fn a_push_whose_checks_do_not_finish_is_rejected_unless_the_operator_accepts_it() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.check_seconds_max = 0);
    let before = hosted.tip("main");
    let tree = hosted.clone("work");
    tree.commit("//- application.yml\nregion: south\n");
    tree.push(&["main"]).fails(&[
        "remote: checked 0 of 1 file, 0 of 3 environments: no problem",
        "remote: time ran out (push.check_seconds_max) before 1 file and 3 environments could be checked: \
         application.yml, application/default, cart/default, …",
        "remote: push rejected, no branch was updated. Push again",
        "push.unfinished_checks = accept",
    ]);
    assert_eq!(hosted.tip("main"), before);
    let hosted = Hosted::with(SHOP, |settings| {
        settings.push.check_seconds_max = 0;
        settings.push.unfinished_checks = UnfinishedChecks::Accept;
    });
    let tree = hosted.clone("work");
    let tip = tree.commit("//- application.yml\nregion: south\n");
    tree.push(&["main"]).succeeds().says(&[
        "remote: time ran out (push.check_seconds_max)",
        "remote: accepted although it was not checked completely",
    ]);
    assert_eq!(hosted.tip("main"), tip);
}
