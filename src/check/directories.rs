//! The search directories of the queries that a check resolves. The profiles of an application nearly always share them, and
//! a wildcard looks into every directory that it matches.

use std::collections::HashMap;
use std::ptr;

use crate::model::Query;
use crate::resolve::SearchDirectories;
use crate::snapshot::Member;
use crate::tree::TreeError;

/// The search directories of the last query of each member.
///
/// Invariant: the members outlive the cache, so that an address belongs to one member.
#[derive(Default)]
pub struct DirectoryCache(HashMap<*const Member, (Query, SearchDirectories)>);

impl DirectoryCache {
    /// The search directories of a query in the tree of a member.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn of(&mut self, member: &Member, query: &Query) -> Result<SearchDirectories, TreeError> {
        let known = self.0.get(&ptr::from_ref(member));
        if let Some((_, directories)) =
            known.filter(|(last, _)| SearchDirectories::are_shared(member, query, last))
        {
            return Ok(directories.clone());
        }
        let directories = SearchDirectories::of(member, &member.tree, query)?;
        self.0.insert(ptr::from_ref(member), (query.clone(), directories.clone()));
        Ok(directories)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{commit, layout};
    use super::*;
    use crate::model::Label;
    use crate::source::memory::MemorySource;

    const FILES: &str = "//- team-a/orders/orders.yml\na: 1\n//- team-b/orders/prod/orders.yml\na: 2\n\
                         //- team-b/billing/billing.yml\na: 3\n//- prod/application.yml\na: 4\n";

    #[test]
    fn cached_directories_are_those_of_each_query() {
        for paths in [
            &["*/{application}"][..],
            &["{profile}", "*/{application}"],
            &["*/{application}/{profile}"],
            &["**"],
        ] {
            let source = MemorySource::new(layout(paths));
            let snapshot = commit(&source, FILES);
            let member = &snapshot.members[0];
            let mut cache = DirectoryCache::default();
            for application in ["orders", "billing", "orders"] {
                for profiles in ["default", "prod", "", "prod,dev"] {
                    let query = Query {
                        application: application.into(),
                        profiles: profiles.into(),
                        label: Label::Default,
                    };
                    let expected = SearchDirectories::of(member, &member.tree, &query).unwrap();
                    assert_eq!(cache.of(member, &query).unwrap(), expected, "{paths:?} {query:?}");
                }
            }
        }
    }
}
