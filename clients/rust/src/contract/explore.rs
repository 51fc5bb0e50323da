//! Reads a type repeatedly to find the types of absent fields and the required ones.
//!
//! The number of reads depends on the type and the configuration only, and never on the time, so that all instances of a
//! build with the same configuration have the same contract.

use std::collections::HashSet;

use headwater_wire::{ContractKey, ValueType};

use super::recorder::{NodeId, Probe, Recorder, Step};
use crate::de::DeError;

/// The most reads of one type.
const READ_COUNT_MAX: usize = 4_096;
/// The most requests of all reads of one type, which limits the work for a large one.
const REQUEST_COUNT_MAX: usize = 200_000;
/// The most absent levels above and including an explored field. A type may contain itself.
const ABSENT_LEVEL_COUNT_MAX: usize = 4;

/// The keys of one type, and the prefixes below which it may read anything.
#[derive(Debug, Default)]
pub(super) struct RecordedKeys {
    pub(super) keys: Vec<ContractKey>,
    pub(super) open: Vec<String>,
}

/// Explores a type. `read` deserializes it once. Returns `None` when the type cannot be read or has too many fields.
pub(super) fn explore(
    prefix: &str,
    mut read: impl FnMut(&Recorder) -> Result<(), DeError>,
) -> Option<RecordedKeys> {
    let recorder = Recorder::default();
    read(&recorder).ok()?;
    let mut exploration = Exploration {
        recorder: &recorder,
        read: &mut read,
        read_count: 1,
        aliases: HashSet::new(),
        required: HashSet::new(),
    };
    exploration.find_types();
    exploration.find_required();
    let (aliases, mut required) = (exploration.aliases, exploration.required);
    required.retain(|node| !aliases.contains(node));
    (!recorder.is_full()).then(|| keys_of(&recorder, prefix, &required))
}

struct Exploration<'a, R> {
    recorder: &'a Recorder,
    read: &'a mut R,
    read_count: usize,
    /// Fields with several names. None of these names is required alone.
    aliases: HashSet<NodeId>,
    required: HashSet<NodeId>,
}

impl<R: FnMut(&Recorder) -> Result<(), DeError>> Exploration<'_, R> {
    fn is_over(&self) -> bool {
        self.read_count >= READ_COUNT_MAX || self.recorder.request_count() >= REQUEST_COUNT_MAX
    }

    fn probe(&mut self, probe: Probe) -> Result<(), DeError> {
        self.read_count += 1;
        self.recorder.set_probe(probe);
        let result = (self.read)(self.recorder);
        self.recorder.set_probe(Probe::None);
        result
    }

    /// Offers each field without a known type. A read may add nodes, which follow.
    fn find_types(&mut self) {
        let mut at = 0;
        while at < self.recorder.len() && !self.is_over() {
            let Some(node) = self.recorder.ids().nth(at) else { return };
            at += 1;
            if self.recorder.with(node, |node| node.value_type.is_some()) {
                continue;
            }
            let path = self.recorder.path(node);
            let is_absent = |node: &&NodeId| self.recorder.with(**node, |node| !node.is_present);
            if path.iter().filter(is_absent).count() > ABSENT_LEVEL_COUNT_MAX {
                continue;
            }
            if let Err(error) = self.probe(Probe::Offered(path))
                && let Some(name) = error.duplicate_field()
                && let Some(other) = self.recorder.sibling(node, name)
            {
                self.aliases.extend([node, other]);
            }
        }
    }

    /// Hides each present field. The service cannot start without it if the read fails.
    fn find_required(&mut self) {
        for node in self.recorder.ids() {
            if self.is_over() {
                return;
            }
            let step = self
                .recorder
                .with(node, |node| (node.is_present && !node.is_optional).then_some(node.step));
            let Some(step) = step else { continue };
            let Err(error) = self.probe(Probe::Hidden(node)) else { continue };
            // Without an alias that is present, another field than the main one is missing.
            let is_missed = match (step, error.missing_field()) {
                (Step::Field(name), Some(missing)) => name == missing,
                (Step::Field(_) | Step::Root, _) => true,
                (Step::Element, _) => false,
            };
            if is_missed {
                self.required.insert(node);
            }
        }
    }
}

/// Returns the keys that one read without probes has requested, as not required and of any type.
pub(super) fn observed(recorder: &Recorder, prefix: &str) -> RecordedKeys {
    let mut recorded = keys_of(recorder, prefix, &HashSet::new());
    for key in &mut recorded.keys {
        key.value_type = ValueType::Any;
    }
    recorded
}

fn keys_of(recorder: &Recorder, prefix: &str, required: &HashSet<NodeId>) -> RecordedKeys {
    let mut recorded = RecordedKeys::default();
    for node in recorder.ids() {
        let key = key_of(recorder, prefix, node);
        let (value_type, is_open) = recorder.with(node, |node| (node.value_type, node.is_open));
        if is_open || value_type.is_none() {
            recorded.open.push(if key.is_empty() { String::new() } else { format!("{key}.") });
        }
        if !key.is_empty() {
            let value_type = value_type.unwrap_or(ValueType::Any);
            recorded.keys.push(ContractKey { key, value_type, required: required.contains(&node) });
        }
    }
    for key in recorder.referenced() {
        recorded.keys.push(ContractKey { key, value_type: ValueType::Any, required: false });
    }
    recorded
}

/// Spells the key of a node as files do: `page-size` for the field `page_size`.
fn key_of(recorder: &Recorder, prefix: &str, node: NodeId) -> String {
    let mut key = prefix.to_owned();
    for node in recorder.path(node) {
        match recorder.with(node, |node| node.step) {
            Step::Root => {}
            Step::Element => key.push_str("[]"),
            Step::Field(name) => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(&name.replace('_', "-"));
            }
        }
    }
    key
}
