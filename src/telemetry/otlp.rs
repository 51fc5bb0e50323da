//! Spans in OTLP, the protocol of OpenTelemetry, as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::trace::FinishedSpan;

/// The path of traces below the address of a collector.
pub const TRACES_PATH: &str = "/v1/traces";

/// The kinds of spans in OTLP.
const INTERNAL: u32 = 1;
const SERVER: u32 = 2;
/// The status of a span that has failed.
const ERROR: u32 = 2;

/// Encodes the body of one request.
pub fn encode(spans: &[FinishedSpan], instance: &str) -> Vec<u8> {
    let resource = [
        attribute("service.name", "headwater"),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
        attribute("service.instance.id", instance),
    ];
    let scope = json!({"name": "headwater", "version": env!("CARGO_PKG_VERSION")});
    let spans: Vec<Value> = spans.iter().map(encode_span).collect();
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }]});
    body.to_string().into_bytes()
}

fn encode_span(span: &FinishedSpan) -> Value {
    let attributes: Vec<Value> =
        span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut encoded = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": if span.is_entry { SERVER } else { INTERNAL },
        "startTimeUnixNano": nanoseconds(span.start),
        "endTimeUnixNano": nanoseconds(span.end),
        "attributes": attributes,
        "status": if span.has_failed { json!({"code": ERROR}) } else { json!({}) },
    });
    if let Some(parent) = span.parent {
        encoded["parentSpanId"] = json!(format!("{parent:016x}"));
    }
    encoded
}

fn attribute(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

/// Numbers of 64 bits are texts in the JSON of OTLP.
fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_encoded_as_the_specification_says() {
        let start = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        let span = FinishedSpan {
            trace: 0xabc,
            id: 0xdef,
            parent: Some(1),
            name: "check",
            is_entry: false,
            start,
            end: start + Duration::from_millis(2),
            attributes: vec![("outcome", "\"quoted\"".to_owned())],
            has_failed: true,
        };
        let root = FinishedSpan { parent: None, is_entry: true, has_failed: false, ..span.clone() };
        let body: Value = serde_json::from_slice(&encode(&[span, root], "r1")).unwrap();
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][2]["value"]["stringValue"], "r1");
        let spans = &resource["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["traceId"], "00000000000000000000000000000abc");
        assert_eq!(spans[0]["spanId"], "0000000000000def");
        assert_eq!(spans[0]["parentSpanId"], "0000000000000001");
        assert_eq!(spans[0]["startTimeUnixNano"], "1700000000000000005");
        assert_eq!(spans[0]["endTimeUnixNano"], "1700000000002000005");
        assert_eq!(spans[0]["status"]["code"], 2);
        assert_eq!(spans[0]["attributes"][0]["value"]["stringValue"], "\"quoted\"");
        assert_eq!((&spans[1]["kind"], spans[1].get("parentSpanId")), (&json!(2), None));
    }
}
