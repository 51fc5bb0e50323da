//! What a push changes for each application, compared with the content before it.
//!
//! Applications with instances or with an entry are named. All others are held together, as `*`, if a shared file changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use headwater_rollout::Name;
use headwater_rollout::bucket;
use headwater_rollout::open::{Change, Headcount};
use headwater_rollout::state::{Branch, Content};

use crate::check::{self, DirectoryCache};
use crate::fleet::Instance;
use crate::model::{Label, PropertySource, Query, SHARED_APPLICATION};
use crate::render;
use crate::resolve::{self, Differences};
use crate::snapshot::Snapshot;
use crate::tree::TreeError;

/// The most applications without an instance that a rollout names. More of them are held as `*`.
const IDLE_APPLICATION_COUNT_MAX: usize = 500;

/// The two contents of a branch, and who uses them.
pub struct Comparison<'c> {
    /// The content before the push.
    pub old: &'c Snapshot,
    /// The content after it.
    pub new: &'c Snapshot,
    /// The overrides of the server.
    pub overrides: Option<&'c PropertySource>,
    /// The connected instances that follow the branch, under any of its labels.
    pub instances: &'c [Instance],
    /// The instances of other replicas that do the same.
    pub others: &'c [RemoteInstances],
    /// The rollouts of the branch.
    pub branch: Option<&'c Branch>,
    /// True if the stable revision has a plan file, whose limits and checks may concern applications without witnesses.
    pub has_plan_file: bool,
}

/// The instances that follow one environment at another replica, as it reports them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteInstances {
    /// With the default label.
    pub query: Query,
    /// Each instance by its number, and whether it acknowledges. An instance of several replicas counts once.
    pub listed: Vec<(u32, bool)>,
    /// Instances that the replica only counts.
    pub unlisted: Headcount,
}

/// The number by which replicas recognise an instance of an application. It is a hash of its name.
pub fn short_key(name: &str) -> u32 {
    (bucket::key("", "", name) >> 32) as u32
}

/// What a push changes at one branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BranchChanges {
    /// In the order of their names.
    pub changes: Vec<Change>,
    /// True if a file changed that every application shares.
    pub is_shared: bool,
    headcounts: BTreeMap<Name, Headcount>,
}

impl BranchChanges {
    /// The instances whose environment changes, of one application.
    pub fn headcount(&self, application: &str) -> Headcount {
        self.headcounts.get(application).copied().unwrap_or_default()
    }
}

/// Finds what a push changes. Without instances, entries and a plan file the result is empty, and costs nothing. Blocking.
///
/// # Errors
/// When a source cannot be read.
pub fn changes(comparison: &Comparison<'_>) -> Result<BranchChanges, TreeError> {
    let has_entries = comparison.branch.is_some_and(|own| own.entries().next().is_some());
    let has_instances = !comparison.instances.is_empty() || !comparison.others.is_empty();
    if !has_instances && !has_entries && !comparison.has_plan_file {
        return Ok(BranchChanges::default());
    }
    let old = check::at_label_of(comparison.new, comparison.old);
    let mut sides = SidesReader::new(comparison, &old);
    let affected = sides.differing()?;
    let headcounts = headcounts(&affected, comparison);
    let is_watched = has_entries
        || headcounts.values().any(|own| own.acknowledging > 0)
        || comparison.has_plan_file && headcounts.values().any(|own| own.instances > 0);
    let selection = select(&affected, comparison.branch, &headcounts, is_watched);
    let mut changes = Vec::new();
    for (application, profiles) in selection.named {
        let (before, after) = match is_watched {
            true => sides.contents(application, &affected.queries)?,
            // They are served at once, and nothing has to be compared later.
            false => (None, Some(Content::of(application.as_bytes()))),
        };
        let profiles = profiles.iter().map(|profile| Name::from(&**profile)).collect();
        changes.push(Change { application: Name::from(&**application), profiles, before, after });
    }
    Ok(BranchChanges { changes, is_shared: selection.is_shared, headcounts })
}

/// The environments that differ.
#[derive(Default)]
struct Differing {
    queries: HashSet<Query>,
    /// The profiles of each application.
    applications: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    is_shared: bool,
}

impl Differing {
    fn add(&mut self, query: Query) {
        for name in query.application_names() {
            if name == SHARED_APPLICATION {
                self.is_shared = true;
            }
            let profiles = self.applications.entry(Arc::from(name)).or_default();
            profiles.insert(Arc::clone(&query.profiles));
        }
        self.queries.insert(query);
    }
}

/// The applications that a rollout names.
struct Selection<'a> {
    named: Vec<(&'a Arc<str>, &'a BTreeSet<Arc<str>>)>,
    is_shared: bool,
}

fn select<'a>(
    affected: &'a Differing,
    branch: Option<&Branch>,
    headcounts: &BTreeMap<Name, Headcount>,
    is_watched: bool,
) -> Selection<'a> {
    let is_in_use = |name: &str| {
        headcounts.contains_key(name) || branch.is_some_and(|own| own.has_own_entry(name))
    };
    let (used, idle): (Vec<_>, Vec<_>) =
        affected.applications.iter().partition(|(name, _)| is_in_use(name));
    let is_shared = affected.is_shared || idle.len() > IDLE_APPLICATION_COUNT_MAX;
    if is_watched && is_shared {
        return Selection { named: used, is_shared };
    }
    let is_application = |(name, _): &(&Arc<str>, _)| ***name != *SHARED_APPLICATION;
    let mut named: Vec<_> =
        used.into_iter().chain(idle.into_iter().filter(is_application)).collect();
    named.sort_by_key(|(name, _)| Arc::clone(name));
    Selection { named, is_shared: is_watched && is_shared }
}

/// The instances of each application. An instance of several replicas counts once.
fn headcounts(affected: &Differing, comparison: &Comparison<'_>) -> BTreeMap<Name, Headcount> {
    let mut names: BTreeMap<(&str, u32), bool> = BTreeMap::new();
    for instance in comparison.instances {
        let query = Query { label: Label::Default, ..instance.query.clone() };
        if affected.queries.contains(&query) {
            for application in instance.query.application_names() {
                let key = (application, short_key(&instance.name));
                *names.entry(key).or_default() |= instance.is_witness;
            }
        }
    }
    let mut counts: BTreeMap<Name, Headcount> = BTreeMap::new();
    for RemoteInstances { query, listed, unlisted } in comparison.others {
        if affected.queries.contains(query) {
            for application in query.application_names() {
                for (key, is_witness) in listed {
                    *names.entry((application, *key)).or_default() |= is_witness;
                }
                let count = counts.entry(Name::from(application)).or_default();
                count.instances += unlisted.instances;
                count.acknowledging += unlisted.acknowledging;
            }
        }
    }
    for ((application, _), is_witness) in names {
        let count = counts.entry(Name::from(application)).or_default();
        count.instances += 1;
        count.acknowledging += u64::from(is_witness);
    }
    counts
}

/// Applications and profiles, in order.
type EnvironmentNames = BTreeSet<(Arc<str>, Arc<str>)>;

/// Reads environments on both sides of a push.
struct SidesReader<'c> {
    comparison: &'c Comparison<'c>,
    before: EnvironmentReader<'c>,
    after: EnvironmentReader<'c>,
}

impl<'c> SidesReader<'c> {
    fn new(comparison: &'c Comparison<'c>, old: &'c Snapshot) -> Self {
        let overrides = comparison.overrides;
        Self {
            comparison,
            before: EnvironmentReader::new(old, overrides),
            after: EnvironmentReader::new(comparison.new, overrides),
        }
    }

    /// The environments that differ, among those that the change can affect and those of instances.
    fn differing(&mut self) -> Result<Differing, TreeError> {
        let (old, new) = (self.before.snapshot, self.after.snapshot);
        let differences = Differences::between(old, new)?;
        let known = check::affected_environments(new, old, &differences)?;
        let used = self.comparison.instances.iter();
        let used = used.map(|own| Query { label: Label::Default, ..own.query.clone() });
        let others = self.comparison.others.iter().map(|own| own.query.clone());
        let queries: HashSet<Query> = known.into_iter().chain(used).chain(others).collect();
        let mut differing = Differing::default();
        for query in queries {
            if self.before.fingerprint(&query)? != self.after.fingerprint(&query)? {
                differing.add(query);
            }
        }
        Ok(differing)
    }

    /// The content of an application on both sides: the environments of all profiles that files mention. It does not depend
    /// on the instances, so that the same content is recognised later. Only if none of these differs, environments that
    /// instances follow are added.
    fn contents(
        &mut self,
        application: &Arc<str>,
        differing: &HashSet<Query>,
    ) -> Result<(Option<Content>, Option<Content>), TreeError> {
        let before = self.before.known_content(application)?;
        let after = self.after.known_content(application)?;
        if before != after {
            return Ok((Some(before), Some(after)));
        }
        let has_name =
            |query: &&Query| query.application_names().any(|name| *name == **application);
        let others = differing.iter().filter(has_name);
        let names =
            others.map(|query| (Arc::clone(&query.application), Arc::clone(&query.profiles)));
        let names: EnvironmentNames = names.collect();
        Ok((Some(self.before.content(&names)?), Some(self.after.content(&names)?)))
    }
}

/// Reads environments of one side, each once.
struct EnvironmentReader<'c> {
    snapshot: &'c Snapshot,
    overrides: Option<&'c PropertySource>,
    directories: DirectoryCache,
    fingerprints: HashMap<Query, Arc<[u8]>>,
}

impl<'c> EnvironmentReader<'c> {
    fn new(snapshot: &'c Snapshot, overrides: Option<&'c PropertySource>) -> Self {
        let (directories, fingerprints) = (DirectoryCache::default(), HashMap::new());
        Self { snapshot, overrides, directories, fingerprints }
    }

    /// The content of an application: the environments of all profiles that files mention.
    fn known_content(&mut self, application: &Arc<str>) -> Result<Content, TreeError> {
        let profiles = check::known_profiles(application, self.snapshot)?.into_iter();
        let names = profiles.map(|profile| (Arc::clone(application), Arc::from(profile)));
        self.content(&names.collect())
    }

    /// The content of these environments.
    fn content(&mut self, names: &EnvironmentNames) -> Result<Content, TreeError> {
        let mut bytes = Vec::new();
        for (application, profiles) in names {
            let (application, profiles) = (Arc::clone(application), Arc::clone(profiles));
            let query = Query { application, profiles, label: Label::Default };
            for name in [&query.application, &query.profiles] {
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(0);
            }
            bytes.extend_from_slice(&self.fingerprint(&query)?);
        }
        Ok(Content::of(&bytes))
    }

    /// A short text that differs if an instance would receive something else.
    fn fingerprint(&mut self, query: &Query) -> Result<Arc<[u8]>, TreeError> {
        if let Some(known) = self.fingerprints.get(query) {
            return Ok(Arc::clone(known));
        }
        let text: Arc<[u8]> = self.read(query)?.into_bytes().into();
        self.fingerprints.insert(query.clone(), Arc::clone(&text));
        Ok(text)
    }

    fn read(&mut self, query: &Query) -> Result<String, TreeError> {
        let mut sources: Vec<PropertySource> = self.overrides.cloned().into_iter().collect();
        for index in resolve::choose(self.snapshot, query).unwrap_or_default() {
            let member = &self.snapshot.members[index];
            let searched = self.directories.of(member, query)?;
            let resolved = resolve::resolve_in(member, &member.tree, query, searched)?;
            match resolved.outcome {
                Ok(found) => sources.extend(found),
                Err(problem) => return Ok(format!("broken {}", problem.message)),
            }
        }
        Ok(render::digest(&sources).to_string())
    }
}

#[cfg(test)]
mod tests;
