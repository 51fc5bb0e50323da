//! `[watch]`: limits for watchers, and the proxies whose word about client addresses counts.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::Error;

use super::described::default;

/// The name of the table.
const TABLE: &str = "watch";

/// `[watch]`: limits for event streams and long polls together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchSettings {
    pub watchers_max: usize,
    /// The limit for one client address, if there is one.
    pub watchers_per_client_max: Option<usize>,
    /// Addresses whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<Network>,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            watchers_max: default(TABLE, "watchers_max"),
            watchers_per_client_max: None,
            trusted_proxies: default(TABLE, "trusted_proxies"),
        }
    }
}

/// An address, or a range of them as `address/bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address of the range.
    pub address: IpAddr,
    /// The number of leading bits that its addresses have in common.
    pub prefix_bits: u8,
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "expected an address such as 10.0.0.1 or 10.0.0.0/8, got {text:?}"
            ))
        })
    }
}

fn parse(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = bits.unwrap_or(width);
    (prefix_bits <= width).then_some(Network { address, prefix_bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_or_ranges() {
        let bits = |text| parse(text).map(|network| network.prefix_bits);
        assert_eq!(bits("10.0.0.1"), Some(32));
        assert_eq!(bits("10.0.0.0/8"), Some(8));
        assert_eq!(bits("::1"), Some(128));
        assert_eq!(bits("2001:db8::/32"), Some(32));
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/x", "proxy.example", "10.0.0.0/8/8"] {
            assert_eq!(bits(text), None, "{text}");
        }
    }
}
