//! Who may clone, and who may push.

use headwater::settings::Settings;

use super::SHOP;
use crate::fixture::{Child, Hosted, Said, Tree, clone, directory, repository_url};

/// Written into a file, and named in the settings.
fn token(settings: &mut Settings, place: &std::path::Path, text: &str) {
    let path = place.join("push-token");
    std::fs::write(&path, text).unwrap();
    settings.push.token_file = Some(path);
}

fn with_login(url: &str, login: &str) -> String {
    url.replacen("http://", &format!("http://{login}@"), 1)
}

fn push_to(tree: &Tree, url: &str, more: &[&str]) -> Said {
    tree.git(&[more, &["push", url, "HEAD:refs/heads/main"]].concat())
}

#[test]
fn a_push_needs_the_push_token_where_there_is_one() {
    let place = directory("");
    let hosted = Hosted::with(SHOP, |settings| token(settings, place.path(), "s3cret\n"));
    let (tree, url) = (hosted.clone("work"), hosted.url());
    let before = hosted.tip("main");
    tree.commit("//- cart.yml\nname: Token\n");
    push_to(&tree, &url, &[]).fails(&["could not read Username"]);
    push_to(&tree, &with_login(&url, "ada:wrong"), &[]).fails(&["Authentication failed"]);
    push_to(&tree, &url, &["-c", "http.extraHeader=Authorization: Bearer wrong"]).fails(&[]);
    assert_eq!(hosted.tip("main"), before);
    push_to(&tree, &with_login(&url, "ada:s3cret"), &[]).succeeds();
    tree.commit("//- cart.yml\nname: Again\n");
    push_to(&tree, &url, &["-c", "http.extraHeader=Authorization: Bearer s3cret"]).succeeds();
    // Reading needs none.
    hosted.clone("other");
    let refused =
        hosted.server.get("/-/git/main.git/info/refs?service=git-receive-pack").expect(401);
    assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"headwater\""));
}

#[test]
fn the_push_token_stands_in_no_log_and_the_name_beside_it_does() {
    let (place, seed) = (directory(""), directory(SHOP));
    let data = place.path().join("data").display().to_string();
    let seed = seed.path().display().to_string();
    let server = Child::serve_with(
        &["--source", "hosted:main", "--data", &data, "--seed", &seed],
        &[("HEADWATER_PUSH_TOKEN", "s3cret-token"), ("HEADWATER_LOG", "trace")],
    );
    server.get("/cart/dev").expect(200);
    let url = repository_url(server.0);
    let tree = clone(&url, &place.path().join("work"));
    for login in ["ada:s3cret-token", "s3cret-token:s3cret-token"] {
        tree.commit(&format!("//- cart.yml\nname: {login}\n").replace("s3cret", ""));
        push_to(&tree, &with_login(&url, login), &[]).succeeds();
    }
    let (_, log) = server.stop();
    assert!(log.contains("push by ada"), "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn without_a_push_token_only_this_machine_pushes() {
    let hosted = Hosted::new(SHOP);
    let (tree, url) = (hosted.clone("work"), hosted.url());
    let before = hosted.tip("main");
    tree.commit("//- cart.yml\nname: Elsewhere\n");
    for header in ["X-Forwarded-For: 203.0.113.9", "Via: 1.1 proxy", "Origin: http://evil.example"]
    {
        let said = push_to(&tree, &url, &["-c", &format!("http.extraHeader={header}")]);
        said.fails(&["403", "HEADWATER_PUSH_TOKEN"]);
    }
    assert_eq!(hosted.tip("main"), before);
    // Through a proxy it may be cloned.
    tree.git(&["-c", "http.extraHeader=X-Forwarded-For: 203.0.113.9", "fetch", &url]).succeeds();
    push_to(&tree, &url, &[]).succeeds();
}

#[test]
fn a_clone_needs_what_reading_needs() {
    let place = directory("//- token\nread-me\n");
    let hosted = Hosted::with(SHOP, |settings| {
        settings.token_file = Some(place.path().join("token"));
        token(settings, place.path(), "push-me");
    });
    let here = Tree { path: place.path().to_owned() };
    let fetch = |login: Option<&str>| {
        let url = login.map_or(hosted.url(), |login| with_login(&hosted.url(), login));
        here.git(&["ls-remote", &url])
    };
    fetch(None).fails(&["could not read Username"]);
    fetch(Some("x:wrong")).fails(&["Authentication failed"]);
    fetch(Some("x:read-me")).succeeds();
    fetch(Some("x:push-me")).succeeds();
    let tree = clone(&with_login(&hosted.url(), "x:read-me"), &place.path().join("work"));
    tree.commit("//- cart.yml\nname: Reader\n");
    push_to(&tree, &with_login(&hosted.url(), "x:read-me"), &[]).fails(&["Authentication failed"]);
    push_to(&tree, &with_login(&hosted.url(), "x:push-me"), &[]).succeeds();
    hosted.server.get("/cart/dev").expect(401);
}

#[test]
fn without_a_push_token_the_read_token_is_needed_to_push_from_here() {
    let place = directory("//- token\nread-me\n");
    let hosted = Hosted::with(SHOP, |settings| {
        settings.token_file = Some(place.path().join("token"));
    });
    let url = with_login(&hosted.url(), "x:read-me");
    let tree = clone(&url, &place.path().join("work"));
    tree.commit("//- cart.yml\nname: Reader\n");
    push_to(&tree, &hosted.url(), &[]).fails(&["could not read Username"]);
    push_to(&tree, &url, &[]).succeeds();
}

#[test]
fn what_no_branch_leads_to_any_more_cannot_be_fetched() {
    let hosted = Hosted::with(SHOP, |settings| settings.push.allow_force = true);
    let (tree, url) = (hosted.clone("work"), hosted.url());
    let kept = tree.commit("//- cart.yml\nname: Kept\n");
    let secret = tree.commit("//- orders.yml\npassword: hunter2\n");
    let blob = tree.git(&["rev-parse", "HEAD:orders.yml"]).out.trim().to_owned();
    tree.push(&["main"]).succeeds();
    tree.git(&["reset", "--quiet", "--hard", &kept]).succeeds();
    let tip = tree.commit("//- cart.yml\nname: Tip\n");
    tree.push(&["--force", "main"]).succeeds();
    // It is still on the disk.
    hosted.repository().git(&["cat-file", "-e", &secret]).succeeds();
    let place = directory("");
    let stranger = Tree { path: place.path().to_owned() };
    stranger.git(&["init", "--quiet"]).succeeds();
    for version in ["0", "1", "2"] {
        let option = format!("protocol.version={version}");
        let fetch = |id: &str| stranger.git(&["-c", &option, "fetch", "--quiet", &url, id]);
        fetch(&secret).fails(&["not our ref"]);
        fetch(&blob).fails(&["not our ref"]);
        fetch(&tip).succeeds();
        fetch(&kept).succeeds();
    }
    let line = format!("want {secret} ofs-delta\n");
    // Nor by saying that it is the second version all the same.
    let request = format!("0011command=fetch0001{:04x}{line}0009done\n0000", line.len() + 4);
    let head = format!(
        "POST /-/git/main.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Git-Protocol: version=2\r\nContent-Type: application/x-git-upload-pack-request\r\n\
         Content-Length: {}\r\n\r\n",
        request.len()
    );
    let reply = hosted.server.send(format!("{head}{request}").as_bytes()).everything();
    assert!(!reply.contains("PACK"), "{reply}");
}
