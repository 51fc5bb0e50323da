//! The identity of a request under a policy: found once for each connection and credential, and examined again during
//! event streams and long polls.

mod limits;
mod shared;

use std::rc::Rc;
use std::sync::Arc;

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::HttpRequest;

use super::Http;
use super::error::HttpError;
use super::socket::ConnectionHandle;
use crate::access::{
    Caller, CertificateNames, CredentialHeaders, Guard, Identity, JwtVerification, Operation,
    Permission, RejectedCredential, Resource,
};
use crate::model::Query;
use crate::push::Reauthentication;
use crate::reveal::Variant;
use crate::store::{Answer, Store};

use limits::CredentialKind;
pub use limits::CredentialLimits;
pub use shared::SharedIdentities;

/// The header in which Spring clients send a token.
pub(super) const CONFIG_TOKEN_NAME: &str = "x-config-token";
const CONFIG_TOKEN: HeaderName = HeaderName::from_static(CONFIG_TOKEN_NAME);

/// The credential of a connection's last request, with the caller that it proved. Connections with the same credential share
/// it.
///
/// The comparison with the next request need not take constant time, because both are headers of one client. The
/// certificate of a connection never changes, so that it is not compared.
pub(super) struct ConnectionIdentity {
    credential: Credential,
    caller: Caller,
}

/// The headers of a credential, each present once at most.
#[derive(PartialEq, Eq)]
struct Credential {
    authorization: Option<Box<[u8]>>,
    config_token: Option<Box<[u8]>>,
}

/// The headers of a request's credential, each present once at most.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct PresentedCredential<'h> {
    pub(super) authorization: Option<&'h [u8]>,
    pub(super) config_token: Option<&'h [u8]>,
}

impl ConnectionIdentity {
    fn new(presented: PresentedCredential<'_>, identity: &Arc<Identity>) -> Self {
        let credential = Credential::copy_of(presented);
        Self { credential, caller: Caller::Identified(Arc::clone(identity)) }
    }

    /// Returns the caller if a request has the same credential and the policy has not changed.
    pub(super) fn caller(
        &self,
        guard: &Guard,
        presented: PresentedCredential<'_>,
    ) -> Option<&Caller> {
        let Caller::Identified(identity) = &self.caller else { return None };
        let is_known = self.credential.presented() == presented && guard.is_current(identity);
        is_known.then_some(&self.caller)
    }
}

impl<'h> PresentedCredential<'h> {
    /// Returns `None` for a repeated header.
    fn of(headers: &'h HeaderMap) -> Option<Self> {
        let single = |name| {
            let mut values = headers.get_all(name).map(HeaderValue::as_bytes);
            let first = values.next();
            values.next().is_none().then_some(first)
        };
        Some(Self {
            authorization: single(header::AUTHORIZATION)?,
            config_token: single(CONFIG_TOKEN)?,
        })
    }
}

impl Credential {
    /// Copies the headers. Returns `None` for a repeated header.
    fn of(headers: &HeaderMap) -> Option<Self> {
        PresentedCredential::of(headers).map(Self::copy_of)
    }

    fn copy_of(presented: PresentedCredential<'_>) -> Self {
        let PresentedCredential { authorization, config_token } = presented;
        Self {
            authorization: authorization.map(Into::into),
            config_token: config_token.map(Into::into),
        }
    }

    fn presented(&self) -> PresentedCredential<'_> {
        let (authorization, config_token) =
            (self.authorization.as_deref(), self.config_token.as_deref());
        PresentedCredential { authorization, config_token }
    }

    fn authenticate(
        &self,
        guard: &Guard,
        certificate: Option<&CertificateNames>,
        verification: JwtVerification,
    ) -> Result<Arc<Identity>, RejectedCredential> {
        let PresentedCredential { authorization, config_token } = self.presented();
        let headers = CredentialHeaders {
            authorization: authorization.as_slice(),
            config_token: config_token.as_slice(),
        };
        guard.authenticate(certificate, headers, verification)
    }
}

/// The first two values of a header. Further ones change nothing, because a repeated header is rejected.
struct HeaderValues<'h> {
    values: [&'h [u8]; 2],
    count: usize,
}

impl<'h> HeaderValues<'h> {
    fn of(headers: &'h HeaderMap, name: HeaderName) -> Self {
        let mut found = Self { values: [&[]; 2], count: 0 };
        for (place, value) in found.values.iter_mut().zip(headers.get_all(name)) {
            *place = value.as_bytes();
            found.count += 1;
        }
        found
    }

    fn as_slice(&self) -> &[&'h [u8]] {
        &self.values[..self.count]
    }
}

/// Finds the identity of a request, and lets the connection remember it.
pub(super) fn identify(
    guard: &Guard,
    connection: Option<&ConnectionHandle>,
    headers: &HeaderMap,
    verification: JwtVerification,
) -> Result<Arc<Identity>, RejectedCredential> {
    // A repeated header is rejected below.
    let (Some(connection), Some(presented)) = (connection, PresentedCredential::of(headers)) else {
        return authenticate(guard, connection, headers, verification);
    };
    if let Some(known) = &*connection.identity().borrow()
        && let Some(Caller::Identified(identity)) = known.caller(guard, presented)
    {
        return Ok(Arc::clone(identity));
    }
    // The certificate of a connection is a part of its credential.
    let shared = connection.certificate().is_none().then(|| connection.shared_identities());
    if let Some(known) = shared.and_then(|shared| shared.find(guard, presented))
        && let Caller::Identified(identity) = &known.caller
    {
        let identity = Arc::clone(identity);
        *connection.identity().borrow_mut() = Some(known);
        return Ok(identity);
    }
    let identity = authenticate(guard, Some(connection), headers, verification)?;
    let remembered = match shared {
        Some(shared) => shared.add(presented, &identity),
        None => Rc::new(ConnectionIdentity::new(presented, &identity)),
    };
    *connection.identity().borrow_mut() = Some(remembered);
    Ok(identity)
}

/// Returns a function that authenticates a request again, by the policy then in force. `None` for a repeated header.
pub(super) fn reauthentication(
    request: &HttpRequest,
    guard: Arc<Guard>,
) -> Option<Reauthentication> {
    let connection = request.conn_data::<ConnectionHandle>();
    let certificate = connection.and_then(ConnectionHandle::certificate).cloned();
    let credential = Credential::of(request.headers())?;
    Some(Arc::new(move || {
        let performed = JwtVerification::Performed;
        credential.authenticate(&guard, certificate.as_deref(), performed).ok()
    }))
}

fn authenticate(
    guard: &Guard,
    connection: Option<&ConnectionHandle>,
    headers: &HeaderMap,
    verification: JwtVerification,
) -> Result<Arc<Identity>, RejectedCredential> {
    let authorization = HeaderValues::of(headers, header::AUTHORIZATION);
    let config_token = HeaderValues::of(headers, CONFIG_TOKEN);
    let credentials = CredentialHeaders {
        authorization: authorization.as_slice(),
        config_token: config_token.as_slice(),
    };
    let certificate = connection.and_then(ConnectionHandle::certificate);
    guard.authenticate(certificate.map(|names| &**names), credentials, verification)
}

/// The permission of an event stream or a long poll, which can end while it lasts.
pub(super) struct Lease {
    guard: Arc<Guard>,
    certificate: Option<Arc<CertificateNames>>,
    credential: Credential,
    identity: Arc<Identity>,
    subject: LeaseSubject,
    store: Arc<Store>,
    /// The variant that the caller receives.
    variant: Variant,
}

/// The result of an examination of a [`Lease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseStatus {
    /// The caller still has the same access.
    Held,
    /// The caller may still read, and has lost or received the right to open values.
    OtherVariant(Variant),
    /// The caller has lost access.
    Lost,
}

/// The subject of a [`Lease`].
pub(super) enum LeaseSubject {
    Environment(Query),
    Moves,
}

impl LeaseSubject {
    /// The variant that a caller receives. Moves contain no values and have one variant.
    fn variant(&self, store: &Store, caller: &Caller) -> Variant {
        match self {
            Self::Environment(query) => store.variant(caller, query),
            Self::Moves => Variant::Opened,
        }
    }
}

impl Lease {
    /// Takes a lease for a request that was permitted. Returns `None` without a policy.
    pub(super) fn of(
        request: &HttpRequest,
        http: &Http,
        caller: &Caller,
        subject: LeaseSubject,
    ) -> Option<Self> {
        let Caller::Identified(identity) = caller else {
            return None;
        };
        Some(Self {
            guard: Arc::clone(http.guard.as_ref()?),
            certificate: request
                .conn_data::<ConnectionHandle>()
                .and_then(ConnectionHandle::certificate)
                .cloned(),
            credential: Credential::of(request.headers())?,
            identity: Arc::clone(identity),
            variant: subject.variant(&http.store, caller),
            subject,
            store: Arc::clone(&http.store),
        })
    }

    /// Returns true if the caller still has the same access, in the same variant.
    pub(super) fn is_held(&mut self) -> bool {
        self.examine() == LeaseStatus::Held
    }

    /// Compares a number unless the policy has changed or the credential has expired. Then it decides again.
    pub(super) fn examine(&mut self) -> LeaseStatus {
        if self.guard.is_current(&self.identity) {
            return LeaseStatus::Held;
        }
        let certificate = self.certificate.as_deref();
        let performed = JwtVerification::Performed;
        let Ok(identity) = self.credential.authenticate(&self.guard, certificate, performed) else {
            return LeaseStatus::Lost;
        };
        let (operation, target) = match &self.subject {
            LeaseSubject::Environment(query) => {
                (Operation::ReadEnvironment, Resource::Environment(query))
            }
            LeaseSubject::Moves => (Operation::ReadLists, Resource::Server),
        };
        if identity.permission(operation, target) == Permission::Denied {
            return LeaseStatus::Lost;
        }
        let variant = self.subject.variant(&self.store, &Caller::Identified(Arc::clone(&identity)));
        if variant != self.variant {
            return LeaseStatus::OtherVariant(variant);
        }
        self.identity = identity;
        LeaseStatus::Held
    }

    pub(super) fn filter(&self) -> ListFilter<'_> {
        ListFilter::of_identity(&self.identity)
    }
}

/// The entries of lists that a caller receives.
#[derive(Clone, Copy)]
pub(super) struct ListFilter<'a>(Option<&'a Arc<Identity>>);

impl<'a> ListFilter<'a> {
    pub(super) fn of(caller: &'a Caller) -> Self {
        match caller {
            Caller::Identified(identity) => Self::of_identity(identity),
            _ => Self(None),
        }
    }

    /// The filter of a server without a policy.
    pub(super) fn none() -> Self {
        Self(None)
    }

    fn of_identity(identity: &'a Arc<Identity>) -> Self {
        let overview = identity.permission(Operation::ReadOverview, Resource::Server);
        Self((overview == Permission::Denied).then_some(identity))
    }

    /// The caller, unless it receives every entry.
    pub(super) fn identity(self) -> Option<&'a Arc<Identity>> {
        self.0
    }

    /// Returns true if the caller receives every entry.
    pub(super) fn is_complete(self) -> bool {
        self.0.is_none()
    }

    /// Returns true if the caller receives entries of an application, as far as its name decides. The answer and its time
    /// do not depend on the instances that exist.
    pub(super) fn shows_application(self, application: &str) -> bool {
        self.0.is_none_or(|identity| identity.reads_application(application))
    }

    /// Returns true if the caller receives the entries of an environment.
    pub(super) fn shows(self, query: &Query) -> bool {
        self.0.is_none_or(|identity| {
            let target = Resource::Environment(query);
            identity.permission(Operation::ReadEnvironment, target) != Permission::Denied
        })
    }
}

impl Http {
    /// Records an answer with opened values for which no rule exists, while the policy is not enforced.
    pub(super) fn record_opening(
        &self,
        request: &HttpRequest,
        caller: &Caller,
        query: &Query,
        answer: &Answer,
    ) {
        let Caller::Identified(identity) = caller else {
            return;
        };
        if !answer.has_opened_values() {
            return;
        }
        let (operation, target) = (Operation::OpenEnvironment, Resource::Environment(query));
        let permission = identity.permission(operation, target);
        if permission == Permission::WouldDeny {
            self.record_denial(request, identity, operation, target, permission);
        }
    }

    /// Identifies the caller of a request by the policy. Returns `None` without a policy.
    ///
    /// A known token and a JWT that was verified before are accepted before the limit of their client is examined. A JWT
    /// that needs a later key of its issuer waits while the keys are being read.
    ///
    /// # Errors
    /// [`HttpError::Rejected`] if the credentials are not accepted, and [`HttpError::TooManyRejections`] if the client has
    /// sent too many such credentials.
    pub(super) async fn identity(
        &self,
        request: &HttpRequest,
    ) -> Result<Option<Arc<Identity>>, HttpError> {
        let Some(guard) = &self.guard else {
            return Ok(None);
        };
        let connection = request.conn_data::<ConnectionHandle>();
        let find = |verification| identify(guard, connection, request.headers(), verification);
        match find(JwtVerification::Deferred) {
            Ok(identity) => return Ok(Some(identity)),
            Err(error) if error.is_unverified() => {}
            Err(error) => {
                return Err(self.rejection(request, guard, &error, CredentialKind::Other));
            }
        }
        let client = self.watchers.client(request);
        if !self.credential_limits.has_room(client, CredentialKind::Jwt) {
            guard.record_limited();
            return Err(HttpError::TooManyRejections);
        }
        let mut found = find(JwtVerification::Performed);
        if found.as_ref().is_err_and(RejectedCredential::is_key_missing)
            && self.key_refresh.finished().await
        {
            found = find(JwtVerification::Performed);
        }
        found.map(Some).map_err(|error| self.rejection(request, guard, &error, CredentialKind::Jwt))
    }

    /// Counts a request without an accepted credential, and returns its error.
    fn rejection(
        &self,
        request: &HttpRequest,
        guard: &Guard,
        error: &RejectedCredential,
        kind: CredentialKind,
    ) -> HttpError {
        let client = self.watchers.client(request);
        if !self.credential_limits.record_bad(client, kind) {
            guard.record_limited();
            return HttpError::TooManyRejections;
        }
        let address = client.map(|address| address.to_string());
        guard.record_rejection(error, &address.unwrap_or_default());
        self.record_rejected_credential(request, error);
        HttpError::Rejected
    }
}
