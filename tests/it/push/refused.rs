//! Pushes that are refused: with the reason, and with nothing moved.

use std::io::Write;
use std::process::{Command, Stdio};

use headwater::settings::Checks;

use super::SHOP;
use crate::fixture::{Hosted, Tree, eventually, signal_group};

/// Pushes, and checks that it is refused with these words and that nothing has moved.
#[track_caller]
fn refuses(hosted: &Hosted, tree: &Tree, arguments: &[&str], parts: &[&str]) {
    let references = || hosted.repository().git(&["for-each-ref"]).out;
    let before = (hosted.contents(), references());
    tree.push(arguments).fails(parts);
    assert_eq!((hosted.contents(), references()), before);
}

#[test]
fn a_file_that_does_not_parse_is_refused_with_its_place() {
    let hosted = Hosted::new(SHOP);
    hosted.server.get("/orders/dev").expect(200);
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nname: Orders\nlimit: [1\n");
    refuses(&hosted, &tree, &["main"], &["remote: orders.yml:", "pre-receive hook declined"]);
    assert!(hosted.server.get("/orders/dev").expect(200).text().contains("\"limit\":1"));
    tree.commit("//- orders.yml\nname: Orders\nlimit: 3\n");
    tree.push(&["main"]).succeeds();
    assert!(hosted.server.get("/orders/dev").expect(200).text().contains("\"limit\":3"));
}

#[test]
fn the_second_of_two_pushers_is_told_to_fetch_first() {
    let hosted = Hosted::new(SHOP);
    let (first, second) = (hosted.clone("first"), hosted.clone("second"));
    let old = second.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    // Both ask what there is before either has pushed.
    let new = second.commit("//- cart.yml\nname: Second\n");
    first.commit("//- cart.yml\nname: First\n");
    first.push(&["main"]).succeeds();
    let answer = send_pack(&hosted, &second, &old, &new, "refs/heads/main");
    assert!(answer.contains("fetch first: main has moved"), "{answer}");
    second.push(&["main"]).fails(&["(fetch first)"]);
    second.git(&["pull", "--quiet", "--rebase", "-X", "theirs"]).succeeds();
    second.push(&["main"]).succeeds();
}

/// A push without the question before it; gives all that came back.
fn send_pack(hosted: &Hosted, tree: &Tree, old: &str, new: &str, reference: &str) -> String {
    let mut body = command_line(old, new, reference, "report-status side-band-64k");
    body.extend(pack(tree, old, new));
    let reply = post(hosted, &body, &[]);
    String::from_utf8_lossy(&reply.body).into_owned()
}

pub(crate) fn command_line(old: &str, new: &str, reference: &str, capabilities: &str) -> Vec<u8> {
    let line = format!("{old} {new} {reference}\0 {capabilities}");
    format!("{:04x}{line}0000", line.len() + 4).into_bytes()
}

pub(crate) fn pack(tree: &Tree, old: &str, new: &str) -> Vec<u8> {
    let mut objects = tree
        .command(&["pack-objects", "--revs", "--stdout", "--quiet", "--thin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    let wanted = match old.bytes().all(|byte| byte == b'0') {
        true => format!("{new}\n"),
        false => format!("{new}\n^{old}\n"),
    };
    objects.stdin.take().expect("a pipe").write_all(wanted.as_bytes()).expect("written");
    objects.wait_with_output().expect("a pack").stdout
}

pub(super) fn post(
    hosted: &Hosted,
    body: &[u8],
    headers: &[(&str, &str)],
) -> crate::fixture::Reply {
    let mut request = String::from(
        "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-git-receive-pack-request\r\n",
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n", body.len());
    hosted.server.send(&[request.as_bytes(), body].concat())
}

#[test]
fn only_branches_and_tags_are_kept() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    tree.commit("//- cart.yml\nname: Evil\n");
    refuses(&hosted, &tree, &["HEAD:refs/notes/x"], &["the server keeps only branches and tags"]);
    refuses(&hosted, &tree, &["HEAD:refs/evil/x"], &["the server keeps only branches and tags"]);
    // One bad name, and the good one does not move either.
    refuses(&hosted, &tree, &["main", "HEAD:refs/evil/x"], &["only branches and tags"]);
    refuses(&hosted, &tree, &["HEAD:refs/heads/-x"], &["no label can have this name"]);
    refuses(&hosted, &tree, &["-o", "run=me", "main"], &["option run is unknown"]);
}

#[test]
fn history_is_rewritten_and_branches_are_deleted_by_setting_only() {
    let rewrite = |hosted: &Hosted| {
        let tree = hosted.clone("work");
        tree.push(&["main:other"]).succeeds();
        tree.git(&["commit", "--quiet", "--amend", "-m", "Another first commit"]).succeeds();
        tree
    };
    let hosted = Hosted::new(SHOP);
    let tree = rewrite(&hosted);
    refuses(&hosted, &tree, &["--force", "main"], &["does not follow", "push.allow_force"]);
    refuses(&hosted, &tree, &["--delete", "other"], &["push.allow_delete"]);
    let hosted = Hosted::with(SHOP, |settings| {
        settings.push.allow_force = true;
        settings.push.allow_delete = true;
    });
    let tree = rewrite(&hosted);
    hosted.server.get("/orders/dev").expect(200);
    tree.push(&["--force", "main"]).succeeds();
    let tip = tree.git(&["rev-parse", "HEAD"]).out;
    let served = hosted.server.get("/orders/dev").expect(200);
    assert_eq!(served.header("headwater-revision"), Some(tip.trim()));
    tree.push(&["--delete", "other"]).succeeds();
    // The branch that everything is served from stays, whatever the settings say.
    tree.push(&["--delete", "main"]).fails(&["main", "HEAD leads to"]);
    hosted.server.get("/orders/dev").expect(200);
}

#[test]
fn a_tag_is_checked_like_a_branch_and_stays_where_it_is() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let start = tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    tree.commit("//- orders.yml\nname: [\n");
    tree.git(&["tag", "bad"]).succeeds();
    tree.git(&["tag", "-a", "bad-too", "-m", "Bad"]).succeeds();
    for tag in ["bad", "bad-too"] {
        refuses(
            &hosted,
            &tree,
            &[tag],
            &["remote: orders.yml:1:", "push rejected, no branch was updated"],
        );
        hosted.server.get(&format!("/orders/dev/{tag}")).expect(404);
    }
    tree.git(&["reset", "--quiet", "--hard", &start]).succeeds();
    std::os::unix::fs::symlink("/etc/passwd", tree.path.join("link.yml")).unwrap();
    tree.commit("");
    tree.git(&["tag", "link"]).succeeds();
    refuses(&hosted, &tree, &["link"], &["link.yml: is a symbolic link"]);
    tree.git(&["tag", "blob", &format!("{start}:orders.yml")]).succeeds();
    refuses(&hosted, &tree, &["blob"], &["blob: a tag leads to a commit"]);
    // A good one is taken, with the branch that it comes with or without it, and then stays.
    tree.git(&["reset", "--quiet", "--hard", &start]).succeeds();
    tree.commit("//- orders.yml\nname: Tagged\n");
    tree.git(&["tag", "-a", "v1", "-m", "One"]).succeeds();
    let said = tree.push(&["v1"]).succeeds().says(&["no problem", "published v1"]);
    assert!(!said.err.contains("changes"), "{}", said.err);
    assert!(hosted.server.get("/orders/dev/v1").expect(200).text().contains("Tagged"));
    tree.git(&["tag", "v2"]).succeeds();
    tree.push(&["main", "v2"]).succeeds();
    tree.git(&["tag", "--force", "v1", &start]).succeeds();
    refuses(&hosted, &tree, &["--force", "v1"], &["v1: a tag stays where it is", "allow_force"]);
    assert!(hosted.server.get("/orders/dev/v1").expect(200).text().contains("Tagged"));
    let hosted = Hosted::with(SHOP, |settings| settings.push.allow_force = true);
    let tree = hosted.clone("again");
    tree.git(&["tag", "v1"]).succeeds();
    tree.push(&["v1"]).succeeds();
    tree.commit("//- orders.yml\nname: Moved\n");
    tree.git(&["tag", "--force", "v1"]).succeeds();
    tree.push(&["--force", "v1"]).succeeds();
    assert!(hosted.server.get("/orders/dev/v1").expect(200).text().contains("Moved"));
}

#[test]
fn schemas_and_placeholders_are_judged_and_strictly_if_that_is_asked_for() {
    const SCHEMA: &str = r#"{"properties": {"limit": {"type": "integer"}}}"#;
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    tree.commit(&format!("//- orders.schema.json\n{SCHEMA}\n"));
    tree.push(&["main"]).succeeds();
    tree.commit("//- orders.yml\nname: ${nobody.knows}\nlimit: 2\n");
    let place = "orders.yml:1:7: name: contains a ${";
    tree.push(&["main"]).succeeds().says(&[&format!("remote: warning: {place}")]);
    tree.commit("//- orders.yml\nname: Orders\nlimit: many\n");
    let parts = ["remote: orders.yml:2:8: limit: must be of type integer (orders.schema.json/"];
    refuses(&hosted, &tree, &["main"], &parts);
    assert!(!tree.push(&["main"]).err.contains("many"));
    let hosted = Hosted::with(SHOP, |settings| settings.push.strict = true);
    let strict = hosted.clone("strict");
    strict.commit("//- orders.yml\nname: ${nobody.knows}\nlimit: 2\n");
    refuses(&hosted, &strict, &["main"], &[&format!("remote: {place}")]);
}

#[test]
fn what_is_much_larger_than_its_pack_is_refused_and_disturbs_nobody() {
    let hosted = Hosted::new(SHOP);
    hosted.server.get("/orders/dev").expect(200);
    let tree = hosted.clone("work");
    std::fs::write(tree.path.join("zeros.yml"), vec![0; 300 << 20]).unwrap();
    tree.commit("");
    std::thread::scope(|scope| {
        let push = scope.spawn(|| tree.push(&["main"]));
        while !push.is_finished() {
            hosted.server.get("/orders/dev").expect(200);
            std::thread::yield_now();
        }
        push.join().unwrap().fails(&["zeros.yml: has 314572800 bytes"]);
    });
    assert!(!hosted.contents().contains("tmp_objdir"));
}

#[test]
fn nothing_that_is_pushed_is_ever_run() {
    let (hosted, place) = (Hosted::new(SHOP), crate::fixture::directory(""));
    let canary = place.path().join("canary");
    let script = format!("#!/bin/sh\ntouch {}\n", canary.display());
    let tree = hosted.clone("work");
    for hook in ["pre-receive", "update", "post-receive", "post-update", "reference-transaction"] {
        tree.commit(&format!("//- hooks/{hook}\n{script}"));
        Command::new("chmod").arg("+x").arg(tree.path.join("hooks").join(hook)).status().unwrap();
        // In the repository itself, where git would look if it were not told where.
        let hooks = hosted.repository().path.join("hooks");
        std::fs::create_dir_all(&hooks).unwrap();
        std::fs::copy(tree.path.join("hooks").join(hook), hooks.join(hook)).unwrap();
    }
    tree.commit(
        "//- .gitattributes\n*.yml filter=evil diff=evil\n//- config\n[core]\nfsmonitor = true\n",
    );
    tree.push(&["main"]).succeeds();
    hosted.clone("other");
    hosted.server.get("/orders/dev").expect(200);
    assert!(!canary.exists());
}

#[test]
fn words_about_several_branches_say_which_one_is_meant() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nname: Good\n");
    tree.git(&["checkout", "--quiet", "-b", "other"]).succeeds();
    tree.commit("//- orders.yml\nname: [\n");
    let said = tree.push(&["main", "other"]).fails(&["remote: main:", "remote: other:"]);
    let (main, other) = (said.err.find("remote: main:"), said.err.find("remote: other:"));
    let problem = said.err.find("remote: orders.yml:1:");
    assert!(main < other && other < problem, "{}", said.err);
    let said = tree.push(&["main"]).succeeds();
    assert!(!said.err.contains("remote: main:"), "{}", said.err);
}

#[test]
fn where_checks_only_warn_a_bad_push_is_taken_and_said() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.checks = Checks::Warn);
    let before = hosted.server.get("/orders/dev").expect(200);
    let tree = hosted.clone("work");
    tree.commit("//- orders.yml\nname: [\n");
    tree.push(&["main"]).succeeds().says(&["orders.yml:", "push.checks = warn"]);
    // What it breaks stays at its last good revision.
    let after = hosted.server.get("/orders/dev").expect(200);
    assert_eq!(after.body, before.body);
    assert_eq!(after.header("headwater-held-at"), Some(&*hosted.tip("main")));
}

#[test]
fn a_pack_that_git_itself_refuses_leaves_nothing() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let entry = |name: &str| {
        let mut hash = tree
            .command(&["hash-object", "-w", "--stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git runs");
        hash.stdin.take().expect("a pipe").write_all(b"a: 1\n").expect("written");
        let blob = String::from_utf8(hash.wait_with_output().expect("an id").stdout).expect("text");
        let line = format!("100644 blob {}\t{name}\n", blob.trim());
        let mut make = tree
            .command(&["mktree"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git runs");
        make.stdin.take().expect("a pipe").write_all(line.as_bytes()).expect("written");
        let made = String::from_utf8(make.wait_with_output().expect("an id").stdout).expect("text");
        let commit = tree.git(&["commit-tree", "-p", "HEAD", "-m", "Evil", made.trim()]).succeeds();
        commit.out.trim().to_owned()
    };
    for name in [".git", "..", ".GIT", "git~1"] {
        let commit = entry(name);
        refuses(&hosted, &tree, &[&format!("{commit}:refs/heads/main")], &["unpack"]);
    }
    // A symbolic link is well-formed, and still nothing that is served.
    Command::new("ln")
        .args(["-s", "/etc/passwd"])
        .arg(tree.path.join("link.yml"))
        .status()
        .unwrap();
    tree.commit("");
    refuses(&hosted, &tree, &["main"], &["link.yml"]);
}

#[test]
fn a_pack_beyond_the_bound_is_refused() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.pack_bytes_max = 100_000);
    let tree = hosted.clone("work");
    let mut bytes = vec![0_u8; 300_000];
    let mut state = 1_u32;
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    std::fs::write(tree.path.join("noise.bin"), bytes).unwrap();
    tree.commit("");
    refuses(&hosted, &tree, &["main"], &["unpack"]);
}

#[test]
fn a_push_that_breaks_off_is_absent_and_leaves_nothing() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let old = hosted.tip("main");
    let new = tree.commit("//- cart.yml\nname: Half\n");
    let mut body = command_line(&old, &new, "refs/heads/main", "report-status side-band-64k");
    body.extend(pack(&tree, &old, &new));
    let before = hosted.contents();
    for cut in [4, body.len() / 2, body.len() - 10] {
        for framing in
            [format!("Content-Length: {}", body.len()), "Transfer-Encoding: chunked".into()]
        {
            let mut stream = hosted.server.connect();
            let head = format!(
                "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Type: application/x-git-receive-pack-request\r\n{framing}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).expect("sent");
            if framing.contains("chunked") {
                stream.write_all(format!("{cut:x}\r\n").as_bytes()).expect("sent");
            }
            stream.write_all(&body[..cut]).expect("sent");
            drop(stream);
            eventually("git has cleaned up", || hosted.contents() == before);
            assert_eq!(hosted.tip("main"), old);
        }
    }
    tree.push(&["main"]).succeeds();
}

#[test]
fn a_pack_that_is_none_is_refused_and_leaves_nothing() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let old = hosted.tip("main");
    let new = tree.commit("//- cart.yml\nname: Broken\n");
    let command = command_line(&old, &new, "refs/heads/main", "report-status side-band-64k");
    let good = pack(&tree, &old, &new);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut pack = good.clone();
        change(&mut pack);
        pack
    };
    let before = hosted.contents();
    for (what, pack) in [
        ("nothing", Vec::new()),
        ("truncated", changed(&|pack| pack.truncate(pack.len() / 2))),
        ("without its sum", changed(&|pack| pack.truncate(pack.len() - 20))),
        ("another sum", changed(&|pack| *pack.last_mut().unwrap() ^= 1)),
        ("another byte", changed(&|pack| pack[20] ^= 0x40)),
        ("a million objects", changed(&|pack| pack[8..12].copy_from_slice(&[0, 15, 66, 64]))),
        // The first object says that it has four gigabytes.
        (
            "a huge object",
            changed(&|pack| {
                pack.splice(12..13, [0x9f, 0xff, 0xff, 0xff, 0x7f]);
            }),
        ),
    ] {
        let reply = post(&hosted, &[command.clone(), pack].concat(), &[]).everything();
        assert!(!reply.contains("unpack ok"), "{what}: {reply}");
        assert_eq!(hosted.tip("main"), old, "{what}");
        eventually("git has cleaned up", || hosted.contents() == before);
    }
    hosted.server.get("/orders/dev").expect(200);
    tree.push(&["main"]).succeeds();
}

#[test]
fn a_push_whose_request_does_not_end_keeps_nobody_waiting() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let old = hosted.tip("main");
    let new = tree.commit("//- cart.yml\nname: Endless\n");
    let mut body = command_line(&old, &new, "refs/heads/main", "report-status side-band-64k");
    body.extend(pack(&tree, &old, &new));
    let mut stream = hosted.server.connect();
    let head = format!(
        "POST /-/git/main.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/x-git-receive-pack-request\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body, b"\r\n"].concat()).expect("sent");
    eventually("git has moved it", || hosted.tip("main") == new);
    // All that git needs is there, and the last word is not: it is published, and the next one pushes.
    let begun = std::time::Instant::now();
    let mut trickle = stream.try_clone().expect("another handle");
    eventually("it is served", || {
        // It may have been cut off.
        let _ = trickle.write_all(b"1\r\na\r\n");
        hosted.server.get("/cart/dev").expect(200).text().contains("Endless")
    });
    tree.commit("//- cart.yml\nname: Next\n");
    tree.push(&["main"]).succeeds();
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let hosted = Hosted::new(SHOP);
    let tree = hosted.clone("work");
    let mut fixture = String::new();
    for number in 0..3_000 {
        fixture += &format!("//- d/{number}.yml\nnumber: {number}\n");
    }
    tree.commit(&fixture);
    let before = hosted.contents();
    let old = hosted.tip("main");
    let mut push = tree
        .command(&["push", "--quiet", "origin", "main"])
        .stderr(Stdio::null())
        .process_group_of_its_own()
        .spawn()
        .expect("git runs");
    eventually("something has arrived or all of it", || {
        hosted.contents() != before || push.try_wait().expect("its state").is_some()
    });
    // It may be over already.
    let _ = signal_group("KILL", push.id());
    push.wait().expect("it ends");
    eventually("all of it or nothing", || {
        let is_clean = !hosted.contents().contains("tmp_objdir");
        is_clean && (hosted.contents() == before || hosted.tip("main") != old)
    });
    hosted.repository().git(&["fsck", "--strict"]).succeeds();
    tree.push(&["main"]).succeeds();
}

trait ProcessGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl ProcessGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}
