//! The instances that a push concerns, compared with the push.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::BranchChange;
use crate::fleet::{Acknowledgement, Instance, Instances, Outcome};
use crate::model::{Query, Revision};
use crate::push::arrival::{ChangedEnvironment, Sighting, Standing};
use crate::push::repository::HostedRepository;
use crate::push::updates;
use crate::source::git::{Incoming, MovedReference};
use crate::terminal;

/// The most revisions that one push compares with its own. Instances acknowledge a few.
const REVISION_COUNT_MAX: usize = 256;

/// The changed environments of a push, and what is known of the revisions that instances acknowledge.
pub(super) struct Observation {
    repository: Arc<HostedRepository>,
    environments: Vec<ObservedEnvironment>,
    /// The environments by all queries with which instances follow them.
    by_query: HashMap<Query, usize>,
    /// Whether a revision has the pushed commit of a reference, by the positions of references.
    compared: HashMap<(usize, Revision), bool>,
    references: Vec<MovedReference>,
}

struct ObservedEnvironment {
    names: ChangedEnvironment,
    /// The position of its branch.
    reference: usize,
}

impl Observation {
    /// Selects the changed environments of branches that have moved.
    pub(super) fn new(
        repository: &Arc<HostedRepository>,
        moved: &[MovedReference],
        changes: &[BranchChange],
    ) -> Self {
        let mut observation = Self {
            repository: Arc::clone(repository),
            environments: Vec::new(),
            by_query: HashMap::new(),
            compared: HashMap::new(),
            references: Vec::new(),
        };
        for moved in moved {
            let change = changes.iter().find(|change| change.reference == moved.name);
            let Some(change) = change.filter(|_| moved.new.is_some()) else { continue };
            observation.add(moved, change, changes.len() > 1);
        }
        observation
    }

    fn add(&mut self, moved: &MovedReference, change: &BranchChange, is_one_of_several: bool) {
        let reference = self.references.len();
        self.references.push(moved.clone());
        let branch = updates::short(&moved.name).unwrap_or(&moved.name);
        for query in &change.environments {
            let environment = self.environments.len();
            let application = terminal::one_line(&query.application);
            let mut full = format!("{application}/{}", terminal::one_line(&query.profiles));
            if is_one_of_several {
                full = format!("{full} at {}", terminal::one_line(branch));
            }
            let names = ChangedEnvironment { application, full };
            self.environments.push(ObservedEnvironment { names, reference });
            for label in &change.labels {
                let query = Query { label: label.clone(), ..query.clone() };
                self.by_query.insert(query, environment);
            }
        }
    }

    /// Returns true if the push changes no environment.
    pub(super) fn is_empty(&self) -> bool {
        self.environments.is_empty()
    }

    pub(super) fn names(&self) -> Vec<ChangedEnvironment> {
        self.environments.iter().map(|it| it.names.clone()).collect()
    }

    /// Returns the instances of the changed environments, as they are now.
    pub(super) async fn look(&mut self, instances: &Instances) -> Vec<Sighting> {
        let found = instances.snapshot(|_, query| self.by_query.contains_key(query));
        self.compare(&found).await;
        let now = Timestamp::now();
        found.iter().filter_map(|instance| self.sighting(instance, now)).collect()
    }

    fn sighting(&self, instance: &Instance, now: Timestamp) -> Option<Sighting> {
        let environment = *self.by_query.get(&instance.query)?;
        Some(Sighting {
            environment,
            name: instance.name.clone(),
            standing: self.standing(environment, instance),
            is_witness: instance.is_witness,
            is_connected: instance.is_present(now),
        })
    }

    fn standing(&self, environment: usize, instance: &Instance) -> Standing {
        let Some(applied) = instance.applied.as_ref() else { return Standing::Behind };
        if !self.has_change(environment, instance, applied) {
            return Standing::Behind;
        }
        match applied.outcome {
            Outcome::Applied => Standing::Current,
            // An outcome of a later version is no success.
            _ => Standing::Rejected(instance.reason.as_ref().map(|it| it.as_str().to_owned())),
        }
    }

    /// Returns true if an acknowledgement is of the pushed content or of newer content.
    ///
    /// The digest decides where an instance had the content before: it receives no event, and acknowledges no newer
    /// revision.
    fn has_change(
        &self,
        environment: usize,
        instance: &Instance,
        applied: &Acknowledgement,
    ) -> bool {
        let reference = self.environments[environment].reference;
        let is_newer = self.compared.get(&(reference, applied.revision.clone()));
        is_newer == Some(&true)
            || self.repository.store.current_digests(&instance.query).contains(&applied.digest)
    }

    /// Compares the acknowledged revisions that are not known yet with the push.
    async fn compare(&mut self, found: &[Instance]) {
        let mut unknown: HashSet<(usize, Revision)> = HashSet::new();
        for instance in found {
            let environment = self.by_query.get(&instance.query);
            if let (Some(environment), Some(applied)) = (environment, &instance.applied) {
                let key = (self.environments[*environment].reference, applied.revision.clone());
                let is_new = !self.compared.contains_key(&key);
                if is_new && self.compared.len() + unknown.len() < REVISION_COUNT_MAX {
                    unknown.insert(key);
                }
            }
        }
        if unknown.is_empty() {
            return;
        }
        let (repository, references) = (Arc::clone(&self.repository), self.references.clone());
        let comparing = tokio::task::spawn_blocking(move || {
            let incoming = repository.incoming(None).ok()?;
            let compare = |(at, revision): (usize, Revision)| {
                let has_it = includes(&incoming, revision.as_str(), &references[at]);
                ((at, revision), has_it)
            };
            Some(unknown.into_iter().map(compare).collect::<Vec<_>>())
        });
        // A repository that cannot be read is read again at the next look.
        if let Ok(Some(compared)) = comparing.await {
            self.compared.extend(compared);
        }
    }
}

/// Returns true if a revision contains the pushed commit. A revision of several sources has one id for each of them.
/// The commits that a rewind leaves behind contain it as well, and do not count.
fn includes(incoming: &Incoming, revision: &str, moved: &MovedReference) -> bool {
    let Some(to) = &moved.new else { return false };
    let follows = |new: &str, old: &str| incoming.follows(new, old).unwrap_or(false);
    let is_left = |id: &str| moved.old.as_deref().is_some_and(|old| follows(old, id));
    revision.split(',').any(|id| id == to || (follows(id, to) && !is_left(id)))
}
