//! The admission of watchers: their limits, in total and for each client, and the end of all streams when the server
//! stops.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix_http::HttpMessage;
use actix_http::header::HeaderMap;
use actix_web::HttpRequest;
use tokio::sync::watch;

use crate::http::error::HttpError;
use crate::sync::lock;

/// The limits of watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchLimits {
    /// The limit in total.
    pub count_max: usize,
    /// The limit for each client address. `None` for no limit.
    pub client_count_max: Option<usize>,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNetwork>,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNetwork {
    /// Any address of the range.
    pub address: IpAddr,
    /// The number of leading bits that all addresses share.
    pub prefix_bits: u8,
}

impl IpNetwork {
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

/// Counts the watchers and enforces their limits.
pub struct Watchers {
    limits: WatchLimits,
    counts: Arc<WatcherCounts>,
    closing: watch::Sender<bool>,
    /// The number of times that a change woke a group of watchers.
    wakeup_count: AtomicU64,
}

#[derive(Default)]
struct WatcherCounts {
    total: AtomicUsize,
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

impl Watchers {
    /// Creates the limits without watchers.
    pub fn new(limits: WatchLimits) -> Self {
        Self {
            limits,
            counts: Arc::default(),
            closing: watch::Sender::new(false),
            wakeup_count: AtomicU64::new(0),
        }
    }

    /// Returns the number of watchers.
    pub fn count(&self) -> usize {
        self.counts.total.load(Ordering::Relaxed)
    }

    /// Returns the number of times that a change woke a group of watchers. A change counts once for each worker with
    /// watchers of the answer.
    pub fn wakeup_count(&self) -> u64 {
        self.wakeup_count.load(Ordering::Relaxed)
    }

    /// Ends every stream and long poll, so that clients move to another server at once.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn record_wakeup(&self) {
        self.wakeup_count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Returns the address of the client that sent a request, directly or through trusted proxies.
    pub(in crate::http) fn client(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip();
        Some(client(request.headers(), peer, &self.limits.trusted_proxies))
    }

    /// The same for a request that has not reached the application.
    pub(in crate::http) fn client_of(&self, request: &actix_http::Request) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip();
        Some(client(request.headers(), peer, &self.limits.trusted_proxies))
    }

    /// Admits a watcher, which counts until the permit is dropped.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<WatcherPermit, HttpError> {
        let mut permit = WatcherPermit { counts: Arc::clone(&self.counts), client: None };
        if self.counts.total.fetch_add(1, Ordering::Relaxed) >= self.limits.count_max {
            return Err(HttpError::TooManyWatchers(self.limits.count_max));
        }
        let client = peer.map(|peer| client(headers, peer, &self.limits.trusted_proxies));
        if let (Some(count_max), Some(client)) = (self.limits.client_count_max, client) {
            let mut by_client = lock(&self.counts.by_client);
            let count = by_client.entry(client).or_default();
            if *count >= count_max {
                return Err(HttpError::TooManyWatchersOfClient(count_max));
            }
            *count += 1;
            permit.client = Some(client);
        }
        Ok(permit)
    }
}

/// The permit of one watcher.
pub(super) struct WatcherPermit {
    counts: Arc<WatcherCounts>,
    /// The address for which the watcher counts, if addresses are limited.
    client: Option<IpAddr>,
}

impl Drop for WatcherPermit {
    fn drop(&mut self) {
        self.counts.total.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else {
            return;
        };
        let mut by_client = lock(&self.counts.by_client);
        if let Some(count) = by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                by_client.remove(&client);
            }
        }
    }
}

/// Returns the client of a request: the last address on the way that is not a trusted proxy. Any client can send
/// `X-Forwarded-For`, but each trusted proxy appends the address of its own peer.
fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNetwork]) -> IpAddr {
    let is_trusted = |address: IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|network| network.contains(address))
    };
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let values = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
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
            IpNetwork { address: "10.0.0.0".parse().unwrap(), prefix_bits: 8 },
            IpNetwork { address: "::1".parse().unwrap(), prefix_bits: 128 },
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
    fn only_trusted_proxies_count() {
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
    fn a_network_contains_the_addresses_with_its_prefix() {
        let network = |address: &str, prefix_bits| IpNetwork {
            address: address.parse().unwrap(),
            prefix_bits,
        };
        let contains =
            |network: IpNetwork, address: &str| network.contains(address.parse().unwrap());
        assert!(contains(network("10.0.0.0", 8), "10.255.0.1"));
        assert!(!contains(network("10.0.0.0", 8), "11.0.0.1"));
        assert!(contains(network("192.0.2.7", 32), "192.0.2.7"));
        assert!(!contains(network("192.0.2.7", 32), "192.0.2.6"));
        assert!(contains(network("0.0.0.0", 0), "203.0.113.9"));
        assert!(!contains(network("0.0.0.0", 0), "::1"));
        assert!(contains(network("::", 0), "2001:db8::1"));
    }
}
