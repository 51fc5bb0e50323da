//! The instances of services: what each of them reports to this server, and which configuration it acknowledged.
//!
//! `report` is what one request says about its instance. `instances` is the table of all instances. `peers` reads the
//! tables of the other replicas, and `convergence` merges them and compares them with the present content. `contracts`
//! holds the keys that the builds of services read. `trials` asks instances about content that is not published. Clients report about themselves, so that all of these are lists of
//! claims. Under a policy, the principal of each claim may read the environment of the instance that it names.

mod contracts;
mod convergence;
mod history;
mod instances;
mod peers;
mod report;
mod trials;

pub use contracts::{Contracts, RegistrationError, Survey, SurveyedBuild};
pub use convergence::{
    EnvironmentName, PresentContent, ReportedInstance, count, merge, show, state,
};
pub use headwater_wire::{InstanceHealth, Outcome};
pub use history::History;
pub use instances::{Instance, InstanceRequest, Instances};
pub use peers::{CallerCredentials, Peer, PeerAnswer, ask, ask_history};
pub use report::{Acknowledgement, Attributes, InstanceReport, Reason, is_name};
pub use trials::{
    Candidate, Speaker, Trial, TrialAnswer, TrialInbox, TrialOffer, TrialQuestion, Trials,
};
