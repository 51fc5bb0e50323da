//! Opens and seals secrets. Pure: callers pass bytes and receive texts.
//!
//! - `spring` opens Spring's `{cipher}` values with a passphrase, a PEM key or a keystore. `keyring` has several keys.
//! - `sops` opens SOPS files whose data key is sealed for an age identity (`age`).
//! - `sealed` opens and seals Headwater's own `{sealed}` values, which are bound to an area and a property key.
//! - `keystore` reads JKS and PKCS#12 files. `rsa`, `aes`, `der`, `pem` and `hex` are the parts of these.
//!
//! Invariant: an [`OpenError`] has one text for all failures. Only [`OpenError::detail`] names the failed check, and it
//! is meant for the operator's log. A client that received it could use the server as a padding oracle.
//!
//! Invariant: no `Debug` text contains a key or an opened text, and both are overwritten when they are dropped.

mod aes;
pub mod age;
mod der;
mod error;
mod hex;
mod keyring;
pub mod keystore;
mod pem;
mod rsa;
pub mod sealed;
mod secret;
pub mod sops;
mod spring;

pub use error::{KeyError, OpenError, SealError};
pub use keyring::Keyring;
pub use keystore::KeyStore;
pub use secret::SecretText;
pub use spring::{CIPHER_MARKER, KeyStoreSettings, RsaAlgorithm, RsaSettings, SpringKey};

/// The largest sealed value, in bytes. A longer one is rejected before it is decoded.
pub const SEALED_BYTES_MAX: usize = 1024 * 1024;
