//! The headers of trials (docs/watch-protocol.md#trials): the offer of a stream to try content that is not published, and the
//! answer of an instance, which is a request for its environment.

use actix_http::header::{HeaderMap, HeaderName};
use headwater_wire::headers;

use super::{Http, audit, instances};
use crate::access::Caller;
use crate::fleet::{Outcome, TrialAnswer, TrialInbox};
use crate::model::Query;
use crate::reveal::Variant;

/// The longest id of a trial, in bytes.
const ID_BYTES_MAX: usize = 256;

const CAN: HeaderName = HeaderName::from_static(headers::CAN);
const TRIED: HeaderName = HeaderName::from_static(headers::TRIED);

/// Registers the offer of a stream, until the result is dropped. Returns `None` for a stream that offers nothing.
///
/// Called after the caller was allowed to read the environment in this variant. The lease of the stream ends the stream
/// before the next question when the caller loses that access.
pub(super) fn offer(
    http: &Http,
    headers: &HeaderMap,
    caller: &Caller,
    query: &Query,
    variant: Variant,
) -> Option<TrialInbox> {
    let words = headers.get_all(CAN).filter_map(|value| value.to_str().ok());
    let mut words = words.flat_map(|value| value.split(',')).map(str::trim);
    if !words.any(|word| word == headers::CAN_TRY) {
        return None;
    }
    let (speaker, _) = instances::speaker(headers, query, audit::principal(caller))?;
    Some(http.instances.trials().offer(speaker, variant == Variant::Opened))
}

/// Records the answer of an instance to a trial, if a request has one. An invalid one is ignored.
///
/// Called after the caller was allowed to read the environment.
pub(super) fn record_answer(http: &Http, headers: &HeaderMap, caller: &Caller, query: &Query) {
    let Some((id, outcome)) = headers.get(TRIED).and_then(|value| answer(value.to_str().ok()?))
    else {
        return;
    };
    if let Some((speaker, reason)) = instances::speaker(headers, query, audit::principal(caller)) {
        http.instances.trials().record_answer(&speaker, id, TrialAnswer { outcome, reason });
    }
}

fn answer(text: &str) -> Option<(&str, Outcome)> {
    let (id, outcome) = text.split_once(' ').filter(|(id, _)| id.len() <= ID_BYTES_MAX)?;
    Some((id, Outcome::from_name(outcome)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_id_and_an_outcome() {
        assert_eq!(answer("ab.01 ok"), Some(("ab.01", Outcome::Applied)));
        assert_eq!(answer("ab.01 rejected"), Some(("ab.01", Outcome::Rejected)));
        let long = format!("{} ok", "a".repeat(ID_BYTES_MAX + 1));
        for text in ["", "ok", "ab.01", "ab.01 maybe", "ab.01  ok", "ab.01 ok ", &long] {
            assert_eq!(answer(text), None, "{text}");
        }
    }
}
