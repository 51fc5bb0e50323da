//! Routing: a pure function from the path of a request to a [`Route`]. Spring's paths overlap and are greedy, so their
//! order matters (docs/protocol.md#1-paths).
//!
//! Names are validated here so that an invalid one gets a clean 400. Security does not depend on it: a name is looked
//! up as a tree entry or as a reference, and never becomes a path on the machine.

use std::sync::Arc;

use crate::access::Operation;
use crate::model::{Label, Query, is_hex, items};
use crate::percent;
use crate::terminal::is_directional;

/// The longest path of a request, in bytes.
pub const PATH_BYTES_MAX: usize = 8 * 1024;
/// The most names or profiles in one request.
pub const ITEM_COUNT_MAX: usize = 64;

/// The length of the digest of a contract, in hexadecimal.
const DIGEST_LENGTH: usize = 64;

/// The wildcards of search paths. A name must not contain them, or a request could choose directories by a pattern.
const WILDCARDS: [char; 2] = ['*', '?'];

/// The resource that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// An environment, with or without a label.
    Environment(Query),
    /// An environment in a flat form, with or without a label.
    Flat(Query, FlatFormat),
    /// A file by its path, with or without a label.
    File(Query, String),
    /// A file with an empty path, which never exists.
    NoFile,
    /// A resource for encryption.
    Crypto(CryptoRoute),
    /// A hosted repository, by its name without `.git`.
    Git(String, GitRequest),
    /// The webhook for pushes.
    Monitor,
    /// The contracts of one application, one of them, or the keys that they read.
    Contract(ContractRoute),
    /// One rollout by its id.
    Rollout(String),
    /// A resource of Headwater itself or of Spring's actuator.
    Server(ServerRoute),
}

/// The three requests of git's smart HTTP protocol. Git defines the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitRequest {
    /// `GET …/info/refs?service=…`
    Refs,
    /// `POST …/git-upload-pack`
    UploadPack,
    /// `POST …/git-receive-pack`
    ReceivePack,
}

/// A resource of the contracts of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractRoute {
    pub application: String,
    pub resource: ContractResource,
}

/// The resources of the contracts of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContractResource {
    /// `/-/contracts/{application}`
    List,
    /// `/-/contracts/{application}/keys`
    Keys,
    /// `/-/contracts/{application}/{digest}`
    Contract(String),
}

/// The format of a flat form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlatFormat {
    /// `.properties`
    Properties,
    /// `.yml` and `.yaml`
    Yaml,
    /// `.json`
    Json,
}

/// The resources for encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CryptoRoute {
    /// `GET /encrypt/status`
    Status,
    /// `GET /key…`
    Key,
    /// `POST /encrypt…`
    Encrypt,
    /// `POST /decrypt…`
    Decrypt,
}

/// The resources of Headwater itself and of Spring's actuator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRoute {
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
    /// `/-/fleet`
    Fleet,
    /// `/-/fleet/history`
    FleetHistory,
    /// `/-/contracts`
    Contracts,
    /// `/-/rollouts`
    Rollouts,
    /// `/-/replicas`
    Replicas,
    /// `/-/audit`
    Audit,
    /// `/-/events`
    Events,
}

/// All server routes with their paths. The paths below the prefix come first.
pub const SERVER_ROUTES: [(&str, ServerRoute); 18] = [
    ("/", ServerRoute::Index),
    ("/openapi.json", ServerRoute::OpenApi),
    ("/-/environments", ServerRoute::Environments),
    ("/-/problems", ServerRoute::Problems),
    ("/-/instances", ServerRoute::Instances),
    ("/-/fleet", ServerRoute::Fleet),
    ("/-/fleet/history", ServerRoute::FleetHistory),
    ("/-/contracts", ServerRoute::Contracts),
    ("/-/rollouts", ServerRoute::Rollouts),
    ("/-/replicas", ServerRoute::Replicas),
    ("/-/audit", ServerRoute::Audit),
    ("/-/events", ServerRoute::Events),
    ("/livez", ServerRoute::Live),
    ("/readyz", ServerRoute::Ready),
    ("/metrics", ServerRoute::Metrics),
    ("/actuator/health", ServerRoute::Health),
    ("/actuator/health/liveness", ServerRoute::Live),
    ("/actuator/health/readiness", ServerRoute::ActuatorReady),
];

/// All requests of git with their paths.
pub const GIT_ROUTES: [(&str, GitRequest); 3] = [
    ("/-/git/{repository}.git/info/refs", GitRequest::Refs),
    ("/-/git/{repository}.git/git-upload-pack", GitRequest::UploadPack),
    ("/-/git/{repository}.git/git-receive-pack", GitRequest::ReceivePack),
];

/// The path of the webhook. The prefix does not apply to it.
pub(super) const MONITOR: &str = "/monitor";

/// First segments that are never the name of an application.
const RESERVED: [&str; 6] = ["-", "actuator", "encrypt", "decrypt", "key", "monitor"];

impl Route {
    /// Returns the action for which the caller needs permission.
    pub fn action(&self) -> Operation {
        match self {
            Self::Environment(_) | Self::Flat(..) => Operation::ReadEnvironment,
            Self::File(..) | Self::NoFile => Operation::ReadFile,
            Self::Crypto(CryptoRoute::Decrypt) => Operation::Unseal,
            Self::Crypto(CryptoRoute::Status | CryptoRoute::Key | CryptoRoute::Encrypt) => {
                Operation::Seal
            }
            Self::Git(_, GitRequest::ReceivePack) => Operation::Push,
            Self::Git(_, GitRequest::Refs | GitRequest::UploadPack) => Operation::ReadRepository,
            Self::Monitor => Operation::Notify,
            Self::Contract(_) | Self::Rollout(_) => Operation::ReadLists,
            Self::Server(
                ServerRoute::Environments
                | ServerRoute::Problems
                | ServerRoute::Instances
                | ServerRoute::Fleet
                | ServerRoute::FleetHistory
                | ServerRoute::Contracts
                | ServerRoute::Rollouts
                | ServerRoute::Events,
            ) => Operation::ReadLists,
            Self::Server(ServerRoute::Replicas) => Operation::ReadOverview,
            Self::Server(ServerRoute::Audit) => Operation::ReadAudit,
            Self::Server(ServerRoute::Metrics) => Operation::ReadMetrics,
            Self::Server(ServerRoute::Index | ServerRoute::OpenApi) => Operation::ReadIndex,
            Self::Server(
                ServerRoute::Live
                | ServerRoute::Ready
                | ServerRoute::ActuatorReady
                | ServerRoute::Health,
            ) => Operation::ReadHealth,
        }
    }

    /// Returns true for a route of `PUT` as well as of `GET` and `HEAD`.
    pub fn allows_put(&self) -> bool {
        let Self::Contract(ContractRoute { resource, .. }) = self else { return false };
        matches!(resource, ContractResource::Contract(_))
    }

    /// Returns true for a route of `GET` and `HEAD`.
    pub fn allows_get(&self) -> bool {
        !self.allows_post() || matches!(self, Self::Rollout(_))
    }

    /// Returns true for a route of `POST`.
    pub fn allows_post(&self) -> bool {
        matches!(
            self,
            Self::Crypto(CryptoRoute::Encrypt | CryptoRoute::Decrypt)
                | Self::Git(_, GitRequest::UploadPack | GitRequest::ReceivePack)
                | Self::Monitor
                | Self::Rollout(_)
        )
    }
}

/// A path that names no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteError {
    /// The path, a name in it or a parameter is not valid: 400.
    Invalid,
    /// No route has this shape: 404.
    NotFound,
}

/// Parses the raw path of a request, without its query string, below a prefix.
///
/// # Errors
/// [`RouteError`] for a path that names no resource.
pub fn route(path: &str, prefix: &str, use_default_label: bool) -> Result<Route, RouteError> {
    if path.len() > PATH_BYTES_MAX || !path.starts_with('/') {
        return Err(RouteError::Invalid);
    }
    let segments = decode(path)?;
    let trailing_slash = path.ends_with('/') && !segments.is_empty();
    let plain = format!("/{}", segments.join("/"));
    let server_route = |path: &str| {
        SERVER_ROUTES.iter().find(|(known, _)| *known == path).map(|(_, route)| *route)
    };
    if let Some(found) = server_route(&plain).filter(|it| ignores_prefix(*it) && !trailing_slash) {
        return Ok(Route::Server(found));
    }
    if plain == MONITOR && !trailing_slash {
        return Ok(Route::Monitor);
    }
    let prefix: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    let Some(segments) = strip(&segments, &prefix) else {
        return Err(RouteError::NotFound);
    };
    let below = format!("/{}", segments.join("/"));
    let is_index = segments.is_empty();
    if let Some(found) =
        server_route(&below).filter(|it| !ignores_prefix(*it) && (is_index || !trailing_slash))
    {
        return Ok(Route::Server(found));
    }
    match segments.first() {
        None => Err(RouteError::NotFound),
        Some(first) if RESERVED.contains(&first.as_str()) => reserved(segments),
        Some(_) => spring(segments, trailing_slash, use_default_label),
    }
}

/// Parses a label from a query string. An empty text is the default label.
///
/// # Errors
/// [`RouteError`] for a text that is not a valid name.
pub fn label(text: &str) -> Result<Label, RouteError> {
    let decoded = percent::decode(text).ok_or(RouteError::Invalid)?;
    match decoded.as_str() {
        "" => Ok(Label::Default),
        name => Ok(Label::Named(label_name(name)?)),
    }
}

/// Returns true if the path of a route does not begin with the prefix: health and metrics.
pub(super) fn ignores_prefix(route: ServerRoute) -> bool {
    !matches!(
        route,
        ServerRoute::Index
            | ServerRoute::OpenApi
            | ServerRoute::Environments
            | ServerRoute::Problems
            | ServerRoute::Instances
            | ServerRoute::Fleet
            | ServerRoute::FleetHistory
            | ServerRoute::Contracts
            | ServerRoute::Rollouts
            | ServerRoute::Replicas
            | ServerRoute::Events
    )
}

fn strip<'a>(segments: &'a [String], prefix: &[&str]) -> Option<&'a [String]> {
    let below = segments.get(prefix.len()..)?;
    segments.iter().zip(prefix).all(|(segment, prefix)| segment == prefix).then_some(below)
}

fn reserved(segments: &[String]) -> Result<Route, RouteError> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts[..] {
        ["encrypt", "status"] => Ok(Route::Crypto(CryptoRoute::Status)),
        ["encrypt"] => Ok(Route::Crypto(CryptoRoute::Encrypt)),
        ["decrypt"] => Ok(Route::Crypto(CryptoRoute::Decrypt)),
        ["encrypt", name, profiles] => {
            query(name, profiles, None)?;
            Ok(Route::Crypto(CryptoRoute::Encrypt))
        }
        ["decrypt", name, profiles] => {
            query(name, profiles, None)?;
            Ok(Route::Crypto(CryptoRoute::Decrypt))
        }
        ["-", "git", repository, "info", "refs"] => git(repository, GitRequest::Refs),
        ["-", "git", repository, "git-upload-pack"] => git(repository, GitRequest::UploadPack),
        ["-", "git", repository, "git-receive-pack"] => git(repository, GitRequest::ReceivePack),
        ["-", "contracts", application] => contract(application, ContractResource::List),
        ["-", "contracts", application, "keys"] => contract(application, ContractResource::Keys),
        ["-", "contracts", application, digest] if is_hex(digest, DIGEST_LENGTH) => {
            contract(application, ContractResource::Contract(digest.to_owned()))
        }
        ["-", "rollouts", id] => Ok(Route::Rollout(id.to_owned())),
        ["key"] => Ok(Route::Crypto(CryptoRoute::Key)),
        ["key", name, profiles] => {
            query(name, profiles, None)?;
            Ok(Route::Crypto(CryptoRoute::Key))
        }
        _ => Err(RouteError::NotFound),
    }
}

/// The name is only ever looked up among the hosted repositories, so it is not validated.
fn git(repository: &str, request: GitRequest) -> Result<Route, RouteError> {
    let name = repository.strip_suffix(".git").ok_or(RouteError::NotFound)?;
    Ok(Route::Git(name.to_owned(), request))
}

fn contract(application: &str, resource: ContractResource) -> Result<Route, RouteError> {
    const ANY_PROFILE: &str = "default";
    let application = query(application, ANY_PROFILE, None)?.application.to_string();
    Ok(Route::Contract(ContractRoute { application, resource }))
}

fn spring(
    segments: &[String],
    trailing_slash: bool,
    use_default_label: bool,
) -> Result<Route, RouteError> {
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match parts[..] {
        [_, _, _] if trailing_slash => Ok(Route::NoFile),
        [_] | [_, _] if trailing_slash => Err(RouteError::NotFound),
        [flat] => flat_form(flat, None),
        [label, flat] if contains_flat_extension(flat) => flat_form(flat, Some(label)),
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
        [] => Err(RouteError::NotFound),
    }
}

/// Decodes the segments of a path and drops empty ones. `%2F` does not split a segment, so a label can contain it.
fn decode(path: &str) -> Result<Vec<String>, RouteError> {
    if path.contains([';', '\\']) || path.chars().any(char::is_control) {
        return Err(RouteError::Invalid);
    }
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent::decode(segment).filter(|text| !text.contains(['\\', '\0'])))
        .collect::<Option<_>>()
        .ok_or(RouteError::Invalid)
}

/// Parses `{name}-{profiles}.{extension}`. The last `-` splits name and profiles.
fn flat_form(segment: &str, label: Option<&str>) -> Result<Route, RouteError> {
    let (stem, format) = split_format(segment).ok_or(RouteError::NotFound)?;
    let (name, profiles) = stem.rsplit_once('-').ok_or(RouteError::NotFound)?;
    Ok(Route::Flat(query(name, profiles, label)?, format))
}

fn split_format(segment: &str) -> Option<(&str, FlatFormat)> {
    let (stem, extension) = segment.rsplit_once('.')?;
    let format = match extension {
        "properties" => FlatFormat::Properties,
        "yml" | "yaml" => FlatFormat::Yaml,
        "json" => FlatFormat::Json,
        _ => return None,
    };
    Some((stem, format))
}

/// Returns true if a segment contains the extension of a flat form before a word boundary. Such a segment is not a list
/// of profiles, even if it does not parse as a flat form either.
fn contains_flat_extension(segment: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    [".yml", ".yaml", ".properties", ".json"].iter().any(|extension| {
        segment.match_indices(extension).any(|(at, _)| {
            segment[..at].ends_with(is_word)
                && !segment[at + extension.len()..].starts_with(is_word)
        })
    })
}

fn query(name: &str, profiles: &str, label: Option<&str>) -> Result<Query, RouteError> {
    if name.contains('/') || profiles.contains('/') {
        return Err(RouteError::Invalid);
    }
    let name = checked(name)?;
    if name.contains(WILDCARDS) {
        return Err(RouteError::NotFound);
    }
    check_profiles(profiles)?;
    if items(&name).count() > ITEM_COUNT_MAX || items(profiles).count() > ITEM_COUNT_MAX {
        return Err(RouteError::Invalid);
    }
    let label = match label {
        None => Label::Default,
        Some(label) => Label::Named(label_name(label)?),
    };
    Ok(Query { application: name.into(), profiles: Arc::from(profiles), label })
}

fn label_name(text: &str) -> Result<Arc<str>, RouteError> {
    let name = checked(text)?;
    if name.contains(WILDCARDS) { Err(RouteError::NotFound) } else { Ok(name.into()) }
}

fn file_path(path: &str) -> Result<String, RouteError> {
    checked(path)
}

/// Validates a name, label or file path and replaces `(_)` by `/` (docs/protocol.md#11-names).
fn checked(text: &str) -> Result<String, RouteError> {
    check(text)?;
    if text.contains('%') {
        let once = percent::decode(text).ok_or(RouteError::Invalid)?;
        check(&once)?;
        check(once.replace('\\', "/").replace("//", "/").trim_start_matches(|c: char| c <= ' '))?;
    }
    let replaced = text.replace("(_)", "/");
    if replaced.starts_with('/') || replaced.chars().any(|c| c.is_control() || is_directional(c)) {
        return Err(RouteError::Invalid);
    }
    Ok(replaced)
}

fn check(text: &str) -> Result<(), RouteError> {
    if text.contains("..") || text.contains('#') || text.starts_with("(_)") {
        return Err(RouteError::Invalid);
    }
    Ok(())
}

/// Validates a list of profiles. Each consists of letters, digits and `-_.+@`, and begins and ends with a letter or
/// digit. An empty list is valid.
fn check_profiles(profiles: &str) -> Result<(), RouteError> {
    if profiles.is_empty() {
        return Ok(());
    }
    check(profiles)?;
    let valid = |item: &str| {
        item.starts_with(char::is_alphanumeric)
            && item.ends_with(char::is_alphanumeric)
            && item.chars().all(|c| c.is_alphanumeric() || "-_.+@".contains(c))
    };
    if profiles.split(',').all(valid) { Ok(()) } else { Err(RouteError::Invalid) }
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
            Ok(Route::Flat(query, format)) => format!("{format:?} {}", show(&query)),
            Ok(Route::File(query, path)) => format!("file {} {path}", show(&query)),
            Ok(Route::NoFile) => "no file".to_owned(),
            Ok(Route::Crypto(crypto)) => format!("{crypto:?}"),
            Ok(Route::Git(repository, request)) => format!("git {repository} {request:?}"),
            Ok(Route::Monitor) => "monitor".to_owned(),
            Ok(Route::Contract(ContractRoute { application, resource })) => {
                format!("{resource:?} {application}")
            }
            Ok(Route::Rollout(id)) => format!("rollout {id}"),
            Ok(Route::Server(route)) => format!("{route:?}"),
            Err(RouteError::Invalid) => "400".to_owned(),
            Err(RouteError::NotFound) => "404".to_owned(),
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
        check("/-/contracts/foo", "List foo");
        check("/-/contracts/foo(_)x/keys", "Keys foo/x");
        let digest = "0".repeat(64);
        check(&format!("/-/contracts/foo/{digest}"), &format!("Contract({digest:?}) foo"));
        check("/-/contracts/foo/0", "404");
        check("/-/contracts/../keys", "400");
        check("/-/rollouts", "Rollouts");
        check("/-/rollouts/r-0123456789", "rollout r-0123456789");
        check("/-/rollouts/r-0123456789/x", "404");
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
    fn requests_of_git_name_a_repository() {
        for (path, request) in GIT_ROUTES {
            check(&path.replace("{repository}", "shop"), &format!("git shop {request:?}"));
        }
        check("/-/git/a%2Fb.git/info/refs", "git a/b Refs");
        for path in
            ["/-/git/shop/info/refs", "/-/git/shop.git/HEAD", "/-/git/shop.git/objects/info/packs"]
        {
            check(path, "404");
        }
    }

    #[test]
    fn invalid_names_are_rejected() {
        for path in [
            "/foo/dev/main/../../../../etc/passwd",
            "/foo/dev/main/..%2f..%2fx",
            "/foo/bar%2Ffoo/main",
            "/foo/dev/main/..%252f..%252fx",
            "/foo/dev/main/%2e%2e/x",
            "/foo/dev/main/....//x",
            "/foo/dev/main/..%5c..%5cx",
            "/foo/dev/main/a%00b",
            "/foo/dev/main/a%E2%80%AEb",
            "/foo/dev/a%D8%9Cb",
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
    fn the_prefix_applies_to_all_paths_except_health_and_monitor() {
        assert!(matches!(route("/cfg/foo/dev", "/cfg", false), Ok(Route::Environment(_))));
        assert_eq!(route("/foo/dev", "/cfg", false), Err(RouteError::NotFound));
        assert_eq!(route("/cfg", "/cfg", false), Ok(Route::Server(ServerRoute::Index)));
        assert_eq!(route("/cfg/", "/cfg", false), Ok(Route::Server(ServerRoute::Index)));
        assert_eq!(route("/monitor", "/cfg", false), Ok(Route::Monitor));
        assert_eq!(route("/cfg/monitor", "/cfg", false), Err(RouteError::NotFound));
        assert_eq!(route("/livez", "/cfg", false), Ok(Route::Server(ServerRoute::Live)));
        assert_eq!(
            route("/cfg/-/problems", "/cfg", false),
            Ok(Route::Server(ServerRoute::Problems))
        );
        assert_eq!(
            route("/actuator/health", "/cfg", false),
            Ok(Route::Server(ServerRoute::Health))
        );
    }
}
