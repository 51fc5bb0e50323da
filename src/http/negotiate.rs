//! What a request's headers ask for: which representation, and whether the caller has it already. Every list is read once,
//! from front to back; how long one may be is for the server below to say.

use actix_http::header::{self, HeaderMap, HeaderValue};

use super::error::Fault;
use crate::render::Representation;

/// Which of the two JSON forms is wanted, or `None` if neither will do (specification, 2.2).
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

/// Whether events are wanted at least as much as anything else.
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

/// A media range without its parameters, and its quality in thousandths.
fn media_range(item: &str) -> (String, u32) {
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

/// Whether the first media type that is wanted is this one.
pub(super) fn wants(headers: &HeaderMap, media_type: &str) -> bool {
    accepted(headers).first().is_some_and(|(first, _)| first == media_type)
}

/// Whether a file is wanted as it is: no other type is wanted more than bytes, or than any of `application`
/// (specification, 6.3).
///
/// # Errors
/// When `Accept` holds something that is no media type.
pub(super) fn wants_binary(headers: &HeaderMap) -> Result<bool, Fault> {
    let accepted = accepted(headers);
    if accepted.iter().any(|(media_type, _)| !media_type.contains('/')) {
        return Err(Fault::NotAcceptable);
    }
    let names_binary = |name: &str| ["application/octet-stream", "application/*"].contains(&name);
    let (binary, other): (Vec<_>, Vec<_>) =
        accepted.iter().partition(|(media_type, _)| names_binary(media_type));
    let highest = |types: &[&(String, u32)]| types.iter().map(|(_, quality)| *quality).max();
    Ok(highest(&binary).is_some_and(|quality| quality > 0 && Some(quality) >= highest(&other)))
}

/// The media types that are wanted, each with its quality in thousandths.
fn accepted(headers: &HeaderMap) -> Vec<(String, u32)> {
    let values = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    let items = values.flat_map(|value| value.split(','));
    items.filter(|item| !item.trim().is_empty()).map(media_range).collect()
}

/// Whether `If-None-Match` names this entity tag, compared weakly, or is `*`.
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

/// An entity tag without its mark of weakness.
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
