//! The checks of rollouts, from the settings.

use crate::conduct::{CheckDefinition, CheckKind, Question, Server};
use crate::settings::{Comparison, Limit, RolloutCheckSettings};

/// The check that one table of the settings defines. The settings have been checked, so that nothing is missing.
pub(super) fn definition(settings: &RolloutCheckSettings) -> CheckDefinition {
    let RolloutCheckSettings { prometheus, http, exec, ca_file, token_file, .. } = settings;
    let server = |address: &str| Server::new(address, ca_file.clone(), token_file.clone());
    let kind = match (prometheus, http) {
        (Some(address), _) => {
            CheckKind::Prometheus { server: server(address), question: question(settings) }
        }
        (None, Some(address)) => CheckKind::Http { server: server(address) },
        (None, None) => CheckKind::Exec { command: exec.clone().unwrap_or_default() },
    };
    CheckDefinition { name: (&*settings.name).into(), rule: settings.rule(), kind }
}

fn question(settings: &RolloutCheckSettings) -> Question {
    let text = |query: &Option<String>| query.clone().unwrap_or_default();
    match settings.compare {
        Some(Comparison::Errors) => {
            Question::Errors { bad: text(&settings.bad), all: text(&settings.all) }
        }
        Some(Comparison::Latency) => Question::Latency { query: text(&settings.query) },
        None => Question::Limits {
            query: text(&settings.query),
            min: settings.min.map(Limit::number),
            max: settings.max.map(Limit::number),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> CheckKind {
        let settings: RolloutCheckSettings = toml::from_str(text).unwrap();
        let check = definition(&settings);
        assert_eq!(&*check.name, "c");
        check.kind
    }

    #[test]
    fn each_kind_of_check_is_defined() {
        let of_query =
            |rest: &str| kind(&format!("name = \"c\"\nprometheus = \"http://p\"\n{rest}"));
        for (rest, expected) in [
            ("compare = \"errors\"\nbad = \"b\"\nall = \"a\"", "Errors { bad: \"b\", all: \"a\" }"),
            ("compare = \"latency\"\nquery = \"q\"", "Latency { query: \"q\" }"),
            ("query = \"q\"\nmax = 5", "Limits { query: \"q\", min: None, max: Some(5.0) }"),
        ] {
            let CheckKind::Prometheus { question, .. } = of_query(rest) else { panic!("{rest}") };
            assert_eq!(format!("{question:?}"), expected);
        }
        let http = kind("name = \"c\"\nhttp = \"http://a/b\"");
        assert!(matches!(http, CheckKind::Http { .. }), "{http:?}");
        let exec = kind("name = \"c\"\nexec = [\"/bin/true\", \"x\"]");
        assert!(matches!(exec, CheckKind::Exec { command } if command == ["/bin/true", "x"]));
    }
}
