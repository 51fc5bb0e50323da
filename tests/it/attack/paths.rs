//! Path traversal in every position and spelling (docs/protocol.md#18-rejected-requests).

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{assert_well, shop};
use crate::fixture::{Child, Repository, Session};

/// What stands in the files that no answer may ever hold.
pub(super) const CANARY: &str = "canary-3f9c1d7e";

/// Files outside the tree, removed when this is dropped.
pub(super) struct Canaries {
    in_root: Vec<PathBuf>,
    stem: String,
}

impl Canaries {
    pub(super) fn plant(repository: &Repository) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let stem = format!("headwater-canary-{}-{count}", std::process::id());
        let mut in_root = Vec::new();
        for (extension, text) in [
            ("txt", CANARY.to_owned()),
            ("yml", format!("canary: {CANARY}\n")),
            ("properties", format!("canary={CANARY}\n")),
        ] {
            for directory in
                [repository.around(), &repository.path(), &repository.path().join("hooks")]
            {
                std::fs::create_dir_all(directory).expect("a directory");
                for name in ["canary", "canary-dev", "application-canary"] {
                    std::fs::write(directory.join(format!("{name}.{extension}")), &text)
                        .expect("a canary");
                }
            }
            let path = PathBuf::from(format!("/{stem}.{extension}"));
            // Only root may; the other canaries are there for everyone.
            if std::fs::write(&path, &text).is_ok() {
                in_root.push(path);
            }
        }
        Self { in_root, stem }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        for path in &self.in_root {
            std::fs::remove_file(path).expect("the canary is removed");
        }
    }
}

/// Spellings of `..`; those of the first list climb, once they are decoded, and have to be refused.
const CLIMBS: [&str; 9] =
    ["..", "%2e%2e", "%2E%2E", ".%2e", "%252e%252e", "%252E.", "..%20", "..%00", "..%0d%0a"];
const LOOKALIKES: [&str; 7] = [
    "%c0%ae%c0%ae",
    "%e0%80%ae.",
    "%e2%80%a4%e2%80%a4",
    "%ef%bc%8e%ef%bc%8e",
    "%u002e%u002e",
    ".%00.",
    "%e2%80%ae.",
];
/// Spellings of `/`.
const SLASHES: [&str; 16] = [
    "/",
    "//",
    "%2f",
    "%2F",
    "%252f",
    "%252F",
    "%5c",
    "%255c",
    "\\",
    "(_)",
    "%28_%29",
    "%c0%af",
    "%e2%88%95",
    "%ef%bc%8f",
    ";/",
    "/./",
];

fn is_refused(status: u16) -> bool {
    matches!(status, 400 | 404)
}

#[track_caller]
pub(super) fn check_body(path: &str, reply: &crate::fixture::Reply) {
    let everything = reply.everything();
    for secret in [CANARY, "root:", "[core]", "bare = true"] {
        assert!(!everything.contains(secret), "{path} gave {everything}");
    }
}

#[test]
fn nothing_outside_the_tree_can_be_read() {
    let repository = shop();
    let canaries = Canaries::plant(&repository);
    let server = Child::serve(&["--source", &repository.uri()]);
    let mut session = Session::new(*server);
    let targets = ["canary", "canary.txt", "canary.yml", &canaries.stem, "etc/passwd", "config"];
    let mut count = 0;
    let mut ask = |path: &str, climbs: bool| {
        let reply = session.get(path);
        check_body(path, &reply);
        let fits = is_refused(reply.status) || !climbs && reply.status == 200;
        assert!(fits, "{path}: {}", reply.everything());
        count += 1;
    };
    let spellings = CLIMBS.map(|dots| (dots, true)).into_iter();
    for (dots, climbs) in spellings.chain(LOOKALIKES.map(|dots| (dots, false))) {
        for slash in SLASHES {
            for (target, depth) in targets.iter().zip([1, 1, 2, 1, 12, 3]) {
                let payload = format!("{}{target}", format!("{dots}{slash}").repeat(depth));
                ask(&format!("/{payload}/dev"), climbs);
                ask(&format!("/{payload}%23/dev/main"), climbs);
                ask(&format!("/orders/{payload}/main"), climbs);
                ask(&format!("/orders/dev/{payload}"), climbs);
                ask(&format!("/{payload}/orders-dev.yml"), climbs);
                ask(&format!("/{payload}-dev.yml"), climbs);
                ask(&format!("/orders/dev/main/{payload}"), climbs);
                ask(&format!("/orders/dev/main/nested/{payload}"), climbs);
                ask(&format!("/orders/dev/{payload}?useDefaultLabel"), climbs);
                ask(&format!("/-/environments?label={payload}"), climbs);
                ask(&format!("/orders/dev?label={payload}&name={payload}"), false);
            }
        }
    }
    assert!(count > 10_000, "{count}");
    assert_well(*server);
}

#[test]
fn names_of_files_outside_are_only_names() {
    let repository = shop();
    let canaries = Canaries::plant(&repository);
    let server = Child::serve(&["--source", &repository.uri()]);
    let stem = &canaries.stem;
    let around = repository.around().display().to_string();
    let inside = around.trim_start_matches('/');
    let joined = around.replace('/', "(_)");
    for path in [
        format!("/{stem}/dev"),
        format!("/orders/dev/main/{stem}.txt"),
        format!("/orders/dev/main//{stem}.txt"),
        format!("/orders/dev/main/{inside}/canary.txt"),
        format!("/orders/dev/main/{joined}(_)canary.txt"),
        format!("/orders/dev/main/file:{around}/canary.txt"),
        format!("/orders/dev/main/file:%2f%2f{around}/canary.txt"),
        "/orders/canary/main/..%2fcanary.txt".to_owned(),
        format!("/x{joined}(_)canary/dev"),
        "/orders/dev/main/canary.txt".to_owned(),
        "/canary/dev".to_owned(),
        "/config.git(_)canary/dev".to_owned(),
        "/orders/dev/main/config.git/canary.txt".to_owned(),
        "/orders/dev/main/hooks/canary.txt".to_owned(),
        "/orders/dev/main/C:/canary.txt".to_owned(),
        "/orders/dev/main/~/canary.txt".to_owned(),
        "/orders/dev/main/$HOME/canary.txt".to_owned(),
        "/orders/dev/main/%25HOME%25/canary.txt".to_owned(),
    ] {
        let reply = server.get(&path);
        check_body(&path, &reply);
        assert!(reply.status != 500, "{path}: {}", reply.everything());
    }
    assert_well(*server);
}

#[test]
fn recorded_attacks_have_their_status() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    for (path, status) in [
        ("/foo/dev/main/../../../../etc/passwd", 400),
        ("/foo/dev/main/..%2f..%2fx", 400),
        ("/foo/bar%2Ffoo/main", 400),
        // `%2F` is accepted in a label, which is unknown here.
        ("/foo/dev/feature%2Fx", 404),
        ("/foo/dev/main/..%252f..%252fx", 400),
        ("/foo/dev/main/%2e%2e/x", 400),
        ("/foo/dev/main/....//x", 400),
        ("/foo/dev/main/..%5c..%5cx", 400),
        ("/foo/dev/main/a%00b", 400),
        ("/foo/dev/..(_)..", 400),
        ("/foo/dev/..%28_%29..(_)/x", 400),
        ("/..(_)..(_)etc/passwd/main", 400),
        ("/(_)etc/dev/main", 400),
        ("/foo/dev/(_)etc/x", 400),
        ("/foo%23/dev/main", 400),
        ("/foo/dev/main%23", 400),
        ("/foo/dev%23/main", 400),
        ("/foo/..%255c..%255c/main", 400),
        ("/foo/%2e%2e%252f/main", 400),
        ("/foo/bar%252Ffoo/main", 400),
        ("/foo/..(_)../main", 400),
        ("/foo/../main", 400),
        ("/foo/%7Bapplication%7D/main", 400),
        ("/foo/d*v/main", 400),
        ("/foo/dev,,x/main", 400),
        ("/foo/dev/main/file:/etc/passwd", 404),
        ("/foo/dev/main/WEB-INF/x", 404),
        ("/foo/dev/main/META-INF", 404),
        ("/f*o/dev/main", 404),
    ] {
        let reply = server.get(path);
        assert_eq!(reply.status, status, "{path}: {}", reply.everything());
        check_body(path, &reply);
    }
    server.ask("POST", "/encrypt/app/..%2e", &[]).expect(400);
    assert_well(*server);
}

#[test]
fn a_repository_hides_its_own_machinery() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    for path in [
        ".git/config",
        ".git/HEAD",
        ".GIT/config",
        ".git./config",
        "git~1/config",
        "HEAD",
        "config",
        "refs/heads/main",
        "hooks/update",
        "objects/info/packs",
        "packed-refs",
        ".gitmodules",
        "%2egit/config",
        ".git%20/config",
        "nested/.git/config",
        ".g%e2%80%8cit/config",
    ] {
        let reply = server.get(&format!("/orders/dev/main/{path}"));
        assert!(is_refused(reply.status), "{path}: {}", reply.everything());
        check_body(path, &reply);
        let named = path.replace('/', "(_)");
        check_body(path, &server.get(&format!("/x(_){named}/dev")));
    }
    assert_well(*server);
}

#[test]
fn what_is_no_name_is_refused_before_anything_is_looked_up() {
    let repository = shop();
    let server = Child::serve(&["--source", &repository.uri()]);
    let long = "n".repeat(64 * 1024);
    let wide = "n".repeat(7 * 1024);
    let many = vec!["p"; 10_000].join(",");
    let some = vec!["p"; 100].join(",");
    let commas = ",".repeat(1_000);
    let characters = [
        "%00",
        "%0d%0a",
        "%0a",
        "%1b%5b31m",
        "%7f",
        "%e2%80%ae",
        "%",
        "%z",
        "%zz",
        "%f",
        "%ff",
        "%c3%28",
    ];
    let mut paths: Vec<(String, u16)> = vec![
        (format!("/{long}/dev"), 400),
        (format!("/orders/{long}"), 400),
        (format!("/orders/dev/{long}"), 400),
        (format!("/orders/dev/main/{long}"), 400),
        (format!("/orders/{many}"), 400),
        (format!("/{many}/dev"), 400),
        (format!("/orders/{some}"), 400),
        (format!("/{some}/dev"), 400),
        (format!("/orders/{commas}"), 400),
        (format!("/orders/dev/{commas}"), 404),
        (format!("/orders/dev/{some}"), 404),
        (format!("/orders/dev/{wide}"), 404),
        (format!("/orders/dev/main/{wide}"), 404),
        (format!("/{wide}/dev"), 200),
        ("/orders/,".to_owned(), 400),
        ("/orders/%20".to_owned(), 400),
    ];
    for text in characters {
        paths.extend([
            (format!("/ord{text}ers/dev"), 400),
            (format!("/orders/d{text}v"), 400),
            (format!("/orders/dev/ma{text}in"), 400),
            (format!("/orders/dev/main/pl{text}ain.txt"), 400),
            (format!("/ma{text}in/orders-dev.yml"), 400),
        ]);
    }
    for (path, status) in paths {
        let reply = server.get(&path);
        let name: String = path.chars().take(60).collect();
        assert_eq!(reply.status, status, "{name}: {}", reply.everything());
        assert!(reply.body.len() < 9_000, "{name}: echoes {} bytes", reply.body.len());
    }
    assert!(server.resident_kib() < 200 * 1024);
    assert_well(*server);
}

#[test]
fn a_directory_hides_what_is_beside_it_and_what_it_links_to() {
    let place = crate::fixture::directory(&format!(
        "//- config/orders.yml\nname: Orders\n//- config/application.yml\nshared: everywhere\n\
         //- config/plain.txt\nI am ${{name}}\n//- config/blue/orders.yml\ncolour: blue\n\
         //- config/.git/config\n{CANARY}\n//- config/.hidden/orders.yml\nx: 1\n\
         //- canary.yml\nx: {CANARY}\n//- canary.txt\n{CANARY}\n//- other/orders.yml\nx: {CANARY}\n"
    ));
    let config = place.path().join("config");
    std::fs::remove_dir_all(config.join(".git")).expect("a directory, not a repository");
    for (link, target) in [
        ("link.txt", "../canary.txt"),
        ("absolute.txt", &place.path().join("canary.txt").display().to_string()),
        ("away", "../other"),
        ("up", ".."),
        ("linked.yml", "../canary.yml"),
    ] {
        std::os::unix::fs::symlink(target, config.join(link)).expect("a link");
    }
    let server = Child::serve(&["--source", &config.display().to_string()]);
    for path in [
        "/canary/dev",
        "/linked/dev",
        "/orders/dev/away",
        "/orders/dev/up",
        "/orders/dev/up(_)other",
        "/orders/dev/..",
        "/orders/dev/other",
        "/orders/dev/*",
        "/orders/dev/b%3Fue",
        "/orders/dev/%2A%2A",
        "/away(_)orders/dev",
        "/up(_)canary/dev",
        "/orders/dev/main/link.txt",
        "/orders/dev/main/absolute.txt",
        "/orders/dev/main/away/orders.yml",
        "/orders/dev/main/up/canary.txt",
        "/orders/dev/main/../canary.txt",
        "/orders/dev/main/%2e%2e/canary.txt",
        "/orders/dev/blue/..(_)..(_)canary.txt",
        "/up/orders-dev.yml",
        "/*/orders-dev.yml",
    ] {
        let reply = server.get(path);
        check_body(path, &reply);
        assert!(matches!(reply.status, 200 | 400 | 404), "{path}: {}", reply.everything());
        assert!(
            !path.contains(['*', '?']) || reply.status == 404,
            "{path}: {}",
            reply.everything()
        );
        assert!(!path.contains("%3F") || !reply.text().contains("blue"), "{path}");
    }
    assert!(server.get("/orders/dev/blue").expect(200).text().contains("blue"));
    assert_well(*server);
}
