//! `/encrypt`, `/decrypt` and `/key` (docs/protocol.md#16-encryption).
//!
//! A caller that may push may seal. Under a policy, the rights `seal` and `unseal` decide instead. Without keys, the server
//! answers as the original does without a key.

use std::sync::Arc;

use actix_http::header;
use actix_web::{HttpRequest, HttpResponse, web};

use super::error::HttpError;
use super::route::{CryptoRoute, RouteError};
use super::{Http, V1_TYPE, monitor};
use crate::access::{Caller, Operation, Resource};
use crate::audit::AuditEvent;
use crate::percent;
use crate::reveal::Keyring;

/// The media type of texts.
const TEXT_TYPE: &str = "text/plain;charset=UTF-8";
/// The comment of a public key, which the protocol fixes.
const KEY_COMMENT: &str = "application";

/// The keys of the server, and the use that callers may make of them.
pub struct Encryption {
    /// Empty if no key is configured.
    pub keys: Arc<Keyring>,
    /// Answer `/decrypt`.
    pub is_decrypting: bool,
    /// The watch of the files that the keys come from. `None` without keys.
    pub files: Option<Arc<dyn KeyFiles>>,
}

/// A watch of the files of keys and secrets, which ends when this is dropped.
pub trait KeyFiles: Send + Sync {
    /// Reads the files soon, whether a change was noticed or not.
    fn read_again(&self);
}

pub(super) async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
    caller: &Caller,
    route: CryptoRoute,
) -> Result<HttpResponse, HttpError> {
    let Encryption { keys, is_decrypting, .. } = &http.encryption;
    if !keys.has_cipher_keys() || route == CryptoRoute::Decrypt && !is_decrypting {
        return Ok(unavailable(route));
    }
    // A principal without the right was rejected at its admission.
    let is_admitted = matches!(caller, Caller::Identified(_));
    if !is_admitted && !http.store.may(caller, Operation::Push, Resource::Server) {
        return Err(http.encryption_permission_error(caller));
    }
    match route {
        CryptoRoute::Status => {
            Ok(HttpResponse::Ok().content_type(V1_TYPE).body(r#"{"status":"OK"}"#))
        }
        CryptoRoute::Key => Ok(keys
            .public_key()
            .map_or_else(|| unavailable(route), |key| text(format!("{key} {KEY_COMMENT}")))),
        CryptoRoute::Encrypt => {
            let sent = read(request, payload, http, Encoding::Plain).await?;
            let sealing = run(keys, move |keys| keys.seal_prefixed(&sent).ok());
            http.record_use_of_keys(request, caller, AuditEvent::Seal, sealing).await
        }
        CryptoRoute::Decrypt => {
            let sent = read(request, payload, http, Encoding::Base64).await?;
            let opening =
                run(keys, move |keys| Some(keys.open_text(&sent).ok()?.expose().to_owned()));
            http.record_use_of_keys(request, caller, AuditEvent::Unseal, opening).await
        }
    }
}

/// Runs an operation on a blocking thread, because an RSA key takes milliseconds.
///
/// Invariant: all failures have the same answer, so that it does not reveal which check failed.
async fn run(
    keys: &Arc<Keyring>,
    operation: impl FnOnce(&Keyring) -> Option<String> + Send + 'static,
) -> Result<HttpResponse, HttpError> {
    let keys = Arc::clone(keys);
    let result = web::block(move || operation(&keys)).await.ok().flatten();
    Ok(result.map_or_else(failed, text))
}

fn text(body: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(TEXT_TYPE)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body)
}

/// The answer of the original to a text that the key cannot have made.
fn failed() -> HttpResponse {
    let body = r#"{"description":"Text not encrypted with this key","status":"INVALID"}"#;
    HttpResponse::BadRequest().content_type(V1_TYPE).body(body)
}

/// The answer of the original without a key.
fn unavailable(route: CryptoRoute) -> HttpResponse {
    let body = match route {
        CryptoRoute::Key => r#"{"description":"No public key available","status":"NOT_FOUND"}"#,
        CryptoRoute::Status | CryptoRoute::Encrypt | CryptoRoute::Decrypt => {
            r#"{"description":"The encryption algorithm is not strong enough","status":"INVALID"}"#
        }
    };
    HttpResponse::NotFound().content_type(V1_TYPE).body(body)
}

/// The content of a body, which decides how a plus sign in a form is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Plain,
    /// Hexadecimal or base64, in which a plus sign is a digit.
    Base64,
}

/// Reads the text of a request. Its content type is required, as in the original.
async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
    encoding: Encoding,
) -> Result<String, HttpError> {
    const INVALID: HttpError = HttpError::Route(RouteError::Invalid);
    let media_type = request.headers().get(header::CONTENT_TYPE).ok_or(INVALID)?;
    let media_type = media_type.to_str().map_err(|_| INVALID)?;
    let is_form = media_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let body = monitor::read_in_slot(request, payload, http).await?;
    let body = String::from_utf8(body).map_err(|_| INVALID)?;
    if body.is_empty() {
        return Err(INVALID);
    }
    if is_form { form_text(&body, encoding).ok_or(INVALID) } else { Ok(body) }
}

/// The text that a client sent as a form without meaning one, as `curl -d` does: a name without a value.
fn form_text(body: &str, encoding: Encoding) -> Option<String> {
    if body.trim_end_matches('=').contains('=') {
        return Some(body.to_owned());
    }
    match encoding {
        Encoding::Plain => percent::decode(&body.replace('+', " ")),
        Encoding::Base64 => percent::decode(body),
    }
}

impl Http {
    /// Returns the error for a caller without permission. Where no push token is set, another token would not help.
    fn encryption_permission_error(&self, caller: &Caller) -> HttpError {
        let may_read = self.store.may(caller, Operation::ReadOverview, Resource::Server);
        if may_read && self.push_token.is_none() {
            HttpError::RemoteEncryption
        } else {
            HttpError::Unauthorized
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_without_a_value_is_a_text() {
        for (body, encoding, expected) in [
            ("secret", Encoding::Plain, Some("secret")),
            ("my+s%C3%A4cret", Encoding::Plain, Some("my s\u{e4}cret")),
            ("a=b%20", Encoding::Plain, Some("a=b%20")),
            ("AQ+b/w==", Encoding::Base64, Some("AQ+b/w==")),
            ("AQ%2Bb%2Fw%3D%3D", Encoding::Base64, Some("AQ+b/w==")),
            ("%zz", Encoding::Plain, None),
        ] {
            assert_eq!(form_text(body, encoding).as_deref(), expected, "{body}");
        }
    }
}
