//! Who may watch: how many there are, in all and of each client, and whether the server is closing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix_http::header::HeaderMap;
use tokio::sync::watch;

use crate::http::error::Fault;
use crate::sync::lock;

/// How many watchers there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub count_max: usize,
    /// Of one client address, if that is limited.
    pub client_count_max: Option<usize>,
    /// Who is believed when it says for whom it asks.
    pub trusted_proxies: Vec<Network>,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address of it.
    pub address: IpAddr,
    /// How many leading bits its addresses have in common.
    pub prefix_bits: u8,
}

impl Network {
    /// Whether an address is in it.
    fn contains(&self, address: IpAddr) -> bool {
        let width: u32 = if self.address.is_ipv4() { 32 } else { 128 };
        let rest = width.saturating_sub(u32::from(self.prefix_bits));
        let leading = |bits: u128| bits.checked_shr(rest).unwrap_or(0);
        self.address.is_ipv4() == address.is_ipv4()
            && leading(bits(self.address)) == leading(bits(address))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Who watches, counted and bounded, and whether the server is closing.
pub struct Watchers {
    limits: Limits,
    present: Arc<Present>,
    closing: watch::Sender<bool>,
    /// How often a list of watchers was woken by a change.
    wakeup_count: AtomicU64,
}

#[derive(Default)]
struct Present {
    count: AtomicUsize,
    of_clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Watchers {
    /// Nobody yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            present: Arc::default(),
            closing: watch::Sender::new(false),
            wakeup_count: AtomicU64::new(0),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.present.count.load(Ordering::Relaxed)
    }

    /// How often a change woke a list of watchers: once for each worker that has watchers of the answer.
    pub fn wakeup_count(&self) -> u64 {
        self.wakeup_count.load(Ordering::Relaxed)
    }

    /// Ends every stream and long poll, so that clients move to another server at once.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn woken(&self) {
        self.wakeup_count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Counts a watcher for as long as the result is held.
    pub(super) fn enter(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Watching, Fault> {
        let mut watching = Watching { present: Arc::clone(&self.present), client: None };
        if self.present.count.fetch_add(1, Ordering::Relaxed) >= self.limits.count_max {
            return Err(Fault::TooManyWatchers);
        }
        if let (Some(count_max), Some(peer)) = (self.limits.client_count_max, peer) {
            let client = client(headers, peer, &self.limits.trusted_proxies);
            let mut of_clients = lock(&self.present.of_clients);
            let count = of_clients.entry(client).or_default();
            if *count >= count_max {
                return Err(Fault::TooManyOfClient);
            }
            *count += 1;
            watching.client = Some(client);
        }
        Ok(watching)
    }
}

/// One watcher; it is counted for as long as this is held.
pub(super) struct Watching {
    present: Arc<Present>,
    /// The address that it was counted for, if addresses are counted.
    client: Option<IpAddr>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.present.count.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else {
            return;
        };
        let mut of_clients = lock(&self.present.of_clients);
        if let Some(count) = of_clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                of_clients.remove(&client);
            }
        }
    }
}

/// Who asks: the peer, or whom the nearest proxy that is not trusted asks for. Anybody can write `X-Forwarded-For`; each
/// trusted proxy has put behind it whom it was asked by.
fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|network| network.contains(address))
    };
    let values = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut client = peer.to_canonical();
    for hop in hops.iter().rev() {
        if !is_trusted(client) {
            break;
        }
        let Ok(before) = hop.parse::<IpAddr>() else {
            break;
        };
        client = before.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(peer: &str, forwarded: &'static str, expected: &str) {
        let trusted = [
            Network { address: "10.0.0.0".parse().unwrap(), prefix_bits: 8 },
            Network { address: "::1".parse().unwrap(), prefix_bits: 128 },
        ];
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("x-forwarded-for"),
            HeaderValue::from_static(forwarded),
        );
        let client = client(&headers, peer.parse().unwrap(), &trusted);
        assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} for {forwarded}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("192.0.2.1", "198.51.100.7", "192.0.2.1");
        check("10.1.2.3", "198.51.100.7", "198.51.100.7");
        check("10.1.2.3", "203.0.113.9, 198.51.100.7", "198.51.100.7");
        check("10.1.2.3", "203.0.113.9, 198.51.100.7, 10.9.9.9", "198.51.100.7");
        check("::ffff:10.1.2.3", "198.51.100.7", "198.51.100.7");
        check("::1", "2001:db8::5", "2001:db8::5");
        check("10.1.2.3", "", "10.1.2.3");
        check("10.1.2.3", "198.51.100.7, unknown", "10.1.2.3");
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_alike() {
        let network =
            |address: &str, prefix_bits| Network { address: address.parse().unwrap(), prefix_bits };
        let contains = |network: Network, address: &str| network.contains(address.parse().unwrap());
        assert!(contains(network("10.0.0.0", 8), "10.255.0.1"));
        assert!(!contains(network("10.0.0.0", 8), "11.0.0.1"));
        assert!(contains(network("192.0.2.7", 32), "192.0.2.7"));
        assert!(!contains(network("192.0.2.7", 32), "192.0.2.6"));
        assert!(contains(network("0.0.0.0", 0), "203.0.113.9"));
        assert!(!contains(network("0.0.0.0", 0), "::1"));
        assert!(contains(network("::", 0), "2001:db8::1"));
    }
}
