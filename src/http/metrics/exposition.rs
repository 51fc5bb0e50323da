//! The two text formats of metrics: OpenMetrics, and the older format of Prometheus, which some tools read only.

use actix_web::http::header::{self, HeaderMap};

pub(super) const OPEN_METRICS_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(super) const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns true if a request names the older format and not OpenMetrics. Prometheus names both.
pub(super) fn wants_text(headers: &HeaderMap) -> bool {
    let accepts: Vec<&str> =
        headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok()).collect();
    let names = |name: &str| accepts.iter().any(|value| value.contains(name));
    names("text/plain") && !names("application/openmetrics-text")
}

/// Converts OpenMetrics to the older format. In it, the description of a counter or of an information has the name of
/// its samples, and there is no mark of the end.
pub(super) fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let lines: Vec<&str> = open_metrics.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let described = match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some(("HELP", rest)) => {
                // The type follows the help.
                let kind = lines.get(number + 1).and_then(|next| next.rsplit_once(' '));
                describe("HELP", rest, kind.map_or("", |(_, kind)| kind))
            }
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
                describe("TYPE", &format!("{name} {}", plain_type(kind)), kind)
            }
            _ if line.starts_with('#') => continue,
            _ => (*line).to_owned(),
        };
        text.push_str(&described);
        text.push('\n');
    }
    text
}

fn describe(word: &str, rest: &str, kind: &str) -> String {
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let suffix = match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    format!("# {word} {name}{suffix} {rest}")
}

fn plain_type(kind: &str) -> &str {
    match kind {
        "info" => "gauge",
        "unknown" => "untyped",
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_older_format_has_the_names_of_samples() {
        let open_metrics = "# HELP a Requests that it answered.\n# TYPE a counter\na_total{x=\"# y\"} 1\n\
                            # HELP b Version.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                            # HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        let text = "# HELP a_total Requests that it answered.\n# TYPE a_total counter\na_total{x=\"# y\"} 1\n\
                    # HELP b_info Version.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                    # HELP c Now.\n# TYPE c gauge\nc 2\n";
        assert_eq!(as_text(open_metrics), text);
    }

    #[test]
    fn prometheus_itself_gets_open_metrics() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            wants_text(&headers)
        };
        assert!(wants("text/plain"));
        assert!(!wants("*/*"));
        assert!(!wants(
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        ));
        assert!(!wants_text(&HeaderMap::new()));
    }
}
