//! Host names and ports of the files, each with a port of this machine.

use std::collections::BTreeMap;

use crate::fixture::Address;
use crate::recipes::Port;

/// Who is where.
pub(super) struct Wiring(BTreeMap<String, Port>);

impl Wiring {
    /// For places such as `etcd-1:2379`.
    pub(super) fn of(places: &[&str]) -> Self {
        Self(places.iter().map(|place| ((*place).to_owned(), Port::reserve())).collect())
    }

    pub(super) fn address(&self, place: &str) -> Address {
        self.0.get(place).unwrap_or_else(|| panic!("nobody is at {place}")).address
    }

    /// A text of the files, as it has to be said here.
    pub(super) fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // Where one name ends with another one, the longer comes first.
        let mut places: Vec<&String> = self.0.keys().collect();
        places.sort_by_key(|place| std::cmp::Reverse(place.len()));
        for place in places {
            text = text.replace(place, &self.address(place).0.to_string());
        }
        text
    }

    /// The same for what one of them says of itself: that it listens everywhere.
    pub(super) fn here_at(&self, host: &str, text: &str) -> String {
        let mut text = text.to_owned();
        for (place, port) in &self.0 {
            let (name, number) = place.rsplit_once(':').unwrap();
            if name == host {
                let address = port.address.0.to_string();
                text = text.replace(&format!("0.0.0.0:{number}"), &address);
            }
        }
        self.here(&text)
    }
}
