//! The identity under which servers list this instance: its stable name, its present run and its attributes.
//!
//! The name is the configured one, or else that of the host. It stays the same when the service restarts, so that servers
//! recognise the instance. The incarnation is generated for each client and identifies one run.

use std::fmt;
use std::sync::{Arc, OnceLock};

use headwater_wire::headers;
use hyper::header::{HeaderName, HeaderValue};

use crate::error::Error;
use crate::http::Request;
use crate::server::Query;

#[cfg(unix)]
mod slot;
#[cfg(not(unix))]
#[path = "instance/no_slot.rs"]
mod slot;

use slot::HostSlot;

/// The longest name that servers accept, in bytes.
const LENGTH_MAX: usize = 128;
/// The number of characters of the host name in a generated name.
const HOST_LENGTH_MAX: usize = 64;
/// The longest text of attributes that servers accept, in bytes.
const ATTRIBUTES_LENGTH_MAX: usize = 256;
/// The most attributes that servers accept.
const ATTRIBUTE_COUNT_MAX: usize = 8;

const INSTANCE: HeaderName = HeaderName::from_static(headers::INSTANCE);
const INCARNATION: HeaderName = HeaderName::from_static(headers::INCARNATION);
const ATTRIBUTES: HeaderName = HeaderName::from_static(headers::ATTRIBUTES);

/// The identity of a client. Its clones share it.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Parts>);

struct Parts {
    naming: Naming,
    query: Query,
    incarnation: HeaderValue,
    attributes: Option<HeaderValue>,
    /// The name of an unnamed instance, chosen when the first request needs it.
    generated: OnceLock<GeneratedName>,
}

/// The origin of the name.
#[derive(Debug, Clone, Default)]
pub(crate) enum Naming {
    /// The host name, with a number if this host has several clients of the application.
    #[default]
    Host,
    /// A configured name.
    Configured(String),
    /// The client does not name itself.
    Nameless,
}

/// A name, and the lock that keeps other clients of this host from it.
struct GeneratedName {
    name: HeaderValue,
    _slot: Option<HostSlot>,
}

impl Identity {
    /// Validates the settings.
    pub(crate) fn new(
        naming: Naming,
        query: &Query,
        attributes: &[(String, String)],
    ) -> Result<Identity, Error> {
        if let Naming::Configured(name) = &naming {
            parse_name(name)?;
        }
        Ok(Identity(Arc::new(Parts {
            naming,
            query: query.clone(),
            incarnation: generate_incarnation(),
            attributes: parse_attributes(attributes)?,
            generated: OnceLock::new(),
        })))
    }

    /// Returns the name. The first call for an unnamed instance chooses it.
    pub(crate) fn name(&self) -> Option<HeaderValue> {
        match &self.0.naming {
            Naming::Configured(name) => parse_name(name).ok(),
            Naming::Host => {
                Some(self.0.generated.get_or_init(|| self.generate_name()).name.clone())
            }
            Naming::Nameless => None,
        }
    }

    /// Adds the headers to a request.
    pub(crate) fn add_headers(&self, request: Request) -> Request {
        let Some(name) = self.name() else { return request };
        let request =
            request.header(INSTANCE, name).header(INCARNATION, self.0.incarnation.clone());
        match &self.0.attributes {
            Some(attributes) => request.header(ATTRIBUTES, attributes.clone()),
            None => request,
        }
    }

    fn generate_name(&self) -> GeneratedName {
        let host = host();
        let (slot, name) = match slot::claim(&host, &self.0.query) {
            slot::Claim::Claimed(slot) if slot.number() == 1 => (Some(slot), host),
            slot::Claim::Claimed(slot) => {
                let name = format!("{host}:{}", slot.number());
                (Some(slot), name)
            }
            // A container without a directory for locks has one client.
            slot::Claim::Unavailable => (None, host),
            slot::Claim::AllTaken => {
                return GeneratedName { name: self.0.incarnation.clone(), _slot: None };
            }
        };
        let name = HeaderValue::try_from(name).expect("every character is allowed in a header");
        GeneratedName { name, _slot: slot }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { naming, incarnation, attributes, .. } = &*self.0;
        f.debug_struct("Identity")
            .field("naming", naming)
            .field("incarnation", incarnation)
            .field("attributes", attributes)
            .finish_non_exhaustive()
    }
}

/// Splits `name=value` pairs at commas, as the variable and the header have them. A part without `=` has no value.
pub(crate) fn split_attributes(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Validates a configured name.
fn parse_name(name: &str) -> Result<HeaderValue, Error> {
    let is_name = (1..=LENGTH_MAX).contains(&name.len()) && name.chars().all(is_allowed);
    let value = HeaderValue::from_str(name).ok().filter(|_| is_name);
    value.ok_or_else(|| {
        Error::Settings(format!(
            "the instance name must consist of 1 to {LENGTH_MAX} letters, digits and `-_.:/`"
        ))
    })
}

fn parse_attributes(attributes: &[(String, String)]) -> Result<Option<HeaderValue>, Error> {
    if attributes.is_empty() {
        return Ok(None);
    }
    let is_text = |text: &str| {
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        !text.is_empty() && text.chars().all(is_letter)
    };
    let is_repeated =
        |at: usize| attributes[..at].iter().any(|(name, _)| *name == attributes[at].0);
    let wrong = attributes
        .iter()
        .enumerate()
        .find(|(at, (name, value))| !is_text(name) || !is_text(value) || is_repeated(*at));
    if let Some((_, (name, value))) = wrong {
        return Err(Error::Settings(format!(
            "the attribute `{name}={value}` is invalid: name and value must consist of lower-case letters, digits and \
             `._-`, and each name is given once"
        )));
    }
    let pairs: Vec<String> =
        attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let text = pairs.join(", ");
    let fits = pairs.len() <= ATTRIBUTE_COUNT_MAX && text.len() <= ATTRIBUTES_LENGTH_MAX;
    let value = HeaderValue::try_from(text).ok().filter(|_| fits);
    value.map(Some).ok_or_else(|| {
        Error::Settings(format!(
            "an instance has at most {ATTRIBUTE_COUNT_MAX} attributes with {ATTRIBUTES_LENGTH_MAX} characters in all"
        ))
    })
}

/// Generates a unique text from the host name, the process id and a random number. The random number distinguishes
/// several clients in one process.
fn generate_incarnation() -> HeaderValue {
    let text = format!("{}-{}-{:08x}", host(), std::process::id(), fastrand::u32(..));
    HeaderValue::try_from(text).expect("every character is allowed in a header")
}

/// The host name, with `-` in place of characters that a name must not contain.
fn host() -> String {
    let host = host_name().unwrap_or_default();
    let host = host.chars().take(HOST_LENGTH_MAX).map(|c| if is_allowed(c) { c } else { '-' });
    let host: String = host.collect();
    if host.is_empty() { "unknown".to_owned() } else { host }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.:/".contains(c)
}

#[cfg(unix)]
fn host_name() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[cfg(not(unix))]
fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Query {
        // No other test has this application, so that its names are free.
        let application = format!("identity-{:016x}", fastrand::u64(..));
        Query { application, profiles: "default".to_owned(), label: None }
    }

    fn identity(query: &Query) -> Identity {
        Identity::new(Naming::Host, query, &[]).unwrap()
    }

    fn name(identity: &Identity) -> String {
        identity.name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn only_names_that_servers_accept_are_valid() {
        for name in ["a", "node-1:8080/blue_2.x", &"a".repeat(LENGTH_MAX)] {
            assert!(parse_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "\u{e4}", "a\r\nb", "<a>", &"a".repeat(LENGTH_MAX + 1)] {
            assert!(matches!(parse_name(name), Err(Error::Settings(_))), "{name}");
        }
    }

    #[test]
    fn an_incarnation_is_valid_and_unique() {
        let (one, other) = (generate_incarnation(), generate_incarnation());
        assert!(parse_name(one.to_str().unwrap()).is_ok());
        assert_ne!(one, other);
    }

    #[cfg(unix)]
    #[test]
    fn clients_of_one_host_have_different_names_that_later_clients_take_over() {
        let query = query();
        let (one, two) = (identity(&query), identity(&query));
        assert_eq!((name(&one), name(&two)), (host(), format!("{}:2", host())));
        // A clone is the same client, and another application has names of its own.
        assert_eq!(name(&two.clone()), name(&two));
        let other = Query { profiles: "other".to_owned(), ..query.clone() };
        assert_eq!(name(&identity(&other)), host());
        let incarnation = one.0.incarnation.clone();
        drop(one);
        let restarted = identity(&query);
        assert_eq!(name(&restarted), host());
        assert_ne!(restarted.0.incarnation, incarnation);
    }

    #[cfg(unix)]
    #[test]
    fn beyond_the_slots_each_client_is_named_after_its_run() {
        let query = query();
        let clients: Vec<_> = (0..slot::COUNT_MAX + 2).map(|_| identity(&query)).collect();
        let mut names: Vec<_> = clients.iter().map(name).collect();
        assert_eq!(clients.last().unwrap().name().unwrap(), clients.last().unwrap().0.incarnation);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), clients.len());
    }

    #[test]
    fn a_configured_name_is_shared_and_a_nameless_client_has_none() {
        let query = query();
        let named = Identity::new(Naming::Configured("web-3".to_owned()), &query, &[]).unwrap();
        assert_eq!(name(&named), "web-3");
        let nameless = Identity::new(Naming::Nameless, &query, &[]).unwrap();
        assert_eq!(nameless.name(), None);
    }

    #[test]
    fn attributes_are_validated() {
        let header = |text: &str| parse_attributes(&split_attributes(text));
        let valid = header(" version=1.4,zone = eu-1,").unwrap().unwrap();
        assert_eq!(valid, "version=1.4, zone=eu-1");
        assert!(header("").unwrap().is_none());
        let nine = (0..9).map(|number| format!("a{number}=1")).collect::<Vec<_>>().join(",");
        let long = format!("a={}", "b".repeat(ATTRIBUTES_LENGTH_MAX));
        for text in ["a", "a=", "=b", "a=B", "a=b c", "a=b,a=c", "a=\u{e4}", &nine, &long] {
            assert!(matches!(header(text), Err(Error::Settings(_))), "{text}");
        }
    }
}
