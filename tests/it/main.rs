//! One test binary for everything that is seen from outside.

mod differential;
mod fixture;
mod http;
mod sources;
