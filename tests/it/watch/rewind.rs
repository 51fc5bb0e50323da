//! Rewinds: a force-push, a deletion and a re-creation publish a label once more. A server that has not seen one yet gives
//! nothing older to a client that has, and says so.

use std::time::{Duration, Instant};

use super::Events;
use crate::fixture::{
    Address, Hosted, Proxy, Reply, Server, Tree, eventually, repository_url, settings,
};

/// Longer than a server holds a request that has seen more than it has.
const HELD: Duration = Duration::from_secs(5);
const CART: &str = "//- cart.yml\na: 1\n";
const PATH: &str = "/cart/default";

fn hosted() -> (Hosted, Tree) {
    let hosted = Hosted::with(CART, |settings| {
        settings.push.allow_force = true;
        settings.push.allow_delete = true;
    });
    let tree = hosted.clone("tree");
    (hosted, tree)
}

fn epoch(reply: &Reply) -> Option<String> {
    reply.header("headwater-epoch").map(str::to_owned)
}

fn number(epoch: &str) -> u64 {
    epoch.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).expect("an epoch")
}

/// The position that a reply is of, as `Headwater-Min-Revision` takes it.
fn position(reply: &Reply) -> String {
    let revision = reply.header("headwater-revision").expect("a revision");
    match epoch(reply) {
        Some(epoch) => format!("{revision}.{epoch}"),
        None => revision.to_owned(),
    }
}

/// Moves `main` back to its first commit.
fn force_back(tree: &Tree, first: &str) {
    tree.git(&["reset", "--quiet", "--hard", first]).succeeds();
    tree.push(&["--force", "main"]).succeeds();
}

fn ask(server: Address, headers: &[(&str, &str)]) -> Reply {
    server.get_with(PATH, headers)
}

#[test]
fn labels_have_no_epoch_until_they_are_rewound() {
    let (hosted, tree) = hosted();
    let server = *hosted.server;
    let first = hosted.tip("main");
    for _ in 0..3 {
        assert_eq!(epoch(&server.get(PATH).expect(200)), None);
    }
    let second = tree.commit("//- cart.yml\na: 2\n");
    tree.push(&["main"]).succeeds();
    let reply = server.get(PATH).expect(200);
    assert_eq!((position(&reply), epoch(&reply)), (second.clone(), None));
    let listed = tree.git(&["ls-remote", "origin"]).succeeds().out;
    assert!(!listed.contains("refs/headwater"), "{listed}");

    force_back(&tree, &first);
    let mut events = Events::open(server, PATH, "").after_head();
    let once = epoch(&server.get(PATH).expect(200)).expect("an epoch");
    let (event, _) = events.environment();
    assert!(event.id.starts_with(&format!("{first}.{once}.")), "{}", event.id);
    // The shortest way, a 304, the flat form and a file say the same.
    for _ in 0..3 {
        assert_eq!(epoch(&server.get(PATH).expect(200)).as_deref(), Some(&*once));
    }
    let etag = server.get(PATH).header("etag").expect("a tag").to_owned();
    let unchanged = ask(server, &[("If-None-Match", &etag)]).expect(304);
    assert_eq!(epoch(&unchanged).as_deref(), Some(&*once));
    for path in ["/cart-default.yml", "/cart/default/main/cart.yml"] {
        assert_eq!(epoch(&server.get(path).expect(200)).as_deref(), Some(&*once), "{path}");
    }
    // Later commits stay in the epoch, and the next rewind begins another one.
    let third = tree.commit("//- cart.yml\na: 3\n");
    tree.push(&["main"]).succeeds();
    assert_eq!(position(&server.get(PATH).expect(200)), format!("{third}.{once}"));
    force_back(&tree, &first);
    let twice = epoch(&server.get(PATH).expect(200)).expect("an epoch");
    assert!(number(&twice) > number(&once));
    // Other branches have none.
    tree.git(&["switch", "--quiet", "--create", "next"]).succeeds();
    tree.push(&["next"]).succeeds();
    assert_eq!(epoch(&server.get("/cart/default/next").expect(200)), None);
}

#[test]
fn whoever_has_seen_what_was_rewound_is_answered_at_once() {
    let (hosted, tree) = hosted();
    let server = *hosted.server;
    let first = hosted.tip("main");
    let mut seen = vec![position(&server.get(PATH).expect(200))];
    for round in 2..5 {
        tree.commit(&format!("//- cart.yml\na: {round}\n"));
        tree.push(&["main"]).succeeds();
        seen.push(position(&server.get(PATH).expect(200)));
        force_back(&tree, &first);
        seen.push(position(&server.get(PATH).expect(200)));
    }
    let begun = Instant::now();
    let newest = seen.last().expect("some").clone();
    for seen in &seen {
        let reply = ask(server, &[("Headwater-Min-Revision", seen)]).expect(200);
        assert_eq!(position(&reply), newest);
        let digest = "0".repeat(64);
        let mut events =
            Events::open(server, PATH, &format!("Last-Event-ID: {seen}.{digest}\r\n")).after_head();
        assert!(events.environment().0.id.starts_with(&newest));
    }
    assert!(begun.elapsed() < HELD, "something was waited for");
}

#[test]
fn a_rewind_that_a_server_has_not_seen_is_waited_for_and_then_refused() {
    let (hosted, tree) = hosted();
    let server = *hosted.server;
    let first = hosted.tip("main");
    server.get(PATH).expect(200);
    // Before any rewind.
    let coming = format!("{first}.00c0ffee00c0ffee-1");
    let refused = ask(server, &[("Headwater-Min-Revision", &coming)]).expect(503);
    assert_eq!(refused.header("headwater-revision"), Some(&*first));
    tree.commit("//- cart.yml\na: 2\n");
    tree.push(&["main"]).succeeds();
    force_back(&tree, &first);
    let now = epoch(&server.get(PATH).expect(200)).expect("an epoch");
    let (lineage, number) = now.split_once('-').expect("an epoch");
    let next = format!("{first}.{lineage}-{}", number.parse::<u64>().expect("a number") + 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(server, &[("Headwater-Min-Revision", &next)]));
        tree.git(&["switch", "--quiet", "-C", "main", &first]).succeeds();
        tree.commit("//- cart.yml\na: 3\n");
        tree.push(&["main"]).succeeds();
        force_back(&tree, &first);
        let reply = waiting.join().expect("an answer").expect(200);
        assert_eq!(position(&reply), next);
    });
    // Of another record nothing is known, and ancestry decides.
    ask(server, &[("Headwater-Min-Revision", &coming)]).expect(200);
    for malformed in [format!("{first}."), format!("{first}.x"), format!("{first}.0"), "..".into()]
    {
        ask(server, &[("Headwater-Min-Revision", &malformed)]).expect(400);
    }
}

#[test]
fn a_label_that_was_deleted_and_made_again_is_newer() {
    let (hosted, tree) = hosted();
    let server = *hosted.server;
    let path = "/cart/default/side";
    tree.git(&["switch", "--quiet", "--create", "side"]).succeeds();
    let first = tree.commit("//- cart.yml\na: 2\n");
    tree.push(&["side"]).succeeds();
    assert_eq!(position(&server.get(path).expect(200)), first);
    let mut last = 0;
    for _ in 0..2 {
        tree.push(&["--delete", "side"]).succeeds();
        eventually("it is gone", || server.get(path).status == 404);
        tree.push(&["side"]).succeeds();
        let epoch = epoch(&server.get(path).expect(200)).expect("an epoch");
        assert!(number(&epoch) > last);
        last = number(&epoch);
    }
    // A tag that is moved is another publication too, whether it is annotated or not.
    tree.git(&["tag", "-a", "-m", "One", "v1", "main"]).succeeds();
    tree.push(&["v1"]).succeeds();
    let path = "/cart/default/v1";
    let seen = position(&server.get(path).expect(200));
    tree.git(&["tag", "--force", "-a", "-m", "Two", "v1", "side"]).succeeds();
    tree.push(&["--force", "v1"]).succeeds();
    let reply = server.get_with(path, &[("Headwater-Min-Revision", &seen)]).expect(200);
    assert_eq!(reply.header("headwater-revision"), Some(&*first));
    assert!(number(&epoch(&reply).expect("an epoch")) > last);
}

/// A mirror lists its remote and then fetches from it. Between the two, the remote rewinds or deletes a branch.
#[test]
fn a_rewind_between_the_listing_and_the_fetch_of_a_mirror_is_served_with_its_epoch() {
    const SIDE: &str = "/cart/default/side";
    const ASKS_FOR_REFERENCES: &[u8] = b"/info/refs?service=git-upload-pack";
    for (is_rewound_before, is_deleted) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let (hosted, tree) = hosted();
        let first = hosted.tip("main");
        if is_rewound_before {
            tree.commit("//- cart.yml\na: 2\n");
            tree.push(&["main"]).succeeds();
            force_back(&tree, &first);
        }
        tree.git(&["switch", "--quiet", "--create", "side"]).succeeds();
        tree.commit("//- cart.yml\na: 3\n");
        tree.push(&["side"]).succeeds();
        let proxy = Proxy::to(hosted.server.0);
        let place = tempfile::tempdir().unwrap();
        let mut settings = settings(&repository_url(proxy.address));
        settings.data = place.path().to_owned();
        settings.sources[0].poll_seconds = Some(1);
        let mirror = Server::with(settings);
        eventually("the mirror has the branch", || mirror.get(SIDE).status == 200);
        let mut events = Events::open(*mirror, SIDE, "").after_head();
        events.environment();

        // The first request of an attempt is the listing, the second one is the fetch. At the third one the mirror has had
        // time to serve what it has fetched.
        let before = position(&mirror.get(SIDE));
        let (away, back, served) =
            (hosted.clone("away"), format!("{first}:refs/heads/side"), *mirror);
        let (sender, between) = std::sync::mpsc::channel();
        let (mut request_count, known) = (0, before.clone());
        proxy.before_each(move |piece| {
            if !piece.windows(ASKS_FOR_REFERENCES.len()).any(|part| part == ASKS_FOR_REFERENCES) {
                return;
            }
            request_count += 1;
            match (request_count, is_deleted) {
                // The listing shows a difference, so that a fetch follows.
                (1, _) => drop(away.push(&["HEAD:refs/heads/other"]).succeeds()),
                (2, true) => drop(away.push(&["--delete", "side"]).succeeds()),
                (2, false) => drop(away.push(&["--force", &back]).succeeds()),
                (3, _) => sender.send(next_position(served, SIDE, &known)).unwrap(),
                _ => {}
            }
        });
        let between = between.recv().unwrap();
        let event = events.next().expect("an event");
        if is_deleted {
            assert_eq!((event.name.as_str(), between), ("gone", None));
            continue;
        }
        let expected = position(&hosted.server.get(SIDE).expect(200));
        assert!(expected.starts_with(&format!("{first}.")), "{expected}");
        assert!(event.id.starts_with(&format!("{expected}.")), "{} for {expected}", event.id);
        assert!(between.is_none_or(|between| between == expected), "{before}, {expected}");
    }
}

/// Waits a moment for another position than the known one.
fn next_position(server: Address, path: &str, known: &str) -> Option<String> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        let position = position(&server.get(path));
        if position != known {
            return Some(position);
        }
    }
    None
}

#[test]
fn the_record_of_rewinds_is_no_label_and_no_push_moves_it() {
    let (hosted, tree) = hosted();
    let first = hosted.tip("main");
    tree.commit("//- cart.yml\na: 2\n");
    tree.push(&["main"]).succeeds();
    force_back(&tree, &first);
    let listed = tree.git(&["ls-remote", "origin"]).succeeds().out;
    assert!(listed.contains("refs/headwater/order"), "{listed}");
    for update in ["main:refs/headwater/order", ":refs/headwater/order", "main:refs/headwater/x"] {
        tree.push(&["--force", update]).fails(&[]);
    }
    assert_eq!(tree.git(&["ls-remote", "origin"]).succeeds().out, listed);
    hosted.server.get("/cart/default/order").expect(404);
    hosted.server.get("/cart/default/refs(_)headwater(_)order").expect(404);
    // An ordinary clone does not take it.
    let clone = hosted.clone("another").git(&["for-each-ref"]).succeeds().out;
    assert!(!clone.contains("headwater"), "{clone}");
    hosted.repository().git(&["fsck", "--strict"]).succeeds();
}
