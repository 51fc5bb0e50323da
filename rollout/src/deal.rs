//! The canaries of a stage: how many of each application, and which.
//!
//! Invariant: a dealt bound is never below the one before, and no name is taken away, so that no instance leaves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::Name;
use crate::bucket::{Bound, bucket, first_bytes, mix};
use crate::plan::{CanaryFilter, Reach, Size};

/// The most canaries of an application whose bound lies exactly behind the last of them. Replicas report at least as many
/// of the lowest buckets.
pub const EXACT_COUNT_MAX: usize = 256;

/// An instance that can become a canary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Instance {
    pub key: u64,
    pub name: Name,
    /// Set if the instance provides evidence: it acknowledges, or the plan has a check.
    pub is_witness: bool,
    /// Names and values, such as `zone` and `eu-1`, or `version` and `1.4`.
    pub attributes: BTreeMap<Name, Name>,
}

impl Instance {
    pub fn version(&self) -> Option<&Name> {
        self.attributes.get("version")
    }
}

/// One application of a rollout, with its canaries so far.
#[derive(Debug, Clone)]
pub struct Application {
    pub name: Name,
    pub salt: u64,
    /// The number of connected instances.
    pub instance_count: u64,
    /// The number of those that provide evidence.
    pub witness_count: u64,
    /// At least the connected instances with the [`EXACT_COUNT_MAX`] lowest buckets.
    pub known: Vec<Instance>,
    pub bound: Bound,
    pub named: BTreeSet<u64>,
}

/// The canaries of one application after a deal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dealt {
    pub bound: Bound,
    pub named: BTreeSet<u64>,
    /// The number of canaries that provide evidence, as far as they are connected now.
    pub wanted: u32,
}

impl Dealt {
    /// The entries that a state needs for it.
    pub fn entry_count(&self) -> usize {
        self.named.len() + usize::from(self.bound != Bound::NONE)
    }
}

/// The stage to deal.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'s> {
    pub reach: &'s Reach,
    /// Attributes of this stage and of those before.
    pub admitted: &'s [(Name, Name)],
    /// `None` except for the first stage.
    pub filter: Option<&'s CanaryFilter>,
    /// The order of applications depends on it.
    pub salt: u64,
    /// Set if many instances are missing. A bound behind the lowest of the others would include too many of them when
    /// they come back, so that canaries are named.
    pub is_partial: bool,
    /// The number of entries that the state has room for. Applications beyond it wait for the last stage.
    pub room: usize,
}

/// Deals the canaries of a stage. The applications share one budget: each receives one canary, in the order of a hash,
/// before any receives a second.
pub fn deal(stage: &Stage<'_>, applications: &[Application]) -> BTreeMap<Name, Dealt> {
    let size = match stage.reach {
        Reach::All => {
            let everyone =
                |own: &Application| Dealt { bound: Bound::EVERYONE, ..unchanged(own, stage) };
            return applications.iter().map(|own| (own.name.clone(), everyone(own))).collect();
        }
        Reach::Attribute { .. } => {
            return applications
                .iter()
                .map(|own| (own.name.clone(), unchanged(own, stage)))
                .collect();
        }
        Reach::Size(size) => *size,
    };
    let mut order: Vec<&Application> = applications.iter().collect();
    order.sort_by_key(|own| (mix(first_bytes(&[&own.name]) ^ stage.salt), own.name.clone()));
    let total = applications.iter().map(|own| own.instance_count).sum();
    let allotments = allot(size, total, &order, stage);
    let mut room = stage.room;
    let mut dealt = BTreeMap::new();
    for (application, count) in order.into_iter().zip(allotments) {
        let before = unchanged(application, stage);
        let mut after =
            if count == 0 { before.clone() } else { select(application, count, size, stage) };
        let added = after.entry_count().saturating_sub(before.entry_count());
        if added > room {
            after = before;
        } else {
            room -= added;
        }
        dealt.insert(application.name.clone(), after);
    }
    dealt
}

/// Raises the bound of an application whose canaries have vanished, so that the wanted number is connected again. `None`
/// if that would make more canaries than twice the number, or if no further instance is known.
pub fn replace(
    application: &Application,
    wanted: u32,
    gone_count: u64,
    stage: &Stage<'_>,
) -> Option<Dealt> {
    let Reach::Size(size) = *stage.reach else {
        return None;
    };
    if gone_count > u64::from(wanted) {
        return None;
    }
    let limit = most(application.instance_count, size);
    let dealt = select(application, u64::from(wanted).min(limit), size, stage);
    let is_more = dealt.wanted > unchanged(application, stage).wanted;
    is_more.then_some(dealt)
}

/// The number of canaries of each application, in the given order.
fn allot(size: Size, total: u64, order: &[&Application], stage: &Stage<'_>) -> Vec<u64> {
    let limits: Vec<u64> = order
        .iter()
        .map(|own| {
            let is_listed = own.known.len() as u64 == own.instance_count || stage.filter.is_some();
            let eligible = if is_listed {
                own.known.iter().filter(|one| is_eligible(one, stage)).count() as u64
            } else {
                own.witness_count
            };
            eligible.min(most(own.instance_count, size))
        })
        .collect();
    let mut allotments = vec![0; order.len()];
    let mut budget = size.of(total);
    while budget > 0 {
        let before = budget;
        for (allotment, limit) in allotments.iter_mut().zip(&limits) {
            if budget > 0 && *allotment < *limit {
                *allotment += 1;
                budget -= 1;
            }
        }
        if budget == before {
            break;
        }
    }
    allotments
}

/// The most canaries of an application: half of it, or the share of the stage if the plan says more than a half. A
/// service survives the failure of all canaries, unless its plan accepts less.
fn most(instance_count: u64, size: Size) -> u64 {
    match size {
        Size::Share(share) if share.is_majority() => {
            let millionths = u128::from(instance_count) * u128::from(share.millionths());
            (millionths / 1_000_000) as u64
        }
        _ => instance_count / 2,
    }
}

fn is_eligible(instance: &Instance, stage: &Stage<'_>) -> bool {
    let attribute = |name: &str| instance.attributes.get(name).cloned();
    let admits = |filter: &CanaryFilter| filter.admits(&instance.name, attribute);
    instance.is_witness && stage.filter.is_none_or(admits)
}

/// The canaries of an application with `count` of them connected.
fn select(application: &Application, count: u64, size: Size, stage: &Stage<'_>) -> Dealt {
    if count > EXACT_COUNT_MAX as u64 {
        let bound = Bound::share(count, application.instance_count);
        let wanted = u32::try_from(count).unwrap_or(u32::MAX);
        let named = application.named.clone();
        return Dealt { bound: bound.max(application.bound), named, wanted };
    }
    let limit = most(application.instance_count, size) as usize;
    let mut lowest: Vec<&Instance> = application.known.iter().collect();
    lowest.sort_by_key(|own| (bucket(own.key, application.salt), own.key));
    lowest.truncate(EXACT_COUNT_MAX);
    let is_narrowed = stage.filter.is_some_and(|filter| !filter.is_empty());
    let mut selection = Selection {
        application,
        stage,
        bound: application.bound,
        named: application.named.clone(),
    };
    if !is_narrowed && !stage.is_partial {
        selection.widen(&lowest, count as usize, limit);
    }
    // A filter names its canaries, and so does an application whose lowest buckets provide no evidence.
    selection.name(&lowest, count as usize);
    if stage.filter.is_some() {
        selection.name_versions(&lowest, limit);
    }
    let wanted = selection.witness_count(&lowest) as u32;
    Dealt { bound: selection.bound, named: selection.named, wanted }
}

/// The canaries of one application while they are selected.
struct Selection<'s> {
    application: &'s Application,
    stage: &'s Stage<'s>,
    bound: Bound,
    named: BTreeSet<u64>,
}

impl Selection<'_> {
    fn is_canary(&self, instance: &Instance) -> bool {
        is_canary(instance, self.application.salt, self.bound, &self.named, self.stage)
    }

    fn witness_count(&self, among: &[&Instance]) -> usize {
        among.iter().filter(|own| own.is_witness && self.is_canary(own)).count()
    }

    /// Raises the bound until it and the names include `count` witnesses. The bound stays where it is if it would then
    /// include more instances than `limit`.
    fn widen(&mut self, lowest: &[&Instance], count: usize, limit: usize) {
        let before = self.bound;
        for instance in lowest {
            if self.witness_count(lowest) >= count {
                break;
            }
            self.bound = self.bound.max(Bound::behind(bucket(instance.key, self.application.salt)));
        }
        let reached = lowest.iter().filter(|own| self.is_canary(own)).count();
        if reached > limit.max(1) {
            self.bound = before;
        }
    }

    /// Names the eligible instances with the lowest buckets until there are `count` witnesses.
    fn name(&mut self, lowest: &[&Instance], count: usize) {
        for instance in lowest.iter().filter(|own| is_eligible(own, self.stage)) {
            if self.witness_count(lowest) >= count {
                return;
            }
            if !self.is_canary(instance) {
                self.named.insert(instance.key);
            }
        }
    }

    /// Names one instance of each version that has two and no canary yet.
    fn name_versions(&mut self, lowest: &[&Instance], limit: usize) {
        let mut versions: BTreeMap<&Name, Vec<&Instance>> = BTreeMap::new();
        for instance in lowest.iter().filter(|own| is_eligible(own, self.stage)) {
            if let Some(version) = instance.version() {
                versions.entry(version).or_default().push(instance);
            }
        }
        let mut versions: Vec<_> = versions.into_values().filter(|own| own.len() > 1).collect();
        versions.sort_by_key(|own| Reverse(own.len()));
        for instances in versions {
            let reached = lowest.iter().filter(|own| self.is_canary(own)).count();
            if reached < limit && !instances.iter().any(|own| self.is_canary(own)) {
                self.named.insert(instances[0].key);
            }
        }
    }
}

/// The application as it is, for a stage that adds nothing to it.
fn unchanged(application: &Application, stage: &Stage<'_>) -> Dealt {
    let Application { bound, named, salt, .. } = application;
    let is_counted =
        |own: &&Instance| own.is_witness && is_canary(own, *salt, *bound, named, stage);
    let wanted = application.known.iter().filter(is_counted).count() as u32;
    Dealt { bound: *bound, named: named.clone(), wanted }
}

fn is_canary(
    instance: &Instance,
    salt: u64,
    bound: Bound,
    named: &BTreeSet<u64>,
    stage: &Stage<'_>,
) -> bool {
    let has = |(name, value): &(Name, Name)| instance.attributes.get(name) == Some(value);
    bound.includes(bucket(instance.key, salt))
        || named.contains(&instance.key)
        || stage.admitted.iter().any(has)
}

#[cfg(test)]
mod tests;
