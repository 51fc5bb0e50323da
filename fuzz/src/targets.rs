//! The fuzz targets: what each does with arbitrary bytes, and what has to hold for the result.
//!
//! The fuzzer compiles this file, and so do the integration tests, which replay the corpus. It therefore uses only crates
//! that both have.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use headwater::charset::Charset;
use headwater::format::{self, DOCUMENTS_MAX, Format, KEYS_MAX};
use headwater::http::route::{self, ITEM_COUNT_MAX, Route};
use headwater::model::{Environment, Label, PropertySource, Query, Scalar, Value};
use headwater::placeholder;
use headwater::render::{self, Representation};
use headwater_access::credential::CredentialHeaders;
use headwater_access::jwt::{self, Jwks};
use headwater_access::{CheckContext, Evidence, KeySets, Policy, Request, ServerRight, Storage};
use headwater_secrets::age::AgeIdentities;
use headwater_secrets::sealed::{Place, SealKey, SealKeyring};
use headwater_secrets::sops::{self, SopsFormat};
use headwater_secrets::{KeyStore, KeyStoreSettings, Keyring, RsaSettings, SecretText, SpringKey};

/// One target.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All targets. Each has a directory of its name in `fuzz/corpus`.
pub(crate) const ALL: [Target; 20] = [
    target("yaml", |bytes| file(Format::Yaml, bytes)),
    target("properties", |bytes| file(Format::Properties, bytes)),
    target("toml", |bytes| file(Format::Toml, bytes)),
    target("json", |bytes| file(Format::Json, bytes)),
    target("xml", |bytes| file(Format::Xml, bytes)),
    target("charset", charset),
    target("placeholder", placeholder),
    target("route", route),
    target("policy", policy),
    target("cipher", cipher),
    target("sealed", sealed),
    target("jks", jks),
    target("pkcs12", pkcs12),
    target("sops", sops),
    target("age", age),
    target("authorization", authorization),
    target("jwks", jwks),
    target("monitor", monitor),
    target("packets", headwater::push::fuzzing::packets),
    target("hook", headwater::push::fuzzing::question),
];

/// A configuration file is parsed within the documented limits, and its properties can be written in every form.
fn file(format: Format, bytes: &[u8]) {
    let Ok(documents) = format::parse(format, bytes) else { return };
    assert!(documents.len() <= DOCUMENTS_MAX);
    let all = || documents.iter().flat_map(|document| &document.properties);
    assert!(all().count() <= KEYS_MAX);
    let line_count = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    for property in all() {
        let position = property.position;
        assert!(position.column >= 1 && position.line >= 1);
        // Some formats end lines at further characters, each of which has at least one byte.
        assert!(position.line as usize <= bytes.len().max(line_count) + 1);
        if composes(&property.key) {
            assert!(format::may_compose(bytes), "{} is not announced", property.key);
        }
        if let Value::Plain(Scalar::Integer(text)) = &property.value {
            assert!(text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()));
        }
    }
    write(&environment(documents.into()));
}

/// Returns true for a key by which a file changes which other files count.
fn composes(key: &str) -> bool {
    const KEYS: [&str; 4] = [
        "spring.config.import",
        "spring.config.activate.on-profile",
        "spring.profiles.include",
        "spring.profiles.group",
    ];
    KEYS.iter().any(|known| {
        key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
    })
}

fn environment(documents: Arc<[headwater::model::Document]>) -> Environment {
    let sources = (0..documents.len()).map(|index| PropertySource {
        name: format!("file:{index}").into(),
        file: Some("application.yml".into()),
        documents: Arc::clone(&documents),
        index,
    });
    Environment {
        application: "orders".into(),
        profiles: "prod".into(),
        label: Label::Default,
        sources: sources.collect(),
    }
}

/// Writes all representations. Those in JSON have to be JSON.
fn write(environment: &Environment) {
    use render::flat::PlaceholderMode::{Keep, Resolve};
    let is_json = |text: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
    for representation in [Representation::V1, Representation::V2] {
        let rendered = render::json(environment, representation, "revision", None);
        assert!(is_json(&rendered.bytes));
    }
    for mode in [Keep, Resolve] {
        let _ = render::flat::properties(environment, mode);
        let _ = render::flat::yaml(environment, mode);
        if let Ok(text) = render::flat::json(environment, mode) {
            assert!(is_json(text.as_bytes()));
        }
    }
    let digest = render::digest(&environment.sources);
    assert_eq!(digest, render::digest(&environment.sources));
}

/// The first line names a charset, and the rest is a file in it.
fn charset(bytes: &[u8]) {
    let (name, content) = split(bytes, b'\n');
    let Some(charset) = std::str::from_utf8(name).ok().and_then(Charset::named) else { return };
    let text = charset.decode(content);
    assert_eq!(text, charset.decode_owned(content.to_vec()));
}

/// The first line is a text with placeholders, and the rest are the properties that they name.
fn placeholder(bytes: &[u8]) {
    let (text, properties) = split(bytes, b'\n');
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(documents) = format::parse(Format::Properties, properties) else { return };
    let environment = environment(documents.into());
    if let Ok(resolved) = placeholder::resolve_text(&environment, text, &|_| true) {
        let values = placeholder::EnvironmentValues::new(&environment);
        let input = text.len() + placeholder::ValueSource::byte_count(&values);
        let most = placeholder::GROWTH_MAX * input + placeholder::GROWTH_FREE_BYTES;
        assert!(resolved.len() <= most, "{} of {most} bytes", resolved.len());
    }
}

/// No name that a path leads to can leave the tree.
fn route(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    for (prefix, use_default_label) in [("", false), ("", true), ("/config", false)] {
        match route::route(path, prefix, use_default_label) {
            Ok(Route::Environment(query) | Route::Flat(query, _)) => check_query(&query),
            Ok(Route::File(query, path)) => {
                check_query(&query);
                check_name(&path);
            }
            _ => {}
        }
    }
    if let Ok(Label::Named(name)) = route::label(path) {
        check_name(&name);
    }
}

fn check_query(query: &Query) {
    for name in [Some(&*query.application), Some(&*query.profiles), query.label.name()] {
        name.into_iter().for_each(check_name);
    }
    assert!(!query.profiles.contains('/'));
    assert!(query.application_names().count() <= ITEM_COUNT_MAX);
    assert!(query.profile_names().count() <= ITEM_COUNT_MAX);
}

fn check_name(name: &str) {
    assert!(!name.starts_with('/') && !name.contains(['\0', '\n', '\r', '\x1b']), "{name:?}");
    assert!(name.split('/').all(|part| part != ".."), "{name:?}");
}

struct NoKeys;

impl KeySets for NoKeys {
    fn keys(&self, _issuer: &str) -> Option<Arc<Jwks>> {
        None
    }
}

/// A policy that parses can be checked and decides every request in one way.
fn policy(bytes: &[u8]) {
    let Ok(policy) = Policy::parse("policy.toml", bytes) else { return };
    for storage in [Storage::File, Storage::Hosted] {
        policy.check(&CheckContext { now: jiff::Timestamp::UNIX_EPOCH, storage, names: None });
    }
    let label = || headwater_access::Label::Default(Some("main".into()));
    let requests = [
        Request::Read(headwater_access::Environment::of("orders", "prod", label())),
        Request::Open(headwater_access::Environment::of("application", "default", label())),
        Request::Server(ServerRight::Admin),
    ];
    let anonymous = headwater_access::Principal::anonymous();
    for principal in policy.principals().chain([&anonymous]) {
        for request in &requests {
            let decision = policy.decide(principal, request);
            assert_eq!(decision.is_allowed(), policy.decide(principal, request).is_allowed());
            policy.explain(principal, request);
        }
    }
    let headers = CredentialHeaders { authorization: &[b"Bearer abc"], config_token: &[] };
    let evidence = Evidence { certificate: None, headers, keys: &NoKeys };
    assert!(policy.authenticate(&evidence, jiff::Timestamp::UNIX_EPOCH).is_err());
}

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let passphrase = SecretText::new("foo");
    let salt = "deadbeef";
    let pem = SecretText::new(include_str!("../../secrets/tests/vectors/rsa-1024.pem"));
    let keys = [
        SpringKey::from_passphrase(&passphrase, salt),
        SpringKey::from_passphrase_gcm(&passphrase, salt),
        SpringKey::from_pem(&pem),
    ];
    Keyring::new(keys.into_iter().flatten().collect())
});

/// A sealed text that no key opens gives one message, whatever is wrong with it.
fn cipher(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for opened in [KEYRING.open(text), KEYRING.open_text(text)] {
        if let Err(error) = opened {
            assert_eq!(error.to_string(), UNIFORM.as_str());
        }
    }
}

/// The message of all failures.
static UNIFORM: LazyLock<String> = LazyLock::new(|| match KEYRING.open_text("") {
    Ok(_) => String::new(),
    Err(error) => error.to_string(),
});

static SEAL_KEYS: LazyLock<Option<SealKeyring>> = LazyLock::new(|| {
    let key = SealKey::parse("k1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").ok()?;
    SealKeyring::new(vec![key]).ok()
});

/// The bytes are a value of `{sealed}`, and the text of a key file.
fn sealed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(keys) = SEAL_KEYS.as_ref() else { panic!("the fixed seal key is not accepted") };
    let place = Place { area: "orders", key: "db.password" };
    if let Err(error) = keys.open(text, &place) {
        assert_eq!(error.to_string(), UNIFORM.as_str());
    }
    if let Ok(key) = SealKey::parse(text) {
        let again = SealKey::parse(key.to_text().expose());
        assert_eq!(again.ok().as_ref().map(SealKey::id), Some(key.id()));
    }
}

/// The password of the keystores in the corpus.
const STORE_PASSWORD: &str = "storepass";

/// A store of Java, as it is and with the digest that belongs to its content. Without that digest, no change would reach
/// the entries.
fn jks(bytes: &[u8]) {
    const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
    let mut store = MAGIC.to_vec();
    store.extend_from_slice(bytes.strip_prefix(&MAGIC).unwrap_or(bytes));
    key_store(&store);
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for unit in STORE_PASSWORD.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(&store);
    store.extend_from_slice(digest.finish().as_ref());
    key_store(&store);
}

fn pkcs12(bytes: &[u8]) {
    if bytes.first() == Some(&0x30) {
        key_store(bytes);
    }
}

/// A keystore is read with its password or rejected. Its first entries are used.
fn key_store(bytes: &[u8]) {
    let Ok(store) = KeyStore::read(bytes, &SecretText::new(STORE_PASSWORD)).map(Arc::new) else {
        return;
    };
    for alias in store.aliases().take(4).map(str::to_owned).collect::<Vec<_>>() {
        for secret in [None, Some(SecretText::new("mainpass"))] {
            let (alias, rsa) = (alias.clone(), RsaSettings::default());
            let settings = KeyStoreSettings { alias, secret, rsa };
            let _ = SpringKey::from_key_store(Arc::clone(&store), &settings);
        }
    }
}

static IDENTITIES: LazyLock<Option<AgeIdentities>> = LazyLock::new(|| {
    let vectors = include_str!("../../secrets/tests/vectors/sops.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).ok()?;
    AgeIdentities::parse(vectors["identity"].as_str()?).ok()
});

/// The first byte chooses the format, and the rest is a file. The corpus has files whose data key opens, so that the
/// fuzzer reaches the values behind it.
fn sops(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else { return };
    let format = match first {
        b'j' => SopsFormat::Json,
        b'd' => SopsFormat::Dotenv,
        b'i' => SopsFormat::Ini,
        _ => SopsFormat::Yaml,
    };
    let Some(identities) = IDENTITIES.as_ref() else {
        panic!("the fixed identity is not accepted")
    };
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = sops::open(text, format, identities);
    }
}

/// The bytes are a file of identities, and the armoured data key of a SOPS file.
fn age(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = AgeIdentities::parse(text);
    let file = serde_json::json!({"sops": {
        "age": [{"recipient": "age1", "enc": text}],
        "lastmodified": "2026-01-01T00:00:00Z",
        "mac": "ENC[AES256_GCM,data:,iv:,tag:,type:str]",
        "version": "3.9.0",
    }});
    let Some(identities) = IDENTITIES.as_ref() else {
        panic!("the fixed identity is not accepted")
    };
    assert!(sops::open(&file.to_string(), SopsFormat::Json, identities).is_err());
}

static JWKS: LazyLock<Option<Jwks>> = LazyLock::new(|| {
    let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    Jwks::parse(keys.as_bytes()).ok()
});

/// Each line is the value of a header: the first one of `Authorization`, then one of `X-Config-Token`, then again. A
/// token that no listed key signed is never accepted.
fn authorization(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let of = |parity: usize| lines.iter().skip(parity).step_by(2).copied().collect::<Vec<_>>();
    let (authorization, config_token) = (of(0), of(1));
    let headers = CredentialHeaders { authorization: &authorization, config_token: &config_token };
    let Ok(Some(credential)) = headers.credential() else { return };
    assert!(
        credential
            .secret()
            .bytes()
            .all(|byte| !byte.is_ascii_control() || credential.user().is_some())
    );
    let Some(keys) = JWKS.as_ref() else { panic!("the fixed keys are not accepted") };
    let token = credential.secret();
    let terms = jwt::Terms {
        issuer: jwt::unverified_issuer(token).unwrap_or_default(),
        audience: "headwater".to_owned(),
        algorithms: jwt::DEFAULT_ALGORITHMS.to_vec(),
    };
    assert!(jwt::verify(token, &terms, keys, jiff::Timestamp::UNIX_EPOCH).is_err());
}

/// The keys of an issuer.
fn jwks(bytes: &[u8]) {
    if let Ok(keys) = Jwks::parse(bytes) {
        let terms = jwt::Terms {
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            algorithms: jwt::DEFAULT_ALGORITHMS.to_vec(),
        };
        for header in ["eyJhbGciOiJFZERTQSJ9", "eyJhbGciOiJSUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9"] {
            let token = format!("{header}.eyJpc3MiOiJpIn0.c2lnbmF0dXJl");
            assert!(jwt::verify(&token, &terms, &keys, jiff::Timestamp::UNIX_EPOCH).is_err());
        }
    }
}

/// The first line is `name: value` of one header, and the rest is the body of a webhook.
fn monitor(bytes: &[u8]) {
    let (header, body) = split(bytes, b'\n');
    let header = std::str::from_utf8(header).unwrap_or_default();
    let (name, value) = header.split_once(": ").unwrap_or((header, ""));
    for application in headwater::http::fuzzing::applications(name, value, body) {
        assert!(!application.is_empty() && !application.contains(['/', '\\']), "{application:?}");
    }
}

/// The bytes before and after the first occurrence of a byte.
fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(place) => (&bytes[..place], &bytes[place + 1..]),
        None => (bytes, &[]),
    }
}
