//! The configuration of a service: values by key and as types.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use headwater_wire::Environment;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::contract::{Reads, Recorder};
use crate::de::{self, DeError, DeErrorKind, NodeDeserializer, Scope};
use crate::effective::{self, Effective};
use crate::error::Error;
use crate::placeholder::{Resolver, Variables};
use crate::tree::{Child, Tree, View};

/// The effective configuration of one application at one revision.
///
/// It is immutable and cheap to clone. `Debug` shows its origin and no value.
///
/// ```
/// # let environment = serde_json::from_value(serde_json::json!({ "name": "product", "propertySources": [
/// #     { "name": "application.yml", "source": { "shop.max-items": "20", "shop.name": "corner" } } ] })).unwrap();
/// use headwater_client::Configuration;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Shop {
///     name: String,
///     max_items: u32,
/// }
///
/// let configuration = Configuration::from_environment(environment);
/// let shop: Shop = configuration.get_at("shop")?;
/// assert_eq!((shop.name.as_str(), shop.max_items), ("corner", 20));
/// # Ok::<(), headwater_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Configuration(Arc<Inner>);

struct Inner {
    environment: Environment,
    properties: Vec<Effective>,
    tree: Tree,
    resolver: Resolver,
    placeholders: bool,
    digest: Option<String>,
    epochs: Option<String>,
    server: Option<String>,
    stale_since: Option<SystemTime>,
    is_candidate: bool,
    /// Collects the keys that the service reads. `None` without a client.
    reads: Option<Arc<Reads>>,
}

/// The origin of an environment, and whether its placeholders are resolved.
#[derive(Default)]
pub(crate) struct Origin {
    pub(crate) digest: Option<String>,
    pub(crate) epochs: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) stale_since: Option<SystemTime>,
    /// Set for the candidate of a rollout.
    pub(crate) is_candidate: bool,
    pub(crate) placeholders: bool,
    pub(crate) reads: Option<Arc<Reads>>,
}

impl Configuration {
    /// Creates a configuration without a server, for tests. Its placeholders are resolved.
    #[must_use]
    pub fn from_environment(environment: Environment) -> Configuration {
        let origin = Origin { placeholders: true, ..Origin::default() };
        Configuration::new(environment, origin, |name| std::env::var(name).ok())
    }

    pub(crate) fn new(
        environment: Environment,
        origin: Origin,
        variables: Variables,
    ) -> Configuration {
        let properties = effective::merge(&environment.property_sources);
        let Origin { digest, epochs, server, stale_since, is_candidate, placeholders, reads } =
            origin;
        Configuration(Arc::new(Inner {
            tree: Tree::new(&properties),
            resolver: Resolver::new(variables),
            environment,
            properties,
            placeholders,
            digest,
            epochs,
            server,
            stale_since,
            is_candidate,
            reads,
        }))
    }

    /// Reads the whole configuration as `T`.
    ///
    /// Names match by relaxed spelling: the field `max_items` accepts `max-items`, `maxItems` and `max_items`, and the most
    /// specific source wins with any spelling. Strings are converted to the numbers and booleans that the type expects. A
    /// value such as `a, b` can be read as a list. An empty value can be read as `None`, an empty list or an empty map.
    /// Fields below `#[serde(flatten)]` and untagged enums are read by `serde` without these conversions.
    ///
    /// # Errors
    /// [`Error::Deserialize`] with the key and the expected type. [`Error::Placeholder`] when a value of `T` has a
    /// placeholder that cannot be resolved.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.get_at("")
    }

    /// Reads the value or the values below `prefix` as `T`. `prefix` is a key such as `a.b` or `a.list[0]` in any relaxed
    /// spelling. The empty prefix stands for the whole configuration.
    ///
    /// When the prefix does not exist, an `Option` is `None` and the fields of a struct have their defaults.
    ///
    /// # Errors
    /// The errors of [`Configuration::get`], and [`Error::Deserialize`] when the prefix does not exist and `T` requires a
    /// value.
    pub fn get_at<T: DeserializeOwned>(&self, prefix: &str) -> Result<T, Error> {
        let reads = self.0.reads.as_ref().filter(|reads| !reads.is_known(prefix, type_name::<T>()));
        let Some(reads) = reads else {
            return self.get_unrecorded(prefix);
        };
        let recorder = Recorder::default();
        let value = self.read_recorded(prefix, &recorder);
        reads.observe(prefix, type_name::<T>(), &recorder);
        value.map_err(|error| to_error(error, prefix))
    }

    /// Reads as [`Configuration::get_at`] does, for a caller that records the reads of `T` itself.
    pub(crate) fn get_unrecorded<T: DeserializeOwned>(&self, prefix: &str) -> Result<T, Error> {
        self.read(self.view(prefix), de::key_as_sent, None).map_err(|error| to_error(error, prefix))
    }

    /// Reads the values below `prefix` as `T` and notes what `T` requests.
    pub(crate) fn read_recorded<T: DeserializeOwned>(
        &self,
        prefix: &str,
        recorder: &Recorder,
    ) -> Result<T, DeError> {
        self.read(self.view(prefix), de::key_as_sent, Some(recorder))
    }

    fn view(&self, prefix: &str) -> View {
        let tree = &self.0.tree;
        if prefix.is_empty() { tree.root() } else { tree.find(prefix).unwrap_or_default() }
    }

    /// Reads the values at `view` as `T`. `map_key` determines the spelling of map keys.
    fn read<T: DeserializeOwned>(
        &self,
        view: View,
        map_key: fn(&Child<'_>) -> String,
        recorder: Option<&Recorder>,
    ) -> Result<T, DeError> {
        let Inner { tree, properties, resolver, placeholders, .. } = &*self.0;
        let resolver = placeholders.then_some(resolver);
        let scope = Scope { tree, properties, resolver, map_key, recorder };
        T::deserialize(NodeDeserializer::root(scope, view))
    }

    /// Records that the service may read every key.
    fn record_all(&self) {
        if let Some(reads) = &self.0.reads {
            reads.record_all();
        }
    }

    #[cfg(any(feature = "figment", feature = "config"))]
    pub(crate) fn read_for_fields<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let field = |child: &Child<'_>| {
            if child.bracket { child.name.to_owned() } else { crate::names::snake_case(child.name) }
        };
        self.record_all();
        self.read(self.0.tree.root(), field, None).map_err(|error| to_error(error, ""))
    }

    /// Returns the value of a key as the server sent it, with unresolved placeholders. `key` may have any relaxed spelling.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        if let Some(reads) = &self.0.reads {
            reads.observe_key(key);
        }
        let position = self.0.resolver.position(&self.0.properties, key)?;
        Some(&self.0.properties[position].value)
    }

    /// Returns every effective property: plain keys first, then the elements of lists. Within a source, the order is that
    /// of the file when `serde_json` has its feature `preserve_order`, and alphabetical otherwise.
    pub fn properties(&self) -> impl Iterator<Item = Property<'_>> {
        self.record_all();
        (0..self.0.properties.len()).map(|position| Property { inner: &self.0, position })
    }

    /// Returns the answer of the server, with all its sources.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        self.record_all();
        self.answer()
    }

    /// Returns the answer of the server for the client's own use, which is no read of the service.
    pub(crate) fn answer(&self) -> &Environment {
        &self.0.environment
    }

    /// Returns the revision of the answer. For git it is a commit id.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.0.environment.version.as_deref()
    }

    /// Returns the digest of the content, which does not depend on the revision: 64 hexadecimal digits. `None` for a server
    /// that is not a Headwater server, and for the last-known-good copy.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.digest.as_deref()
    }

    /// Returns whether this is the candidate of a rollout, which can still be rolled back.
    pub(crate) fn is_candidate(&self) -> bool {
        self.0.is_candidate
    }

    /// Returns the epochs of the publication, which order it together with the revision. `None` for a label that was never
    /// rewound.
    pub(crate) fn epochs(&self) -> Option<&str> {
        self.0.epochs.as_deref()
    }

    /// Returns the URL of the server that answered, without user information. `None` for
    /// [`Configuration::from_environment`].
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.0.server.as_deref()
    }

    /// Returns whether this is the last-known-good copy, because no server answered.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.stale_since.is_some()
    }

    /// Returns the time at which a server sent the last-known-good copy. `None` for an answer of a server.
    #[must_use]
    pub fn stale_since(&self) -> Option<SystemTime> {
        self.0.stale_since
    }
}

/// One effective property. `Debug` shows no value.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    inner: &'a Inner,
    position: usize,
}

impl<'a> Property<'a> {
    /// Returns the flat key as the server sent it, such as `shop.routes[0].path`.
    #[must_use]
    pub fn key(&self) -> &'a str {
        &self.inner.properties[self.position].key
    }

    /// Returns the name of the source that determines the value, usually a file.
    #[must_use]
    pub fn source(&self) -> &'a str {
        &self.inner.environment.property_sources[self.inner.properties[self.position].source].name
    }

    /// Returns the value as the server sent it, with unresolved placeholders.
    #[must_use]
    pub fn raw(&self) -> &'a Value {
        &self.inner.properties[self.position].value
    }

    /// Returns the value with its placeholders resolved.
    ///
    /// # Errors
    /// [`Error::Placeholder`] when a placeholder cannot be resolved.
    pub fn value(&self) -> Result<Cow<'a, Value>, Error> {
        if !self.inner.placeholders {
            return Ok(Cow::Borrowed(self.raw()));
        }
        let resolved = self.inner.resolver.resolve(&self.inner.properties, self.position);
        resolved.map_err(|problem| Error::Placeholder { key: self.key().to_owned(), problem })
    }
}

fn to_error(error: DeError, prefix: &str) -> Error {
    let dot = if prefix.is_empty() || error.key.is_empty() || error.key.starts_with('[') {
        ""
    } else {
        "."
    };
    let key = format!("{prefix}{dot}{}", error.key);
    match error.kind {
        DeErrorKind::Type(problem) => Error::Deserialize { key, problem },
        DeErrorKind::Placeholder(problem) => Error::Placeholder { key, problem },
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("application", &self.0.environment.name)
            .field("profiles", &self.0.environment.profiles)
            .field("label", &self.0.environment.label)
            .field("revision", &self.revision())
            .field("server", &self.0.server)
            .field("stale_since", &self.0.stale_since)
            .field("property_count", &self.0.properties.len())
            .finish()
    }
}

impl fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property")
            .field("key", &self.key())
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}
