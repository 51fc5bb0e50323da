//! Sends the contract to each server that asks for it.
//!
//! The requests of a watch name the contract by its digest. A server that does not have it asks for it in its answer. The
//! task here sends it beside the watch, so that it delays no configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_wire::Contract;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::reads::Reads;
use crate::client::Client;
use crate::fetch;
use crate::retry::pause;

/// The first pause between the discovery of another key and a new contract. It doubles each time, because a service that
/// discovers its keys slowly must not register a contract for each of them.
const PUBLISH_PAUSE_FIRST: Duration = Duration::from_secs(5);
const PUBLISH_PAUSE_MAX: Duration = Duration::from_secs(3600);
/// The most attempts to send one contract to one server.
const ATTEMPT_COUNT_MAX: u32 = 6;
/// The largest upper bound of the random pause after a failed attempt.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The shortest time between two transfers of one contract to one server.
const REPEAT_AFTER: Duration = Duration::from_secs(600);

/// The server that wants a contract, and the digest of the contract.
pub(crate) type Wanted = Option<(usize, String)>;

/// Publishes new contracts and sends them to the servers that want them. Runs until it is dropped.
pub(crate) async fn keep_registered(client: Client, wanted: watch::Receiver<Wanted>) {
    tokio::join!(publish(&client.reads), register(&client, wanted));
}

async fn publish(reads: &Arc<Reads>) {
    let mut additions = reads.additions();
    let mut pause = PUBLISH_PAUSE_FIRST;
    while additions.changed().await.is_ok() {
        sleep(pause).await;
        additions.mark_unchanged();
        reads.publish();
        pause = (pause * 2).min(PUBLISH_PAUSE_MAX);
    }
}

async fn register(client: &Client, mut wanted: watch::Receiver<Wanted>) {
    let mut sent = HashMap::new();
    while wanted.changed().await.is_ok() {
        let Some((server, digest)) = wanted.borrow_and_update().clone() else { continue };
        sent.retain(|_, at: &mut Instant| at.elapsed() < REPEAT_AFTER);
        let contract = client.reads.contract().filter(|contract| contract.digest == digest);
        let Some(contract) = contract else { continue };
        if sent.insert((server, digest), Instant::now()).is_none() {
            send(client, server, &contract).await;
        }
    }
}

/// Sends a contract until the server answers. A server that rejects it would reject it again.
async fn send(client: &Client, server: usize, contract: &Contract) {
    for attempt in 0..ATTEMPT_COUNT_MAX {
        if attempt > 0 {
            sleep(pause(attempt, PAUSE_MAX)).await;
        }
        let sending = send_once(client, server, contract);
        let Ok(Some(status)) = timeout(client.limits.request_timeout, sending).await else {
            continue;
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {}
            status if status.is_server_error() => {}
            status => {
                let digest = &contract.digest;
                tracing::debug!(digest, status = status.as_u16(), "contract sent");
                return;
            }
        }
    }
}

async fn send_once(client: &Client, server: usize, contract: &Contract) -> Option<StatusCode> {
    let credentials = client.credentials.current_header().await.ok()?;
    let server = &client.servers[server];
    let url = server.url_of_contract(&contract.application, &contract.digest);
    let request = client.http.put(url, contract.to_json().into());
    let request = fetch::authorized(request, server, credentials.as_ref(), "application/json");
    let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response = request.send().await.ok()?;
    Some(response.status())
}
