//! Queries of a Prometheus, by its API for one point in time.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::http::Server;
use super::template::Fill;

/// The path of the API.
const PATH: &str = "/api/v1/query";
/// The longest word of an error of a Prometheus.
const WORD_BYTES_MAX: usize = 32;

/// An answer of the API.
#[derive(Deserialize)]
struct Answer<'a> {
    status: Status,
    #[serde(rename = "errorType")]
    error: Option<String>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
    Error,
}

/// The result of a query. Its shape depends on its type.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    kind: ResultKind,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ResultKind {
    Vector,
    Scalar,
    Matrix,
    String,
}

/// A time, and a number as text.
type Sample = (IgnoredAny, String);

/// One series of a vector.
#[derive(Deserialize)]
struct Series {
    value: Sample,
}

/// The number that a query returns.
pub(super) async fn number(server: &Server, query: &str, fill: &Fill<'_>) -> Result<f64, String> {
    ask(server, query, fill).await?.ok_or_else(|| "the query returns no data".to_owned())
}

/// The numbers of failed and of all requests. A service that never failed has no series for failures.
pub(super) async fn requests(
    server: &Server,
    bad: &str,
    all: &str,
    fill: &Fill<'_>,
) -> Result<(u64, u64), String> {
    let all = count(number(server, all, fill).await?)?;
    let bad = count(ask(server, bad, fill).await?.unwrap_or_default())?;
    // Prometheus extrapolates both numbers.
    Ok((bad.min(all), all))
}

fn count(number: f64) -> Result<u64, String> {
    const MOST: f64 = 1e15;
    if (0.0..=MOST).contains(&number) {
        Ok(number.round() as u64)
    } else {
        Err("the query returns no number of requests".to_owned())
    }
}

/// The number that a query returns. `None` for a query without a series.
async fn ask(server: &Server, query: &str, fill: &Fill<'_>) -> Result<Option<f64>, String> {
    let query = fill.fill(query)?;
    let (_, body) = server.post(PATH, format!("query={}", encoded(&query))).await?;
    // Prometheus answers an invalid query with 400 and a text of the same form.
    parse(&body)
}

fn parse(body: &[u8]) -> Result<Option<f64>, String> {
    let unreadable = |_| "the response is not that of a Prometheus".to_owned();
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if answer.status == Status::Error {
        let word = answer.error.unwrap_or_default();
        let is_word = word.len() <= WORD_BYTES_MAX
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        return Err(format!("Prometheus reports {}", if is_word { &*word } else { "an error" }));
    }
    let data = answer.data.ok_or_else(|| "the response has no data".to_owned())?;
    let text = match data.kind {
        ResultKind::Scalar => {
            let sample: Sample = serde_json::from_str(data.result.get()).map_err(unreadable)?;
            sample.1
        }
        ResultKind::Vector => {
            let mut series: Vec<Series> =
                serde_json::from_str(data.result.get()).map_err(unreadable)?;
            match series.len() {
                0 => return Ok(None),
                1 => series.remove(0).value.1,
                count => return Err(format!("the query returns {count} series instead of one")),
            }
        }
        ResultKind::Matrix | ResultKind::String => {
            return Err("the query returns no single number".to_owned());
        }
    };
    let number: f64 = text.parse().map_err(|_| "the query returns no number".to_owned())?;
    if number.is_finite() {
        Ok(Some(number))
    } else {
        Err("the query returns no number".to_owned())
    }
}

/// Encodes a text for a form.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(result: &str) -> Result<Option<f64>, String> {
        parse(format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":{result}}}}}").as_bytes())
    }

    #[test]
    fn one_finite_number_is_a_result() {
        assert_eq!(vector("[{\"metric\":{},\"value\":[1.5,\"2.5\"]}]"), Ok(Some(2.5)));
        assert_eq!(vector("[]"), Ok(None));
        let scalar = b"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"3\"]},\"warnings\":[\"w\"]}";
        assert_eq!(parse(scalar), Ok(Some(3.0)));
    }

    #[test]
    fn everything_else_is_an_error() {
        let series = "{\"metric\":{},\"value\":[1,\"1\"]}";
        assert!(vector(&format!("[{series},{series}]")).unwrap_err().contains("2 series"));
        for number in ["NaN", "+Inf", "-Inf", "", "1x"] {
            let result = vector(&format!("[{{\"metric\":{{}},\"value\":[1,\"{number}\"]}}]"));
            assert_eq!(result.unwrap_err(), "the query returns no number", "{number}");
        }
        let html = &b"<html><body>502 Bad Gateway</body></html>"[..];
        for body in [
            html,
            b"",
            b"null",
            b"[]",
            b"{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":{}}}",
        ] {
            assert_eq!(parse(body).unwrap_err(), "the response is not that of a Prometheus");
        }
        let bad = b"{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"secret\"}";
        assert_eq!(parse(bad).unwrap_err(), "Prometheus reports bad_data");
        let odd = b"{\"status\":\"error\",\"errorType\":\"<b>\",\"error\":\"\"}";
        assert_eq!(parse(odd).unwrap_err(), "Prometheus reports an error");
        let matrix = b"{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}";
        assert!(parse(matrix).unwrap_err().contains("no single number"));
        let empty = b"{\"status\":\"success\"}";
        assert_eq!(parse(empty).unwrap_err(), "the response has no data");
    }

    #[test]
    fn numbers_of_requests_are_whole_and_not_negative() {
        assert_eq!((count(2.6), count(0.0)), (Ok(3), Ok(0)));
        assert!(count(-1.0).is_err() && count(1e300).is_err());
    }

    #[test]
    fn a_query_is_encoded_for_a_form() {
        assert_eq!(encoded("a{b=\"\u{e4}\"}+1"), "a%7Bb%3D%22%C3%A4%22%7D%2B1");
    }
}
