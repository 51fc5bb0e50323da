//! Sends spans to the collector of traces, in OTLP over HTTP.
//!
//! Invariant: a collector delays nothing. It is slow, hostile or unreachable at the cost of spans only: the queue before
//! this task is bounded, an export has a time limit, and a failed batch is dropped and counted.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::outage::Connectivity;
use crate::settings::TracingSettings;
use crate::telemetry::otlp::{self, TRACES_PATH};
use crate::telemetry::trace::{self, FinishedSpan};

/// The most spans in one request.
const BATCH_COUNT_MAX: usize = 512;
/// The time after the first span in which further ones join its request.
const GATHERING: Duration = Duration::from_secs(1);
/// The time limit for one request, from the connection to the first line of the answer.
const EXPORT_MAX: Duration = Duration::from_secs(5);
/// The longest first line of an answer, in bytes.
const STATUS_LINE_BYTES_MAX: u64 = 256;

/// Begins to record and to send spans, if the settings name a collector.
pub(super) fn start(settings: &TracingSettings, instance: String, runtime: &Handle) {
    let Some(endpoint) = &settings.otlp_endpoint else { return };
    let authority = endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned();
    if let Some(spans) = trace::start() {
        let exporter = Exporter { authority, instance, connectivity: Connectivity::default() };
        runtime.spawn(exporter.run(spans));
    }
}

struct Exporter {
    /// Host and port of the collector.
    authority: String,
    /// The name of this replica.
    instance: String,
    connectivity: Connectivity,
}

impl Exporter {
    async fn run(mut self, mut spans: mpsc::Receiver<FinishedSpan>) {
        let mut batch = Vec::with_capacity(BATCH_COUNT_MAX);
        while let Some(first) = spans.recv().await {
            batch.push(first);
            sleep(GATHERING).await;
            while batch.len() < BATCH_COUNT_MAX
                && let Ok(next) = spans.try_recv()
            {
                batch.push(next);
            }
            let body = otlp::encode(&batch, &self.instance);
            let sent = timeout(EXPORT_MAX, send(&self.authority, &body)).await;
            self.record(batch.len(), sent.unwrap_or(Err(ExportError::TooSlow)));
            batch.clear();
        }
    }

    fn record(&mut self, span_count: usize, sent: Result<(), ExportError>) {
        let collector = &self.authority;
        match sent {
            Ok(()) => {
                trace::record_exported(span_count);
                if let Some(lasted) = self.connectivity.record_success() {
                    let seconds = lasted.as_secs();
                    tracing::info!(collector, seconds, "the collector accepts traces again");
                }
            }
            Err(error) => {
                trace::record_dropped(span_count);
                if self.connectivity.record_failure(error.to_string()) {
                    tracing::warn!(collector, %error, "the collector does not accept traces, they are dropped");
                }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("the connection failed: {0}")]
    Connection(#[from] std::io::Error),
    #[error("no answer within {} s", EXPORT_MAX.as_secs())]
    TooSlow,
    #[error("the answer is not HTTP")]
    Malformed,
    #[error("the collector answered {0}")]
    Status(u16),
}

/// Sends one body and reads the first line of the answer. The rest is of no use.
async fn send(authority: &str, body: &[u8]) -> Result<(), ExportError> {
    let mut stream = TcpStream::connect(authority).await?;
    let head = format!(
        "POST {TRACES_PATH} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
         User-Agent: headwater/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut line = Vec::new();
    let mut answer = BufReader::new(stream).take(STATUS_LINE_BYTES_MAX);
    answer.read_until(b'\n', &mut line).await?;
    match status(&line).ok_or(ExportError::Malformed)? {
        200..300 => Ok(()),
        status => Err(ExportError::Status(status)),
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_suffix('\n')?.split_whitespace();
    let is_http = words.next()?.starts_with("HTTP/1.");
    words.next()?.parse().ok().filter(|_| is_http)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_has_the_status() {
        for (line, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503\n", Some(503)),
            ("HTTP/1.1 200 OK", None),
            ("HTTP/1.1 99999 x\r\n", None),
            ("SSH-2.0-x 200\r\n", None),
            ("\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(status(b"HTTP/1.1 \xff\n"), None);
    }
}
