//! What a replica is called.

use crate::settings::{self, Settings};

/// What is called nothing else.
const NAMELESS: &str = "headwater";

/// As the settings say; otherwise as its host is called.
pub(super) fn name(settings: &Settings) -> String {
    let host = || {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Some(name).filter(|name| settings::is_name(name))
    };
    settings.share.replica.clone().or_else(host).unwrap_or_else(|| NAMELESS.to_owned())
}
