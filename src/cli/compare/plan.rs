//! Which environments are compared.

use std::collections::BTreeSet;

use anyhow::bail;

use super::CompareArguments;
use super::answer::KnownLabel;
use super::subject::HeadwaterSide;
use crate::model::{Label, Query, SHARED_APPLICATION};

/// All environments, label by label.
pub(super) struct ComparePlan {
    pub(super) labels: Vec<LabelPlan>,
}

/// The environments of one label.
pub(super) struct LabelPlan {
    pub(super) label: Label,
    /// The revision that Headwater has for it.
    pub(super) revision: String,
    pub(super) queries: Vec<Query>,
}

impl ComparePlan {
    /// # Errors
    /// When Headwater's side cannot be read, has none of the labels, or knows nothing that was asked for.
    pub(super) async fn of(
        subject: &HeadwaterSide,
        arguments: &CompareArguments,
    ) -> anyhow::Result<Self> {
        let mut labels = Vec::new();
        for label in labels_of(subject, arguments).await? {
            match subject.catalog(&label).await? {
                Some(known) => {
                    let queries = queries(&known, &label, arguments);
                    labels.push(LabelPlan { label, revision: known.revision, queries });
                }
                // The default branch may be missing, and a label of one source of a composite may be no label of the whole.
                None if arguments.labels.is_empty() => {}
                None => bail!("{} has no label {label}. Nothing was compared", subject.name()),
            }
        }
        let plan = Self { labels };
        if plan.environment_count() == 0 {
            bail!("{} has no environment to compare", subject.name());
        }
        Ok(plan)
    }

    pub(super) fn environment_count(&self) -> usize {
        self.labels.iter().map(|label| label.queries.len()).sum()
    }
}

/// The named labels. Without any, the default label and all branches and tags.
async fn labels_of(
    subject: &HeadwaterSide,
    arguments: &CompareArguments,
) -> anyhow::Result<Vec<Label>> {
    let named = |name: &String| Label::Named(name.as_str().into());
    if !arguments.labels.is_empty() {
        return Ok(arguments.labels.iter().map(named).collect());
    }
    let names = subject.label_names().await?;
    Ok(std::iter::once(Label::Default).chain(names.iter().map(named)).collect())
}

fn queries(known: &KnownLabel, label: &Label, arguments: &CompareArguments) -> Vec<Query> {
    let KnownLabel { catalog, outside, .. } = known;
    let wanted: BTreeSet<&str> = arguments.applications.iter().map(String::as_str).collect();
    let mut queries = catalog.queries(label);
    let applications = || {
        std::iter::once(SHARED_APPLICATION).chain(catalog.applications.iter().map(String::as_str))
    };
    let mut add = |application: &str, profiles: &str| {
        let (application, profiles) = (application.into(), profiles.into());
        queries.push(Query { application, profiles, label: label.clone() });
    };
    for profiles in &arguments.profiles {
        applications().for_each(|application| add(application, profiles));
    }
    outside.iter().for_each(|application| add(application, "default"));
    // An application without a file of its own is compared if it was named.
    for application in wanted.iter().filter(|name| !applications().any(|known| known == **name)) {
        let known = std::iter::once("default").chain(catalog.profiles.iter().map(String::as_str));
        let profiles = known.chain(arguments.profiles.iter().map(String::as_str));
        profiles.for_each(|profiles| add(application, profiles));
    }
    let mut seen = BTreeSet::new();
    queries.retain(|query| {
        let is_wanted = wanted.is_empty() || wanted.contains(&*query.application);
        is_wanted && seen.insert((query.application.clone(), query.profiles.clone()))
    });
    queries
}
