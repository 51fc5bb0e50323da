//! What `git ls-remote --symref` lists, read into where the references of the remote stand.

use crate::source::git::copy::Standing;

/// Reads a list. Peeled tags and what is neither branch, tag nor `HEAD` is passed over.
pub(super) fn standing(listed: &str) -> Standing {
    let mut standing = Standing::default();
    let mut head_id = None;
    for line in listed.lines() {
        let Some((id, name)) = line.split_once('\t') else { continue };
        if name == "HEAD" {
            match id.strip_prefix("ref: ") {
                Some(branch) => standing.head = Some(branch.to_owned()),
                None => head_id = Some(id),
            }
        } else if is_asked_for(name) {
            standing.references.insert(name.to_owned(), id.to_owned());
        }
    }
    standing.head = standing.head.filter(|head| head.starts_with("refs/heads/"));
    if standing.head.is_none() {
        standing.head = head_id.and_then(|id| branch_at(&standing, id));
    }
    standing
}

fn is_asked_for(name: &str) -> bool {
    (name.starts_with("refs/heads/") || name.starts_with("refs/tags/")) && !name.ends_with("^{}")
}

/// A remote that does not say what its `HEAD` is, or is checked out without a branch, is at one of its branches all the
/// same: the usual ones are looked at first.
fn branch_at(standing: &Standing, id: &str) -> Option<String> {
    let is_at = |name: &&str| standing.references.get(*name).is_some_and(|at| at == id);
    let usual = ["refs/heads/main", "refs/heads/master"];
    let branches = standing.references.keys().map(String::as_str);
    let branches = branches.filter(|name| name.starts_with("refs/heads/"));
    usual.into_iter().chain(branches).find(is_at).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listed: &str, head: Option<&str>, names: &[&str]) {
        let found = standing(&listed.replace(' ', "\t").replace("ref:\t", "ref: "));
        assert_eq!(found.head.as_deref(), head);
        assert_eq!(found.references.keys().collect::<Vec<_>>(), names);
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
