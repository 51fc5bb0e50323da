//! `docs/services.md`: the programs that stand there are run as they stand there, against a server that comes after them,
//! goes away and comes back.

mod bed;
mod page;
mod spring;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(crate) use self::bed::{Port, Program};
use self::bed::{START_MAX, Shop, find, shell, within};
use self::page::{Recipe, blocks};
use crate::documentation::root;
use crate::fixture::{directory, eventually, installed};

/// A service from before there is a server until after the server was away.
fn lives_with_changes(shop: &mut Shop, recipe: &Recipe) {
    let mut program = shop.start(recipe);
    shop.hang_up_once();
    // The connection may have been that of another program that looks for a server which once had this port. A Go program
    // that is compiled beside other tests may start much later.
    within(START_MAX, "it finds no server", || !program.err().is_empty());
    shop.serve();
    assert_eq!(program.enter(), "10 % off");

    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 25\n");
    eventually("the change", || program.enter() == "25 % off");
    let asked = shop.answers("flat");
    shop.push("//- cart.yml\nof: others\n");
    shop.push("//- product-prod.yml\n# A quarter\ncatalogue.discount-percent: 25\n");
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 30\n");
    eventually("the next change", || program.enter() == "30 % off");
    assert_eq!(shop.answers("flat"), asked + 1, "what does not concern it does not disturb it");

    let complaints = program.err().len();
    shop.kill();
    eventually("it finds no server again", || program.err().len() > complaints);
    assert_eq!(program.enter(), "30 % off");
    shop.serve();
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 35\n");
    eventually("the change after the outage", || program.enter() == "35 % off");
}

/// A value that it cannot work with leaves what there was. A server that knows nothing of what it saw is believed in the
/// end.
fn refuses_what_is_no_good(shop: &mut Shop, recipe: &Recipe) {
    let mut program = shop.start(recipe);
    assert_eq!(program.enter(), "35 % off");
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 95\n");
    eventually("it says why", || program.err().contains("is not between 0 and 90"));
    assert_eq!(program.enter(), "35 % off");
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: many\n");
    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 40\n");
    eventually("what is good again", || program.enter() == "40 % off");
    let complaints = program.err().len();
    shop.push("//- product-prod.yml\n//- product.yml\n");
    eventually("it says what is missing", || program.err().len() > complaints);
    assert_eq!(program.enter(), "40 % off");

    shop.push("//- product-prod.yml\ncatalogue.discount-percent: 45\n");
    eventually("what is complete again", || program.enter() == "45 % off");
    shop.kill();
    shop.lose_everything();
    shop.serve();
    within(START_MAX, "what there is now", || program.enter() == "10 % off");
}

/// Heading, language of the block, file, and the program that has to be there.
const LANGUAGES: [(&str, &str, &str, &str); 3] = [
    ("Python", "python", "product.py", "python3"),
    ("Node", "js", "product.mjs", "node"),
    ("Go", "go", "product.go", "go"),
];

/// All at once: they wait most of the time.
#[test]
fn python_node_and_go_live_with_changes() {
    let programs = LANGUAGES.map(|(.., program)| find(program).display().to_string());
    if !installed(&programs.each_ref().map(String::as_str)) {
        return;
    }
    std::thread::scope(|scope| {
        for (heading, language, file, program) in LANGUAGES {
            let lives = move || {
                let recipe = Recipe::of(heading, language, file);
                let mut shop = Shop::new();
                if program == "go" {
                    shop.prepare(&recipe, "go vet product.go && go build -o /dev/null product.go");
                }
                lives_with_changes(&mut shop, &recipe);
                refuses_what_is_no_good(&mut shop, &recipe);
            };
            let thread = std::thread::Builder::new().name(program.to_owned());
            thread.spawn_scoped(scope, lives).unwrap();
        }
    });
}

#[test]
fn a_shell_lives_with_changes() {
    let mut shop = Shop::new();
    lives_with_changes(&mut shop, &Recipe::of("Shell", "sh", "product.sh"));
}

#[test]
fn the_first_five_minutes_are_as_the_page_says() {
    let place = directory("");
    copy(&root().join("config-repo"), &place.path().join("config-repo"));
    let port = Port::reserve();
    let typed = |script: &str| {
        let mut shell = shell(place.path(), script);
        shell.env("HEADWATER_LISTEN", port.address.0.to_string());
        shell.env("HEADWATER_URL", format!("http://{}", port.address.0));
        for (name, value) in [("NAME", "Ann"), ("EMAIL", "ann@example.org")] {
            shell.env(format!("GIT_AUTHOR_{name}"), value);
            shell.env(format!("GIT_COMMITTER_{name}"), value);
        }
        shell
    };
    let begin = blocks("A server to try them with", "sh");
    let server = Program::spawn(typed(&begin[0]));
    eventually("the server is ready", || server.err().contains("\"ready\""));

    let simple = blocks("Shell", "sh");
    let simple: Vec<_> = simple[2].lines().collect();
    let get = typed(simple[0]).output().unwrap();
    let text = String::from_utf8_lossy(&get.stdout).into_owned();
    assert!(text.contains("catalogue.discount-percent: 10\n"), "{text}");
    let _watch = Program::spawn(typed(&simple[1..].join("\n")));
    let file = || std::fs::read_to_string(place.path().join("product.json")).unwrap_or_default();
    eventually("the file", || file().contains("\"catalogue.discount-percent\":10"));
    let program = "#!/bin/sh\necho \"$CATALOGUE_DISCOUNT_PERCENT % off\"\nexec sleep 1000\n";
    write_program(&place.path().join("product"), program);
    let run = Program::spawn(typed(&blocks("Any program", "sh")[0]));
    eventually("the program", || run.out() == "10 % off\n");

    let push = begin[1].replace("localhost:8888", &port.address.0.to_string());
    let pushed = typed(&push).output().unwrap();
    let said = String::from_utf8_lossy(&pushed.stderr);
    assert!(pushed.status.success() && said.contains("published main"), "{said}");
    eventually("the new file", || file().contains("\"catalogue.discount-percent\":25"));
    eventually("the program is started again", || run.out() == "10 % off\n25 % off\n");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
