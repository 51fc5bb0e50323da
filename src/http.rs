//! x
pub mod route;
