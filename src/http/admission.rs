//! The admission of a request under a policy, decided from its names before any lookup.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::Method;

use super::route::{GitRequest, Route, RouteError};
use super::{Http, git};
use crate::access::{Identity, Operation, Permission, Resource};

/// The way in which a request continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The request reaches its route. A denied environment, file or repository is answered there like an absent one.
    Continued,
    /// The request is answered like an unknown path.
    Hidden,
    /// The request has no credential and needs one.
    CredentialNeeded,
}

/// Decides how a request of an identity continues, and records a denial.
pub(super) fn admit(
    http: &Http,
    request: &HttpRequest,
    identity: &Arc<Identity>,
    route: Result<&Route, &RouteError>,
) -> Admission {
    let Some(guard) = &http.guard else {
        return Admission::Continued;
    };
    let asked = route.ok().and_then(|route| asked(http, request, route));
    let Some((operation, target)) = asked else {
        // The path names nothing. Without rules for anonymous callers, they do not learn that.
        let is_closed = identity.is_anonymous() && !guard.admits_anonymous();
        return if is_closed { Admission::CredentialNeeded } else { Admission::Continued };
    };
    let permission = match operation {
        Operation::Push | Operation::Seal | Operation::Unseal | Operation::ControlRollouts => {
            git::local_permission(identity, request, operation)
        }
        operation => identity.permission(operation, target),
    };
    http.record_denial(request, identity, operation, target, permission);
    if let Ok(Route::Git(repository, _)) = route
        && identity.is_anonymous()
        && http.looks_like_policy(repository)
    {
        return Admission::CredentialNeeded;
    }
    match (permission, route) {
        (Permission::Allowed | Permission::WouldDeny, _) => Admission::Continued,
        (Permission::Denied, _) if identity.is_anonymous() => Admission::CredentialNeeded,
        (
            Permission::Denied,
            Ok(Route::Server(_) | Route::Crypto(_) | Route::Contract(_) | Route::Rollout(_)),
        ) => Admission::Hidden,
        (Permission::Denied, _) => Admission::Continued,
    }
}

/// Returns the operation and the object that a request asks for. Returns `None` for a path that never names an object.
fn asked<'r>(
    http: &Http,
    request: &HttpRequest,
    route: &'r Route,
) -> Option<(Operation, Resource<'r>)> {
    match route {
        Route::Git(repository, _) if http.has_policy(repository) => {
            Some((Operation::ChangePolicy, Resource::Server))
        }
        Route::Environment(query) | Route::Flat(query, _) | Route::File(query, _) => {
            Some((route.action(), Resource::Environment(query)))
        }
        // The route decides, because any environment of the application admits to its contracts.
        Route::NoFile | Route::Contract(_) => None,
        Route::Git(_, GitRequest::Refs) => Some((git::refs_operation(request), Resource::Server)),
        // The route decides about the rollout itself.
        Route::Rollout(_) if request.method() == Method::POST => {
            Some((Operation::ControlRollouts, Resource::Server))
        }
        Route::Git(_, GitRequest::UploadPack | GitRequest::ReceivePack)
        | Route::Crypto(_)
        | Route::Monitor
        | Route::Rollout(_)
        | Route::Server(_) => Some((route.action(), Resource::Server)),
    }
}
