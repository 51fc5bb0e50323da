//! The handle through which a service reports about itself.

use std::sync::Arc;

use headwater_wire::{InstanceHealth, Outcome};

use crate::configuration::Configuration;
use crate::watch::acknowledge::{Acknowledgement, Acknowledgements};

/// A handle that reports to the server what became of a configuration, and how the service is. Servers list the reports at
/// `/-/instances`. It is cheap to clone. After the watch has ended it does nothing.
#[derive(Debug, Clone)]
pub struct Reporter(Arc<Acknowledgements>);

impl Reporter {
    pub(super) fn new(acknowledgements: Arc<Acknowledgements>) -> Reporter {
        Reporter(acknowledgements)
    }

    /// Reports the outcome of a configuration in this instance. The last report counts. The connected server receives it
    /// within seconds.
    pub fn acknowledge(&self, configuration: &Configuration, outcome: Outcome) {
        self.set(configuration, outcome, None);
    }

    /// Reports that this instance rejects a configuration, and why: a word of lower-case letters and perhaps a key after a
    /// space, such as `type shop.max-items`. [`Error::reason`](crate::Error::reason) returns one. A reason must not contain
    /// a value.
    pub fn reject(&self, configuration: &Configuration, reason: impl Into<String>) {
        self.set(configuration, Outcome::Rejected, Some(reason.into()));
    }

    /// Reports the health of this instance, with a reason for [`InstanceHealth::Down`] in the form of
    /// [`Reporter::reject`]. While the health is `Down`, the report is repeated every 5 s, because servers act on
    /// consecutive reports only.
    pub fn report(&self, health: InstanceHealth, reason: Option<&str>) {
        self.0.set_health(health, reason.map(str::to_owned));
    }

    /// Waits until the connected server has received the last report.
    ///
    /// Cancellation: dropping the future changes nothing.
    pub async fn delivered(&self) {
        self.0.wait_delivered().await;
    }

    fn set(&self, configuration: &Configuration, outcome: Outcome, reason: Option<String>) {
        if let Some(acknowledgement) = Acknowledgement::new(configuration, outcome, reason) {
            self.0.set(acknowledgement);
        }
    }
}
