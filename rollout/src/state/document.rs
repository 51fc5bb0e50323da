//! The state as text: a JSON object with a version and a digest of the rest.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::WireState;
use super::{STATE_BYTES_MAX, State};
use crate::bucket::first_bytes;

/// The version of the format that this server writes and reads.
pub const VERSION: u64 = 1;
/// The largest text that is read. Intents repeat branches.
const TEXT_BYTES_MAX: usize = 2 * STATE_BYTES_MAX;

/// A state that cannot be read. A server does not start with one, because it would serve what is withheld.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the state ends in the middle, after {0} bytes")]
    Cut(usize),
    #[error("the state has {0} bytes, at most {TEXT_BYTES_MAX} are read")]
    TooLarge(usize),
    #[error(
        "the state has version {0}, and this server reads version {VERSION}. Start the newer server"
    )]
    Newer(u64),
    #[error("the state was changed by something other than the server: its digest differs")]
    Edited,
    #[error("the state is invalid: {0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'t> {
    #[serde(rename = "version")]
    _version: u64,
    digest: String,
    #[serde(borrow)]
    state: &'t RawValue,
}

/// The one part that every version has.
#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

impl State {
    /// Writes the state. The same state always has the same text.
    pub fn to_text(&self) -> String {
        let state = serde_json::to_string(&WireState::from(self)).expect("a state is JSON");
        let digest = text_digest(&state);
        format!("{{\"version\":{VERSION},\"digest\":\"{digest}\",\"state\":{state}}}\n")
    }

    /// The size that [`STATE_BYTES_MAX`] limits.
    pub(crate) fn text_len(&self) -> usize {
        let mut wire = WireState::from(self);
        wire.intents.clear();
        serde_json::to_string(&wire).expect("a state is JSON").len()
    }

    /// Reads a state that a server has written.
    pub fn parse(text: &[u8]) -> Result<Self, StateError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(StateError::TooLarge(text.len()));
        }
        let error = |error: serde_json::Error| match error.classify() {
            serde_json::error::Category::Eof => StateError::Cut(text.len()),
            _ => StateError::Invalid(error.to_string()),
        };
        let VersionOnly { version } = serde_json::from_slice(text).map_err(error)?;
        if version != VERSION {
            return Err(StateError::Newer(version));
        }
        let envelope: Envelope<'_> = serde_json::from_slice(text).map_err(error)?;
        if envelope.digest != text_digest(envelope.state.get()) {
            return Err(StateError::Edited);
        }
        let wire: WireState = serde_json::from_str(envelope.state.get()).map_err(error)?;
        let state = Self::try_from(wire).map_err(StateError::Invalid)?;
        state.validate().map_err(StateError::Invalid)?;
        Ok(state)
    }
}

fn text_digest(text: &str) -> String {
    format!("{:016x}", first_bytes(&[text]))
}
