//! One test binary for everything that is seen from outside.

mod differential;
mod sources;
