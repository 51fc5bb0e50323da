//! `[memory]`: limits for the memory of answers and texts.

use serde::Deserialize;

/// `[memory]`: limits in bytes. A missing limit is a share of the memory that the server has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySettings {
    /// The limit for all answers. Beyond it the server drops answers that no client requests.
    pub answers_bytes_max: Option<usize>,
    /// The limit for files and flat forms that are being rendered or sent. Requests beyond it get 503.
    pub texts_bytes_max: Option<usize>,
}
