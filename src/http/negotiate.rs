//! Content negotiation: the representation that a request accepts, and the entity tags that its client has. Each list
//! is read once from front to back. The HTTP server limits its length.

use actix_http::header::{self, HeaderMap, HeaderValue};

use super::error::HttpError;
use crate::charset::Charset;
use crate::render::Representation;

/// Returns the accepted representation of an environment, or `None` if the client accepts neither
/// (docs/protocol.md#22-representations-of-an-environment).
pub(super) fn representation(headers: &HeaderMap) -> Option<Representation> {
    let accepted = accepted(headers);
    if accepted.is_empty() {
        return Some(Representation::V1);
    }
    let mut best: Option<(u32, Representation)> = None;
    for (media_type, quality) in &accepted {
        if let Some(representation) = representation_of(media_type)
            && *quality > 0
            && best.is_none_or(|(known, _)| *quality > known)
        {
            best = Some((*quality, representation));
        }
    }
    best.map(|(_, representation)| representation)
}

/// The media type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Returns true if no other media type is preferred to events.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = accepted(headers);
    let quality =
        accepted.iter().find(|(name, _)| name == EVENT_STREAM).map(|(_, quality)| *quality);
    quality
        .is_some_and(|quality| quality > 0 && accepted.iter().all(|(_, other)| *other <= quality))
}

fn representation_of(media_type: &str) -> Option<Representation> {
    match media_type {
        "*/*" | "application/*" | "application/json" => Some(Representation::V1),
        "application/*+json" => Some(Representation::V2),
        _ if media_type == Representation::V2.content_type() => Some(Representation::V2),
        _ => None,
    }
}

/// Splits an item into its media range or charset, in lower case and without parameters, and its quality in
/// thousandths.
fn item_with_quality(item: &str) -> (String, u32) {
    let mut parts = item.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts
        .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
        .map_or(1_000, |text| match text.trim().parse::<f32>() {
            Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1_000.0) as u32,
            _ => 0,
        });
    (media_type, quality)
}

/// Returns true if this media type is the first in `Accept`.
pub(super) fn wants(headers: &HeaderMap, media_type: &str) -> bool {
    accepted(headers).first().is_some_and(|(first, _)| first == media_type)
}

/// Returns true if a file is requested as bytes: no other type is preferred to `application/octet-stream` or
/// `application/*` (docs/protocol.md#63-bytes).
///
/// # Errors
/// [`HttpError::NotAcceptable`] if `Accept` contains an item that is not a media type.
pub(super) fn wants_binary(headers: &HeaderMap) -> Result<bool, HttpError> {
    let accepted = accepted(headers);
    if accepted.iter().any(|(media_type, _)| !media_type.contains('/')) {
        return Err(HttpError::NotAcceptable);
    }
    let names_binary = |name: &str| ["application/octet-stream", "application/*"].contains(&name);
    let (binary, other): (Vec<_>, Vec<_>) =
        accepted.iter().partition(|(media_type, _)| names_binary(media_type));
    let highest = |types: &[&(String, u32)]| types.iter().map(|(_, quality)| *quality).max();
    Ok(highest(&binary).is_some_and(|quality| quality > 0 && Some(quality) >= highest(&other)))
}

/// The media types of `Accept`, each with its quality in thousandths.
fn accepted(headers: &HeaderMap) -> Vec<(String, u32)> {
    items(headers, header::ACCEPT).collect()
}

/// The items of a list header, each with its quality in thousandths.
fn items(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = (String, u32)> {
    let values = headers.get_all(name).filter_map(|value| value.to_str().ok());
    let items = values.flat_map(|value| value.split(','));
    items.filter(|item| !item.trim().is_empty()).map(item_with_quality)
}

/// The longest part of an unknown charset's name that an error repeats, in characters.
const CHARSET_SHOWN_LENGTH_MAX: usize = 40;

/// Returns the charset by which a file is decoded: the supported charset of the highest quality, and UTF-8 before
/// others of the same quality, because old clients of Spring list every charset of Java. Without the header, and for
/// `*`, it is UTF-8.
///
/// # Errors
/// [`HttpError::UnknownCharset`] if the header names no supported charset.
pub(super) fn charset(headers: &HeaderMap) -> Result<Charset, HttpError> {
    let named: Vec<(String, u32)> = items(headers, header::ACCEPT_CHARSET).collect();
    let Some((first, _)) = named.first() else { return Ok(Charset::UTF_8) };
    let known = |name: &str| match name {
        "*" => Some(Charset::UTF_8),
        name => Charset::named(name),
    };
    let mut best: Option<(u32, Charset)> = None;
    for (name, quality) in named.iter().filter(|(_, quality)| *quality > 0) {
        let Some(charset) = known(name) else { continue };
        if best.is_none_or(|(highest, _)| (*quality, charset.is_utf_8()) > (highest, false)) {
            best = Some((*quality, charset));
        }
    }
    best.map(|(_, charset)| charset).ok_or_else(|| {
        HttpError::UnknownCharset(first.chars().take(CHARSET_SHOWN_LENGTH_MAX).collect())
    })
}

/// Returns true if `If-None-Match` contains this entity tag, by weak comparison, or is `*`.
pub(super) fn has_already(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).any(|value| matches_etag(value, etag))
}

fn matches_etag(value: &HeaderValue, etag: &str) -> bool {
    if value.as_bytes() == etag.as_bytes() {
        return true;
    }
    let Ok(list) = value.to_str() else {
        return false;
    };
    let wanted = opaque(etag);
    list.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == wanted)
}

/// Removes the mark of a weak entity tag.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Option<Representation>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        assert_eq!(representation(&headers), expected, "{accept}");
    }

    #[test]
    fn accept_chooses_as_in_spring() {
        let v2 = Representation::V2.content_type();
        check("*/*", Some(Representation::V1));
        check("application/json", Some(Representation::V1));
        check(v2, Some(Representation::V2));
        check("application/*+json", Some(Representation::V2));
        check(&format!("{v2}, application/json"), Some(Representation::V2));
        check(&format!("application/json, {v2}"), Some(Representation::V1));
        check(&format!("application/json;q=0.5, {v2}"), Some(Representation::V2));
        check("text/html,application/xhtml+xml,*/*;q=0.8", Some(Representation::V1));
        check("application/xml", None);
        check("text/plain", None);
        check("application/vnd.spring-cloud.config-server.v1+json", None);
        assert_eq!(representation(&HeaderMap::new()), Some(Representation::V1));
    }

    #[track_caller]
    fn check_charset(list: &str, expected: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_CHARSET, HeaderValue::from_str(list).unwrap());
        let read = charset(&headers).map(|charset| charset.decode(b"\xc3\xa4"));
        let read = read.map_err(|error| match error {
            HttpError::UnknownCharset(name) => name,
            other => panic!("{other:?}"),
        });
        assert_eq!(read.as_deref().map_err(String::as_str), expected, "{list}");
    }

    #[test]
    fn the_best_known_charset_is_used() {
        check_charset("utf-8", Ok("\u{e4}"));
        check_charset("iso-8859-1", Ok("\u{c3}\u{a4}"));
        check_charset("big5, iso-8859-1, utf-8, utf-16", Ok("\u{e4}"));
        check_charset("nope, iso-8859-1;q=0.5, utf-8;q=0.2", Ok("\u{c3}\u{a4}"));
        check_charset("*", Ok("\u{e4}"));
        check_charset("", Ok("\u{e4}"));
        check_charset("nope", Err("nope"));
        check_charset("ibm1047, nope", Err("ibm1047"));
        check_charset("utf-8;q=0", Err("utf-8"));
    }

    #[test]
    fn entity_tags_compare_weakly() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\", W/\"a.v1\""));
        assert!(has_already(&headers, "W/\"a.v1\""));
        assert!(has_already(&headers, "\"a.v1\""));
        assert!(!has_already(&headers, "W/\"a.v2\""));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert!(has_already(&headers, "W/\"anything\""));
    }
}
