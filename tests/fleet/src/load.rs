//! What goes on all the time: those who push, those who read, and those who watch.

pub(crate) mod pusher;
pub(crate) mod reader;
pub(crate) mod watcher;
