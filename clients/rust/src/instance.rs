//! Which of all the instances of a service this one is: a name that servers show.

use hyper::header::{HeaderName, HeaderValue};

use crate::error::Error;

/// What servers take, in bytes.
const LENGTH_MAX: usize = 128;
/// How much of the name of the host goes into a name.
const HOST_LENGTH_MAX: usize = 64;

/// The header with the name.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("headwater-instance");

/// Checks a name that was chosen.
pub(crate) fn named(name: &str) -> Result<HeaderValue, Error> {
    let is_name = (1..=LENGTH_MAX).contains(&name.len()) && name.chars().all(is_allowed);
    let value = HeaderValue::from_str(name).ok().filter(|_| is_name);
    value.ok_or_else(|| {
        Error::Settings(format!(
            "the name of an instance has 1 to {LENGTH_MAX} letters, digits and `-_.:/`"
        ))
    })
}

/// A name that no other instance has: host, process and a random number, for there may be several clients in a process.
pub(crate) fn unnamed() -> HeaderValue {
    let host = host().unwrap_or_default();
    let host = host.chars().take(HOST_LENGTH_MAX).map(|c| if is_allowed(c) { c } else { '-' });
    let mut name: String = host.collect();
    if name.is_empty() {
        name.push_str("unknown");
    }
    name.push_str(&format!("-{}-{:08x}", std::process::id(), fastrand::u32(..)));
    HeaderValue::try_from(name).expect("letters, digits and hyphens")
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.:/".contains(c)
}

#[cfg(unix)]
fn host() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned())
}

#[cfg(not(unix))]
fn host() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_servers_take() {
        for name in ["a", "node-1:8080/blue_2.x", &"a".repeat(LENGTH_MAX)] {
            assert!(named(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "\u{e4}", "a\r\nb", "<a>", &"a".repeat(LENGTH_MAX + 1)] {
            assert!(matches!(named(name), Err(Error::Settings(_))), "{name}");
        }
    }

    #[test]
    fn an_instance_without_a_name_gets_one_of_its_own() {
        let (one, other) = (unnamed(), unnamed());
        assert!(named(one.to_str().unwrap()).is_ok());
        assert_ne!(one, other);
    }
}
