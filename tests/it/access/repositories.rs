//! Hosted repositories under a policy: clone, push, and the answer to everybody else.

use super::{PolicyFile, RULES, bearer, policy, token};
use crate::fixture::{Hosted, Reply};

fn hosted() -> (Hosted, PolicyFile) {
    let file = PolicyFile::new(&policy(RULES));
    let hosted = Hosted::with("//- orders.yml\na: 1\n", |settings| {
        settings.access.policy_file = Some(file.path());
    });
    (hosted, file)
}

fn refs(hosted: &Hosted, repository: &str, service: &str, principal: &str) -> Reply {
    let path = format!("/-/git/{repository}.git/info/refs?service={service}");
    hosted.server.get_with(&path, &[("Authorization", &bearer(principal, 1))])
}

#[test]
fn a_denied_repository_is_answered_like_a_missing_one() {
    let (hosted, _file) = hosted();
    for service in ["git-upload-pack", "git-receive-pack"] {
        refs(&hosted, "main", service, "ops").expect(200);
        let missing = refs(&hosted, "absent", service, "ops").expect(404);
        for principal in ["orders", "lister"] {
            for repository in ["main", "absent"] {
                let denied = refs(&hosted, repository, service, principal).expect(404);
                assert_eq!(denied.body, missing.body, "{principal} {repository} {service}");
            }
        }
    }
    refs(&hosted, "main", "git-upload-pack", "builder").expect(404);
}

#[test]
fn a_push_right_with_limits_opens_existing_repositories_only() {
    let (hosted, _file) = hosted();
    refs(&hosted, "main", "git-receive-pack", "builder").expect(200);
    refs(&hosted, "absent", "git-receive-pack", "builder").expect(404);
}

#[test]
fn git_clones_and_pushes_with_the_token_of_a_principal() {
    let (hosted, _file) = hosted();
    let url = |principal: &str| {
        let with_token = format!("http://{principal}:{}@", token(principal, 1));
        hosted.url().replacen("http://", &with_token, 1)
    };
    let place = tempfile::tempdir().unwrap();
    let clone = crate::fixture::clone(&url("ops"), &place.path().join("clone"));
    clone.commit("//- orders.yml\na: 2\n");
    clone.git(&["push", "--quiet", &url("orders"), "main"]).fails(&["not found"]);
    clone.git(&["push", "--quiet", &hosted.url(), "main"]).fails(&["fatal"]);
    clone.git(&["push", "--quiet", "origin", "main"]).succeeds();
    let served = super::get(*hosted.server, "/orders/default", "orders").expect(200).text();
    assert!(served.contains("\"a\":2"), "{served}");
}
