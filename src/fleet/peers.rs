//! The instances of the other replicas and their histories, read from each of them with the credentials of the caller.
//!
//! Each replica decides by its own policy what the caller may read. A replica that does not answer in time is named in
//! the result, so that a caller never takes a part for the whole.

use std::time::Duration;

use headwater_client::{AttemptError, Client, Error};
use headwater_wire::{FleetHistory, InstanceList, InstanceStatus};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The time within which a replica has to report all its instances.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The instances that are requested at a time.
const PAGE_COUNT: usize = 1_000;
/// The application of the client, which requests no environment but needs a name.
const APPLICATION: &str = "fleet";

/// Another replica.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub address: String,
}

/// The credentials that a caller sent. `Debug` is absent because they are secret.
#[derive(Clone, Default)]
pub struct CallerCredentials {
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `X-Config-Token`.
    pub config_token: Option<String>,
}

/// The answer of a replica, or the reason for which it is missing.
pub struct PeerAnswer<T> {
    /// The name of the replica.
    pub name: String,
    /// The answer.
    pub result: Result<T, String>,
}

/// Asks all peers at the same time for their instances. `query` is the escaped query string that selects them.
pub async fn ask(
    peers: Vec<Peer>,
    query: &str,
    credentials: &CallerCredentials,
) -> Vec<PeerAnswer<Vec<InstanceStatus>>> {
    ask_all(peers, |peer| instances(peer, query.to_owned(), credentials.clone())).await
}

/// Asks all peers at the same time for records of their histories, at a path below the address of each.
pub async fn ask_history(
    peers: Vec<Peer>,
    path: &'static [&'static str],
    query: &str,
    credentials: &CallerCredentials,
) -> Vec<PeerAnswer<FleetHistory>> {
    ask_all(peers, |peer| history(peer, path, query.to_owned(), credentials.clone())).await
}

async fn ask_all<T: Send + 'static, F>(
    peers: Vec<Peer>,
    ask: impl Fn(Peer) -> F,
) -> Vec<PeerAnswer<T>>
where
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut asking = JoinSet::new();
    for peer in peers {
        let name = peer.name.clone();
        let answer = ask(peer);
        asking.spawn(async move {
            let late = || Err(format!("it did not answer within {} s", TIME_MAX.as_secs()));
            let result = timeout(TIME_MAX, answer).await.unwrap_or_else(|_| late());
            PeerAnswer { name, result }
        });
    }
    asking.join_all().await
}

async fn instances(
    peer: Peer,
    query: String,
    credentials: CallerCredentials,
) -> Result<Vec<InstanceStatus>, String> {
    let connection = PeerConnection::new(peer, credentials).await?;
    let mut instances = Vec::new();
    let mut after = String::new();
    loop {
        let page = format!("{query}&limit={PAGE_COUNT}{after}");
        let list: InstanceList = connection.get(&["-", "instances"], &page).await?;
        connection.check_name(&list.replica)?;
        instances.extend(list.instances);
        match list.next {
            // The cursor is hexadecimal. Another text would be an attempt to add parameters.
            Some(next) if next.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                after = format!("&after={next}");
            }
            Some(_) => return Err("its answer has no valid cursor".to_owned()),
            None => return Ok(instances),
        }
    }
}

async fn history(
    peer: Peer,
    path: &'static [&'static str],
    query: String,
    credentials: CallerCredentials,
) -> Result<FleetHistory, String> {
    let connection = PeerConnection::new(peer, credentials).await?;
    let history: FleetHistory = connection.get(path, &query).await?;
    let own = history.replicas.first();
    connection.check_name(own.map_or("", |replica| &replica.name))?;
    match own.and_then(|replica| replica.failure.clone()) {
        Some(failure) => Err(failure),
        None => Ok(history),
    }
}

/// A client of one replica, with the credentials of the caller.
struct PeerConnection {
    peer: Peer,
    client: Client,
    credentials: CallerCredentials,
}

impl PeerConnection {
    async fn new(peer: Peer, credentials: CallerCredentials) -> Result<Self, String> {
        let client = client(reachable(&peer.address, &peer.name)).await?;
        Ok(Self { peer, client, credentials })
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &str) -> Result<T, String> {
        let CallerCredentials { authorization, config_token } = &self.credentials;
        let mut headers = Vec::new();
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        headers.extend(config_token.as_deref().map(|value| ("x-config-token", value)));
        let answer = self.client.exchange(path, Some(query), &headers).await;
        let answer = answer.map_err(|error| reason(&error))?;
        if answer.status() != 200 {
            return Err(format!("it answered with status {}", answer.status()));
        }
        serde_json::from_slice(answer.body())
            .map_err(|_| "its answer is not from a Headwater of this version".to_owned())
    }

    /// Checks that the address does not lead to another replica, as that of a load balancer does.
    fn check_name(&self, answered: &str) -> Result<(), String> {
        let Peer { name, address } = &self.peer;
        if answered == name {
            return Ok(());
        }
        Err(format!("its address {address} leads to the replica {answered}"))
    }
}

/// The address at which a replica may be reached. A replica that listens on all addresses is looked for by its name.
fn reachable(address: &str, name: &str) -> String {
    match ["://0.0.0.0", "://[::]"].into_iter().find(|any| address.contains(any)) {
        Some(any) => address.replacen(any, &format!("://{name}"), 1),
        None => address.to_owned(),
    }
}

/// Builds a client. The certificates of the system are read on a blocking thread.
async fn client(address: String) -> Result<Client, String> {
    let build = move || {
        let builder = Client::builder().url(address).application(APPLICATION).unlisted();
        // The time of the whole exchange ends first, so that there is one message about it.
        builder.connect_timeout(2 * TIME_MAX).request_timeout(2 * TIME_MAX).build()
    };
    let built = tokio::task::spawn_blocking(build).await.map_err(|error| error.to_string())?;
    built.map_err(|_| "its address is not a URL".to_owned())
}

/// The failure of the one attempt.
fn reason(error: &Error) -> String {
    let last = match error {
        Error::Deadline(deadline) => {
            deadline.servers.first().and_then(|server| server.last.as_ref())
        }
        _ => None,
    };
    last.map_or_else(|| error.to_string(), AttemptError::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_listens_everywhere_is_looked_for_by_its_name() {
        for (address, expected) in [
            ("http://0.0.0.0:8888/config", "http://headwater-1:8888/config"),
            ("https://[::]:8888", "https://headwater-1:8888"),
            ("http://10.0.0.7:8888", "http://10.0.0.7:8888"),
        ] {
            assert_eq!(reachable(address, "headwater-1"), expected);
        }
    }

    #[tokio::test]
    async fn a_replica_that_does_not_answer_has_a_reason() {
        // Nothing listens on this port: the listener is closed at once.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let peers = vec![
            Peer { name: "closed".to_owned(), address },
            Peer { name: "nameless".to_owned(), address: String::new() },
        ];
        let mut answers = ask(peers, "", &CallerCredentials::default()).await;
        answers.sort_by(|a, b| a.name.cmp(&b.name));
        let reasons: Vec<_> = answers.into_iter().map(|it| it.result.unwrap_err()).collect();
        assert!(reasons[0].contains("refused"), "{reasons:?}");
        assert_eq!(reasons[1], "its address is not a URL");
    }
}
