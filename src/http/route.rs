//! From a request's path to what it asks for: the shapes of Spring's paths and of our own, as one pure function.
//!
//! Nothing is looked up by what stands here; a name becomes a tree entry or a reference, never a path of the machine.
//! The checks are for a clean 400 (specification, section 1).

use std::sync::Arc;

use crate::access::Action;
use crate::model::{Label, Query, items};

/// The longest path of a request, in bytes.
pub const PATH_BYTES_MAX: usize = 8 * 1024;
/// The most names or profiles in one request.
pub const ITEM_COUNT_MAX: usize = 64;

/// What a search path reads as a wildcard: nobody's name, or a request could choose directories by a pattern.
const WILDCARDS: [char; 2] = ['*', '?'];

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// R1 and R2: an environment.
    Environment(Query),
    /// R3 and R4: an environment in a flat form.
    Flat(Query, Form),
    /// R5 and R6: a file.
    File(Query, String),
    /// R5 with an empty path: there is no such file.
    NoFile,
    /// R7: there is no key yet.
    Crypto(Crypto),
    /// A repository that is hosted here, by its name without `.git`.
    Git(String, Git),
    /// R8: somebody says that something was pushed.
    Monitor,
    /// One of our own resources, or of the actuator's.
    Own(Own),
}

/// What git asks of a repository; the paths are git's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Git {
    /// `GET …/info/refs?service=…`
    Refs,
    /// `POST …/git-upload-pack`
    UploadPack,
    /// `POST …/git-receive-pack`
    ReceivePack,
}

/// The flat forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `.properties`
    Properties,
    /// `.yml` and `.yaml`
    Yaml,
    /// `.json`
    Json,
}

/// The requests that need a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crypto {
    /// `GET /encrypt/status`
    Status,
    /// `GET /key…`
    Key,
    /// `POST /encrypt…` and `/decrypt…`
    Post,
}

/// Our own resources, and the actuator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// `/`
    Index,
    /// `/livez`, `/actuator/health/liveness`
    Live,
    /// `/readyz`
    Ready,
    /// `/actuator/health/readiness`
    ActuatorReady,
    /// `/actuator/health`
    Health,
    /// `/metrics`
    Metrics,
    /// `/openapi.json`
    OpenApi,
    /// `/-/environments`
    Environments,
    /// `/-/problems`
    Problems,
    /// `/-/instances`
    Instances,
    /// `/-/replicas`
    Replicas,
    /// `/-/events`
    Events,
}

/// Our own resources with their paths: those below the prefix, then those beside it.
pub const OWN: [(&str, Own); 13] = [
    ("/", Own::Index),
    ("/openapi.json", Own::OpenApi),
    ("/-/environments", Own::Environments),
    ("/-/problems", Own::Problems),
    ("/-/instances", Own::Instances),
    ("/-/replicas", Own::Replicas),
    ("/-/events", Own::Events),
    ("/livez", Own::Live),
    ("/readyz", Own::Ready),
    ("/metrics", Own::Metrics),
    ("/actuator/health", Own::Health),
    ("/actuator/health/liveness", Own::Live),
    ("/actuator/health/readiness", Own::ActuatorReady),
];

/// What git asks for, with the name of a repository in it.
pub const GIT: [(&str, Git); 3] = [
    ("/-/git/{repository}.git/info/refs", Git::Refs),
    ("/-/git/{repository}.git/git-upload-pack", Git::UploadPack),
    ("/-/git/{repository}.git/git-receive-pack", Git::ReceivePack),
];

/// Where git hosts say that something was pushed; no prefix stands before it.
const MONITOR: &str = "/monitor";

/// First segments that name no application.
const RESERVED: [&str; 6] = ["-", "actuator", "encrypt", "decrypt", "key", "monitor"];

impl Route {
    /// What a caller needs to be allowed.
    pub fn action(&self) -> Action {
        match self {
            Self::Environment(_) | Self::Flat(..) | Self::File(..) | Self::NoFile => {
                Action::ReadEnvironment
            }
            Self::Crypto(_) => Action::ReadOverview,
            Self::Git(_, Git::ReceivePack) => Action::Push,
            Self::Git(_, Git::Refs | Git::UploadPack) => Action::ReadRepository,
            Self::Monitor => Action::Notify,
            Self::Own(
                Own::Environments
                | Own::Problems
                | Own::Instances
                | Own::Replicas
                | Own::Events
                | Own::Metrics,
            ) => Action::ReadOverview,
            Self::Own(_) => Action::ReadHealth,
        }
    }

    /// The methods that it has, as `Allow` lists them.
    pub fn allows_post(&self) -> bool {
        matches!(
            self,
            Self::Crypto(Crypto::Post)
                | Self::Git(_, Git::UploadPack | Git::ReceivePack)
                | Self::Monitor
        )
    }
}

/// Why a path asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: it is not a path that can be asked for.
    Invalid,
    /// 404: there is nothing of this shape.
    NoHandler,
}

/// Reads a raw path (as it was sent, without the query) below a prefix.
///
/// # Errors
/// [`Refusal`] says which status it deserves.
pub fn route(path: &str, prefix: &str, use_default_label: bool) -> Result<Route, Refusal> {
    if path.len() > PATH_BYTES_MAX || !path.starts_with('/') {
        return Err(Refusal::Invalid);
    }
    let segments = decode(path)?;
    let trailing_slash = path.ends_with('/') && !segments.is_empty();
    let plain = format!("/{}", segments.join("/"));
    let own = |path: &str| OWN.iter().find(|(known, _)| *known == path).map(|(_, own)| *own);
    if let Some(found) = own(&plain).filter(|own| beside_prefix(*own) && !trailing_slash) {
        return Ok(Route::Own(found));
    }
    if plain == MONITOR && !trailing_slash {
        return Ok(Route::Monitor);
    }
    let prefix: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    let Some(segments) = strip(&segments, &prefix) else {
        return Err(Refusal::NoHandler);
    };
    let below = format!("/{}", segments.join("/"));
    let is_index = segments.is_empty();
    if let Some(found) =
        own(&below).filter(|own| !beside_prefix(*own) && (is_index || !trailing_slash))
    {
        return Ok(Route::Own(found));
    }
    match segments.first() {
        None => Err(Refusal::NoHandler),
        Some(first) if RESERVED.contains(&first.as_str()) => reserved(segments),
        Some(_) => spring(segments, trailing_slash, use_default_label),
    }
}

/// A label out of a query string; an empty one is the default.
///
/// # Errors
/// When it is no name.
pub fn label(text: &str) -> Result<Label, Refusal> {
    let decoded = percent_decode(text).ok_or(Refusal::Invalid)?;
    match decoded.as_str() {
        "" => Ok(Label::Default),
        name => Ok(Label::Named(label_name(name)?)),
    }
}

/// Whether one of our own resources stands where it does whatever the prefix is.
pub(super) fn beside_prefix(own: Own) -> bool {
    !matches!(
        own,
        Own::Index
            | Own::OpenApi
            | Own::Environments
            | Own::Problems
            | Own::Instances
            | Own::Replicas
            | Own::Events
    )
}

fn strip<'a>(segments: &'a [String], prefix: &[&str]) -> Option<&'a [String]> {
    let below = segments.get(prefix.len()..)?;
    segments.iter().zip(prefix).all(|(segment, prefix)| segment == prefix).then_some(below)
}

fn reserved(segments: &[String]) -> Result<Route, Refusal> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts[..] {
        ["encrypt", "status"] => Ok(Route::Crypto(Crypto::Status)),
        ["encrypt" | "decrypt"] => Ok(Route::Crypto(Crypto::Post)),
        ["encrypt" | "decrypt", name, profiles] => {
            query(name, profiles, None)?;
            Ok(Route::Crypto(Crypto::Post))
        }
        ["-", "git", repository, "info", "refs"] => git(repository, Git::Refs),
        ["-", "git", repository, "git-upload-pack"] => git(repository, Git::UploadPack),
        ["-", "git", repository, "git-receive-pack"] => git(repository, Git::ReceivePack),
        ["key"] => Ok(Route::Crypto(Crypto::Key)),
        ["key", name, profiles] => {
            query(name, profiles, None)?;
            Ok(Route::Crypto(Crypto::Key))
        }
        _ => Err(Refusal::NoHandler),
    }
}

/// The name is looked up among those that are hosted; nothing else is ever made of it.
fn git(repository: &str, asked: Git) -> Result<Route, Refusal> {
    let name = repository.strip_suffix(".git").ok_or(Refusal::NoHandler)?;
    Ok(Route::Git(name.to_owned(), asked))
}

fn spring(
    segments: &[String],
    trailing_slash: bool,
    use_default_label: bool,
) -> Result<Route, Refusal> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts[..] {
        [_, _, _] if trailing_slash => Ok(Route::NoFile),
        [_] | [_, _] if trailing_slash => Err(Refusal::NoHandler),
        [flat] => flat_form(flat, None),
        [label, flat] if names_a_format(flat) => flat_form(flat, Some(label)),
        [name, profiles] => Ok(Route::Environment(query(name, profiles, None)?)),
        [name, profiles, path] if use_default_label => {
            Ok(Route::File(query(name, profiles, None)?, file_path(path)?))
        }
        [name, profiles, label] => Ok(Route::Environment(query(name, profiles, Some(label))?)),
        [name, profiles, label, ..] => {
            let query = query(name, profiles, Some(label))?;
            let path = file_path(&parts[3..].join("/"))?;
            Ok(if trailing_slash { Route::NoFile } else { Route::File(query, path) })
        }
        [] => Err(Refusal::NoHandler),
    }
}

/// The decoded segments; empty ones collapse. `%2F` stands in one segment, so that only a label can hold it.
fn decode(path: &str) -> Result<Vec<String>, Refusal> {
    if path.contains([';', '\\']) || path.chars().any(char::is_control) {
        return Err(Refusal::Invalid);
    }
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode(segment).filter(|text| !text.contains(['\\', '\0'])))
        .collect::<Option<_>>()
        .ok_or(Refusal::Invalid)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (high, low) = (hex(*after.first()?)?, hex(*after.get(1)?)?);
            bytes.push(high << 4 | low);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// `{name}-{profiles}.{extension}`, cut at the last dash (R3 and R4).
fn flat_form(segment: &str, label: Option<&str>) -> Result<Route, Refusal> {
    let (stem, form) = split_form(segment).ok_or(Refusal::NoHandler)?;
    let (name, profiles) = stem.rsplit_once('-').ok_or(Refusal::NoHandler)?;
    Ok(Route::Flat(query(name, profiles, label)?, form))
}

fn split_form(segment: &str) -> Option<(&str, Form)> {
    let (stem, extension) = segment.rsplit_once('.')?;
    let form = match extension {
        "properties" => Form::Properties,
        "yml" | "yaml" => Form::Yaml,
        "json" => Form::Json,
        _ => return None,
    };
    Some((stem, form))
}

/// Whether a segment has the extension of a flat form in it, between word boundaries: then it is no list of profiles
/// (R1), though it may still be no flat form.
fn names_a_format(segment: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    [".yml", ".yaml", ".properties", ".json"].iter().any(|extension| {
        segment.match_indices(extension).any(|(at, _)| {
            segment[..at].ends_with(is_word)
                && !segment[at + extension.len()..].starts_with(is_word)
        })
    })
}

fn query(name: &str, profiles: &str, label: Option<&str>) -> Result<Query, Refusal> {
    if name.contains('/') || profiles.contains('/') {
        return Err(Refusal::Invalid);
    }
    let name = checked(name)?;
    if name.contains(WILDCARDS) {
        return Err(Refusal::NoHandler);
    }
    check_profiles(profiles)?;
    if items(&name).count() > ITEM_COUNT_MAX || items(profiles).count() > ITEM_COUNT_MAX {
        return Err(Refusal::Invalid);
    }
    let label = match label {
        None => Label::Default,
        Some(label) => Label::Named(label_name(label)?),
    };
    Ok(Query { application: name.into(), profiles: Arc::from(profiles), label })
}

fn label_name(text: &str) -> Result<Arc<str>, Refusal> {
    let name = checked(text)?;
    match name.contains(WILDCARDS) {
        true => Err(Refusal::NoHandler),
        false => Ok(name.into()),
    }
}

fn file_path(path: &str) -> Result<String, Refusal> {
    checked(path)
}

/// A name, label or file path after validation, with `(_)` read as `/` (specification, 1.1).
fn checked(text: &str) -> Result<String, Refusal> {
    check(text)?;
    if text.contains('%') {
        let once = percent_decode(text).ok_or(Refusal::Invalid)?;
        check(&once)?;
        check(once.replace('\\', "/").replace("//", "/").trim_start_matches(|c: char| c <= ' '))?;
    }
    let replaced = text.replace("(_)", "/");
    match replaced.starts_with('/') || replaced.chars().any(is_unprintable) {
        true => Err(Refusal::Invalid),
        false => Ok(replaced),
    }
}

fn check(text: &str) -> Result<(), Refusal> {
    match text.contains("..") || text.contains('#') || text.starts_with("(_)") {
        true => Err(Refusal::Invalid),
        false => Ok(()),
    }
}

/// Control characters and those that change the direction of text.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Each item of letters, digits and `-_.+@`, beginning and ending with a letter or digit; an empty list passes.
fn check_profiles(profiles: &str) -> Result<(), Refusal> {
    if profiles.is_empty() {
        return Ok(());
    }
    check(profiles)?;
    let valid = |item: &str| {
        item.starts_with(char::is_alphanumeric)
            && item.ends_with(char::is_alphanumeric)
            && item.chars().all(|c| c.is_alphanumeric() || "-_.+@".contains(c))
    };
    match profiles.split(',').all(valid) {
        true => Ok(()),
        false => Err(Refusal::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let (path, use_default_label) = match path.strip_suffix('?') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let show = |query: &Query| {
            let label = query.label.name().unwrap_or("-");
            format!("{} {} {label}", query.application, query.profiles)
        };
        let actual = match route(path, "", use_default_label) {
            Ok(Route::Environment(query)) => format!("env {}", show(&query)),
            Ok(Route::Flat(query, form)) => format!("{form:?} {}", show(&query)),
            Ok(Route::File(query, path)) => format!("file {} {path}", show(&query)),
            Ok(Route::NoFile) => "no file".to_owned(),
            Ok(Route::Crypto(crypto)) => format!("{crypto:?}"),
            Ok(Route::Git(repository, asked)) => format!("git {repository} {asked:?}"),
            Ok(Route::Monitor) => "monitor".to_owned(),
            Ok(Route::Own(own)) => format!("{own:?}"),
            Err(Refusal::Invalid) => "400".to_owned(),
            Err(Refusal::NoHandler) => "404".to_owned(),
        };
        assert_eq!(actual, expected, "{path}");
    }

    #[test]
    fn paths_have_springs_shapes() {
        check("/foo/dev", "env foo dev -");
        check("/foo/dev,prod", "env foo dev,prod -");
        check("/foo/dev%2Cprod", "env foo dev,prod -");
        check("/%66oo/dev", "env foo dev -");
        check("//foo//dev", "env foo dev -");
        check("/foo/dev/1.0.0", "env foo dev 1.0.0");
        check("/a/b/c-d.yml", "env a b c-d.yml");
        check("/foo/dev/feature(_)x", "env foo dev feature/x");
        check("/foo/dev/feature%2Fx", "env foo dev feature/x");
        check("/foo/dev.yml", "404");
        check("/foo/x.yml.dev", "404");
        check("/foo/dev.ymlx", "env foo dev.ymlx -");
        check("/foo/dev-yml", "env foo dev-yml -");
        check("/my-app-dev.yml", "Yaml my-app dev -");
        check("/main/my-app-dev.properties", "Properties my-app dev main");
        check("/foo-.yml", "Yaml foo  -");
        check("/-dev.yml", "Yaml  dev -");
        check("/foo/dev/main/a/b.txt", "file foo dev main a/b.txt");
        check("/foo/dev/plain.txt?", "file foo dev - plain.txt");
        check("/foo/dev/main/", "no file");
        check("/monitor", "monitor");
        check("/monitor/", "404");
        check("/monitor/dev", "404");
        for path in
            ["/foo.yml", "/foo-dev", "/foo-dev.xml", "/foo", "/foo/", "/foo/dev/", "/foo-dev.yml/"]
        {
            check(path, "404");
        }
    }

    #[test]
    fn git_asks_under_the_name_of_a_repository() {
        for (path, asked) in GIT {
            check(&path.replace("{repository}", "shop"), &format!("git shop {asked:?}"));
        }
        check("/-/git/a%2Fb.git/info/refs", "git a/b Refs");
        for path in
            ["/-/git/shop/info/refs", "/-/git/shop.git/HEAD", "/-/git/shop.git/objects/info/packs"]
        {
            check(path, "404");
        }
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for path in [
            "/foo/dev/main/../../../../etc/passwd",
            "/foo/dev/main/..%2f..%2fx",
            "/foo/bar%2Ffoo/main",
            "/foo/dev/main/..%252f..%252fx",
            "/foo/dev/main/%2e%2e/x",
            "/foo/dev/main/....//x",
            "/foo/dev/main/..%5c..%5cx",
            "/foo/dev/main/a%00b",
            "/foo/dev/..(_)..",
            "/foo/dev/..%28_%29..(_)/x",
            "/..(_)..(_)etc/passwd/main",
            "/(_)etc/dev/main",
            "/foo/dev/(_)etc/x",
            "/foo%23/dev/main",
            "/foo/dev/main%23",
            "/foo/dev%23/main",
            "/foo/..%255c..%255c/main",
            "/foo/%2e%2e%252f/main",
            "/foo/bar%252Ffoo/main",
            "/foo/..(_)../main",
            "/foo/../main",
            "/foo/%7Bapplication%7D/main",
            "/foo/d*v/main",
            "/foo/dev,,x/main",
            "/foo/dev,",
            "/foo/-dev",
            "/foo/%zz",
            "/foo/%ff",
            "/foo;x=y/dev",
        ] {
            check(path, "400");
        }
        check("/f*o/dev/main", "404");
        check("/f%3Fo/dev/main", "404");
        check("/foo/dev/m*", "404");
    }

    #[test]
    fn the_prefix_stands_before_all_but_health() {
        assert!(matches!(route("/cfg/foo/dev", "/cfg", false), Ok(Route::Environment(_))));
        assert_eq!(route("/foo/dev", "/cfg", false), Err(Refusal::NoHandler));
        assert_eq!(route("/cfg", "/cfg", false), Ok(Route::Own(Own::Index)));
        assert_eq!(route("/cfg/", "/cfg", false), Ok(Route::Own(Own::Index)));
        assert_eq!(route("/monitor", "/cfg", false), Ok(Route::Monitor));
        assert_eq!(route("/cfg/monitor", "/cfg", false), Err(Refusal::NoHandler));
        assert_eq!(route("/livez", "/cfg", false), Ok(Route::Own(Own::Live)));
        assert_eq!(route("/cfg/-/problems", "/cfg", false), Ok(Route::Own(Own::Problems)));
        assert_eq!(route("/actuator/health", "/cfg", false), Ok(Route::Own(Own::Health)));
    }
}
