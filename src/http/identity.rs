//! The identity of a request under a policy: found once for each connection and credential, and examined again during
//! event streams and long polls.

mod limits;

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
use crate::reveal::Variant;
use crate::store::{Answer, Store};

use limits::CredentialKind;
pub use limits::CredentialLimits;

/// The header in which Spring clients send a token.
const CONFIG_TOKEN: HeaderName = HeaderName::from_static("x-config-token");

/// The credential of a connection's last request, with the identity that it proved.
///
/// The comparison with the next request need not take constant time, because both are headers of one client. The
/// certificate of a connection never changes, so that it is not compared.
pub(super) struct ConnectionIdentity {
    credential: Credential,
    identity: Arc<Identity>,
}

/// The headers of a credential, each present once at most.
#[derive(PartialEq, Eq)]
struct Credential {
    authorization: Option<Box<[u8]>>,
    config_token: Option<Box<[u8]>>,
}

impl ConnectionIdentity {
    /// Returns the identity if a request has the same credential and the policy has not changed.
    fn of(&self, guard: &Guard, headers: &HeaderMap) -> Option<Arc<Identity>> {
        let is_same = |name, known: &Option<Box<[u8]>>| {
            let mut values = headers.get_all(name).map(HeaderValue::as_bytes);
            values.next() == known.as_deref() && values.next().is_none()
        };
        let is_known = is_same(header::AUTHORIZATION, &self.credential.authorization)
            && is_same(CONFIG_TOKEN, &self.credential.config_token)
            && guard.is_current(&self.identity);
        is_known.then(|| Arc::clone(&self.identity))
    }
}

impl Credential {
    /// Copies the headers. Returns `None` for a repeated header.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let single = |name| {
            let mut values =
                headers.get_all(name).map(|value: &HeaderValue| value.as_bytes().into());
            let first: Option<Box<[u8]>> = values.next();
            values.next().is_none().then_some(first)
        };
        Some(Self {
            authorization: single(header::AUTHORIZATION)?,
            config_token: single(CONFIG_TOKEN)?,
        })
    }

    fn authenticate(
        &self,
        guard: &Guard,
        certificate: Option<&CertificateNames>,
        verification: JwtVerification,
    ) -> Result<Arc<Identity>, RejectedCredential> {
        let (authorization, config_token) =
            (self.authorization.as_deref(), self.config_token.as_deref());
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
    let known = connection
        .and_then(|connection| connection.identity().borrow().as_ref()?.of(guard, headers));
    if let Some(identity) = known {
        return Ok(identity);
    }
    let authorization = HeaderValues::of(headers, header::AUTHORIZATION);
    let config_token = HeaderValues::of(headers, CONFIG_TOKEN);
    let credentials = CredentialHeaders {
        authorization: authorization.as_slice(),
        config_token: config_token.as_slice(),
    };
    let certificate = connection.and_then(ConnectionHandle::certificate);
    let identity =
        guard.authenticate(certificate.map(|names| &**names), credentials, verification)?;
    if let (Some(connection), Some(credential)) = (connection, Credential::of(headers)) {
        let remembered = ConnectionIdentity { credential, identity: Arc::clone(&identity) };
        *connection.identity().borrow_mut() = Some(Box::new(remembered));
    }
    Ok(identity)
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
