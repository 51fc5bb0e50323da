//! A server for the tests of services: in this process, on a free port of the loopback interface.
//!
//! It says what it is told to say and behaves as Headwater does towards one that asks, waits, streams or acknowledges. It
//! knows no files, labels, credentials or precedence.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

mod answer;

/// A server that is set from a test. It ends, with all of its connections, when it is dropped.
///
/// It is there with the feature `mock`, which a service takes for its tests alone:
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
    state: Arc<State>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    /// By application and profiles.
    environments: Mutex<HashMap<(String, String), Environment>>,
    acknowledged: Mutex<HashMap<String, String>>,
    revision: AtomicU64,
    request_count: AtomicUsize,
}

type Environment = watch::Sender<Option<Arc<Served>>>;

/// What an environment is answered with.
struct Served {
    revision: String,
    digest: String,
    body: Bytes,
}

impl Mock {
    /// A server that knows nothing yet.
    ///
    /// # Errors
    /// If the system gives it no port.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn start() -> io::Result<Mock> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::<State>::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&state))).abort_handle();
        Ok(Mock { url, state, task })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Says what an application is configured with for these profiles (joined by commas, as they are asked for; `default`
    /// for none), whatever the label. Objects and lists become flat keys. Whoever watches is told.
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

    /// Takes an environment away: 404, and watchers are told that it is gone.
    pub fn remove(&self, application: &str, profiles: &str) {
        self.state.environment(application, profiles).send_replace(None);
    }

    /// How many requests there were, whatever they were answered with.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.state.request_count.load(Ordering::Relaxed)
    }

    /// What an instance ([`Builder::instance`](crate::Builder::instance)) said last of a configuration:
    /// `<revision>.<digest> ok` or `… rejected`. The first thing that was set has revision 1.
    #[must_use]
    pub fn acknowledged(&self, instance: &str) -> Option<String> {
        lock(&self.state.acknowledged).get(instance).cloned()
    }
}

impl State {
    fn environment(&self, application: &str, profiles: &str) -> Environment {
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

async fn serve(listener: TcpListener, state: Arc<State>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer::answer(request, Arc::clone(&state)));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

/// As servers flatten what is in a file.
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
