//! The policy file: what stops a server at its start, and what a running server does with a broken file.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use super::{Guarded, PolicyFile, RULES, policy};
use crate::fixture::{command, eventually};

/// Starts the program with a policy and further settings, and returns its exit code and its message.
fn start(file: &PolicyFile, before: &str, after: &str) -> (Option<i32>, String) {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("headwater.toml");
    let listen = if before.contains("listen") { "" } else { "listen = \"127.0.0.1:0\"\n" };
    let access = format!("[access]\npolicy_file = {:?}\n", file.path());
    std::fs::write(&config, format!("{listen}{before}{access}{after}")).unwrap();
    std::fs::create_dir(place.path().join("config-repo")).unwrap();
    let output = command(place.path()).args(["serve", "--config"]).arg(&config).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn check_rejected(file: &PolicyFile, before: &str, after: &str, parts: &[&str]) {
    let (code, message) = start(file, before, after);
    assert_eq!(code, Some(2), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn a_server_does_not_start_with_a_policy_that_it_cannot_use() {
    let good = policy(RULES);
    let file = PolicyFile::new(&good.replace("may = [\"read\"]", "may = [\"raed\"]"));
    check_rejected(&file, "", "", &["policy file", "policy.toml:", "raed"]);
    file.replace("version = 1\n[[principal]\n");
    check_rejected(&file, "", "", &["policy file", "policy.toml:2"]);
    std::fs::remove_file(file.path()).unwrap();
    check_rejected(&file, "", "", &["policy file", "No such file"]);
    file.replace(&good);
    for mode in [0o666, 0o664, 0o602] {
        set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        check_rejected(&file, "", "", &["policy file", &format!("{mode:04o}")]);
    }
    set_permissions(file.path(), Permissions::from_mode(0o644)).unwrap();
    check_rejected(&file, "token_file = \"t\"\n", "", &["policy_file and token_file"]);
    let push = "[push]\ntoken_file = \"t\"\n";
    check_rejected(&file, "", push, &["policy_file and a push token"]);
    check_rejected(&file, "listen = \"0.0.0.0:0\"\n", "", &["listen: 0.0.0.0:0", "cleartext"]);
}

#[test]
fn a_broken_policy_keeps_the_previous_one_and_is_reported() {
    let guarded = Guarded::new(RULES);
    let faults = "headwater_faults{kind=\"policy-unusable\"} ";
    let text = |path: &str| guarded.get(path, "ops").expect(200).text();
    assert!(text("/metrics").contains(&format!("{faults}0\n")));
    guarded.get("/orders/prod", "orders").expect(200);
    for broken in [
        policy(RULES).replace("who =", "whom ="),
        policy(RULES)[..300].to_owned(),
        String::new(),
        format!(
            "{}[[expect]]\nwho = \"orders\"\nmay = \"read\"\napplication = \"billing\"\nprofile = \"prod\"\nis = true\n",
            policy(RULES)
        ),
    ] {
        guarded.policy.replace(&broken);
        eventually("the fault is reported", || text("/metrics").contains(&format!("{faults}1\n")));
        guarded.get("/orders/prod", "orders").expect(200);
        guarded.get("/billing/prod", "orders").expect(404);
        for path in ["/actuator/health", "/-/problems"] {
            assert!(text(path).contains("\"kind\":\"policy-unusable\""), "{}", text(path));
            assert!(!text(path).contains(guarded.policy.directory.path().to_str().unwrap()));
        }
        guarded.policy.replace(&policy(RULES));
        eventually("the fault is over", || text("/metrics").contains(&format!("{faults}0\n")));
    }
    // The permissions of the file count while the server runs, too.
    set_permissions(guarded.policy.path(), Permissions::from_mode(0o666)).unwrap();
    eventually("the mode is reported", || text("/actuator/health").contains("0666"));
    guarded.get("/orders/prod", "orders").expect(200);
}

#[test]
fn a_changed_policy_is_in_force_without_a_restart() {
    let guarded = Guarded::new(RULES);
    guarded.get("/billing/prod", "orders").expect(404);
    let more = "[[allow]]\nwho = [\"orders\"]\nmay = [\"read\"]\napplication = [\"billing\"]\n\
                profile = [\"*\"]\n";
    guarded.policy.replace(&policy(&format!("{RULES}{more}")));
    eventually("the new rule holds", || guarded.get("/billing/prod", "orders").status == 200);
    guarded.policy.replace(&policy(RULES));
    eventually("the old rules hold", || guarded.get("/billing/prod", "orders").status == 404);
}
