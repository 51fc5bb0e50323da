//! Reading back a copy, and rejecting every other file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;

const SERVER: &str = "http://a:8888";

struct Fixture {
    /// Removes the directory when the test ends.
    _root: tempfile::TempDir,
    copy: LastKnownGood,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let copy = LastKnownGood::new(root.path().join("cache"), &query("product", "prod", None));
        Fixture { _root: root, copy }
    }

    fn written() -> Fixture {
        let fixture = Fixture::new();
        fixture.copy.write(&environment(), None, SERVER).unwrap();
        fixture
    }

    fn path(&self) -> PathBuf {
        self.copy.path()
    }

    #[track_caller]
    fn rejects(&self, expected: &str) {
        let error = self.copy.read(&[SERVER]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn query(application: &str, profiles: &str, label: Option<&str>) -> Query {
    Query {
        application: application.into(),
        profiles: profiles.into(),
        label: label.map(Into::into),
    }
}

fn environment() -> Environment {
    let text = r#"{"name":"product","profiles":["prod"],"label":null,"version":"c0ffee","state":"",
        "propertySources":[{"name":"application.yml","source":{"a":1.50,"b":"ü"}}]}"#;
    serde_json::from_str(text).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_written_copy_is_read_back() {
    let fixture = Fixture::written();
    let copy = fixture.copy.read(&["http://other:1", SERVER]).unwrap();
    assert_eq!((copy.environment, copy.server.as_str()), (environment(), SERVER));
    assert!(copy.written.elapsed().unwrap() < Duration::from_secs(60));
}

#[test]
fn the_file_and_its_directory_are_private() {
    let fixture = Fixture::written();
    fixture.copy.write(&environment(), None, SERVER).unwrap();
    assert_eq!((mode(&fixture.path()), mode(&fixture.copy.directory)), (0o600, 0o700));
    assert_eq!(fs::read_dir(&fixture.copy.directory).unwrap().count(), 1);
}

#[test]
fn a_missing_copy_is_reported() {
    Fixture::new().rejects("there is no copy in");
    let fixture = Fixture::written();
    fs::remove_file(fixture.path()).unwrap();
    fixture.rejects("there is no copy in");
}

#[test]
fn every_changed_byte_is_detected() {
    let fixture = Fixture::written();
    let good = fs::read(fixture.path()).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(fixture.path(), &bytes).unwrap();
        assert!(
            matches!(fixture.copy.read(&[SERVER]), Err(LastKnownGoodError::Damaged { .. })),
            "byte {at}"
        );
    }
    for length in [0, 10, HEAD_LENGTH - 1, HEAD_LENGTH, good.len() - 1] {
        fs::write(fixture.path(), &good[..length]).unwrap();
        assert!(
            matches!(fixture.copy.read(&[SERVER]), Err(LastKnownGoodError::Damaged { .. })),
            "length {length}"
        );
    }
}

#[test]
fn other_content_with_a_correct_checksum_is_damaged() {
    let fixture = Fixture::written();
    fs::write(fixture.path(), format!("{MAGIC}{}\n[1]", checksum(b"[1]"))).unwrap();
    fixture.rejects("it does not contain an environment");
}

#[test]
fn a_file_of_another_query_or_server_is_foreign() {
    let fixture = Fixture::written();
    for (other, what) in [
        (query("cart", "prod", None), "application"),
        (query("product", "dev", None), "profiles"),
        (query("product", "prod", Some("main")), "label"),
    ] {
        let other = LastKnownGood::new(fixture.copy.directory.clone(), &other);
        assert!(matches!(other.read(&[SERVER]), Err(LastKnownGoodError::Absent(_))));
        fs::copy(fixture.path(), other.path()).unwrap();
        let error = other.read(&[SERVER]).unwrap_err();
        assert!(
            matches!(error, LastKnownGoodError::Foreign { what: found, .. } if found == what),
            "{error}"
        );
    }
    let error = fixture.copy.read(&["http://b:8888"]).unwrap_err();
    assert!(matches!(error, LastKnownGoodError::Foreign { what: "server", .. }), "{error}");
}

#[test]
fn files_that_are_accessible_to_other_users_are_not_trusted() {
    let fixture = Fixture::written();
    for open in [0o644, 0o620, 0o602, 0o666] {
        set_mode(&fixture.path(), open);
        fixture.rejects(&format!("its mode is {open:04o}, not 0600"));
    }
    set_mode(&fixture.path(), 0o600);
    set_mode(&fixture.copy.directory, 0o777);
    fixture.rejects("its mode is 0777, not 0700");
    assert!(matches!(
        fixture.copy.write(&environment(), None, SERVER),
        Err(LastKnownGoodError::Untrusted { .. })
    ));
}

#[test]
fn links_are_not_followed() {
    let fixture = Fixture::written();
    let elsewhere = fixture.copy.directory.join("elsewhere");
    fs::rename(fixture.path(), &elsewhere).unwrap();
    symlink(&elsewhere, fixture.path()).unwrap();
    fixture.rejects("it is a symbolic link");

    fs::remove_file(fixture.path()).unwrap();
    fs::hard_link(&elsewhere, fixture.path()).unwrap();
    fixture.rejects("it has 2 hard links");

    let directory = fixture.copy.directory.with_extension("link");
    symlink(&fixture.copy.directory, &directory).unwrap();
    let through_link = LastKnownGood::new(directory, &fixture.copy.query);
    assert!(matches!(through_link.read(&[SERVER]), Err(LastKnownGoodError::Untrusted { .. })));
    assert!(matches!(
        through_link.write(&environment(), None, SERVER),
        Err(LastKnownGoodError::Untrusted { .. })
    ));
}

#[test]
fn a_write_replaces_a_link_and_leaves_its_target_alone() {
    let fixture = Fixture::written();
    let target = fixture.copy.directory.join("target");
    fs::write(&target, "precious").unwrap();
    fs::remove_file(fixture.path()).unwrap();
    symlink(&target, fixture.path()).unwrap();
    fixture.copy.write(&environment(), None, SERVER).unwrap();
    assert!(fixture.copy.read(&[SERVER]).is_ok());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn pipes_directories_and_huge_files_are_rejected_at_once() {
    let fixture = Fixture::written();
    fs::File::options()
        .write(true)
        .open(fixture.path())
        .unwrap()
        .set_len(LENGTH_MAX as u64 + 1)
        .unwrap();
    fixture.rejects("it is longer than");
    fs::remove_file(fixture.path()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.path(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    fixture.rejects("it is not a regular file");
    fs::remove_file(fixture.path()).unwrap();
    fs::create_dir(fixture.path()).unwrap();
    fixture.rejects("it is not a regular file");
}

#[test]
fn a_file_of_another_owner_is_not_trusted() {
    let fixture = Fixture::written();
    // Only root can change the owner of a file.
    if fs::metadata(fixture.path()).unwrap().uid() != 0 {
        return;
    }
    std::os::unix::fs::chown(fixture.path(), Some(65534), None).unwrap();
    fixture.rejects("it belongs to user 65534");
    std::os::unix::fs::chown(&fixture.copy.directory, Some(65534), None).unwrap();
    fixture.rejects("it belongs to user 65534");
}
