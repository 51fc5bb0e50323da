//! Tests of JWT verification, with tokens that are signed here.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256,
};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

struct Keys {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    ed: Ed25519KeyPair::generate().unwrap(),
});

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_jwk(kid: &str) -> Value {
    let public = KEYS.rsa.public_key();
    json!({
        "kty": "RSA", "kid": kid, "use": "sig",
        "n": encode(public.modulus().big_endian_without_leading_zero()),
        "e": encode(public.exponent().big_endian_without_leading_zero()),
    })
}

fn ec_jwk(kid: &str) -> Value {
    let point = KEYS.ec.public_key().as_ref();
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256",
        "x": encode(&point[1..33]), "y": encode(&point[33..]),
    })
}

fn ed_jwk(kid: &str) -> Value {
    let x = encode(KEYS.ed.public_key().as_ref());
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "key_ops": ["verify"]})
}

fn jwks(keys: &[Value]) -> Jwks {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn all_keys() -> Jwks {
    jwks(&[rsa_jwk("r"), ec_jwk("e"), ed_jwk("d")])
}

fn sign(header: &Value, claims: &Value) -> String {
    let message = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let random = SystemRandom::new();
    let bytes = message.as_bytes();
    let rsa = |padding| {
        let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
        KEYS.rsa.sign(padding, &random, bytes, &mut signature).unwrap();
        signature
    };
    let signature = match header["alg"].as_str() {
        Some("ES256") => KEYS.ec.sign(&random, bytes).unwrap().as_ref().to_vec(),
        Some("EdDSA") => KEYS.ed.sign(bytes).as_ref().to_vec(),
        Some("PS256") => rsa(&RSA_PSS_SHA256),
        _ => rsa(&RSA_PKCS1_SHA256),
    };
    format!("{message}.{}", encode(&signature))
}

fn terms() -> Terms {
    Terms {
        issuer: "https://gitlab.example.org".to_owned(),
        audience: "headwater".to_owned(),
        algorithms: DEFAULT_ALGORITHMS.to_vec(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://gitlab.example.org", "aud": "headwater", "exp": NOW + 300,
        "project_path": "shop/payments", "ref_protected": "true", "project_id": 42,
        "groups": ["a", "b"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn check(header: &Value, claims: &Value) -> Result<Claims, JwtError> {
    verify(&sign(header, claims), &terms(), &all_keys(), at(NOW))
}

#[test]
fn each_default_algorithm_is_accepted_with_and_without_a_key_id() {
    for (algorithm, kid) in [("RS256", "r"), ("ES256", "e"), ("EdDSA", "d")] {
        for header in [json!({"alg": algorithm, "kid": kid}), json!({"alg": algorithm})] {
            let verified = check(&header, &claims()).unwrap();
            assert_eq!(verified.text("project_path"), Some("shop/payments"), "{header}");
            assert_eq!(verified.valid_until(), at(NOW + 360));
        }
    }
}

#[test]
fn an_algorithm_outside_the_policy_is_rejected() {
    let header = json!({"alg": "PS256", "kid": "r"});
    assert_eq!(check(&header, &claims()).unwrap_err(), JwtError::Algorithm);
    let terms = Terms { algorithms: vec![Algorithm::PS256], ..terms() };
    let token = sign(&header, &claims());
    assert!(verify(&token, &terms, &all_keys(), at(NOW)).is_ok());
    for algorithm in ["none", "None", "HS256", "RS1", ""] {
        let token = sign(&json!({"alg": algorithm, "kid": "r"}), &claims());
        let rejected = verify(&token, &self::terms(), &all_keys(), at(NOW));
        assert_eq!(rejected.unwrap_err(), JwtError::Algorithm, "{algorithm}");
    }
}

#[test]
fn the_public_key_as_a_shared_secret_is_rejected() {
    use aws_lc_rs::hmac;
    let header = encode(json!({"alg": "HS256", "kid": "r"}).to_string().as_bytes());
    let message = format!("{header}.{}", encode(claims().to_string().as_bytes()));
    let secret = KEYS.rsa.public_key().as_ref();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    let token = format!("{message}.{}", encode(tag.as_ref()));
    let rejected = verify(&token, &terms(), &all_keys(), at(NOW));
    assert_eq!(rejected.unwrap_err(), JwtError::Algorithm);
}

#[test]
fn an_unsigned_token_is_rejected() {
    let header = encode(br#"{"alg":"none"}"#);
    let token = format!("{header}.{}.", encode(claims().to_string().as_bytes()));
    assert_eq!(verify(&token, &terms(), &all_keys(), at(NOW)).unwrap_err(), JwtError::Algorithm);
    let header = encode(br#"{"alg":"RS256","kid":"r"}"#);
    let token = format!("{header}.{}.", encode(claims().to_string().as_bytes()));
    assert_eq!(verify(&token, &terms(), &all_keys(), at(NOW)).unwrap_err(), JwtError::Signature);
}

#[test]
fn expiry_and_start_tolerate_60_seconds() {
    let header = json!({"alg": "EdDSA", "kid": "d"});
    for (exp, expected) in [
        (json!(NOW - 60), None),
        (json!(NOW - 61), Some(JwtError::Expired)),
        (json!(NOW as f64 - 61.5), Some(JwtError::Expired)),
        (json!(NOW as f64 + 0.5), None),
        (json!("1800000300"), Some(JwtError::NoExpiry)),
        (json!(null), Some(JwtError::NoExpiry)),
        (json!(i64::MAX), Some(JwtError::NoExpiry)),
        (json!(-1), Some(JwtError::Expired)),
    ] {
        assert_eq!(check(&header, &with("exp", exp.clone())).err(), expected, "{exp}");
    }
    assert_eq!(check(&header, &without("exp")).unwrap_err(), JwtError::NoExpiry);
    for (nbf, expected) in [
        (json!(NOW + 60), None),
        (json!(NOW + 61), Some(JwtError::NotYetValid)),
        (json!("soon"), Some(JwtError::NotYetValid)),
    ] {
        assert_eq!(check(&header, &with("nbf", nbf.clone())).err(), expected, "{nbf}");
    }
}

#[test]
fn a_clock_that_jumps_changes_the_answer_and_nothing_else() {
    let token = sign(&json!({"alg": "EdDSA", "kid": "d"}), &with("nbf", json!(NOW)));
    let verify_at = |seconds| verify(&token, &terms(), &all_keys(), at(seconds)).err();
    assert_eq!(verify_at(NOW), None);
    assert_eq!(verify_at(NOW + 3600), Some(JwtError::Expired));
    assert_eq!(verify_at(NOW - 3600), Some(JwtError::NotYetValid));
    assert_eq!(
        verify(&token, &terms(), &all_keys(), Timestamp::MAX).err(),
        Some(JwtError::Expired)
    );
    let earliest = verify(&token, &terms(), &all_keys(), Timestamp::MIN).err();
    assert_eq!(earliest, Some(JwtError::NotYetValid));
}

#[test]
fn issuer_and_audience_have_to_match_exactly() {
    let header = json!({"alg": "ES256", "kid": "e"});
    for (aud, expected) in [
        (json!(["other", "headwater"]), None),
        (json!("Headwater"), Some(JwtError::Audience)),
        (json!([]), Some(JwtError::Audience)),
        (json!({"headwater": true}), Some(JwtError::Audience)),
    ] {
        assert_eq!(check(&header, &with("aud", aud.clone())).err(), expected, "{aud}");
    }
    assert_eq!(check(&header, &without("aud")).unwrap_err(), JwtError::Audience);
    let other = with("iss", json!("https://gitlab.example.org/"));
    assert_eq!(check(&header, &other).unwrap_err(), JwtError::Issuer);
    assert_eq!(check(&header, &without("iss")).unwrap_err(), JwtError::Issuer);
}

#[test]
fn the_key_id_selects_the_key() {
    let token = sign(&json!({"alg": "RS256", "kid": "other"}), &claims());
    assert_eq!(verify(&token, &terms(), &all_keys(), at(NOW)).unwrap_err(), JwtError::UnknownKey);
    let two = jwks(&[rsa_jwk("one"), rsa_jwk("two")]);
    let token = sign(&json!({"alg": "RS256"}), &claims());
    assert_eq!(verify(&token, &terms(), &two, at(NOW)).unwrap_err(), JwtError::UnknownKey);
    let token = sign(&json!({"alg": "RS256", "kid": "two"}), &claims());
    assert!(verify(&token, &terms(), &two, at(NOW)).is_ok());
    let token = sign(&json!({"alg": "RS256", "kid": 7}), &claims());
    assert_eq!(verify(&token, &terms(), &two, at(NOW)).unwrap_err(), JwtError::Malformed);
}

#[test]
fn a_key_is_used_only_for_its_own_algorithm() {
    let mut key = rsa_jwk("r");
    key["alg"] = json!("RS512");
    let token = sign(&json!({"alg": "RS256", "kid": "r"}), &claims());
    let rejected = verify(&token, &terms(), &jwks(&[key]), at(NOW));
    assert_eq!(rejected.unwrap_err(), JwtError::UnknownKey);
}

#[test]
fn a_token_that_requires_an_extension_is_rejected() {
    let header = json!({"alg": "EdDSA", "kid": "d", "crit": ["b64"], "b64": false});
    assert_eq!(check(&header, &claims()).unwrap_err(), JwtError::Critical);
}

#[test]
fn a_changed_byte_anywhere_is_rejected() {
    let token = sign(&json!({"alg": "EdDSA", "kid": "d"}), &claims());
    let keys = all_keys();
    for at_byte in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at_byte] = if changed[at_byte] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verify(&changed, &terms(), &keys, at(NOW)).is_err(), "byte {at_byte}");
    }
}

#[test]
fn oversized_and_malformed_tokens_are_rejected() {
    let long = sign(&json!({"alg": "EdDSA"}), &with("x", json!("a".repeat(8192))));
    assert_eq!(verify(&long, &terms(), &all_keys(), at(NOW)).unwrap_err(), JwtError::TooLong);
    let list = encode(b"[]");
    for token in ["", ".", "..", "a.b", "a.b.c.d", "a.b.c", &format!("{list}.{list}.{list}")] {
        let rejected = verify(token, &terms(), &all_keys(), at(NOW));
        assert_eq!(rejected.unwrap_err(), JwtError::Malformed, "{token}");
    }
}

#[test]
fn a_jwks_document_is_bounded_and_checked() {
    let parse = |value: Value| Jwks::parse(value.to_string().as_bytes()).map(|_| ());
    let many: Vec<Value> = (0..65).map(|kid| ed_jwk(&kid.to_string())).collect();
    assert_eq!(parse(json!({ "keys": many })), Err(JwksError::TooManyKeys(65)));
    assert_eq!(parse(json!({ "keys": &many[..64] })), Ok(()));
    let long = vec![b' '; JWKS_BYTES_MAX + 1];
    assert_eq!(Jwks::parse(&long).unwrap_err(), JwksError::TooLong(JWKS_BYTES_MAX + 1));
    for text in ["", "[]", "{}", "<html>", r#"{"keys":{}}"#, "\u{feff}{\"keys\":[]}"] {
        assert_eq!(Jwks::parse(text.as_bytes()).unwrap_err(), JwksError::Malformed, "{text}");
    }
    assert_eq!(parse(json!({"keys": []})), Err(JwksError::NoUsableKey));
    let mut private = ed_jwk("d");
    private["d"] = json!("AAAA");
    assert_eq!(parse(json!({"keys": [rsa_jwk("r"), private]})), Err(JwksError::PrivateKey));
}

#[test]
fn unusable_keys_are_left_out() {
    let mut short = rsa_jwk("short");
    short["n"] = json!(encode(&[0x80; 128]));
    let mut encryption = rsa_jwk("encryption");
    encryption["use"] = json!("enc");
    let mut half = ec_jwk("half");
    half["y"] = json!("AAAA");
    let mut operations = ed_jwk("operations");
    operations["key_ops"] = json!(["sign"]);
    let secret = json!({"kty": "oct", "kid": "secret", "k": "AAAA"});
    for key in [short, encryption, half, operations, secret, json!({"kty": "new"}), json!(7)] {
        let document = json!({"keys": [key.clone()]}).to_string();
        let unusable = Jwks::parse(document.as_bytes()).unwrap_err();
        assert_eq!(unusable, JwksError::NoUsableKey, "{key}");
        let document = json!({"keys": [key, ed_jwk("d")]}).to_string();
        assert!(Jwks::parse(document.as_bytes()).is_ok());
    }
}

#[test]
fn claims_are_compared_as_texts() {
    let verified = check(&json!({"alg": "EdDSA"}), &claims()).unwrap();
    for (name, value, expected) in [
        ("project_path", "shop/payments", true),
        ("project_id", "42", true),
        ("groups", "b", true),
        ("groups", "c", false),
        ("absent", "", false),
    ] {
        assert_eq!(verified.any_text(name, |text| text == value), expected, "{name}");
    }
    assert!(!format!("{verified:?}").contains("shop"));
}

#[test]
fn the_shape_of_a_jwt_is_three_parts() {
    assert!(is_jwt("a.b.c"));
    for text in ["", "hw_x", "a.b", "a..c", "a.b.", "a.b.c.d", "a.b.c."] {
        assert!(!is_jwt(text), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(token in "[A-Za-z0-9_.-]{0,80}", document in ".{0,80}") {
        let _ = verify(&token, &terms(), &all_keys(), at(NOW));
        let _ = unverified_issuer(&token);
        let _ = Jwks::parse(document.as_bytes());
    }
}
