//! What the HTTP interface reports to the audit trail. Without a trail, each function here does nothing.

use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use tokio::time::{Instant, interval_at};

use super::Http;
use super::error::HttpError;
use super::git_error::GitHttpError;
use crate::access::{Caller, Identity, Operation, Permission, RejectedCredential, Resource};
use crate::audit::{
    AuditActor, AuditEvent, Entry, OpenedRead, OpenedReads, READ_REPORT_INTERVAL, Ticket,
};
use crate::model::{Digest, Query, Revision};
use crate::push::PushRecorder;
use crate::store::ServedEnvironment;

/// The names of callers that no policy identifies.
const ANONYMOUS: &str = "anonymous";
const READER: &str = "reader";
const PUSHER: &str = "pusher";
/// The kind of credential of the tokens in the settings.
const TOKEN: &str = "token";

/// Makes the counts of opened reads of one worker thread, which reports them for as long as it serves.
pub fn opened_reads(http: &Http) -> Option<Rc<OpenedReads>> {
    let reads = Rc::new(OpenedReads::new(Arc::clone(http.audit.as_ref()?)));
    let reporting = Rc::downgrade(&reads);
    actix_web::rt::spawn(async move {
        let mut ticks = interval_at(Instant::now() + READ_REPORT_INTERVAL, READ_REPORT_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(reads) = reporting.upgrade() else { return };
            reads.report();
        }
    });
    Some(reads)
}

/// The name of a caller in audit lines.
pub(super) fn principal(caller: &Caller) -> Arc<str> {
    match caller {
        Caller::Identified(identity) => identity.shared_name(),
        Caller::Anonymous => ANONYMOUS.into(),
        Caller::Reader => READER.into(),
        Caller::Pusher | Caller::Operator => PUSHER.into(),
    }
}

/// The identity of a caller in audit lines.
fn actor(caller: &Caller, address: Option<IpAddr>) -> AuditActor {
    let (kind, proof) = match caller {
        Caller::Identified(identity) => {
            (Some(identity.kind().to_owned()), Some(identity.proof().to_string()))
        }
        Caller::Reader | Caller::Pusher => (None, Some(TOKEN.to_owned())),
        Caller::Anonymous | Caller::Operator => (None, None),
    };
    let principal = Some(principal(caller).to_string());
    let address = address.map(|address| address.to_string());
    AuditActor { principal, kind, proof, claimed: None, address }
}

/// A read of opened values, as it is counted.
pub(super) fn opened_read(
    caller: &Caller,
    address: Option<IpAddr>,
    query: &Query,
    digest: Digest,
) -> OpenedRead {
    OpenedRead { principal: principal(caller), query: query.clone(), digest, address }
}

/// Records a read of opened values. Returns the ticket for equal reads.
pub(super) fn count_opened_read(
    reads: &OpenedReads,
    caller: &Caller,
    read: &OpenedRead,
    revision: &Revision,
) -> Option<Ticket> {
    reads.record(read, || (actor(caller, None), revision.to_string()))
}

impl Http {
    /// The caller of a request in audit lines.
    pub(super) fn audit_actor(&self, request: &HttpRequest, caller: &Caller) -> AuditActor {
        let claimed = match (caller, &self.push_token) {
            (Caller::Pusher, Some(token)) => token.name_in(request.headers()),
            _ => None,
        };
        let claimed = claimed.map(|name| name.to_string());
        AuditActor { claimed, ..actor(caller, self.watchers.client(request)) }
    }

    /// The recording of a push.
    pub(super) fn push_recorder(
        &self,
        request: &HttpRequest,
        caller: &Caller,
    ) -> Option<PushRecorder> {
        let audit = Arc::clone(self.audit.as_ref()?);
        Some(PushRecorder::new(audit, self.audit_actor(request, caller)))
    }

    /// Records a request that the policy denies, or would deny if it were enforced.
    pub(super) fn record_denial(
        &self,
        request: &HttpRequest,
        identity: &Arc<Identity>,
        operation: Operation,
        target: Resource<'_>,
        permission: Permission,
    ) {
        if permission != Permission::Allowed {
            let object = identity.describe(operation, target);
            let query = match target {
                Resource::Environment(query) => Some(query),
                Resource::Server => None,
            };
            self.record_denied_object(request, identity, query, &object, permission);
        }
    }

    /// As [`Http::record_denial`], for an object that only its path describes.
    pub(super) fn record_denied_object(
        &self,
        request: &HttpRequest,
        identity: &Arc<Identity>,
        query: Option<&Query>,
        object: &str,
        permission: Permission,
    ) {
        if let Some(guard) = &self.guard {
            guard.record_denied_object(identity, object, permission);
        }
        let (event, outcome) = match permission {
            Permission::Allowed => return,
            Permission::WouldDeny => (AuditEvent::WouldDeny, "answered"),
            Permission::Denied => (AuditEvent::Denied, "denied"),
        };
        let Some(audit) = &self.audit else { return };
        let caller = Caller::Identified(Arc::clone(identity));
        let mut entry = self.audit_actor(request, &caller).entry(event);
        entry.outcome = Some(outcome.to_owned());
        entry.reason = Some(object.to_owned());
        if let Some(query) = query {
            entry.application = Some(query.application.to_string());
            entry.profiles = Some(query.profiles.to_string());
            entry.label = query.label.name().map(str::to_owned);
        }
        audit.record_denial(&entry);
    }

    /// Records headers that are not one accepted credential of the policy.
    pub(super) fn record_rejected_credential(
        &self,
        request: &HttpRequest,
        error: &RejectedCredential,
    ) {
        self.record_rejection(request, error.to_string(), &error.kind());
    }

    /// Records a request that lacks one of the tokens in the settings.
    pub(super) fn record_unauthorized(&self, request: &HttpRequest, error: &HttpError) {
        let reason = match error {
            HttpError::Unauthorized | HttpError::RolloutToken(_) => "the token is missing or wrong",
            HttpError::RemoteEncryption
            | HttpError::RemoteRolloutCommand
            | HttpError::Git(GitHttpError::RemotePush) => {
                "a request from another machine needs a push token, and the server has none"
            }
            _ => return,
        };
        self.record_rejection(request, reason.to_owned(), reason);
    }

    fn record_rejection(&self, request: &HttpRequest, reason: String, reason_kind: &str) {
        let Some(audit) = &self.audit else { return };
        let address = self.watchers.client(request).map(|address| address.to_string());
        let (reason, outcome) = (Some(reason), Some("rejected".to_owned()));
        let entry = Entry::new(AuditEvent::CredentialRejected);
        audit.record_rejection(&Entry { address, reason, outcome, ..entry }, reason_kind);
    }

    /// Records a read of opened values, before they are sent.
    ///
    /// # Errors
    /// When the trail is required and cannot be written.
    pub(super) fn record_opened_read(
        &self,
        request: &HttpRequest,
        caller: &Caller,
        query: &Query,
        served: Option<&ServedEnvironment>,
        revision: &Revision,
    ) -> Result<(), HttpError> {
        let reads = request.app_data::<Option<Rc<OpenedReads>>>().and_then(Option::as_ref);
        let Some((audit, reads)) = self.audit.as_ref().zip(reads) else { return Ok(()) };
        let served = served.filter(|served| served.has_opened_values());
        let Some(served) = served else { return Ok(()) };
        if !audit.permits_opened_reads() {
            return Err(HttpError::AuditUnwritable);
        }
        let address = self.watchers.client(request);
        let read = opened_read(caller, address, query, served.digest);
        count_opened_read(reads, caller, &read, revision);
        Ok(())
    }

    /// Runs a use of the keys, and records it before its result is sent.
    ///
    /// # Errors
    /// That of the use, or that the trail cannot be written.
    pub(super) async fn record_use_of_keys(
        &self,
        request: &HttpRequest,
        caller: &Caller,
        event: AuditEvent,
        using: impl Future<Output = Result<HttpResponse, HttpError>>,
    ) -> Result<HttpResponse, HttpError> {
        let response = using.await?;
        let Some(audit) = &self.audit else { return Ok(response) };
        let outcome = if response.status().is_success() { "answered" } else { "failed" };
        let mut entry = self.audit_actor(request, caller).entry(event);
        entry.path = Some(request.path().to_owned());
        entry.outcome = Some(outcome.to_owned());
        if audit.record_act(&entry).await.is_err() {
            entry.outcome = Some("rejected".to_owned());
            entry.reason = Some("the audit trail could not be written".to_owned());
            audit.record(&entry);
            return Err(HttpError::AuditUnwritable);
        }
        Ok(response)
    }
}
