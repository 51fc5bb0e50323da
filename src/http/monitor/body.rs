//! What a hook's body says was touched, and which applications Spring would tell (specification, 17.1). Pure.

use serde_json::{Map, Value};

/// What stands for everything where a git host does not say which files were touched.
const EVERYTHING: &str = "application.yml";
/// The longest name of a file that names applications, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The most applications that an answer names.
const APPLICATION_COUNT_MAX: usize = 1_000;

/// The first value of a header.
type Header<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// The paths that a JSON body says were touched; none where it says nothing that is known. `None` if it is no JSON object.
pub(super) fn paths(header: &Header<'_>, body: &[u8]) -> Option<Vec<String>> {
    let body: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let found = github(header, &body)
        .or_else(|| generic(&body))
        .or_else(|| other(header, &body))
        .unwrap_or_default();
    Some(found)
}

/// The paths of a form, in its query string or its body; `None` if it has none. One alone may be a list with commas.
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

/// The applications that files belong to, in the order in which they are named first, each once.
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

/// The name of a path's file without its extension; none if it is no file's.
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

/// All that the commits added, removed and modified; `None` if that is nothing.
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

/// A field of a form: percent signs and `+`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
                bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
                rest = &after[2..];
                continue;
            }
            other => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &[&str]) {
        assert_eq!(applications(&[path.to_owned()]), expected, "{path}");
    }

    #[test]
    fn a_file_belongs_to_all_that_its_name_may_begin_with() {
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
    fn what_is_not_of_the_right_kind_says_nothing() {
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
