//! Pushes to a repository that the server hosts, by git itself: what is taken, what is refused, and what is said.

mod access;
mod bombs;
mod checked;
mod flow;
mod options;
pub(crate) mod refused;
mod rollouts;
mod slow;
mod trial;
mod wait;
mod wire;

/// A shop with two services.
const SHOP: &str = "\
//- application.yml
region: north
//- orders.yml
name: Orders
limit: 1
//- cart.yml
name: Cart
";
