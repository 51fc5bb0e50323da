//! What a service holds after it has connected: values by key and as types.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use headwater_wire::Environment;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::de::{self, DeError, Place, Problem, Scope};
use crate::effective::{self, Effective};
use crate::error::Error;
use crate::placeholder::{Resolver, Variables};
use crate::tree::{Child, Tree, View};

/// The effective configuration of one application at one revision.
///
/// It never changes and is cheap to clone. `Debug` shows where it came from and no value.
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
    server: Option<String>,
    stale_since: Option<SystemTime>,
}

/// Where an environment came from, and how it is read.
#[derive(Default)]
pub(crate) struct Origin {
    pub(crate) digest: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) stale_since: Option<SystemTime>,
    pub(crate) placeholders: bool,
}

impl Configuration {
    /// A configuration without a server, for tests: placeholders are resolved as after a connect.
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
        let Origin { digest, server, stale_since, placeholders } = origin;
        Configuration(Arc::new(Inner {
            tree: Tree::new(&properties),
            resolver: Resolver::new(variables),
            environment,
            properties,
            placeholders,
            digest,
            server,
            stale_since,
        }))
    }

    /// The whole configuration as `T`.
    ///
    /// Names are relaxed: the field `max_items` takes `max-items`, `maxItems` and `max_items`, the most specific source
    /// winning whatever its spelling. Strings become numbers and booleans where the type wants them, `a, b` becomes a
    /// list, an empty value is `None`, an empty list or an empty map. Fields under `#[serde(flatten)]` and untagged
    /// enums are read by `serde` without these liberties.
    ///
    /// # Errors
    /// [`Error::Deserialize`] with the key and what was expected; [`Error::Placeholder`] if a value that `T` needs has
    /// a placeholder without an answer.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.get_at("")
    }

    /// What is below `prefix` (`a.b`, `a.list[0]`, any spelling) as `T`; also a single value. `""` is the whole.
    ///
    /// Where nothing is there, an `Option` is `None` and a struct has its defaults.
    ///
    /// # Errors
    /// As [`Configuration::get`]; also if nothing is there and `T` needs something.
    pub fn get_at<T: DeserializeOwned>(&self, prefix: &str) -> Result<T, Error> {
        let tree = &self.0.tree;
        let view =
            if prefix.is_empty() { tree.root() } else { tree.find(prefix).unwrap_or_default() };
        self.read(view, de::as_written).map_err(|error| to_error(error, prefix))
    }

    /// What is at `view` as `T`, with the keys of maps as the caller wants them.
    fn read<T: DeserializeOwned>(
        &self,
        view: View,
        map_key: fn(&Child<'_>) -> String,
    ) -> Result<T, DeError> {
        let Inner { tree, properties, resolver, placeholders, .. } = &*self.0;
        let scope = Scope { tree, properties, resolver: placeholders.then_some(resolver), map_key };
        T::deserialize(Place::new(scope, view))
    }

    #[cfg(any(feature = "figment", feature = "config"))]
    pub(crate) fn read_for_fields<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let field = |child: &Child<'_>| match child.bracket {
            true => child.name.to_owned(),
            false => crate::names::snake_case(child.name),
        };
        self.read(self.0.tree.root(), field).map_err(|error| to_error(error, ""))
    }

    /// The value of one key as the server sent it, placeholders and all; a relaxed spelling is found too.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        let position = self.0.resolver.position(&self.0.properties, key)?;
        Some(&self.0.properties[position].value)
    }

    /// Every effective property, lists behind plain keys. Within a source, the order is that of the file if `serde_json`
    /// has its feature `preserve_order`, and alphabetical if not.
    pub fn properties(&self) -> impl Iterator<Item = Property<'_>> {
        (0..self.0.properties.len()).map(|position| Property { inner: &self.0, position })
    }

    /// The answer as it was sent, with all of its sources.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.0.environment
    }

    /// What the server served: for git, a commit id.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.0.environment.version.as_deref()
    }

    /// What the content of the environment is known by, whatever its revision: 64 hexadecimal digits. `None` if the server
    /// does not say, as others than Headwater do not, and for a copy from disk.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.0.digest.as_deref()
    }

    /// The server that gave the answer, without user information; `None` for one made by hand.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.0.server.as_deref()
    }

    /// Whether this is the last known good copy from disk, because no server answered.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.stale_since.is_some()
    }

    /// When the copy was last what a server said; `None` if it has just come from one.
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
    /// The flat key, as it is written: `shop.routes[0].path`.
    #[must_use]
    pub fn key(&self) -> &'a str {
        &self.inner.properties[self.position].key
    }

    /// The name of the source that won, usually a file.
    #[must_use]
    pub fn source(&self) -> &'a str {
        &self.inner.environment.property_sources[self.inner.properties[self.position].source].name
    }

    /// The value as the server sent it.
    #[must_use]
    pub fn raw(&self) -> &'a Value {
        &self.inner.properties[self.position].value
    }

    /// The value with its placeholders replaced.
    ///
    /// # Errors
    /// [`Error::Placeholder`] if one of them has no answer.
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
    match error.problem {
        Problem::Type(problem) => Error::Deserialize { key, problem },
        Problem::Placeholder(problem) => Error::Placeholder { key, problem },
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
