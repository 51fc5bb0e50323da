//! Tests of authentication: exactly one principal, or an error.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::credential::{CredentialError, CredentialHeaders};
use crate::jwt::{Jwks, JwtError};

const NOW: &str = "2027-01-01T00:00:00Z";

static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

/// The keys of an issuer that remember the outcome for every JWT, and the issuers that were reported to them.
struct Remembering {
    keys: Keys,
    outcome: std::cell::RefCell<Option<Result<AuthenticatedCaller, AuthenticationError>>>,
    reported: std::cell::RefCell<Vec<String>>,
}

impl Remembering {
    fn new(keys: Keys) -> Self {
        Self {
            keys,
            outcome: std::cell::RefCell::default(),
            reported: std::cell::RefCell::default(),
        }
    }
}

impl KeySets for Remembering {
    fn keys(&self, issuer: &str) -> Option<Arc<Jwks>> {
        self.keys.keys(issuer)
    }

    fn remembered(
        &self,
        _jwt: &Sha256,
        _now: Timestamp,
    ) -> Option<Result<AuthenticatedCaller, AuthenticationError>> {
        self.outcome.borrow().clone()
    }

    fn remember(
        &self,
        _jwt: &Sha256,
        outcome: &Result<AuthenticatedCaller, AuthenticationError>,
        _now: Timestamp,
    ) {
        *self.outcome.borrow_mut() = Some(outcome.clone());
    }

    fn report_missing_key(&self, issuer: &str) {
        self.reported.borrow_mut().push(issuer.to_owned());
    }
}

/// The keys of the one issuer, or of none.
struct Keys(Option<Arc<Jwks>>);

impl KeySets for Keys {
    fn keys(&self, issuer: &str) -> Option<Arc<Jwks>> {
        self.0.clone().filter(|_| issuer == "gitlab")
    }
}

fn keys() -> Keys {
    let x = URL_SAFE_NO_PAD.encode(KEY.public_key().as_ref());
    let document = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]});
    Keys(Some(Arc::new(Jwks::parse(document.to_string().as_bytes()).unwrap())))
}

fn jwt(claims: &Value) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = encode(r#"{"alg":"EdDSA","kid":"k"}"#);
    let message = format!("{header}.{}", encode(&claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(KEY.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn claims(more: &[(&str, &str)]) -> Value {
    let exp = now().as_second() + 300;
    let mut claims = json!({"iss": "https://gitlab.example.org", "aud": "headwater", "exp": exp});
    for (name, value) in more {
        claims[*name] = json!(value);
    }
    claims
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The policy of these tests, with tokens whose texts are `old-token`, `new-token` and `other-token`.
fn identities() -> Policy {
    let digest = |token: &str| Sha256::of(token.as_bytes());
    parse(&format!(
        "version = 1\n\
         [[issuer]]\nname = \"gitlab\"\nissuer = \"https://gitlab.example.org\"\n\
         audience = \"headwater\"\njwks_file = \"x\"\n\
         [[principal]]\nname = \"orders\"\nkind = \"service\"\n\
         tokens = [{{ sha256 = \"{}\", expires = 2027-01-01T00:00:01Z }}, {{ sha256 = \"{}\" }}]\n\
         san = [\"spiffe://shop/orders\", \"Orders.shop.svc\"]\n\
         jwt = [{{ issuer = \"gitlab\", sub = \"project:shop/orders\" }}]\n\
         [[principal]]\nname = \"billing\"\nkind = \"service\"\n\
         tokens = [{{ sha256 = \"{}\" }}]\nsan = [\"spiffe://shop/billing\"]\n\
         jwt = [{{ issuer = \"gitlab\", project_path = \"shop/*\", ref_protected = \"true\" }}]\n\
         [[mapping]]\nissuer = \"gitlab\"\nname = \"{{service}}\"\namong = [\"orders\"]\n\
         claims = {{ group = \"services\" }}\n",
        digest("old-token"),
        digest("new-token"),
        digest("other-token"),
    ))
}

fn authenticate_with(
    certificate: Option<&CertificateNames>,
    authorization: &[&[u8]],
    config_token: &[&[u8]],
    keys: &dyn KeySets,
    now: Timestamp,
) -> Result<AuthenticatedCaller, AuthenticationError> {
    let headers = CredentialHeaders { authorization, config_token };
    identities().authenticate(&Evidence { certificate, headers, keys }, now)
}

fn by_header(value: &str) -> Result<AuthenticatedCaller, AuthenticationError> {
    authenticate_with(None, &[value.as_bytes()], &[], &keys(), now())
}

fn by_names(uris: &[&str], dns_names: &[&str]) -> Result<AuthenticatedCaller, AuthenticationError> {
    let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let names = CertificateNames { uris: texts(uris), dns_names: texts(dns_names) };
    authenticate_with(Some(&names), &[], &[], &keys(), now())
}

fn name(authenticated: &Result<AuthenticatedCaller, AuthenticationError>) -> &str {
    match authenticated {
        Ok(authenticated) => authenticated.principal.name(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_request_without_credentials_is_anonymous() {
    let authenticated = authenticate_with(None, &[], &[], &keys(), now()).unwrap();
    assert!(authenticated.principal.is_anonymous());
    assert_eq!(authenticated.proof, Proof::None);
}

#[test]
fn each_token_of_a_principal_works_in_each_way() {
    for token in ["old-token", "new-token"] {
        for user in ["", "user", "orders"] {
            let value = format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
            assert_eq!(name(&by_header(&value)), "orders", "{user}");
        }
        assert_eq!(name(&by_header(&format!("Bearer {token}"))), "orders");
        let header = authenticate_with(None, &[], &[token.as_bytes()], &keys(), now());
        assert_eq!(name(&header), "orders");
        let proof = Proof::Token(Sha256::of(token.as_bytes()).short());
        assert_eq!(header.unwrap().proof, proof);
    }
}

#[test]
fn a_token_expires_at_its_instant() {
    let at = |time: &str| {
        authenticate_with(None, &[b"Bearer old-token"], &[], &keys(), time.parse().unwrap())
    };
    let expires: Timestamp = "2027-01-01T00:00:01Z".parse().unwrap();
    assert_eq!(at("2027-01-01T00:00:00.999Z").unwrap().valid_until, Some(expires));
    for time in ["2027-01-01T00:00:01Z", "2030-01-01T00:00:00Z"] {
        assert!(matches!(at(time), Err(AuthenticationError::ExpiredToken { .. })), "{time}");
    }
}

#[test]
fn a_bad_credential_is_never_ignored() {
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let wrong_user = by_header(&basic("billing:new-token"));
    assert!(matches!(wrong_user, Err(AuthenticationError::WrongUser { .. })), "{wrong_user:?}");
    let unknown = by_header("Bearer new-tokeN");
    assert!(matches!(unknown, Err(AuthenticationError::UnknownToken { .. })), "{unknown:?}");
    let beside =
        authenticate_with(None, &[b"Bearer wrong"], &[b"new-token"], &keys(), now()).unwrap_err();
    assert!(matches!(beside, AuthenticationError::UnknownToken { .. }), "{beside:?}");
    let twice = [b"Bearer new-token".as_slice(), b"Bearer new-token"];
    let twice = authenticate_with(None, &twice, &[], &keys(), now()).unwrap_err();
    let expected = AuthenticationError::Headers(CredentialError::Repeated("Authorization"));
    assert_eq!(twice, expected);
}

#[test]
fn a_digest_is_no_token() {
    let digest = Sha256::of(b"new-token").to_string();
    let rejected = by_header(&format!("Bearer {digest}"));
    assert!(matches!(rejected, Err(AuthenticationError::UnknownToken { .. })), "{rejected:?}");
}

#[test]
fn the_names_in_a_certificate_decide() {
    assert_eq!(name(&by_names(&["spiffe://shop/orders"], &[])), "orders");
    assert_eq!(name(&by_names(&[], &["ORDERS.shop.svc"])), "orders");
    assert_eq!(name(&by_names(&["spiffe://shop/orders"], &["orders.shop.svc", "x"])), "orders");
    for (uris, dns_names) in [
        (&[][..], &[][..]),
        (&["spiffe://shop/Orders"], &[]),
        (&[], &["*.shop.svc"]),
        (&[], &["spiffe://shop/orders"]),
        (&["orders.shop.svc"], &[]),
    ] {
        let unknown = by_names(uris, dns_names).unwrap_err();
        assert_eq!(unknown, AuthenticationError::UnknownCertificate, "{uris:?} {dns_names:?}");
    }
    let several = by_names(&["spiffe://shop/billing"], &["orders.shop.svc"]).unwrap_err();
    assert_eq!(several, AuthenticationError::AmbiguousCertificate);
}

#[test]
fn certificate_and_header_have_to_name_the_same_principal() {
    let names = |uri: &str| CertificateNames { uris: vec![uri.to_owned()], dns_names: Vec::new() };
    let both = |uri: &str, header: &[u8]| {
        authenticate_with(Some(&names(uri)), &[header], &[], &keys(), now())
    };
    assert_eq!(name(&both("spiffe://shop/orders", b"Bearer new-token")), "orders");
    let other = both("spiffe://shop/orders", b"Bearer other-token").unwrap_err();
    assert!(matches!(other, AuthenticationError::Contradiction { .. }), "{other:?}");
    let unknown = both("spiffe://shop/nobody", b"Bearer new-token").unwrap_err();
    assert_eq!(unknown, AuthenticationError::UnknownCertificate);
    assert!(both("spiffe://shop/orders", b"Bearer wrong").is_err());
}

#[test]
fn the_claims_of_a_jwt_lead_to_one_principal() {
    let token = |more: &[(&str, &str)]| by_header(&format!("Bearer {}", jwt(&claims(more))));
    let subject = token(&[("sub", "project:shop/orders")]);
    assert_eq!(name(&subject), "orders");
    assert_eq!(subject.unwrap().proof.to_string(), "jwt:gitlab");
    let protected = &[("project_path", "shop/billing"), ("ref_protected", "true")];
    assert_eq!(name(&token(protected)), "billing");
    assert_eq!(name(&token(&[("group", "services"), ("service", "orders")])), "orders");
    for unmapped in [
        &[][..],
        &[("project_path", "shop/billing")],
        &[("project_path", "shop/billing"), ("ref_protected", "false")],
        &[("project_path", "shop/x/y"), ("ref_protected", "true")],
        &[("group", "services"), ("service", "billing")],
        &[("group", "services")],
        &[("service", "orders")],
    ] {
        assert_eq!(token(unmapped).unwrap_err(), AuthenticationError::UnmappedJwt, "{unmapped:?}");
    }
    let several = [
        ("sub", "project:shop/orders"),
        ("project_path", "shop/billing"),
        ("ref_protected", "true"),
    ];
    assert_eq!(token(&several).unwrap_err(), AuthenticationError::AmbiguousJwt);
}

#[test]
fn a_jwt_is_accepted_as_the_password_of_its_principal() {
    let token = jwt(&claims(&[("sub", "project:shop/orders")]));
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
    assert_eq!(name(&by_header(&basic("orders"))), "orders");
    assert!(by_header(&basic("billing")).is_err());
}

#[test]
fn a_jwt_needs_a_known_issuer_with_keys() {
    let token = jwt(&claims(&[("sub", "project:shop/orders")]));
    let value = format!("Bearer {token}");
    let without = authenticate_with(None, &[value.as_bytes()], &[], &Keys(None), now());
    assert_eq!(without.unwrap_err(), AuthenticationError::NoKeys("gitlab".into()));
    let mut other = claims(&[]);
    other["iss"] = json!("https://evil.example.org");
    let other = by_header(&format!("Bearer {}", jwt(&other))).unwrap_err();
    assert_eq!(other, AuthenticationError::UnknownIssuer);
    let late = now() + jiff::SignedDuration::from_secs(361);
    let expired = authenticate_with(None, &[value.as_bytes()], &[], &keys(), late);
    assert_eq!(expired.unwrap_err(), AuthenticationError::Jwt(JwtError::Expired));
}

#[test]
fn a_remembered_outcome_replaces_the_verification_and_no_other_check() {
    let token = jwt(&claims(&[("sub", "project:shop/orders")]));
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
    let keys = Remembering::new(keys());
    let by = |certificate, value: &str| {
        authenticate_with(certificate, &[value.as_bytes()], &[], &keys, now())
    };
    assert_eq!(name(&by(None, &basic("orders"))), "orders");
    assert!(matches!(*keys.outcome.borrow(), Some(Ok(_))));
    let other = Remembering { keys: Keys(None), ..keys };
    let by = |certificate, value: &str| {
        authenticate_with(certificate, &[value.as_bytes()], &[], &other, now())
    };
    assert_eq!(name(&by(None, &basic("user"))), "orders");
    assert!(by(None, &basic("billing")).is_err());
    let billing =
        CertificateNames { uris: vec!["spiffe://shop/billing".to_owned()], dns_names: Vec::new() };
    assert!(matches!(
        by(Some(&billing), &basic("")),
        Err(AuthenticationError::Contradiction { .. })
    ));
    // A token of the policy needs no verification.
    *other.outcome.borrow_mut() = Some(Err(AuthenticationError::Unverified));
    assert_eq!(name(&by(None, "Bearer new-token")), "orders");
    assert_eq!(by(None, &basic("")), Err(AuthenticationError::Unverified));
}

#[test]
fn a_missing_key_is_reported_with_its_issuer() {
    let bearer = |token: &str| format!("Bearer {token}");
    let token = jwt(&claims(&[("sub", "project:shop/orders")]));
    let none = Remembering::new(Keys(None));
    let rejected = authenticate_with(None, &[bearer(&token).as_bytes()], &[], &none, now());
    assert!(rejected.unwrap_err().is_key_missing());
    assert_eq!(*none.reported.borrow(), ["gitlab"]);
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unknown = format!(
        "{}.{}.{}",
        encode(r#"{"alg":"EdDSA","kid":"other"}"#),
        encode(&claims(&[]).to_string()),
        encode("signature"),
    );
    let known = Remembering::new(keys());
    let rejected = authenticate_with(None, &[bearer(&unknown).as_bytes()], &[], &known, now());
    assert!(rejected.unwrap_err().is_key_missing());
    assert_eq!(*known.reported.borrow(), ["gitlab"]);
    let other = Remembering::new(keys());
    assert!(authenticate_with(None, &[bearer(&token).as_bytes()], &[], &other, now()).is_ok());
    assert!(other.reported.borrow().is_empty());
}
