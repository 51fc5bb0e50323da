//! `docs/differences.md`: what it lists is what the tests know to differ, and the other way round.

use std::collections::BTreeSet;
use std::fs;

use super::none;
use super::page::{Page, root};
use crate::fixture::{Repository, Server, settings};

const PAGE: &str = "docs/differences.md";

/// Where tests have lists of what differs, by the heading that explains it.
const LISTS: [&str; 3] =
    ["tests/it/oracle/differences.rs", "tests/it/oracle.rs", "tests/it/clients.rs"];

/// What no recorded request shows, and the test that does.
const SHOWN_ELSEWHERE: [(&str, &str, &str); 20] = [
    (
        "A denied environment is an absent label",
        "tests/it/access/matrix.rs",
        "every_route_principal_and_target_gets_its_answer",
    ),
    (
        "A caller without the right to open receives sealed values",
        "tests/it/access/variants.rs",
        "each_caller_receives_its_variant_on_every_route",
    ),
    (
        "Sealed values are opened more strictly",
        "secrets/tests/it/spring.rs",
        "every_vector_has_the_answer_of_the_original",
    ),
    (
        "SOPS files have no metadata",
        "tests/it/secrets/sops.rs",
        "files_open_as_the_real_program_opens_them",
    ),
    (
        "Encryption needs permission to push",
        "tests/it/secrets/sealing.rs",
        "the_keys_serve_clients_that_may_push",
    ),
    (
        "An import that leads nowhere is reported",
        "src/resolve/tests.rs",
        "an_import_of_a_missing_file_is_noticed",
    ),
    (
        "The cloud platform is never detected",
        "src/resolve/tests.rs",
        "the_repository_sets_the_platform",
    ),
    (
        "Imports stay in the tree",
        "tests/it/mirror/hostile.rs",
        "ssrf_3_what_a_repository_says_makes_nobody_connect",
    ),
    (
        "Webhooks can require a secret",
        "tests/it/monitor.rs",
        "hook_1_only_who_proves_the_secret_is_heard",
    ),
    (
        "Remotes are opened in safe ways only",
        "tests/it/mirror/hostile.rs",
        "ssrf_1_and_2_addresses_that_lead_elsewhere_are_refused_at_start",
    ),
    (
        "An unreachable remote is not a missing label",
        "tests/it/mirror/outage.rs",
        "without_a_copy_and_without_the_remote_it_comes_up_by_itself",
    ),
    (
        "The default label is the branch of HEAD",
        "tests/it/sources/clones.rs",
        "a_default_branch_that_the_original_would_not_serve_is_reported",
    ),
    (
        "A clone is served as it is",
        "tests/it/mirror/origin.rs",
        "the_remote_of_a_clone_is_followed_without_touching_the_clone",
    ),
    (
        "Last good",
        "tests/it/http/held.rs",
        "invariant_3_a_broken_environment_stays_and_all_others_move_on",
    ),
    (
        "YAML that is rejected or read differently",
        "tests/it/differential.rs",
        "all_generated_files_read_as_in_spring",
    ),
    (
        "Numbers of documents and the clone's directory",
        "tests/it/oracle.rs",
        "answers_are_those_of_the_original",
    ),
    (
        "Keys of XML files keep their order",
        "tests/it/compare/original.rs",
        "public_repositories_are_served_as_by_the_original",
    ),
    ("Environments can be watched", "tests/it/cli/watching_page.rs", "curl_shows_a_stream"),
    (
        "A webhook makes the server look",
        "tests/it/monitor.rs",
        "a_call_makes_a_local_source_look_too",
    ),
    (
        "TOML is configuration",
        "tests/it/documentation/differences.rs",
        "toml_stands_below_yaml_and_json_below_toml_where_it_is_asked_for",
    ),
];

#[test]
fn every_difference_is_shown_by_a_test() {
    let page = Page::read(PAGE).text;
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let headings: BTreeSet<&str> = headings.collect();
    let lists = LISTS.map(|list| fs::read_to_string(root().join(list)).unwrap());
    let is_listed =
        |heading: &str| lists.iter().any(|list| list.contains(&format!("\"{heading}\"")));
    let elsewhere = |heading: &str| SHOWN_ELSEWHERE.iter().any(|(known, ..)| *known == heading);
    let known = |heading: &str| is_listed(heading) || elsewhere(heading);
    none(
        headings
            .iter()
            .filter(|heading| !known(heading))
            .map(|heading| format!("{heading}: no test")),
    );
    none(SHOWN_ELSEWHERE.iter().filter_map(|(heading, file, test)| {
        let code = fs::read_to_string(root().join(file)).unwrap();
        let is_there = code.contains(&format!("fn {test}()")) && headings.contains(heading);
        (!is_there).then(|| format!("{heading}: {file} {test}"))
    }));
}

#[test]
fn toml_stands_below_yaml_and_json_below_toml_where_it_is_asked_for() {
    let repository = Repository::new(
        "//- orders.yml\na: yaml\n//- orders.toml\na = \"toml\"\nb = \"toml\"\n\
         //- orders.json\n{\"a\": \"json\", \"b\": \"json\", \"c\": \"json\"}\n",
    );
    for (json, expected) in [(false, "a: yaml\nb: toml"), (true, "a: yaml\nb: toml\nc: json")] {
        let mut settings = settings(&repository.uri());
        settings.sources[0].toml = Some(true);
        settings.sources[0].json = json;
        let server = Server::with(settings);
        let text = server.get("/orders-default.properties").expect(200).text();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines.join("\n"), expected);
    }
}
