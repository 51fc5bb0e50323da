//! Parsing of `git ls-remote --symref` into the references of the remote. Pure.

use crate::source::git::RECORD_REFERENCE;
use crate::source::git::reference::ReferenceList;

/// Parses a list. Ignores peeled tags, and all references except branches, tags, `HEAD` and the record of rewinds.
pub(super) fn references(listed: &str) -> ReferenceList {
    let mut list = ReferenceList::default();
    let mut head_id = None;
    for line in listed.lines() {
        let Some((id, name)) = line.split_once('\t') else { continue };
        if name == "HEAD" {
            match id.strip_prefix("ref: ") {
                Some(branch) => list.head = Some(branch.to_owned()),
                None => head_id = Some(id),
            }
        } else if name == RECORD_REFERENCE {
            list.record = Some(id.to_owned());
        } else if is_asked_for(name) {
            list.names.insert(name.to_owned(), id.to_owned());
        }
    }
    list.head = list.head.filter(|head| head.starts_with("refs/heads/"));
    if list.head.is_none() {
        list.head = head_id.and_then(|id| branch_at(&list, id));
    }
    list
}

fn is_asked_for(name: &str) -> bool {
    (name.starts_with("refs/heads/") || name.starts_with("refs/tags/")) && !name.ends_with("^{}")
}

/// Finds a branch at the commit of `HEAD`, for a remote that does not report the branch of `HEAD` or has a detached
/// one. Prefers `main` and `master`.
fn branch_at(list: &ReferenceList, id: &str) -> Option<String> {
    let is_at = |name: &&str| list.names.get(*name).is_some_and(|at| at == id);
    let usual = ["refs/heads/main", "refs/heads/master"];
    let branches = list.names.keys().map(String::as_str);
    let branches = branches.filter(|name| name.starts_with("refs/heads/"));
    usual.into_iter().chain(branches).find(is_at).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listed: &str, head: Option<&str>, names: &[&str]) {
        let found = references(&listed.replace(' ', "\t").replace("ref:\t", "ref: "));
        assert_eq!(found.head.as_deref(), head);
        assert_eq!(found.names.keys().collect::<Vec<_>>(), names);
    }

    #[test]
    fn branches_tags_and_the_head_are_read() {
        check(
            "ref: refs/heads/live HEAD\n1 HEAD\n1 refs/heads/live\n2 refs/tags/v1\n1 refs/tags/v1^{}\n",
            Some("refs/heads/live"),
            &["refs/heads/live", "refs/tags/v1"],
        );
        check("1 refs/remotes/origin/HEAD\n1 refs/pull/1/head\n", None, &[]);
        check("", None, &[]);
    }

    #[test]
    fn a_head_that_says_no_branch_is_found_at_one() {
        let branches = "1 refs/heads/a\n1 refs/heads/master\n2 refs/heads/z\n";
        let names = ["refs/heads/a", "refs/heads/master", "refs/heads/z"];
        check(&format!("1 HEAD\n{branches}"), Some("refs/heads/master"), &names);
        check(&format!("2 HEAD\n{branches}"), Some("refs/heads/z"), &names);
        check(&format!("3 HEAD\n{branches}"), None, &names);
        check(&format!("ref: refs/other/x HEAD\n2 HEAD\n{branches}"), Some("refs/heads/z"), &names);
    }
}
