//! The certificates of clients: the terms under which they are accepted, and their examination while a connection is open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::time::sleep;

use super::{TlsTerms, TlsTermsInForce, fault, read_certificates, read_file, reason};
use crate::access::{CertificateNames, EXPIRY_NOTICE};
use crate::faults::{Expiry, ExpiryKind};
use crate::server::StartError;
use crate::settings::{ClientAuth, ClientCertificateSettings};

/// The time between the end of a certificate's validity and its examination, and the shortest time between two
/// examinations for it.
const AFTER_EXPIRY: Duration = Duration::from_secs(1);
/// The longest time until the validity is examined again, because the clock of the system may be set.
const EXAMINED_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The terms under which certificates of clients are accepted.
pub(super) struct ClientTerms {
    verifier: Arc<dyn ClientCertVerifier>,
    /// The validity of the revocation list that expires first.
    crl: Option<Validity>,
}

/// The time from which and until which a revocation list is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Validity {
    until: Timestamp,
    from: Timestamp,
}

impl Validity {
    /// The time at which its end is reported: 14 days before it, or after half of a shorter validity.
    fn notice(self) -> Timestamp {
        let half = self.until.duration_since(self.from) / 2;
        self.until.saturating_sub(EXPIRY_NOTICE.min(half)).unwrap_or(self.from)
    }
}

impl ClientTerms {
    /// Reads the authorities and the revocation lists. Returns `None` if no certificates are requested.
    pub(super) fn read(settings: &ClientCertificateSettings) -> Result<Option<Self>, StartError> {
        let (ClientAuth::Offered | ClientAuth::Required, Some(ca)) = (settings.auth, &settings.ca)
        else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(ca)? {
            let added = roots.add(certificate);
            added.map_err(|_| fault(ca, "holds a certificate that cannot be used".to_owned()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if settings.auth == ClientAuth::Offered {
            builder = builder.allow_unauthenticated();
        }
        let crls = settings.crl.as_deref().map(read_crls).transpose()?.unwrap_or_default();
        let crl = crls.iter().filter_map(validity).min();
        if !crls.is_empty() {
            builder = builder.with_crls(crls).enforce_revocation_expiration();
        }
        let file = settings.crl.as_ref().unwrap_or(ca);
        let verifier = builder.build().map_err(|error| fault(file, error.to_string()))?;
        Ok(Some(Self { verifier, crl }))
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// The end of the revocation list that has expired.
    pub(super) fn expired_crl(&self) -> Option<String> {
        let until = self.crl?.until;
        let is_over = until <= Timestamp::now();
        is_over.then(|| {
            format!("the revocation list expired at {until}. The server rejects every certificate")
        })
    }

    /// The revocation list that expires soon.
    pub(super) fn crl_expiry(&self) -> Option<Expiry> {
        let crl = self.crl?;
        (crl.notice() <= Timestamp::now()).then(|| Expiry {
            kind: ExpiryKind::Crl,
            object: "the revocation list for client certificates".to_owned(),
            principal: String::new(),
            at: crl.until,
        })
    }

    fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((end_entity, intermediates)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(end_entity, intermediates, UnixTime::now()).is_ok()
    }
}

fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, StartError> {
    let crls: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&read_file(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(path, reason(&error)))?;
    if crls.is_empty() {
        return Err(fault(path, "holds no revocation list".to_owned()));
    }
    Ok(crls)
}

fn validity(crl: &CertificateRevocationListDer<'_>) -> Option<Validity> {
    let (_, list) = x509_parser::parse_x509_crl(crl).ok()?;
    let until = Timestamp::from_second(list.next_update()?.timestamp()).ok()?;
    let from = Timestamp::from_second(list.last_update().timestamp()).ok()?;
    Some(Validity { until, from })
}

/// The certificate of the client of an open connection.
pub(in crate::server) struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    names: Arc<CertificateNames>,
    /// The end of its validity. `None` if it cannot be read.
    expires: Option<Timestamp>,
    terms: TlsTermsInForce,
}

impl ClientCertificate {
    /// Takes the chain that a handshake has verified. `terms` has seen nothing newer than the terms of the handshake.
    pub(in crate::server) fn new(
        chain: &[CertificateDer<'_>],
        terms: TlsTermsInForce,
    ) -> Option<Self> {
        let chain: Vec<_> = chain.iter().map(|it| it.clone().into_owned()).collect();
        let first = chain.first()?;
        let names = Arc::new(names(first));
        let parsed = x509_parser::parse_x509_certificate(first).ok();
        let expires = parsed.and_then(|(_, certificate)| {
            Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
        });
        Some(Self { chain, names, expires, terms })
    }

    pub(in crate::server) fn names(&self) -> Arc<CertificateNames> {
        Arc::clone(&self.names)
    }

    /// Waits until the certificate is no longer accepted: until new files reject it, or its validity ends.
    pub(in crate::server) async fn rejected(mut self) {
        loop {
            let next_examination = self.next_examination();
            tokio::select! {
                changed = self.terms.changed() => {
                    if changed.is_err() {
                        // The server stops.
                        return std::future::pending().await;
                    }
                }
                () = sleep(next_examination) => {}
            }
            let terms = Arc::clone(&self.terms.borrow_and_update());
            if !terms.accepts(&self.chain) {
                let names: Vec<&String> =
                    self.names.uris.iter().chain(&self.names.dns_names).take(1).collect();
                tracing::info!(
                    ?names,
                    "a connection is closed, because its client certificate is no longer valid"
                );
                return;
            }
        }
    }

    fn next_examination(&self) -> Duration {
        let Some(expires) = self.expires else { return EXAMINED_AFTER_MAX };
        let left = expires.duration_since(Timestamp::now()).max(SignedDuration::ZERO);
        (left.unsigned_abs() + AFTER_EXPIRY).min(EXAMINED_AFTER_MAX)
    }
}

impl TlsTerms {
    fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.accepts(chain))
    }
}

/// The alternative names of a certificate. The common name proves nothing.
fn names(certificate: &CertificateDer<'_>) -> CertificateNames {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return CertificateNames::default();
    };
    CertificateNames {
        uris: certificate.valid_uri_names().map(str::to_owned).collect(),
        dns_names: certificate.valid_dns_names().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_comes_14_days_before_the_end_or_at_half_of_the_validity() {
        let at = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
        for (from, until, notice) in [(0, 90, 76), (0, 28, 14), (0, 10, 5), (3, 3, 3)] {
            let validity = Validity { from: at(from), until: at(until) };
            assert_eq!(validity.notice(), at(notice), "{from} {until}");
        }
    }
}
