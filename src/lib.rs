//! Headwater, a configuration server. The rooms, in reading order.

pub mod access;
pub mod catalog;
pub mod change;
pub mod check;
pub mod cli;
pub mod data;
pub mod format;
pub mod http;
pub mod model;
pub mod placeholder;
pub mod push;
pub mod render;
pub mod replicas;
pub mod resolve;
pub mod reveal;
pub mod server;
pub mod settings;
pub mod snapshot;
pub mod source;
pub mod store;
mod sync;
pub mod tree;
