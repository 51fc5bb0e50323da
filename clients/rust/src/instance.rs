//! The name of this instance, under which servers list it.

use headwater_wire::headers;
use hyper::header::{HeaderName, HeaderValue};

use crate::error::Error;

/// The longest name that servers accept, in bytes.
const LENGTH_MAX: usize = 128;
/// The number of characters of the host name in a generated name.
const HOST_LENGTH_MAX: usize = 64;

/// The request header with the name.
pub(crate) const HEADER: HeaderName = HeaderName::from_static(headers::INSTANCE);

/// Validates a configured name.
pub(crate) fn parse_name(name: &str) -> Result<HeaderValue, Error> {
    let is_name = (1..=LENGTH_MAX).contains(&name.len()) && name.chars().all(is_allowed);
    let value = HeaderValue::from_str(name).ok().filter(|_| is_name);
    value.ok_or_else(|| {
        Error::Settings(format!(
            "the instance name must consist of 1 to {LENGTH_MAX} letters, digits and `-_.:/`"
        ))
    })
}

/// Generates a unique name from the host name, the process id and a random number. The random number distinguishes
/// several clients in one process.
pub(crate) fn generate_name() -> HeaderValue {
    let host = host_name().unwrap_or_default();
    let host = host.chars().take(HOST_LENGTH_MAX).map(|c| if is_allowed(c) { c } else { '-' });
    let mut name: String = host.collect();
    if name.is_empty() {
        name.push_str("unknown");
    }
    name.push_str(&format!("-{}-{:08x}", std::process::id(), fastrand::u32(..)));
    HeaderValue::try_from(name).expect("every character is allowed in a header")
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
    fn a_generated_name_is_valid_and_unique() {
        let (one, other) = (generate_name(), generate_name());
        assert!(parse_name(one.to_str().unwrap()).is_ok());
        assert_ne!(one, other);
    }
}
