//! The reader of the bodies of webhooks, for the fuzz targets (fuzz/src/targets.rs).

use super::body;

/// Returns the applications that a body names, read as JSON and as a form, with one header.
pub fn applications(name: &str, value: &str, content: &[u8]) -> Vec<String> {
    let header = |wanted: &str| (wanted == name).then_some(value);
    let mut paths = body::paths(&header, content).unwrap_or_default();
    paths.extend(body::form("", content).unwrap_or_default());
    body::applications(&paths)
}
