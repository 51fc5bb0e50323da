//! Several servers, of which some fail.

use std::time::{Duration, Instant};

use headwater_client::{AttemptError, Error};

use crate::fixture::{Reply, Server, client, closed_port, ok, product, status};

#[tokio::test]
async fn the_second_server_replaces_one_that_is_down() {
    let second = Server::start([ok(&product())]).await;
    let urls = [closed_port().await, second.url.clone()];
    let configuration = client([&second]).urls(urls).connect().await.unwrap();
    assert_eq!(configuration.server(), Some(second.url.as_str()));
}

#[tokio::test]
async fn the_second_server_replaces_one_that_fails_or_is_slow() {
    for reply in [status("500 Internal Server Error"), Reply::Hang(vec![])] {
        let (first, second) = (Server::start([reply]).await, Server::start([ok(&product())]).await);
        let short = Duration::from_secs(1);
        let configuration =
            client([&first, &second]).request_timeout(short).connect().await.unwrap();
        assert_eq!(configuration.server(), Some(second.url.as_str()));
        assert_eq!(first.requests().len(), 1);
    }
}

#[tokio::test]
async fn the_first_server_is_tried_first() {
    let (first, second) =
        (Server::start([ok(&product())]).await, Server::start([ok(&product())]).await);
    let configuration = client([&first, &second]).connect().await.unwrap();
    assert_eq!(configuration.server(), Some(first.url.as_str()));
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn a_404_of_the_first_server_that_answers_is_final() {
    let missing = Server::start([status("404 Not Found")]).await;
    let other = Server::start([ok(&product())]).await;
    let urls = [closed_port().await, missing.url.clone(), other.url.clone()];
    let error = client([&missing]).urls(urls).connect().await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { server, .. } if *server == missing.url), "{error}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn the_deadline_limits_all_attempts_and_names_every_server() {
    let (broken, down) =
        (Server::start([status("500 Internal Server Error")]).await, closed_port().await);
    let (start, deadline) = (Instant::now(), Duration::from_millis(700));
    let urls = [broken.url.clone(), down.clone()];
    let error = client([&broken]).urls(urls).deadline(deadline).connect().await.unwrap_err();

    assert!(start.elapsed() < Duration::from_secs(5));
    let text = error.to_string();
    assert!(text.contains(&format!("{}: status 500", broken.url)), "{text}");
    assert!(text.contains(&format!("{down}: Connection refused")), "{text}");
    let Error::Deadline(exceeded) = error else { panic!("{text}") };
    assert_eq!((exceeded.deadline, exceeded.servers.len()), (deadline, 2));
    assert!(exceeded.servers.iter().all(|server| server.attempt_count >= 1));
    assert_eq!(exceeded.servers[0].last, Some(AttemptError::Status(500)));
    assert_eq!(broken.requests().len(), exceeded.servers[0].attempt_count as usize);
}
