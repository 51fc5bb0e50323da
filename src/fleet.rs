//! The instances of services: what each of them reports to this server, and which configuration it acknowledged.
//!
//! `report` is what one request says about its instance. `instances` is the table of all instances. Clients report about
//! themselves, so that the table is a list of claims. Under a policy, the principal of each claim may read the
//! environment of the instance that it names.

mod instances;
mod report;

pub use headwater_wire::Outcome;
pub use instances::{Instance, InstanceRequest, Instances};
pub use report::{Acknowledgement, Attributes, InstanceReport, Reason};
