//! The core file of a server that is aborted.

use std::process::Command;

use crate::fixture::{Child, Repository, eventually, skipped};

/// Aborts a server that holds secrets, and one without keys, which shows that this machine makes core files.
pub(super) fn assert_no_core_file(server: Child) {
    let repository = Repository::new("//- orders.yml\na: 1\n");
    let plain = Child::serve(&["--source", &repository.uri()]);
    if !has_core_file_after_abort(plain) {
        skipped("this machine makes no core files in the directory of a process");
    }
    assert!(!has_core_file_after_abort(server), "the server left a core file");
}

fn has_core_file_after_abort(server: Child) -> bool {
    let id = server.id();
    let directory = std::fs::read_link(format!("/proc/{id}/cwd")).unwrap();
    let limited = Command::new("prlimit")
        .args(["--pid", &id.to_string(), "--core=unlimited:unlimited"])
        .status();
    assert!(limited.unwrap().success());
    server.signal("ABRT");
    // The process remains as a zombie until its end is read.
    eventually("the process ends", || {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    });
    let names = std::fs::read_dir(directory).unwrap();
    names.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("core"))
}
