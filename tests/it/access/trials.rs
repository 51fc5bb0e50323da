//! Trials under a policy: each instance receives its own variant, only its principal answers, and a pusher learns nothing of
//! instances that it may not read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::{PolicyFile, bearer, policy, token};
use crate::fixture::{Address, Hosted, Tree, acknowledgement_of, clone};
use crate::secrets::keys::KeyFiles;

/// Each service opens its own environment, and `lister` reads one without opening it. `builder` may read orders only.
const RULES: &str = r#"
[[allow]]
who = ["kind:service"]
may = ["read", "open"]
application = ["{principal}"]
profile = ["*"]
[[allow]]
who = ["lister", "builder"]
may = ["read"]
application = ["orders"]
profile = ["*"]
[[allow]]
who = ["builder"]
may = ["push"]
application = ["orders", "billing", "application"]
branch = ["main"]
[[allow]]
who = ["ops"]
may = ["read", "file", "push"]
application = ["*"]
profile = ["*"]
label = ["*"]
branch = ["**"]
[[allow]]
who = ["ops"]
may = ["list", "overview", "clone", "admin"]
"#;

struct Bed {
    hosted: Hosted,
    policy: PolicyFile,
    keys: KeyFiles,
    place: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let (keys, policy) = (KeyFiles::passphrases(&["one"]), PolicyFile::new(&policy(RULES)));
        let password = keys.seal("s3cret-old");
        let files = format!(
            "//- application.yml\nregion: north\n//- orders.yml\npassword: '{password}'\n//- billing.yml\nname: Billing\n"
        );
        let hosted = Hosted::with(&files, |settings| {
            settings.access.policy_file = Some(policy.path());
            settings.sources[0].default_label = Some("main".to_owned());
            settings.secrets = keys.settings.clone();
            settings.push.try_seconds = 30;
        });
        Self { hosted, policy, keys, place: tempfile::tempdir().unwrap() }
    }

    fn server(&self) -> Address {
        *self.hosted.server
    }

    /// A clone that pushes as a principal.
    fn clone(&self, principal: &str) -> Tree {
        let url = |principal: &str| {
            let with_token = format!("http://{principal}:{}@", token(principal, 1));
            self.hosted.url().replacen("http://", &with_token, 1)
        };
        let tree = clone(&url("ops"), &self.place.path().join(principal));
        tree.git(&["remote", "set-url", "origin", &url(principal)]).succeeds();
        tree
    }
}

/// An instance that offers to try configurations and has acknowledged the present one.
struct Instance {
    server: Address,
    principal: &'static str,
    path: &'static str,
    name: &'static str,
    stream: BufReader<TcpStream>,
}

impl Instance {
    fn open(bed: &Bed, principal: &'static str, path: &'static str, name: &'static str) -> Self {
        let server = bed.server();
        let mut stream = server.connect();
        let authorization = bearer(principal, 1);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: {authorization}\r\n\
             Headwater-Instance: {name}\r\nHeadwater-Attributes: version={name}\r\nHeadwater-Can: try\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut instance = Self { server, principal, path, name, stream: BufReader::new(stream) };
        instance.line("data: ");
        let present = server.get_with(path, &[("Authorization", &authorization)]).expect(200);
        instance.report("Headwater-Applied", &acknowledgement_of(&present, "ok"));
        instance
    }

    /// Reads to the next line that begins with this. Returns its rest, and `None` at the end of the stream.
    fn line_or_end(&mut self, begin: &str) -> Option<String> {
        let lines = self.stream.by_ref().lines().map(Result::unwrap);
        lines.filter_map(|line| Some(line.strip_prefix(begin)?.to_owned())).next()
    }

    fn line(&mut self, begin: &str) -> String {
        self.line_or_end(begin).expect("the line")
    }

    fn question(&mut self) -> (String, String) {
        self.line("event: try");
        (self.line("try: "), self.line("data: "))
    }

    fn report(&self, header: &str, value: &str) {
        report(self.server, self.path, self.principal, self.name, (header, value), 200);
    }
}

fn report(
    server: Address,
    path: &str,
    principal: &str,
    name: &str,
    (header, value): (&str, &str),
    status: u16,
) {
    let headers = [
        ("Authorization", &*bearer(principal, 1)),
        ("Headwater-Instance", name),
        ("Headwater-Reason", "invalid billing.secret-key"),
        (header, value),
    ];
    server.ask("HEAD", path, &headers).expect(status);
}

#[test]
fn an_instance_receives_its_variant_and_only_its_principal_answers() {
    let bed = Bed::new();
    let mut opens = Instance::open(&bed, "orders", "/orders/prod", "opens");
    let mut reads = Instance::open(&bed, "lister", "/orders/prod", "reads");
    let tree = bed.clone("ops");
    tree.commit(&format!("//- orders.yml\npassword: '{}'\n", bed.keys.seal("s3cret-new")));
    let pushing = tree.begin_push(&["main"]);
    let (id, opened) = opens.question();
    assert!(opened.contains("s3cret-new"), "{opened}");
    let (other_id, sealed) = reads.question();
    assert!(!sealed.contains("s3cret"), "{sealed}");
    assert_ne!(id.split_once('.').unwrap().0, other_id.split_once('.').unwrap().0);
    let rejected = format!("{id} rejected");
    let tried = ("Headwater-Tried", &*rejected);
    // Another principal that may read the environment, and one that may not.
    report(bed.server(), "/orders/prod", "lister", "opens", tried, 200);
    report(bed.server(), "/orders/prod", "billing", "opens", tried, 404);
    opens.report("Headwater-Tried", &format!("{id} ok"));
    reads.report("Headwater-Tried", &format!("{other_id} ok"));
    let (code, said) = pushing.end();
    assert!(
        code == 0 && said.contains("tried on 2 of 2: orders opens and reads accept it"),
        "{said}"
    );
}

#[test]
fn a_pusher_learns_nothing_of_an_instance_that_it_may_not_read() {
    let bed = Bed::new();
    let mut hidden = Instance::open(&bed, "billing", "/billing/prod", "billing-1");
    let tree = bed.clone("builder");
    tree.commit("//- application.yml\nregion: south\n");
    let pushing = tree.begin_push(&["main"]);
    let (id, environment) = hidden.question();
    assert!(environment.contains("south") && !environment.contains("password"), "{environment}");
    hidden.report("Headwater-Tried", &format!("{id} rejected"));
    let (code, said) = pushing.end();
    assert!(code != 0, "{said}");
    assert!(
        said.contains("an instance of an application that you may not read rejects it"),
        "{said}"
    );
    assert!(!said.contains("billing"), "{said}");
}

#[test]
fn an_instance_that_has_lost_its_access_is_not_asked() {
    let bed = Bed::new();
    let mut instance = Instance::open(&bed, "billing", "/billing/prod", "billing-1");
    let without = RULES.replacen("{principal}", "nothing", 1);
    bed.policy.replace(&policy(&without));
    crate::fixture::eventually("the policy is in force", || {
        super::get(bed.server(), "/billing/prod", "billing").status == 404
    });
    let tree = bed.clone("ops");
    tree.commit("//- billing.yml\nname: canary\n");
    let said = tree.push(&["main"]).succeeds();
    assert!(!said.err.contains("accepts it"), "{}", said.err);
    let rest = instance.line_or_end("event: try");
    assert_eq!(rest, None);
}
