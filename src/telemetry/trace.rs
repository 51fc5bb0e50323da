//! Traces: spans of the work of a push or of a sampled read, for a collector (docs/monitoring.md#traces).
//!
//! Invariant: recording never waits. A full queue drops the span and counts it. Without a collector nothing is recorded.
//!
//! Invariant: an attribute contains no value, no credential, and no name that a client invents.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

/// The most spans that wait for the collector.
const QUEUE_COUNT_MAX: usize = 2_048;

static TRACER: OnceLock<Tracer> = OnceLock::new();
static EXPORTED_COUNT: AtomicU64 = AtomicU64::new(0);
static DROPPED_COUNT: AtomicU64 = AtomicU64::new(0);

struct Tracer {
    queue: mpsc::Sender<FinishedSpan>,
}

/// Begins to record spans, and returns the queue for the exporter. Returns `None` if this process records already.
pub fn start() -> Option<mpsc::Receiver<FinishedSpan>> {
    let (queue, finished) = mpsc::channel(QUEUE_COUNT_MAX);
    TRACER.set(Tracer { queue }).is_ok().then_some(finished)
}

/// Records that the collector has accepted spans.
pub fn record_exported(count: usize) {
    EXPORTED_COUNT.fetch_add(count as u64, Ordering::Relaxed);
}

/// Records that spans were lost.
pub fn record_dropped(count: usize) {
    DROPPED_COUNT.fetch_add(count as u64, Ordering::Relaxed);
}

/// The numbers of exported and of dropped spans.
pub fn counts() -> (u64, u64) {
    (EXPORTED_COUNT.load(Ordering::Relaxed), DROPPED_COUNT.load(Ordering::Relaxed))
}

/// A span under way, to which others can be added, here or at a caller that names it in `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    trace: u128,
    span: u64,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedSpan {
    pub trace: u128,
    pub id: u64,
    pub parent: Option<u64>,
    pub name: &'static str,
    /// True for a request that came from outside.
    pub is_entry: bool,
    pub start: SystemTime,
    pub end: SystemTime,
    pub attributes: Vec<(&'static str, String)>,
    pub has_failed: bool,
}

/// A span under way. It ends when it is dropped. Without a collector it is empty.
#[derive(Debug, Default)]
pub struct Span(Option<Box<OpenSpan>>);

#[derive(Debug)]
struct OpenSpan {
    span: FinishedSpan,
    begun: Instant,
}

impl Span {
    /// Begins a trace.
    pub fn root(name: &'static str) -> Self {
        Self::begin(name, None, true)
    }

    /// Continues the trace of a caller that has sampled it. Returns an empty span for any other header.
    pub fn sampled(name: &'static str, traceparent: Option<&[u8]>) -> Self {
        if TRACER.get().is_none() {
            return Self::default();
        }
        match traceparent.and_then(parse_sampled) {
            Some(parent) => Self::begin(name, Some(parent), true),
            None => Self::default(),
        }
    }

    /// Begins a part of another span. Without that span, this one is empty.
    pub fn part_of(whole: Option<SpanContext>, name: &'static str) -> Self {
        match whole {
            Some(_) => Self::begin(name, whole, false),
            None => Self::default(),
        }
    }

    /// The identity of this span, for its parts.
    pub fn context(&self) -> Option<SpanContext> {
        let span = &self.0.as_ref()?.span;
        Some(SpanContext { trace: span.trace, span: span.id })
    }

    fn begin(name: &'static str, parent: Option<SpanContext>, is_entry: bool) -> Self {
        if TRACER.get().is_none() {
            return Self::default();
        }
        let start = SystemTime::now();
        let span = FinishedSpan {
            trace: parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace),
            id: fastrand::u64(1..),
            parent: parent.map(|parent| parent.span),
            name,
            is_entry,
            start,
            end: start,
            attributes: Vec::new(),
            has_failed: false,
        };
        Self(Some(Box::new(OpenSpan { span, begun: Instant::now() })))
    }

    pub fn set(&mut self, name: &'static str, value: impl ToString) {
        if let Some(open) = &mut self.0 {
            open.span.attributes.push((name, value.to_string()));
        }
    }

    /// Ends this span without recording it.
    pub fn discard(&mut self) {
        self.0 = None;
    }

    pub fn mark_failed(&mut self) {
        if let Some(open) = &mut self.0 {
            open.span.has_failed = true;
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(open), Some(tracer)) = (self.0.take(), TRACER.get()) else { return };
        let OpenSpan { mut span, begun } = *open;
        // The end does not depend on a clock that was set in between.
        span.end = span.start + begun.elapsed();
        if tracer.queue.try_send(span).is_err() {
            record_dropped(1);
        }
    }
}

/// Parses a `traceparent` of version 00 whose trace is sampled
/// ([Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header)).
fn parse_sampled(header: &[u8]) -> Option<SpanContext> {
    let text = std::str::from_utf8(header).ok()?;
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts.next().filter(|part| part.len() == length && part.bytes().all(is_digit))
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    if version != "00" || parts.next().is_some() || !is_sampled {
        return None;
    }
    let (trace, span) =
        (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    (trace != 0 && span != 0).then_some(SpanContext { trace, span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sampled_trace_is_continued() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = parse_sampled(good.as_bytes()).expect("a parent");
        assert_eq!(format!("{:032x}", parent.trace), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(format!("{:016x}", parent.span), "00f067aa0ba902b7");
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_sampled(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_sampled(b"\xff"), None);
    }

    #[test]
    fn without_a_collector_nothing_is_recorded() {
        let mut span = Span::root("push");
        span.set("outcome", "accepted");
        span.mark_failed();
        assert!(span.0.is_none() && span.context().is_none());
        assert!(Span::part_of(span.context(), "check").0.is_none());
    }
}
