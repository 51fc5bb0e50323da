//! The report about the instances of one application.

use std::collections::BTreeMap;

use headwater_rollout::Name;
use headwater_rollout::bucket::bucket;
use headwater_rollout::deal::EXACT_COUNT_MAX;
use headwater_rollout::evidence::{Counts, Group, Sighting, Standing};
use headwater_rollout::plan::{Plan, Reach};

use super::MemberMemory;
use super::memory::{Memory, Moment};

/// The most bad and suspect instances that are listed beside those with the lowest buckets.
pub(super) const SUSPECT_COUNT_MAX: usize = 256;
/// The attribute of the version.
const VERSION: &str = "version";

/// One instance while it is decided whether it is listed.
struct Row<'m> {
    bucket: u32,
    key: u64,
    memory: &'m Memory,
}

impl Row<'_> {
    /// The order of bad and suspect instances. The reports of witnesses come first.
    fn gravity(&self) -> (bool, bool, u32, u64) {
        let is_bad = self.memory.is_bad();
        let is_witness = self.memory.standing == Standing::Accepted;
        (!(is_bad && is_witness), !is_bad, self.bucket, self.key)
    }
}

/// Reports about the instances of a member.
pub(super) fn of(member: &MemberMemory, salt: u64, plan: &Plan, moment: &Moment<'_>) -> Group {
    let row = |(key, memory): (&u64, _)| Row { bucket: bucket(*key, salt), key: *key, memory };
    let rows = member.instances.iter().map(row);
    let (mut present, absent): (Vec<Row<'_>>, Vec<Row<'_>>) =
        rows.partition(|row| row.memory.is_present());
    let mut suspects: Vec<Row<'_>> =
        absent.into_iter().filter(|row| row.memory.is_gone()).collect();
    let mut unlisted = Counts::default();
    if present.len() > EXACT_COUNT_MAX {
        present.select_nth_unstable_by_key(EXACT_COUNT_MAX, |row| (row.bucket, row.key));
        for row in present.split_off(EXACT_COUNT_MAX) {
            if row.memory.is_suspect() {
                suspects.push(row);
            } else {
                unlisted.add(&sighting(&row, &[], moment));
            }
        }
    }
    present.sort_unstable_by_key(|row| (row.bucket, row.key));
    suspects.sort_unstable_by_key(Row::gravity);
    if suspects.len() > SUSPECT_COUNT_MAX {
        let surplus = suspects.split_off(SUSPECT_COUNT_MAX);
        // Only connected instances are counted.
        let present = surplus.iter().filter(|row| row.memory.is_present());
        present.for_each(|row| unlisted.add(&sighting(row, &[], moment)));
    }
    let attributes = attribute_names(plan);
    let listed = present.iter().chain(&suspects);
    let others = member.instances.values().map(|memory| memory.incidents(moment.look));
    Group {
        listed: listed.map(|row| sighting(row, &attributes, moment)).collect(),
        unlisted,
        other_incidents: member.left_incidents + others.sum::<u64>(),
    }
}

fn sighting(row: &Row<'_>, attributes: &[&str], moment: &Moment<'_>) -> Sighting {
    let memory = row.memory;
    let instance = moment.instances.get(memory.seen.index).map(|own| own.instance);
    let instance = instance.filter(|_| !memory.has_left(moment.look));
    let attribute = |name: &&str| Some((Name::from(*name), instance?.attributes.get(name)?.into()));
    let attributes: BTreeMap<Name, Name> = attributes.iter().filter_map(attribute).collect();
    let incarnation = instance.and_then(|own| own.incarnation.as_deref());
    Sighting {
        key: row.key,
        name: memory.name.clone(),
        seen: u64::try_from(memory.seen.last_seen).unwrap_or_default(),
        incarnation: incarnation.map_or(0, number),
        standing: memory.standing,
        attributes,
        given: memory.given(),
    }
}

/// The attributes that a plan needs.
fn attribute_names(plan: &Plan) -> Vec<&str> {
    let of_stages = plan.stages.iter().filter_map(|stage| match &stage.reach {
        Reach::Attribute { name, .. } => Some(&**name),
        Reach::Size(_) | Reach::All => None,
    });
    let of_canaries = plan.canaries.attributes.iter().map(|(name, _)| &**name);
    let mut names: Vec<&str> = std::iter::once(VERSION)
        .chain(plan.by.as_deref())
        .chain(of_canaries)
        .chain(of_stages)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A number that two incarnations hardly share: the 32-bit hash FNV-1a. It is never that of an unknown incarnation.
fn number(incarnation: &str) -> u32 {
    const BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(PRIME);
    incarnation.bytes().fold(BASIS, mix).max(1)
}
