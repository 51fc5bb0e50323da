//! Git over smart HTTP. The server authenticates the caller, finds the repository and the service, and then passes
//! bytes between the client and git. Only git interprets them.

mod body;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;

use self::body::GitRequestBody;
use super::error::HttpError;
use super::git_error::GitHttpError;
use super::route::GitRequest;
use super::socket::{Closer, ConnectionHandle};
use super::{Http, identity, parameter};
use crate::access::{Caller, Identity, Operation, Permission, Resource};
use crate::push::{Exchange, Host, PushError, Pusher, Requester, Service, TruncationError};

/// The largest request of a clone or fetch, after decoding, in bytes.
const FETCH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The part of a push request beside its pack, at most, in bytes.
const COMMANDS_BYTES_MAX: u64 = 8 * 1024 * 1024;

impl From<PushError> for HttpError {
    fn from(error: PushError) -> Self {
        Self::Git(match error {
            PushError::Busy => GitHttpError::Busy,
            PushError::NotLoaded => GitHttpError::NotLoaded,
            PushError::Unwritable => GitHttpError::Unwritable,
            PushError::Interrupted => GitHttpError::Broken,
            PushError::TooSlow => GitHttpError::TooSlow,
            PushError::Git(_) => {
                tracing::error!(%error, "a request for a repository failed");
                GitHttpError::Failed
            }
        })
    }
}

impl Http {
    /// Identifies the caller of a request for a repository. Without a push token, a client on this machine may push.
    pub(super) fn git_caller(&self, request: &HttpRequest) -> Caller {
        let headers = request.headers();
        if let Some(token) = &self.push_token {
            return if token.is_in(headers) { Caller::Pusher } else { self.caller(headers) };
        }
        match self.caller(headers) {
            Caller::Anonymous if self.token.is_some() => Caller::Anonymous,
            _ if is_local(request) => Caller::Pusher,
            caller => caller,
        }
    }

    /// Returns true if a repository has the policy.
    pub(super) fn has_policy(&self, repository: &str) -> bool {
        self.hosts.as_ref().is_some_and(|hosts| hosts.has_policy(repository))
    }

    /// Returns true for an absent repository on a server whose policy is in a repository. Callers without a credential
    /// must not tell the two apart, and those with one are asked for it, so that git sends it.
    pub(super) fn looks_like_policy(&self, repository: &str) -> bool {
        let hosts = self.hosts.as_ref();
        hosts.is_some_and(|hosts| hosts.policy().is_some() && hosts.get(repository).is_none())
    }

    /// Returns the client on whose behalf the request takes a permit.
    fn git_requester(&self, request: &HttpRequest, caller: &Caller) -> Requester {
        let headers = request.headers();
        let address = self.watchers.client(request);
        let name = self.push_token.as_ref().and_then(|token| token.name_in(headers));
        let principal = match (caller, name) {
            (Caller::Pusher, Some(name)) => format!("pusher {name}"),
            (Caller::Pusher, None) => "pusher".to_owned(),
            (Caller::Reader | Caller::Operator, _) => "reader".to_owned(),
            (Caller::Anonymous, _) => "anonymous".to_owned(),
            (Caller::Identified(identity), _) => format!("principal {}", identity.name()),
        };
        Requester { address: address.map(|it| it.to_string()).unwrap_or_default(), principal }
    }

    /// Returns the error for a caller without permission. Where no push token is set, another token would not help.
    pub(super) fn git_permission_error(&self, caller: &Caller) -> HttpError {
        let may_read = self.store.may(caller, Operation::ReadRepository, Resource::Server);
        if may_read && self.push_token.is_none() {
            HttpError::Git(GitHttpError::RemotePush)
        } else {
            HttpError::Unauthorized
        }
    }
}

/// Returns the operation of a listing of references: a push, or else a clone or fetch.
pub(super) fn refs_operation(request: &HttpRequest) -> Operation {
    match service(request) {
        Ok(Service::ReceivePack) => Operation::Push,
        Ok(Service::UploadPack) | Err(_) => Operation::ReadRepository,
    }
}

/// Decides whether an identity may make some push, or use the keys. A policy with `enforce = false` opens these no further
/// than a server without a policy: to clients on this machine.
pub(super) fn local_permission(
    identity: &Identity,
    request: &HttpRequest,
    operation: Operation,
) -> Permission {
    closed_to_others(identity.permission(operation, Resource::Server), request)
}

/// The permission of a request for which a policy with `enforce = false` does not replace a rule, unless the client is on
/// this machine.
pub(super) fn closed_to_others(permission: Permission, request: &HttpRequest) -> Permission {
    match permission {
        Permission::WouldDeny if !is_local(request) => Permission::Denied,
        permission => permission,
    }
}

/// Returns the error for an identity that may not use a repository: the answer for a missing repository.
fn check_identity(
    http: &Http,
    identity: &Identity,
    request: &HttpRequest,
    repository: &str,
    service: Service,
) -> Result<(), HttpError> {
    let permission = match service {
        _ if http.has_policy(repository) => {
            identity.permission(Operation::ChangePolicy, Resource::Server)
        }
        Service::ReceivePack => local_permission(identity, request, Operation::Push),
        Service::UploadPack => identity.permission(Operation::ReadRepository, Resource::Server),
    };
    match permission {
        Permission::Allowed | Permission::WouldDeny => Ok(()),
        Permission::Denied => Err(HttpError::Git(GitHttpError::NoRepository)),
    }
}

/// Returns true for a request that a client on this machine sent itself. A request through a proxy on this machine, or
/// from a page in a browser, does not count.
fn is_local(request: &HttpRequest) -> bool {
    const FORWARDED: [&str; 6] =
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "origin"];
    let is_loopback =
        request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    is_loopback && !FORWARDED.iter().any(|name| request.headers().contains_key(*name))
}

pub(super) async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
    caller: &Caller,
    repository: &str,
    operation: GitRequest,
) -> Result<HttpResponse, HttpError> {
    let service = match operation {
        GitRequest::Refs => service(request)?,
        GitRequest::UploadPack => Service::UploadPack,
        GitRequest::ReceivePack => Service::ReceivePack,
    };
    // A pusher without permission gets an error to its first request, before it sends anything.
    if let Caller::Identified(identity) = caller {
        check_identity(http, identity, request, repository, service)?;
    } else if service == Service::ReceivePack
        && !http.store.may(caller, Operation::Push, Resource::Server)
    {
        return Err(http.git_permission_error(caller));
    }
    let host = http.hosts.as_ref().and_then(|hosts| hosts.get(repository));
    let host = host.ok_or(HttpError::Git(GitHttpError::NoRepository))?;
    let requester = http.git_requester(request, caller);
    let closer = request.conn_data::<ConnectionHandle>().map(ConnectionHandle::closer);
    match operation {
        GitRequest::Refs => {
            let pusher = match caller {
                Caller::Identified(identity) => pusher(http, request, identity),
                _ => None,
            };
            advertise(host, service, pusher.as_ref(), requester).await
        }
        GitRequest::UploadPack => {
            let body = GitRequestBody::new(request, payload, service, FETCH_BYTES_MAX)?;
            exchange(body, service, host.upload_pack(requester).await?, closer).await
        }
        GitRequest::ReceivePack => {
            let bytes_max = host.pack_bytes_max().saturating_add(COMMANDS_BYTES_MAX);
            let body = GitRequestBody::new(request, payload, service, bytes_max)?;
            let token = http.push_token.as_ref();
            let (who, pusher) = match caller {
                Caller::Identified(identity) => {
                    (Some(identity.name().into()), pusher(http, request, identity))
                }
                _ => (token.and_then(|token| token.name_in(request.headers())), None),
            };
            let recorder = http.push_recorder(request, caller);
            let received = host.receive_pack(who, pusher, requester, recorder).await?;
            exchange(body, service, received, closer).await
        }
    }
}

/// The principal of a push.
fn pusher(http: &Http, request: &HttpRequest, known: &Arc<Identity>) -> Option<Pusher> {
    let guard = Arc::clone(http.guard.as_ref()?);
    let reauthenticate = identity::reauthentication(request, Arc::clone(&guard))?;
    let identity = Arc::clone(known);
    Some(Pusher { guard, identity, reauthenticate, is_local: is_local(request) })
}

fn service(request: &HttpRequest) -> Result<Service, HttpError> {
    match parameter(request, "service") {
        Some("git-upload-pack") => Ok(Service::UploadPack),
        Some("git-receive-pack") => Ok(Service::ReceivePack),
        _ => Err(HttpError::Git(GitHttpError::NoService)),
    }
}

/// Answers with the references of a repository, in version 0 of the protocol, which every client speaks. Version 2 is
/// not offered: it returns any object to a client that knows its id, also objects that no branch leads to any more.
async fn advertise(
    host: &Host,
    service: Service,
    pusher: Option<&Pusher>,
    requester: Requester,
) -> Result<HttpResponse, HttpError> {
    let advertised = host.advertise(service, pusher, requester).await?;
    let mut body = Vec::with_capacity(advertised.len() + 64);
    let line = format!("# service=git-{}\n", service.name());
    body.extend_from_slice(format!("{:04x}{line}0000", line.len() + 4).as_bytes());
    body.extend_from_slice(&advertised);
    Ok(HttpResponse::Ok()
        .content_type(format!("application/x-git-{}-advertisement", service.name()))
        .insert_header(header::CacheControl(vec![header::CacheDirective::NoCache]))
        .body(body))
}

/// Passes the request to git and git's answer to the client. The response begins with git's first output, or at the end
/// of the request.
async fn exchange(
    body: GitRequestBody,
    service: Service,
    exchange: Exchange,
    closer: Option<Closer>,
) -> Result<HttpResponse, HttpError> {
    let Exchange { input, mut output, abort } = exchange;
    actix_web::rt::spawn(async move {
        if let (Ok(()), Some(closer)) = (abort.await, closer) {
            closer.close();
        }
    });
    let mut sending: LocalBoxFuture<'static, _> = Box::pin(body.send(input));
    let (first, sending) = tokio::select! {
        biased;
        sent = &mut sending => {
            sent.map_err(HttpError::Git)?;
            (None, None)
        }
        piece = output.recv() => (piece, Some(sending)),
    };
    let response = GitResponse { first, sending, output };
    Ok(HttpResponse::Ok()
        .content_type(format!("application/x-git-{}-result", service.name()))
        .insert_header(header::CacheControl(vec![header::CacheDirective::NoCache]))
        .streaming(response))
}

/// The body of a response: git's output, while the rest of the request may still go to git.
struct GitResponse {
    first: Option<Result<Bytes, TruncationError>>,
    sending: Option<LocalBoxFuture<'static, Result<(), GitHttpError>>>,
    output: mpsc::Receiver<Result<Bytes, TruncationError>>,
}

impl Stream for GitResponse {
    type Item = Result<Bytes, TruncationError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(sent) = sending.as_mut().poll(context)
        {
            self.sending = None;
            if sent.is_err() {
                return Poll::Ready(Some(Err(TruncationError)));
            }
        }
        self.output.poll_recv(context)
    }
}
