//! The address of an etcd cluster with a prefix in it: `etcd://host:2379[,host:2379]/prefix`.

use std::net::IpAddr;

const SCHEME: &str = "etcd://";
/// The port on which etcd serves clients by default.
const PORT: u16 = 2379;
const ENDPOINT_COUNT_MAX: usize = 16;
/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 512;

/// The reason for which an address is invalid. It never quotes the address, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub &'static str);

/// The members of a cluster, and the prefix of this server's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `host:port` of each member.
    pub endpoints: Vec<String>,
    /// The common prefix of all keys, without a trailing slash.
    pub prefix: String,
}

impl Address {
    /// Returns whether the scheme of `uri` is `etcd`, so that it has to be a valid address.
    pub fn has_etcd_scheme(uri: &str) -> bool {
        uri.starts_with("etcd:")
    }

    /// Parses an address.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(uri: &str) -> Result<Self, AddressError> {
        let invalid = |reason| Err(AddressError(reason));
        let Some((hosts, prefix)) = uri.strip_prefix(SCHEME).and_then(|it| it.split_once('/'))
        else {
            return invalid("expected an etcd address such as etcd://host:2379[,host:2379]/prefix");
        };
        if hosts.contains('@') {
            return invalid(
                "an etcd address must not contain a user or a password: use credentials_file",
            );
        }
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX {
            return invalid(
                "an etcd address needs a key prefix of 1 to 512 bytes after the members",
            );
        }
        if prefix.chars().any(char::is_control) {
            return invalid("the key prefix of an etcd address contains a control character");
        }
        let endpoints: Option<Vec<String>> = hosts.split(',').map(endpoint).collect();
        match endpoints {
            Some(endpoints) if endpoints.len() <= ENDPOINT_COUNT_MAX => {
                Ok(Self { endpoints, prefix: prefix.to_owned() })
            }
            _ => invalid("an etcd address names 1 to 16 members as host:port"),
        }
    }

    /// Returns whether every member is on this machine, so that traffic to it never crosses a network.
    pub fn is_loopback(&self) -> bool {
        self.endpoints.iter().all(|endpoint| {
            let host = endpoint.rsplit_once(':').map_or(&**endpoint, |(host, _)| host);
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        })
    }
}

/// Normalises a member to `host:port`, with etcd's default port when it names none.
fn endpoint(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, PORT),
    };
    let name = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => {
            address.parse::<std::net::Ipv6Addr>().ok()?;
            return Some(format!("{host}:{port}"));
        }
        None => host,
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_name = !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain);
    is_name.then(|| format!("{name}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Result<(&[&str], &str), &str>) {
        match (Address::parse(uri), expected) {
            (Ok(found), Ok((endpoints, prefix))) => {
                assert_eq!((&*found.endpoints, &*found.prefix), (&*to_owned(endpoints), prefix));
            }
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
            }
            (found, _) => panic!("{uri}: {found:?}"),
        }
    }

    fn to_owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn an_address_names_members_and_a_prefix() {
        check("etcd://a:1/shop", Ok((&["a:1"], "shop")));
        check("etcd://a,b:2/shop/config/", Ok((&["a:2379", "b:2"], "shop/config")));
        check("etcd://[::1]:5/x", Ok((&["[::1]:5"], "x")));
        check("etcd://[::1]/x", Ok((&["[::1]:2379"], "x")));
        check("etcd://a:1//registry", Ok((&["a:1"], "/registry")));
        check("etcd://a:1", Err("etcd://host:2379"));
        check("etcd:a/x", Err("etcd://host:2379"));
        check("etcd://a:1/", Err("needs a key prefix"));
        check("etcd://ada:hunter2@a:1/x", Err("credentials_file"));
        check("etcd://a:hunter2/x", Err("host:port"));
        check("etcd://,a/x", Err("host:port"));
        check("etcd://-x/x", Err("host:port"));
        check("etcd://a:1/a\nb", Err("control character"));
    }

    #[test]
    fn an_address_on_this_machine_is_loopback() {
        for (uri, expected) in [
            ("etcd://127.0.0.1:1,localhost,[::1]:2/x", true),
            ("etcd://127.0.0.1:1,10.0.0.1/x", false),
        ] {
            assert_eq!(Address::parse(uri).unwrap().is_loopback(), expected, "{uri}");
        }
    }
}
