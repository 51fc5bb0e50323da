//! `[tracing]`: the collector of traces.

use serde::Deserialize;

/// `[tracing]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracingSettings {
    /// The address of a collector: `http://`, a host and a port.
    pub otlp_endpoint: Option<String>,
}

impl TracingSettings {
    /// Checks the address. It can contain no credential, because it has no place for one.
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let is_valid = |endpoint: &String| {
            let authority = endpoint.strip_prefix("http://").map(|it| it.trim_end_matches('/'));
            authority.and_then(|it| it.rsplit_once(':')).is_some_and(|(host, port)| {
                let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
                !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok()
            })
        };
        if !self.otlp_endpoint.iter().all(is_valid) {
            problems.push(
                "tracing.otlp_endpoint: expected an address such as http://127.0.0.1:4318, without \
                 a path and without credentials"
                    .to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_accepted() {
        let problems = |endpoint: &str| {
            let mut problems = Vec::new();
            let settings = TracingSettings { otlp_endpoint: Some(endpoint.to_owned()) };
            settings.check(&mut problems);
            problems
        };
        for good in ["http://127.0.0.1:4318", "http://collector:4318/", "http://[::1]:4318"] {
            assert!(problems(good).is_empty(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:4318",
            "https://collector:4318",
            "http://collector",
            "http://:4318",
            "http://collector:99999",
            "http://collector:4318/v1/traces",
            "http://user:hunter2@collector:4318",
            "http://a b:4318",
        ] {
            let [problem] = &problems(bad)[..] else { panic!("{bad} is accepted") };
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
