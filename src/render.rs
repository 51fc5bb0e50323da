//! An environment as bytes: the forms in which it is answered.

pub mod flat;
mod json;
mod nest;
mod ordered;
mod yaml;
