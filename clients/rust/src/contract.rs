//! The contract of a service: the keys that it reads, recorded while `serde` reads them.
//!
//! [`recorder`] notes what a deserialization requests, and [`explore`] repeats it without single keys to find out which of
//! them are required. [`reads`] collects the result of all reads of one client. [`register`] sends the contract to servers
//! that want it.

mod explore;
mod reads;
mod recorder;
mod register;
#[cfg(test)]
mod tests;

pub(crate) use reads::Reads;
pub(crate) use recorder::{NodeId, Recorder};
pub(crate) use register::{Wanted, keep_registered};

/// Returns the attribute `version`, if contracts can have it.
pub(crate) fn version_in(attributes: &[(String, String)]) -> Option<String> {
    let version = attributes.iter().rfind(|(name, _)| name == "version");
    version.map(|(_, value)| value.clone()).filter(|value| headwater_wire::is_version(value))
}
