//! The paths under which a file is found through symbolic links.

use std::collections::BTreeSet;

use crate::tree::join;

/// The most paths of one file. A tree with links in a circle has any number of them.
const ALIAS_COUNT_MAX: usize = 100;

/// The path of a file, and the paths that lead to it through links. Each link is given with the path of its target. `None` if
/// there are more than [`ALIAS_COUNT_MAX`].
pub(super) fn aliases(path: &str, links: &[(String, String)]) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::from([path.to_owned()]);
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        for (link, target) in links {
            let Some(alias) = alias(&path, link, target) else { continue };
            if found.insert(alias.clone()) {
                open.push(alias);
            }
            if found.len() > ALIAS_COUNT_MAX {
                return None;
            }
        }
    }
    Some(found)
}

/// The path through a link, if the path is the link's target or below it.
fn alias(path: &str, link: &str, target: &str) -> Option<String> {
    if path == target {
        return Some(link.to_owned());
    }
    if target.is_empty() {
        return Some(join(link, path));
    }
    Some(join(link, path.strip_prefix(target)?.strip_prefix('/')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, links: &[(&str, &str)], expected: Option<&[&str]>) {
        let links: Vec<(String, String)> =
            links.iter().map(|(link, target)| ((*link).into(), (*target).into())).collect();
        let found = aliases(path, &links);
        let found = found.as_ref().map(|found| found.iter().map(String::as_str).collect());
        assert_eq!(found, expected.map(<[&str]>::to_vec), "{path}");
    }

    #[test]
    fn a_file_has_a_path_through_each_link() {
        check("a.yml", &[("b.yml", "c.yml")], Some(&["a.yml"]));
        check("a.yml", &[("b.yml", "a.yml")], Some(&["a.yml", "b.yml"]));
        check("real/a.yml", &[("services", "real")], Some(&["real/a.yml", "services/a.yml"]));
        check("really/a.yml", &[("services", "real")], Some(&["really/a.yml"]));
        check(
            "real/a.yml",
            &[("team/near", "real"), ("x.yml", "team/near/a.yml")],
            Some(&["real/a.yml", "team/near/a.yml", "x.yml"]),
        );
    }

    #[test]
    fn links_in_a_circle_have_no_end() {
        check("a.yml", &[("circle", "")], None);
        check("a/f.yml", &[("a/x", "b"), ("b/y", "a")], None);
    }
}
