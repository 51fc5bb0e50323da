//! A long poll: one question that is answered when there is something new to say.

use super::{shop, watchers};
use crate::fixture::eventually;

#[test]
fn a_long_poll_answers_as_soon_as_the_digest_differs() {
    let (repository, server) = shop();
    let tag = server.get("/cart/default").expect(200).header("etag").unwrap().to_owned();
    let asked = |wait: &str| {
        let headers = [("If-None-Match", tag.as_str()), ("Prefer", wait)];
        server.get_with("/cart/default", &headers)
    };
    let unchanged = asked("wait=0").expect(304);
    assert_eq!(unchanged.header("preference-applied"), Some("wait=0"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| asked("wait=3155760000"));
        eventually("the long poll waits", || watchers(*server) == 1);
        repository.commit("//- order.yml\nb: 2\n");
        let revision = repository.commit("//- cart.yml\na: 2\n");
        let changed = waiting.join().unwrap().expect(200);
        assert_eq!(changed.header("headwater-revision"), Some(revision.as_str()));
        assert_eq!(changed.header("preference-applied"), Some("wait=45"));
        assert!(changed.text().contains("\"a\":2"));
    });
    // Who has something else is answered at once, and HEAD never waits.
    asked("wait=30").expect(200);
    server
        .ask("HEAD", "/cart/default", &[("If-None-Match", "*"), ("Prefer", "wait=30")])
        .expect(304);
}
