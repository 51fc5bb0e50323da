//! A server for the tests of services. It runs in the process of the test, on a free port of the loopback interface.
//!
//! It returns the environments that the test sets. Towards requests, long polls, streams and acknowledgements it behaves
//! like Headwater. It has no files, labels, credentials or precedence.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_wire::Contract;
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

mod answer;

/// A server whose environments a test sets. Dropping it ends it and all its connections.
///
/// It requires the feature `mock`, which a service enables for its tests only:
/// `cargo add --dev headwater-client --features mock`.
///
/// ```
/// use headwater_client::{Client, Mock};
/// use serde::Deserialize;
/// use serde_json::json;
///
/// #[derive(Deserialize)]
/// struct Shop {
///     max_items: u32,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mock = Mock::start().await?;
/// mock.set("product", "default", &json!({ "shop": { "max-items": 20 } }));
///
/// let client = Client::builder().url(mock.url()).application("product").build()?;
/// let mut shop = client.live::<Shop>().at("shop").await?;
/// assert_eq!(shop.current().max_items, 20);
///
/// mock.set("product", "default", &json!({ "shop": { "max-items": 5 } }));
/// assert_eq!(shop.changed().await.unwrap().max_items, 5);
/// # Ok(())
/// # }
/// ```
pub struct Mock {
    url: String,
    state: Arc<MockState>,
    task: AbortHandle,
}

#[derive(Default)]
struct MockState {
    /// The environments by application and profiles.
    environments: Mutex<HashMap<(String, String), EnvironmentSender>>,
    /// The last acknowledgement of each instance.
    acknowledged: Mutex<HashMap<String, String>>,
    /// The headers of the last request of each instance.
    requests: Mutex<HashMap<String, HeaderMap>>,
    /// The registered contracts by digest.
    contracts: Mutex<HashMap<String, Contract>>,
    revision: AtomicU64,
    request_count: AtomicUsize,
}

type EnvironmentSender = watch::Sender<Option<Arc<Served>>>;

/// The answer to requests for an environment.
struct Served {
    revision: String,
    digest: String,
    body: Bytes,
}

impl Mock {
    /// Starts a server without environments.
    ///
    /// # Errors
    /// The error of the operating system when no port is available.
    ///
    /// # Panics
    /// When called outside of a Tokio runtime.
    pub async fn start() -> io::Result<Mock> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::<MockState>::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&state))).abort_handle();
        Ok(Mock { url, state, task })
    }

    /// Returns the base URL of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets the properties of an environment and notifies its watchers.
    ///
    /// Profiles are joined by commas, as in a request, and are `default` when the client sets none. The label of a request
    /// is ignored. Objects and lists become flat keys.
    pub fn set(&self, application: &str, profiles: &str, properties: &Value) {
        let revision = (self.state.revision.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        let mut source = Map::new();
        flatten(String::new(), properties, &mut source);
        let digest = hmac_sha256::Hash::hash(Value::Object(source.clone()).to_string().as_bytes());
        let name = format!("{application}.yml");
        let body = json!({
            "name": application, "profiles": [profiles], "label": null, "version": revision, "state": null,
            "propertySources": [{ "name": name, "source": source }],
        });
        let served = Served {
            revision,
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            body: Bytes::from(body.to_string()),
        };
        self.state.environment(application, profiles).send_replace(Some(Arc::new(served)));
    }

    /// Removes an environment. Requests for it return 404, and its watchers receive the event `gone`.
    pub fn remove(&self, application: &str, profiles: &str) {
        self.state.environment(application, profiles).send_replace(None);
    }

    /// Returns the number of received requests, regardless of their answers.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.state.request_count.load(Ordering::Relaxed)
    }

    /// Returns the last acknowledgement of an instance ([`Builder::instance`](crate::Builder::instance)):
    /// `<revision>.<digest> ok` or `<revision>.<digest> rejected`. The first call of [`Mock::set`] creates revision 1.
    #[must_use]
    pub fn acknowledged(&self, instance: &str) -> Option<String> {
        lock(&self.state.acknowledged).get(instance).cloned()
    }

    /// Returns a header of the last request of an instance, such as `headwater-reason`. `None` if the request did not have
    /// it.
    #[must_use]
    pub fn header(&self, instance: &str, name: &str) -> Option<String> {
        let requests = lock(&self.state.requests);
        let value = requests.get(instance)?.get(name)?;
        value.to_str().ok().map(str::to_owned)
    }

    /// Returns the contracts that clients have registered, as JSON texts in the order of their digests. A test can compare
    /// the keys that its service reads.
    #[must_use]
    pub fn contracts(&self) -> Vec<String> {
        let contracts = lock(&self.state.contracts);
        let mut contracts: Vec<&Contract> = contracts.values().collect();
        contracts.sort_by(|a, b| a.digest.cmp(&b.digest));
        contracts.into_iter().map(Contract::to_json).collect()
    }
}

impl MockState {
    fn environment(&self, application: &str, profiles: &str) -> EnvironmentSender {
        let key = (application.to_owned(), profiles.to_owned());
        lock(&self.environments).entry(key).or_default().clone()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock").field("url", &self.url).finish_non_exhaustive()
    }
}

async fn serve(listener: TcpListener, state: Arc<MockState>) {
    // Dropping the set with this task ends the connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer::answer(request, Arc::clone(&state)));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

/// Converts objects and lists to flat keys, as servers do with the content of a file.
fn flatten(key: String, value: &Value, flat: &mut Map<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let dot = if key.is_empty() { "" } else { "." };
            for (name, value) in members {
                flatten(format!("{key}{dot}{name}"), value, flat);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                flatten(format!("{key}[{index}]"), value, flat);
            }
        }
        Value::Object(_) | Value::Array(_) | Value::Null if !key.is_empty() => {
            flat.insert(key, Value::from(""));
        }
        _ if key.is_empty() => {}
        scalar => {
            flat.insert(key, scalar.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
