//! Push options where replicas share a repository.

use super::bed::Bed;

#[test]
fn a_dry_run_writes_nothing_to_etcd_and_to_no_disk() {
    let bed = Bed::new();
    let (a, b) = (bed.replica(), bed.replica());
    let tree = bed.clone(&a, "work");
    let first = tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    let everything = || {
        let keys = bed.etcd.written(&bed.keys());
        let disks = [&a, &b].map(|it| it.repository().git(&["count-objects", "-v"]).out);
        (keys, disks)
    };
    b.serves(&first);
    let before = everything();
    tree.commit("//- orders.yml\nlimit: 2\n");
    tree.push(&["-o", "dry-run", "main"]).fails(&["dry run: the push would be accepted"]);
    // A push whose pack would be uploaded before the decision.
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(3_500_000).collect();
    tree.commit(&format!("//- noise.txt\n{noise}\n"));
    tree.push(&["-o", "dry-run", "main"]).fails(&["dry run: the push would be accepted"]);
    tree.push(&["-o", "dry-run", "main:main/x"]).fails(&["main/x: main is in the way"]);
    assert_eq!(everything(), before);
    a.serves(&first);
    let tip = tree.git(&["rev-parse", "HEAD"]).out.trim().to_owned();
    tree.push(&["main"]).succeeds();
    b.serves(&tip);
}
