//! `[[rollout.check]]`: measurements that decide about the stages of a rollout. A plan names them, and only the operator
//! defines them, because they send requests and start programs.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use headwater_rollout::check::CheckRule;
use headwater_rollout::plan::parse_duration;
use serde::Deserialize;

/// The time between two measurements, if the check does not set it.
const EVERY: &str = "30s";
/// The longest time between two measurements.
const EVERY_MAX: Duration = Duration::from_secs(3600);
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// What stands for the canaries and for the other instances, in turn.
const GROUP: &str = "{group}";

/// One `[[rollout.check]]`. Exactly one of `prometheus`, `http` and `exec` is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutCheckSettings {
    /// The name in plans.
    pub name: String,
    /// The address of a Prometheus.
    pub prometheus: Option<String>,
    /// An address whose status is the result: 200 is good, and 4xx is bad.
    pub http: Option<String>,
    /// A program and its arguments. Exit code 0 is good, and 1 is bad.
    pub exec: Option<Vec<String>>,
    /// The certificate authorities of an https address, in PEM. `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// A file with the bearer token of requests.
    pub token_file: Option<PathBuf>,
    /// Compares the canaries with the other instances.
    pub compare: Option<Comparison>,
    /// The query for the number of failed requests.
    pub bad: Option<String>,
    /// The query for the number of all requests.
    pub all: Option<String>,
    /// The query for the value that is limited, or for the median latency.
    pub query: Option<String>,
    /// The smallest good value.
    pub min: Option<Limit>,
    /// The largest good value.
    pub max: Option<Limit>,
    /// The largest good ratio of the latencies.
    pub max_ratio: Option<Limit>,
    /// The time between two measurements.
    #[serde(default = "default_every")]
    pub every: String,
    /// The bad results in sequence that roll back.
    pub consecutive: Option<u32>,
    /// The good results that a stage needs.
    pub samples: Option<u32>,
}

/// What a check compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// The shares of failed requests.
    Errors,
    /// The median latencies.
    Latency,
}

/// A finite number.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Limit(f64);

/// A finite number equals itself.
impl Eq for Limit {}

impl Limit {
    pub fn number(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Limit {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        if number.is_finite() { Ok(Self(number)) } else { Err("expected a finite number") }
    }
}

fn default_every() -> String {
    EVERY.to_owned()
}

impl RolloutCheckSettings {
    /// The rule by which its results decide.
    pub fn rule(&self) -> CheckRule {
        let of_kind = match self.compare {
            Some(Comparison::Latency) => CheckRule::latency(),
            Some(Comparison::Errors) => CheckRule { is_comparison: true, ..CheckRule::default() },
            None => CheckRule::default(),
        };
        CheckRule {
            consecutive: self.consecutive.unwrap_or(of_kind.consecutive),
            samples: self.samples.unwrap_or(of_kind.samples),
            max_ratio: self.max_ratio.map_or(of_kind.max_ratio, Limit::number),
            every: parse_duration(&self.every).unwrap_or(of_kind.every),
            ..of_kind
        }
    }

    /// Checks that the settings of one check belong together.
    fn check(&self, problems: &mut Vec<String>) {
        let name = &self.name;
        let mut problem = |text: String| problems.push(format!("rollout.check: {name:?}: {text}"));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
            problem(format!(
                "name: expected at most {NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores"
            ));
        }
        match parse_duration(&self.every) {
            Ok(every) if every.is_zero() || every > EVERY_MAX => {
                problem(format!("every: expected 1s to 1h, got {:?}", self.every));
            }
            Ok(_) => {}
            Err(error) => problem(format!("every: {error}")),
        }
        for (key, value) in [("consecutive", self.consecutive), ("samples", self.samples)] {
            if value.is_some_and(|count| !(1..=100).contains(&count)) {
                problem(format!("{key}: expected 1 to 100, got {}", value.unwrap_or_default()));
            }
        }
        if self.max_ratio.is_some_and(|ratio| ratio.number() < 1.0) {
            problem("max_ratio: expected at least 1.0".to_owned());
        }
        match (&self.prometheus, &self.http, &self.exec) {
            (Some(address), None, None) => {
                check_address("prometheus", address, &mut problem);
                self.check_queries(&mut problem);
            }
            (None, Some(address), None) => check_address("http", address, &mut problem),
            (None, None, Some(command)) if command.first().is_none_or(|word| word.is_empty()) => {
                problem(
                    "exec: expected a program and its arguments, such as [\"/usr/bin/test-shop\"]"
                        .to_owned(),
                );
            }
            (None, None, Some(_)) => {}
            _ => problem("set exactly one of prometheus, http and exec".to_owned()),
        }
        self.check_unused(&mut problem);
    }

    fn check_queries(&self, problem: &mut impl FnMut(String)) {
        let has_group =
            |query: &Option<String>| query.as_ref().is_none_or(|own| own.contains(GROUP));
        match self.compare {
            Some(Comparison::Errors) => {
                if self.bad.is_none() || self.all.is_none() {
                    problem("compare = \"errors\" needs the queries bad and all".to_owned());
                }
                if !has_group(&self.bad) || !has_group(&self.all) {
                    problem(format!(
                        "bad and all: each query needs {GROUP}, which is one side of the comparison"
                    ));
                }
            }
            Some(Comparison::Latency) if self.query.is_none() => {
                problem("compare = \"latency\" needs a query for the median".to_owned());
            }
            Some(Comparison::Latency) if !has_group(&self.query) => {
                problem(format!("query: a comparison needs {GROUP}, which is one side of it"));
            }
            Some(Comparison::Latency) => {}
            None if self.query.is_none() || self.min.is_none() && self.max.is_none() => {
                problem("set compare, or a query with max or min".to_owned());
            }
            None if self.query.as_ref().is_some_and(|own| own.contains(GROUP)) => {
                problem(format!(
                    "query: {GROUP} is for comparisons. Use {{canaries}} or {{others}}"
                ));
            }
            None => {}
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min.number() > max.number()
        {
            problem("min is larger than max, so that no value is good".to_owned());
        }
    }

    /// Reports settings that have no meaning for the kind of check.
    fn check_unused(&self, problem: &mut impl FnMut(String)) {
        let is_query = self.prometheus.is_some();
        let is_errors = self.compare == Some(Comparison::Errors);
        let is_latency = self.compare == Some(Comparison::Latency);
        let is_limit = is_query && self.compare.is_none();
        let is_https = [&self.prometheus, &self.http]
            .into_iter()
            .flatten()
            .any(|address| address.starts_with("https:"));
        for (key, is_set, is_used) in [
            ("compare", self.compare.is_some(), is_query),
            ("bad", self.bad.is_some(), is_errors),
            ("all", self.all.is_some(), is_errors),
            ("query", self.query.is_some(), is_query && !is_errors),
            ("min", self.min.is_some(), is_limit),
            ("max", self.max.is_some(), is_limit),
            ("max_ratio", self.max_ratio.is_some(), is_latency),
            ("ca_file", self.ca_file.is_some(), is_https),
            ("token_file", self.token_file.is_some(), self.exec.is_none()),
        ] {
            if is_set && !is_used {
                problem(format!("{key} has no effect on this kind of check. Remove it"));
            }
        }
    }
}

/// Checks all checks together.
pub(super) fn check_all(checks: &[RolloutCheckSettings], problems: &mut Vec<String>) {
    checks.iter().for_each(|own| own.check(problems));
    let names: HashSet<&str> = checks.iter().map(|own| &*own.name).collect();
    if names.len() < checks.len() {
        problems.push("rollout.check: two checks have the same name".to_owned());
    }
}

fn check_address(key: &str, address: &str, problem: &mut impl FnMut(String)) {
    let rest = ["http://", "https://"].iter().find_map(|scheme| address.strip_prefix(scheme));
    let is_valid = rest.is_some_and(|rest| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let is_printable = address.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        is_host(host) && is_printable && !address.contains('#')
    });
    if !is_valid {
        problem(format!(
            "{key}: expected an address such as \"http://host:9090\", without a user name and without #"
        ));
    } else if key == "prometheus" && address.contains('?') {
        problem("prometheus: expected an address without a query".to_owned());
    }
}

/// Returns true for a host name or an IP address, with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    !host.is_empty() && host.bytes().all(is_allowed) && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        check: Vec<RolloutCheckSettings>,
    }

    const PROMETHEUS: &str = "prometheus = \"http://p:9090\"\n";

    fn read(text: &str) -> Result<Vec<RolloutCheckSettings>, String> {
        let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let mut problems = Vec::new();
        check_all(&file.check, &mut problems);
        if problems.is_empty() { Ok(file.check) } else { Err(problems.join("\n")) }
    }

    fn one(body: &str) -> Result<RolloutCheckSettings, String> {
        read(&format!("[[check]]\nname = \"c\"\n{body}")).map(|mut checks| checks.remove(0))
    }

    #[test]
    fn each_kind_of_check_is_read() {
        let errors = format!(
            "{PROMETHEUS}compare = \"errors\"\nbad = '{GROUP}'\nall = '{GROUP}'\nevery = \"1m\"\n"
        );
        let rule = one(&errors).unwrap().rule();
        assert_eq!(
            (rule.every, rule.consecutive, rule.is_comparison),
            (Duration::from_secs(60), 2, true)
        );
        let latency =
            format!("{PROMETHEUS}compare = \"latency\"\nquery = '{GROUP}'\nmax_ratio = 1.5\n");
        let rule = one(&latency).unwrap().rule();
        assert_eq!((rule.consecutive, rule.max_ratio, rule.is_comparison), (3, 1.5, true));
        let limit = format!("{PROMETHEUS}query = 'up'\nmax = 5\nsamples = 1\nconsecutive = 4\n");
        let rule = one(&limit).unwrap().rule();
        assert_eq!((rule.samples, rule.consecutive, rule.is_comparison), (1, 4, false));
        assert_eq!(rule.every, Duration::from_secs(30));
        one("http = \"https://shop/smoke?x=1\"\nca_file = \"ca.pem\"\ntoken_file = \"t\"\n")
            .unwrap();
        one("exec = [\"/bin/true\", \"a\"]\n").unwrap();
    }

    #[test]
    fn a_check_that_could_not_be_made_is_rejected() {
        for (body, expected) in [
            ("", "set exactly one of prometheus, http and exec"),
            ("http = \"http://a\"\nexec = [\"a\"]\n", "set exactly one of"),
            ("exec = []\n", "exec: expected a program"),
            ("exec = [\"\"]\n", "exec: expected a program"),
            ("http = \"ftp://a\"\n", "http: expected an address such as"),
            ("http = \"http://u:p@a/\"\n", "without a user name"),
            ("http = \"http:///x\"\n", "http: expected an address"),
            ("http = \"http://a:99999/x\"\n", "http: expected an address"),
            ("http = \"http://a|b/x\"\n", "http: expected an address"),
            ("http = \"http://a/#x\"\n", "http: expected an address"),
            ("prometheus = \"http://p/?a=b\"\nquery = 'up'\nmax = 1\n", "without a query"),
            (PROMETHEUS, "set compare, or a query with max or min"),
            ("prometheus = \"http://p\"\nquery = 'up'\n", "a query with max or min"),
            (
                "prometheus = \"http://p\"\nquery = '{group}'\nmax = 1\n",
                "{group} is for comparisons",
            ),
            (
                "prometheus = \"http://p\"\nquery = 'up'\nmax = 1\nmin = 2\n",
                "min is larger than max",
            ),
            ("prometheus = \"http://p\"\nquery = 'up'\nmax = nan\n", "expected a finite number"),
            (
                "prometheus = \"http://p\"\ncompare = \"errors\"\nbad = '{group}'\n",
                "needs the queries bad and all",
            ),
            (
                "prometheus = \"http://p\"\ncompare = \"errors\"\nbad = 'a'\nall = '{group}'\n",
                "each query needs {group}",
            ),
            ("prometheus = \"http://p\"\ncompare = \"latency\"\n", "needs a query for the median"),
            (
                "prometheus = \"http://p\"\ncompare = \"latency\"\nquery = 'a'\n",
                "a comparison needs {group}",
            ),
            (
                "prometheus = \"http://p\"\ncompare = \"latency\"\nquery = '{group}'\nmax_ratio = 0.5\n",
                "at least 1.0",
            ),
            ("exec = [\"a\"]\nevery = \"0s\"\n", "every: expected 1s to 1h"),
            ("exec = [\"a\"]\nevery = \"2h\"\n", "every: expected 1s to 1h"),
            ("exec = [\"a\"]\nevery = \"soon\"\n", "every: expected a time such as"),
            ("exec = [\"a\"]\nsamples = 0\n", "samples: expected 1 to 100, got 0"),
            ("exec = [\"a\"]\nmax = 1\n", "max has no effect on this kind of check"),
            ("exec = [\"a\"]\ntoken_file = \"t\"\n", "token_file has no effect"),
            ("http = \"http://a\"\nca_file = \"c\"\n", "ca_file has no effect"),
            ("exec = [\"a\"]\nshell = true\n", "unknown field `shell`"),
        ] {
            let error = one(body).unwrap_err();
            assert!(error.contains(expected), "{body}\n{error}");
        }
    }

    #[test]
    fn names_are_plain_and_unique() {
        let check = |name: &str| format!("[[check]]\nname = \"{name}\"\nexec = [\"a\"]\n");
        for name in ["", "a b", "a'b", &"a".repeat(65)] {
            assert!(read(&check(name)).unwrap_err().contains("name: expected"), "{name}");
        }
        let twice = read(&format!("{}{}", check("a"), check("a"))).unwrap_err();
        assert_eq!(twice, "rollout.check: two checks have the same name");
    }
}
