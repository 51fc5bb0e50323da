//! Routes × principals × targets: each combination is allowed, rejected, or answered like something absent.
//!
//! The rows come from the enumerations of the server. [`expected`] and [`shape`] match them without a wildcard, so that
//! a new route does not compile without a row.

use std::io::{Read, Write};

use headwater::http::route::{
    CryptoRoute, FlatFormat, GIT_ROUTES, GitRequest, Route, SERVER_ROUTES, ServerRoute, route,
};

use super::{Guarded, RULES, bearer, token};
use crate::fixture::{Hosted, Reply};

/// The callers of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Nobody,
    Bad,
    Expired,
    Orders,
    Billing,
    Lister,
    Builder,
    Ops,
}

const CALLERS: [Caller; 8] = [
    Caller::Nobody,
    Caller::Bad,
    Caller::Expired,
    Caller::Orders,
    Caller::Billing,
    Caller::Lister,
    Caller::Builder,
    Caller::Ops,
];

impl Caller {
    fn authorization(self) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Bad => Some(format!("{}x", bearer("orders", 1))),
            Self::Expired => Some(bearer("orders", 3)),
            Self::Orders => Some(bearer("orders", 1)),
            Self::Billing => Some(format!("Basic {}", encoded(&token("billing", 1)))),
            Self::Lister => Some(bearer("lister", 1)),
            Self::Builder => Some(bearer("builder", 1)),
            Self::Ops => Some(bearer("ops", 2)),
        }
    }
}

fn encoded(password: &str) -> String {
    super::basic("user", password).trim_start_matches("Basic ").to_owned()
}

/// The names in the path of a target.
#[derive(Debug, Clone, Copy)]
struct Target {
    application: &'static str,
    /// `None` for the default label.
    label: Option<&'static str>,
}

const fn target(application: &'static str, label: Option<&'static str>) -> Target {
    Target { application, label }
}

/// The label that no source has. All names of labels here have its length.
const ABSENT: &str = "nosuch";

const TARGETS: [Target; 12] = [
    target("orders", None),
    target("orders", Some("main")),
    target("orders", Some("HEAD")),
    target("orders", Some("tagged")),
    target("orders", Some(ABSENT)),
    target("billing", None),
    target("billing", Some("tagged")),
    target("absent", None),
    target("orders,billing", None),
    target("application,billing", None),
    target("%6frders", None),
    target("Orders", None),
];

/// The answer that a request has to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The answer of a server without a policy.
    Answered,
    /// The one answer to a request without an accepted credential.
    Rejected,
    /// The answer for an absent label, path or repository.
    Absent,
}

/// Decides a cell of the matrix by the meaning of the rules, without the engine.
fn expected(route: &Route, caller: Caller) -> Expected {
    let reads = |application: &str, label: Option<&str>| {
        let names: Vec<&str> = application.split(',').collect();
        let is_default = matches!(label, None | Some("main" | "HEAD"));
        match caller {
            Caller::Orders => is_default && names == ["orders"],
            Caller::Lister => is_default && names == ["orders"],
            Caller::Billing => is_default && names == ["billing"],
            Caller::Ops => true,
            Caller::Builder | Caller::Nobody | Caller::Bad | Caller::Expired => false,
        }
    };
    let is_ops = caller == Caller::Ops;
    let is_allowed = match route {
        Route::Environment(query) => reads(&query.application, query.label.name()),
        Route::Flat(query, FlatFormat::Properties | FlatFormat::Yaml | FlatFormat::Json) => {
            reads(&query.application, query.label.name())
        }
        // Both applications own the file.
        Route::File(query, _) => reads(&query.application, query.label.name()),
        // It never exists, for any caller.
        Route::NoFile => true,
        Route::Crypto(CryptoRoute::Status | CryptoRoute::Key | CryptoRoute::Encrypt) => {
            caller == Caller::Builder
        }
        Route::Crypto(CryptoRoute::Decrypt) => is_ops,
        Route::Git(_, GitRequest::Refs | GitRequest::UploadPack) => is_ops,
        // The paths of a push are decided when it has arrived.
        Route::Git(_, GitRequest::ReceivePack) => is_ops || caller == Caller::Builder,
        // Its own secret guards it.
        Route::Monitor => true,
        Route::Contract(contract) => reads(&contract.application, None),
        // Commands are decided by `commands`.
        Route::Rollout(_) => matches!(caller, Caller::Ops | Caller::Lister),
        Route::Server(
            ServerRoute::Environments
            | ServerRoute::Problems
            | ServerRoute::Instances
            | ServerRoute::Fleet
            | ServerRoute::FleetHistory
            | ServerRoute::Contracts
            | ServerRoute::Rollouts
            | ServerRoute::Events,
        ) => matches!(caller, Caller::Ops | Caller::Lister),
        Route::Server(
            ServerRoute::Index
            | ServerRoute::OpenApi
            | ServerRoute::Replicas
            | ServerRoute::Metrics,
        ) => is_ops,
        // No rule of this policy has the right.
        Route::Server(ServerRoute::Audit) => false,
        Route::Server(
            ServerRoute::Live
            | ServerRoute::Ready
            | ServerRoute::ActuatorReady
            | ServerRoute::Health,
        ) => true,
    };
    let needs_no_rule = match route {
        Route::Server(server) => is_health(*server),
        Route::Monitor => true,
        Route::Environment(_)
        | Route::Flat(..)
        | Route::File(..)
        | Route::NoFile
        | Route::Crypto(_)
        | Route::Contract(_)
        | Route::Rollout(_)
        | Route::Git(..) => false,
    };
    match caller {
        Caller::Bad | Caller::Expired => Expected::Rejected,
        Caller::Nobody if !needs_no_rule => Expected::Rejected,
        _ if is_allowed => Expected::Answered,
        _ => Expected::Absent,
    }
}

fn is_health(route: ServerRoute) -> bool {
    match route {
        ServerRoute::Live
        | ServerRoute::Ready
        | ServerRoute::ActuatorReady
        | ServerRoute::Health => true,
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
        | ServerRoute::Audit
        | ServerRoute::Events
        | ServerRoute::Metrics => false,
    }
}

/// The shapes of paths with a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Environment,
    Yaml,
    Properties,
    Json,
    File,
}

const SHAPES: [Shape; 5] =
    [Shape::Environment, Shape::Yaml, Shape::Properties, Shape::Json, Shape::File];

/// The shape that a route has in the matrix. `None` for a route without a target.
fn shape(route: &Route) -> Option<Shape> {
    match route {
        Route::Environment(_) => Some(Shape::Environment),
        Route::Flat(_, FlatFormat::Yaml) => Some(Shape::Yaml),
        Route::Flat(_, FlatFormat::Properties) => Some(Shape::Properties),
        Route::Flat(_, FlatFormat::Json) => Some(Shape::Json),
        Route::File(..) => Some(Shape::File),
        Route::NoFile
        | Route::Crypto(_)
        | Route::Git(..)
        | Route::Monitor
        | Route::Contract(_)
        | Route::Rollout(_)
        | Route::Server(_) => None,
    }
}

fn path(shape: Shape, target: Target) -> String {
    let Target { application, label } = target;
    let flat = |extension: &str| match label {
        None => format!("/{application}-prod.{extension}"),
        Some(label) => format!("/{label}/{application}-prod.{extension}"),
    };
    match shape {
        Shape::Environment => match label {
            None => format!("/{application}/prod"),
            Some(label) => format!("/{application}/prod/{label}"),
        },
        Shape::Yaml => flat("yml"),
        Shape::Properties => flat("properties"),
        Shape::Json => flat("json"),
        Shape::File => {
            let label = label.unwrap_or("main");
            format!("/{application}/prod/{label}/plain.txt")
        }
    }
}

/// The kinds of requests for one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Get,
    Head,
    Conditional,
    Poll,
    Stream,
    Post,
    Unacceptable,
    MinRevision,
}

const MANNERS: [Manner; 8] = [
    Manner::Get,
    Manner::Head,
    Manner::Conditional,
    Manner::Poll,
    Manner::Stream,
    Manner::Post,
    Manner::Unacceptable,
    Manner::MinRevision,
];

impl Manner {
    fn method(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Get
            | Self::Conditional
            | Self::Poll
            | Self::Stream
            | Self::Unacceptable
            | Self::MinRevision => "GET",
        }
    }

    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Get | Self::Head | Self::Post => &[],
            Self::Conditional => &[("If-None-Match", "\"x\"")],
            Self::Poll => &[("If-None-Match", "\"x\""), ("Prefer", "wait=0")],
            Self::Stream => &[("Accept", "text/event-stream")],
            Self::Unacceptable => &[("Accept", "image/png")],
            Self::MinRevision => {
                &[("Headwater-Min-Revision", "0123456789abcdef0123456789abcdef01234567")]
            }
        }
    }
}

fn ask(server: crate::fixture::Address, manner: Manner, path: &str, caller: Caller) -> Reply {
    let authorization = caller.authorization();
    let mut headers = manner.headers().to_vec();
    headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    server.ask(manner.method(), path, &headers)
}

/// The status of a stream that is answered. Streams have no end, so that only their head is read.
fn stream_status(server: crate::fixture::Address, path: &str, caller: Caller) -> u16 {
    let authorization = caller.authorization().map(|it| format!("Authorization: {it}\r\n"));
    let authorization = authorization.unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{authorization}\r\n"
    );
    let mut stream = server.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    std::str::from_utf8(&line[9..]).unwrap().parse().unwrap()
}

/// A reply without the date and the time, and with its path replaced.
fn normal(reply: &Reply, path: &str) -> String {
    let mut text = reply.text();
    if let Some(at) = text.find("\"timestamp\":\"") {
        let begin = at + "\"timestamp\":\"".len();
        let end = begin + text[begin..].find('"').unwrap();
        text.replace_range(begin..end, "");
    }
    let decoded = path.split('?').next().unwrap();
    let text = text.replace(&format!("\"path\":\"{decoded}\""), "\"path\":\"\"");
    let shown = reply.headers.iter().filter(|(name, _)| name != "date" && name != "content-length");
    let headers: Vec<String> = shown.map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{}\n{}\n{text}", reply.status, headers.join("\n"))
}

#[test]
fn every_route_principal_and_target_gets_its_answer() {
    let guarded = Guarded::new(RULES);
    let revision = guarded.repository.commit("//- orders.yml\nname: Tagged\n");
    guarded.repository.tag("tagged", &revision);
    let server = *guarded.server;
    crate::fixture::eventually("the tag is served", || {
        ask(server, Manner::Get, "/orders/prod/tagged", Caller::Ops).status == 200
    });
    let commit: &'static str = Box::leak(revision.into_boxed_str());
    let targets = TARGETS.into_iter().chain([target("orders", Some(commit))]);
    let targets: Vec<Target> = targets.collect();
    let rejected = ask(server, Manner::Get, "/orders/prod", Caller::Nobody).expect(401);
    let mut count = 0;
    for caller in CALLERS {
        for shape_of_row in SHAPES {
            for target in &targets {
                for manner in MANNERS {
                    let path = path(shape_of_row, *target);
                    let parsed = route(&path, "", false).unwrap();
                    assert_eq!(shape(&parsed), Some(shape_of_row), "{path}");
                    let wanted = expected(&parsed, caller);
                    let what = format!("{caller:?} {manner:?} {path}: expected {wanted:?}");
                    if wanted == Expected::Answered && manner == Manner::MinRevision {
                        // The answer would wait for a revision that never comes.
                        continue;
                    }
                    count += 1;
                    let is_stream = manner == Manner::Stream && shape_of_row == Shape::Environment;
                    if wanted == Expected::Answered && is_stream && target.label != Some(ABSENT) {
                        assert_eq!(stream_status(server, &path, caller), 200, "{what}");
                        continue;
                    }
                    let reply = ask(server, manner, &path, caller);
                    match wanted {
                        Expected::Rejected => {
                            assert_eq!(reply.status, 401, "{what}");
                            let body =
                                if manner == Manner::Head { &[] } else { &rejected.body[..] };
                            assert_eq!(reply.body, body, "{what}");
                        }
                        Expected::Absent => {
                            // The absent label, asked for by a caller that may read every label.
                            let absent =
                                self::path(shape_of_row, Target { label: Some(ABSENT), ..*target });
                            let reference = ask(server, manner, &absent, Caller::Ops);
                            assert_eq!(
                                normal(&reply, &path),
                                normal(&reference, &absent),
                                "{what}"
                            );
                        }
                        Expected::Answered if target.label == Some(ABSENT) => {}
                        Expected::Answered => {
                            let is_ok = matches!(reply.status, 200 | 304);
                            let is_plain = matches!(
                                manner,
                                Manner::Get | Manner::Head | Manner::Conditional | Manner::Poll
                            );
                            assert!(is_ok || !is_plain, "{what}: {}", reply.everything());
                            assert_ne!(reply.status, 401, "{what}");
                        }
                    }
                    let may_see = matches!(caller, Caller::Billing | Caller::Ops);
                    assert!(may_see || !reply.everything().contains("hunter2billing"), "{what}");
                }
            }
        }
    }
    println!("{count} combinations with a target");
}

/// A path for each route without a target, and the number of such routes.
fn samples() -> Vec<String> {
    let crypto =
        ["/encrypt/status", "/key", "/key/orders/prod", "/encrypt", "/decrypt/orders/prod"];
    let git = GIT_ROUTES.iter().map(|(path, _)| path.replace("{repository}", "main"));
    let server = SERVER_ROUTES.iter().map(|(path, _)| (*path).to_owned());
    let others = [
        "/orders/prod/main/",
        "/monitor",
        "/-/contracts/orders",
        "/-/contracts/billing",
        "/-/contracts/orders/keys",
        "/-/rollouts/r-0000000000",
    ];
    let plain = crypto.into_iter().chain(others).map(str::to_owned);
    git.chain(server).chain(plain).collect()
}

/// The requests that a path allows.
fn manners(path: String) -> impl Iterator<Item = (String, Manner)> {
    let parsed = route(&path, "", false).unwrap();
    let manners = [(Manner::Get, parsed.allows_get()), (Manner::Post, parsed.allows_post())];
    let allowed = manners.into_iter().filter(|(_, is_allowed)| *is_allowed);
    allowed.map(move |(manner, _)| (path.clone(), manner))
}

/// Decides about a command for a rollout.
fn commands(caller: Caller) -> Expected {
    match caller {
        Caller::Nobody | Caller::Bad | Caller::Expired => Expected::Rejected,
        Caller::Ops => Expected::Answered,
        Caller::Orders | Caller::Billing | Caller::Lister | Caller::Builder => Expected::Absent,
    }
}

#[test]
fn every_route_without_a_target_gets_its_answer() {
    let file = super::PolicyFile::new(&super::policy(RULES));
    let hosted = Hosted::with("//- orders.yml\na: 1\n", |settings| {
        settings.access.policy_file = Some(file.path());
    });
    let server = *hosted.server;
    let rejected = ask(server, Manner::Get, "/orders/prod", Caller::Nobody).expect(401);
    let mut count = 0;
    for caller in CALLERS {
        for (path, manner) in samples().into_iter().flat_map(manners) {
            let parsed = route(&path, "", false).unwrap();
            assert_eq!(shape(&parsed), None, "{path}");
            let wanted = match (&parsed, manner) {
                (Route::Rollout(_), Manner::Post) => commands(caller),
                _ => expected(&parsed, caller),
            };
            let what = format!("{caller:?} {manner:?} {path}: expected {wanted:?}");
            count += 1;
            let is_events = parsed == Route::Server(ServerRoute::Events);
            if wanted == Expected::Answered && is_events {
                assert_eq!(stream_status(server, &path, caller), 200, "{what}");
                continue;
            }
            let asked = match parsed {
                Route::Git(_, GitRequest::Refs) => format!("{path}?service=git-upload-pack"),
                Route::Server(ServerRoute::FleetHistory) => format!("{path}?instance=a"),
                _ => path.clone(),
            };
            let reply = ask(server, manner, &asked, caller);
            match wanted {
                Expected::Rejected => {
                    assert_eq!((reply.status, &reply.body), (401, &rejected.body), "{what}");
                }
                Expected::Answered => {
                    assert_ne!(reply.status, 401, "{what}: {}", reply.everything());
                    if let Route::Server(_) = parsed {
                        assert_eq!(reply.status, 200, "{what}");
                    }
                }
                Expected::Absent => {
                    let absent = match &parsed {
                        Route::Git(..) => asked.replace("/main.git", "/none.git"),
                        _ => "/no-such-path".to_owned(),
                    };
                    let reference = ask(server, manner, &absent, Caller::Ops).expect(404);
                    assert_eq!(normal(&reply, &asked), normal(&reference, &absent), "{what}");
                }
            }
        }
    }
    println!("{count} combinations without a target");
}
