//! One test binary for everything that is seen from outside.

mod attack;
mod differential;
mod fixture;
mod http;
mod sources;
