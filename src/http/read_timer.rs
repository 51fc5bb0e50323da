//! The duration and the trace of a read that left the hot path.

use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;

use super::negotiate;
use super::route::Route;
use crate::telemetry::trace::Span;
use crate::telemetry::{self, ReadKind};

const TRACEPARENT: &str = "traceparent";
const PREFER: &str = "prefer";

/// A request under way.
pub(super) struct ReadTimer {
    begun: Instant,
    /// False for a long poll or a stream, whose duration depends on the next change.
    is_measured: bool,
    span: Span,
}

impl ReadTimer {
    pub(super) fn start(request: &HttpRequest) -> Self {
        let headers = request.headers();
        let waits = headers.contains_key(PREFER) || negotiate::wants_events(headers);
        let traceparent = headers.get(TRACEPARENT).map(|value| value.as_bytes());
        Self {
            begun: Instant::now(),
            is_measured: !waits,
            span: Span::sampled("read", traceparent.filter(|_| !waits)),
        }
    }

    /// Records the duration of a read. Requests of other kinds are not recorded.
    pub(super) fn end(mut self, kind: Option<ReadKind>, status: StatusCode) {
        let Some(kind) = kind.filter(|_| self.is_measured) else { return };
        telemetry::record_read(kind, self.begun.elapsed());
        let mut span = std::mem::take(&mut self.span);
        span.set("route", kind.name());
        span.set("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.mark_failed();
        }
    }
}

impl Drop for ReadTimer {
    /// A request without a valid credential leaves no span.
    fn drop(&mut self) {
        self.span.discard();
    }
}

/// Returns the kind of read that a route is.
pub(super) fn kind(route: &Route) -> Option<ReadKind> {
    match route {
        Route::Environment(_) => Some(ReadKind::Environment),
        Route::Flat(..) => Some(ReadKind::Flat),
        Route::File(..) | Route::NoFile => Some(ReadKind::File),
        Route::Crypto(_)
        | Route::Git(..)
        | Route::Monitor
        | Route::Contract(_)
        | Route::Rollout(_)
        | Route::Server(_) => None,
    }
}
