//! What readers see while pushes arrive.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::fixture::{Child, Session, Until, WorkingCopy, eventually, number};

/// How many reads there are at least.
const READ_COUNT_MIN: usize = 100_000;
/// How many pushes arrive meanwhile.
const PUSH_COUNT: usize = 50;
/// How many clients read.
const READER_COUNT: usize = 2;

#[test]
fn two_keys_that_must_agree_are_never_seen_to_disagree() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let server = Child::serve(&["--source", "hosted:main", "--data", data.to_str().unwrap()]);
    let copy = WorkingCopy::clone(*server);
    let push = |count: usize| {
        copy.commit(&format!(
            "//- application.yml\nleft: {count}\n//- orders.yml\nright: {count}\n"
        ));
        copy.push().succeeds();
    };
    push(0);
    let (over, read_count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Until(&over);
        for _ in 0..READER_COUNT {
            scope.spawn(|| {
                let mut session = Session::new(*server);
                let mut newest = 0;
                while !over.load(Ordering::Relaxed) {
                    let text = session.get("/orders/default").expect(200).text();
                    let (right, left) = (number(&text, "right"), number(&text, "left"));
                    assert_eq!(left, right, "a mixture of two revisions");
                    assert!(left >= newest, "an older one after a newer one");
                    newest = left;
                    read_count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for count in 1..=PUSH_COUNT {
            push(count);
            // Reads are spread over the pushes, however fast either is.
            let wanted = READ_COUNT_MIN * count / PUSH_COUNT;
            eventually("enough reads", || read_count.load(Ordering::Relaxed) >= wanted);
        }
    });
    let environment = server.get("/orders/default").json();
    assert_eq!(environment["propertySources"][0]["source"]["right"], PUSH_COUNT);
}
