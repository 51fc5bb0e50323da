//! The headers of a request that decide about its answer, found in one pass over all headers. A look-up of each name takes
//! several times as long.

use actix_http::header::{HeaderMap, HeaderValue};
use headwater_wire::headers;

use crate::http::identity::{self, PresentedCredential};
use crate::http::{V1_TYPE, V2_TYPE};
use crate::render::Representation;

/// The headers of a request for the present bytes.
#[derive(Default)]
pub(super) struct RequestHeaders<'h> {
    pub(super) credential: PresentedCredential<'h>,
    pub(super) has_etags: bool,
    accept: Option<&'h [u8]>,
}

impl<'h> RequestHeaders<'h> {
    /// Returns `None` for a request whose headers ask for more than the present bytes: they make it wait, name an
    /// instance, or announce a body of unknown length. Also returns `None` for a repeated header.
    pub(super) fn of(headers: &'h HeaderMap) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "accept" => set_once(&mut found.accept, value)?,
                "authorization" => set_once(&mut found.credential.authorization, value)?,
                identity::CONFIG_TOKEN_NAME => {
                    set_once(&mut found.credential.config_token, value)?;
                }
                "if-none-match" => found.has_etags = true,
                "prefer" | "transfer-encoding" | headers::MIN_REVISION | headers::INSTANCE => {
                    return None;
                }
                _ => {}
            }
        }
        Some(found)
    }

    /// Returns the representation for the values of `Accept` that nearly all clients send, and `None` for other values.
    pub(super) fn representation(&self) -> Option<Representation> {
        match self.accept {
            None | Some(b"*/*") => Some(Representation::V1),
            Some(accept) if accept == V1_TYPE.as_bytes() => Some(Representation::V1),
            Some(accept) if accept == V2_TYPE.as_bytes() => Some(Representation::V2),
            Some(_) => None,
        }
    }
}

/// Stores the value of a header. Returns `None` if it has one already.
fn set_once<'h>(place: &mut Option<&'h [u8]>, value: &'h HeaderValue) -> Option<()> {
    place.replace(value.as_bytes()).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderName;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_headers_of_a_plain_request_are_found() {
        let lines = [
            ("host", "server"),
            ("accept", V2_TYPE),
            ("authorization", "Bearer a"),
            ("x-config-token", "b"),
            ("if-none-match", "\"c\""),
            ("if-none-match", "\"d\""),
        ];
        let headers = headers(&lines);
        let found = RequestHeaders::of(&headers).unwrap();
        let (authorization, config_token) = (Some(&b"Bearer a"[..]), Some(&b"b"[..]));
        assert!(found.credential == PresentedCredential { authorization, config_token });
        assert!(found.has_etags);
        assert_eq!(found.representation(), Some(Representation::V2));
    }

    #[test]
    fn the_representation_follows_accept() {
        let representation = |accept| {
            let headers = headers(&[("accept", accept)]);
            RequestHeaders::of(&headers).unwrap().representation()
        };
        assert_eq!(representation("*/*"), Some(Representation::V1));
        assert_eq!(representation(V1_TYPE), Some(Representation::V1));
        assert_eq!(representation("text/html"), None);
        let none = headers(&[]);
        let found = RequestHeaders::of(&none).unwrap();
        assert_eq!(found.representation(), Some(Representation::V1));
        assert!(found.credential == PresentedCredential::default() && !found.has_etags);
    }

    #[test]
    fn headers_that_ask_for_more_and_repeated_ones_are_left_to_the_application() {
        for name in ["prefer", "transfer-encoding", "headwater-min-revision", "headwater-instance"]
        {
            let headers = headers(&[("host", "server"), (name, "x")]);
            assert!(RequestHeaders::of(&headers).is_none(), "{name}");
        }
        for name in ["accept", "authorization", "x-config-token"] {
            let headers = headers(&[(name, "x"), (name, "x")]);
            assert!(RequestHeaders::of(&headers).is_none(), "{name}");
        }
    }
}
