//! The paths in the body of a webhook, and the applications that they belong to (docs/protocol.md#15-webhooks). Pure.

use serde_json::{Map, Value};

use crate::percent;

/// The path that stands for all applications, where a git host does not list the files of a push.
const EVERYTHING: &str = "application.yml";
/// The longest file name from which applications are derived, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The most applications in an answer.
const APPLICATION_COUNT_MAX: usize = 1_000;

/// A function that returns the first value of a header.
type Header<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// Returns the changed paths in a JSON body, in the formats of the known git hosts. Returns an empty list for an
/// unknown format, and `None` if the body is not a JSON object.
pub(super) fn paths(header: &Header<'_>, body: &[u8]) -> Option<Vec<String>> {
    let body: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let found = github(header, &body)
        .or_else(|| generic(&body))
        .or_else(|| other(header, &body))
        .unwrap_or_default();
    Some(found)
}

/// Returns the fields `path` of a form, from the query string and the body, or `None` without any. A single field may
/// be a comma-separated list.
pub(super) fn form(query: &str, body: &[u8]) -> Option<Vec<String>> {
    let body = std::str::from_utf8(body).ok()?;
    let fields = query.split('&').chain(body.split('&'));
    let mut paths = Vec::new();
    for field in fields.filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        if decoded(key)? == "path" {
            paths.push(decoded(value)?);
        }
    }
    match &paths[..] {
        [] => None,
        [one] => Some(one.split(',').map(|path| path.trim().to_owned()).collect()),
        _ => Some(paths),
    }
}

/// Returns the applications that files belong to, each once, in the order of their first occurrence.
pub(super) fn applications(paths: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut known = std::collections::HashSet::new();
    for name in paths.iter().filter_map(|path| stem(path)) {
        let ends = name.match_indices('-').map(|(at, _)| at).rev();
        for end in std::iter::once(name.len()).chain(ends).filter(|end| *end > 0) {
            if found.len() == APPLICATION_COUNT_MAX {
                return found;
            }
            let application = match &name[..end] {
                "application" => "*",
                application => application,
            };
            if known.insert(application) {
                found.push(application.to_owned());
            }
        }
    }
    found
}

/// Returns the file name of a path without its extension, or `None` for a path without a usable file name.
fn stem(path: &str) -> Option<&str> {
    let name = path.rsplit(['/', '\\']).next()?;
    if matches!(name, "." | "..") || name.len() > NAME_BYTES_MAX {
        return None;
    }
    Some(name.rsplit_once('.').map_or(name, |(stem, _)| stem))
}

fn github(header: &Header<'_>, body: &Map<String, Value>) -> Option<Vec<String>> {
    (header("x-github-event") == Some("push")).then(|| commits(body)).flatten()
}

fn generic(body: &Map<String, Value>) -> Option<Vec<String>> {
    match body.get("path")? {
        Value::String(path) => Some(vec![path.clone()]),
        Value::Array(paths) => Some(texts(paths).collect()),
        _ => None,
    }
}

fn other(header: &Header<'_>, body: &Map<String, Value>) -> Option<Vec<String>> {
    const OF_COMMITS: [(&str, &str); 3] = [
        ("x-gitlab-event", "Push Hook"),
        ("x-git-oschina-event", "Push Hook"),
        ("x-gogs-event", "push"),
    ];
    let is = |name: &str, wanted: &str| header(name) == Some(wanted);
    let is_list = |value: Option<&Value>| value.is_some_and(Value::is_array);
    let of_commits = OF_COMMITS.iter().filter(|(name, event)| is(name, event));
    let of_commits = of_commits.filter_map(|_| commits(body)).next();
    of_commits.or_else(|| {
        let is_gitea = is("x-gitea-event", "push") && is_list(body.get("commits"));
        let is_bitbucket_cloud = (is("x-event-key", "repo:push")
            || is("x-event-key", "pullrequest:fulfilled"))
            && header("x-hook-uuid").is_some_and(|id| !id.trim().is_empty())
            && is_list(body.get("push").and_then(|push| push.get("changes")));
        let is_bitbucket_server = header("x-request-id").is_some_and(|id| !id.trim().is_empty())
            && (is("x-event-key", "pr:merged")
                || is("x-event-key", "repo:refs_changed") && is_list(body.get("changes")));
        (is_gitea || is_bitbucket_cloud || is_bitbucket_server).then(|| vec![EVERYTHING.to_owned()])
    })
}

/// Returns the paths that the commits added, removed or modified, or `None` if there are none.
fn commits(body: &Map<String, Value>) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    for commit in body.get("commits")?.as_array()? {
        for kind in ["added", "removed", "modified"] {
            let touched = commit.get(kind).and_then(Value::as_array);
            paths.extend(touched.into_iter().flat_map(|paths| texts(paths)));
        }
    }
    (!paths.is_empty()).then_some(paths)
}

fn texts(values: &[Value]) -> impl Iterator<Item = String> + '_ {
    values.iter().filter_map(Value::as_str).map(str::to_owned)
}

/// Decodes a field of a form, in which `+` stands for a space.
fn decoded(text: &str) -> Option<String> {
    percent::decode(&text.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &[&str]) {
        assert_eq!(applications(&[path.to_owned()]), expected, "{path}");
    }

    #[test]
    fn a_file_belongs_to_each_application_that_its_name_may_begin_with() {
        check("foo-bar-dev.yml", &["foo-bar-dev", "foo-bar", "foo"]);
        check("foo.properties", &["foo"]);
        check("application.yml", &["*"]);
        check("application-local.yml", &["application-local", "*"]);
        check("foo/application.yml", &["*"]);
        check("a\\b\\foo-dev.yml", &["foo-dev", "foo"]);
        check("../x/foo.yml", &["foo"]);
        check("foo", &["foo"]);
        check("foo.tar.gz", &["foo.tar"]);
        check("-foo.yml", &["-foo"]);
        for path in ["", "/", "a/..", "."] {
            check(path, &[]);
        }
    }

    #[test]
    fn names_are_bounded() {
        let dashes = |count: usize| "-".repeat(count);
        assert!(applications(&[format!("a{}", dashes(300))]).is_empty());
        let many: Vec<String> =
            (0..100).map(|number| format!("a{number}{}.yml", dashes(100))).collect();
        assert_eq!(applications(&many).len(), APPLICATION_COUNT_MAX);
    }

    #[test]
    fn forms_have_paths() {
        let form = |query: &str, body: &str| form(query, body.as_bytes());
        let list = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
        assert_eq!(form("", "path=foo.yml"), list(&["foo.yml"]));
        assert_eq!(form("", "path=a&x=y&path=b%2Fc+d"), list(&["a", "b/c d"]));
        assert_eq!(form("path=a", "path=b"), list(&["a", "b"]));
        assert_eq!(form("", "path=a,+b"), list(&["a", "b"]));
        assert_eq!(form("", "path=a,b&path=c"), list(&["a,b", "c"]));
        assert_eq!(form("", "x=y"), None);
        assert_eq!(form("", "path=%zz"), None);
        assert_eq!(form("", "path=%+1"), None);
        assert_eq!(form("", ""), None);
    }

    #[test]
    fn bodies_of_unexpected_types_contain_no_paths() {
        let none = |_: &str| None;
        let push = |name: &str| (name == "x-github-event").then_some("push");
        for (body, expected) in [
            ("{}", Some(0)),
            ("{\"path\": 1}", Some(0)),
            ("{\"path\": [1, \"a\", null]}", Some(1)),
            ("{\"path\": []}", Some(0)),
            ("[]", None),
            ("null", None),
            ("{", None),
            ("", None),
        ] {
            assert_eq!(paths(&none, body.as_bytes()).map(|paths| paths.len()), expected, "{body}");
        }
        for body in ["{\"commits\": 1}", "{\"commits\": [1]}", "{\"commits\": [{\"added\": 1}]}"] {
            assert_eq!(paths(&push, body.as_bytes()), Some(Vec::new()), "{body}");
        }
        let deep = format!("{{\"path\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(paths(&none, deep.as_bytes()), None);
    }
}
