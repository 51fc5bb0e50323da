//! Headwater, a configuration server. The rooms, in reading order.

pub mod format;
pub mod model;
pub mod placeholder;
pub mod render;
pub mod snapshot;
pub mod source;
pub mod tree;
