//! Keys as names of environment variables.
//!
//! `http.timeout-seconds` is `HTTP_TIMEOUT_SECONDS` in plain naming, and `HTTP_TIMEOUTSECONDS` where Spring looks for it.
//! `routes[0].path` is `ROUTES_0_PATH` in both.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;

use super::values::KeyValue;

/// The limit for a variable with its name. Beyond it the system does not start the program.
const LENGTH_MAX: usize = 128 * 1024 - 1;
/// The limit for all variables together, in bytes. The system allows 2 MB, with the arguments and the inherited variables. A
/// program that was stopped for a change must be able to start again.
const TOTAL_LENGTH_MAX: usize = 1024 * 1024;
/// The bytes that the system counts for each variable in addition to its text.
const OVERHEAD: usize = 10;

/// Variables that change how a program, its loader or its interpreter runs. Configuration sets them only with `--env-allow`.
const PROTECTED: [&str; 32] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "OLDPWD",
    "IFS",
    "ENV",
    "CDPATH",
    "TMPDIR",
    "TERM",
    "TZ",
    "EDITOR",
    "PAGER",
    "HOSTNAME",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PERL5LIB",
    "PERL5OPT",
    "RUBYLIB",
    "RUBYOPT",
    "CLASSPATH",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Prefixes of further protected variables, as in [`PROTECTED`].
const PROTECTED_PREFIXES: [&str; 7] =
    ["LD_", "DYLD_", "BASH_", "GIT_", "GLIBC_", "MALLOC_", "HEADWATER_"];

/// The conversion of keys into names of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Naming {
    /// Both names, if they differ
    Both,
    /// Characters other than letters and digits become underscores: HTTP_TIMEOUT_SECONDS
    Plain,
    /// As Spring Boot binds them, without dashes: HTTP_TIMEOUTSECONDS
    Spring,
}

/// The options for variables.
#[derive(Debug, Clone)]
pub(super) struct VariableRules {
    pub(super) naming: Naming,
    /// Stands before every name.
    pub(super) prefix: String,
    /// Protected names that may be set all the same.
    pub(super) allowed: BTreeSet<String>,
}

/// Variables, and what did not become one. Has no `Debug`: values may be secrets.
#[derive(Default, Clone, PartialEq, Eq)]
pub(super) struct Variables {
    pub(super) by_name: BTreeMap<String, String>,
    /// Names that a key would have set and that are protected.
    pub(super) left_out: BTreeSet<String>,
}

/// The reason for which a configuration has no variables. It never contains a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum VariableError {
    #[error("the value of `{key}` contains a NUL character, which a variable cannot hold")]
    Nul { key: String },
    #[error("the value of `{key}` is longer than a variable can be ({LENGTH_MAX} bytes)")]
    TooLong { key: String },
    #[error("the variables are larger than a program can receive ({TOTAL_LENGTH_MAX} bytes)")]
    TooMany,
    #[error("`{first}` and `{second}` both become the variable {name}, with different values")]
    Clash { name: String, first: String, second: String },
}

/// Makes the variables. Of two spellings of one key, the more specific source wins. Two different keys with the same variable
/// must have the same value.
pub(super) fn variables(
    entries: &[KeyValue],
    rules: &VariableRules,
) -> Result<Variables, VariableError> {
    let mut owners = BTreeMap::<String, &KeyValue>::new();
    for entry in entries {
        for name in names(&entry.key, rules) {
            let Some(&other) = owners.get(&name) else {
                owners.insert(name, entry);
                continue;
            };
            if stands_above(entry, other, &name)? {
                owners.insert(name, entry);
            }
        }
    }
    let mut variables = Variables::default();
    let mut total_length = 0;
    for (name, entry) in owners {
        if is_protected(&name) && !rules.allowed.contains(&name) {
            variables.left_out.insert(name);
            continue;
        }
        let text = entry.text();
        let key = || entry.key.clone();
        if text.contains('\0') {
            return Err(VariableError::Nul { key: key() });
        }
        if name.len() + 1 + text.len() > LENGTH_MAX {
            return Err(VariableError::TooLong { key: key() });
        }
        total_length += name.len() + text.len() + OVERHEAD;
        if total_length > TOTAL_LENGTH_MAX {
            return Err(VariableError::TooMany);
        }
        variables.by_name.insert(name, text);
    }
    Ok(variables)
}

fn stands_above(entry: &KeyValue, other: &KeyValue, name: &str) -> Result<bool, VariableError> {
    let same_key = relaxed(&entry.key) == relaxed(&other.key);
    if entry.text() == other.text() {
        return Ok(false);
    }
    if !same_key || entry.rank == other.rank {
        let (first, second) = (other.key.clone(), entry.key.clone());
        return Err(VariableError::Clash { name: name.to_owned(), first, second });
    }
    Ok(entry.rank < other.rank)
}

/// Equal for the spellings that Spring takes for one key: `max-items`, `maxItems`, `max_items`.
fn relaxed(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

fn names(key: &str, rules: &VariableRules) -> BTreeSet<String> {
    let plain = || with_prefix(&name(key, |c| Some(letter(c))), &rules.prefix);
    let spring = || with_prefix(&name(key, |c| (c != '-').then(|| letter(c))), &rules.prefix);
    match rules.naming {
        Naming::Both => [plain(), spring()].into(),
        Naming::Plain => [plain()].into(),
        Naming::Spring => [spring()].into(),
    }
}

/// The parts of a key, joined by underscores. A bracket is a part like the others.
fn name(key: &str, letter: impl Fn(char) -> Option<char>) -> String {
    let mut name = String::with_capacity(key.len());
    let mut closed = false;
    for c in key.chars() {
        match c {
            ']' => {}
            // `a[0].b` and `a.[/x]` have one step where two characters stand.
            '.' if closed => name.push('_'),
            '[' if name.is_empty() || (name.ends_with('_') && !closed) => {}
            '[' => name.push('_'),
            c => name.extend(letter(c)),
        }
        closed = c == ']';
    }
    name
}

fn letter(c: char) -> char {
    if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }
}

/// No name begins with a digit.
fn with_prefix(name: &str, prefix: &str) -> String {
    let digit = prefix.is_empty() && name.starts_with(|c: char| c.is_ascii_digit());
    let underscore = if digit || name.is_empty() { "_" } else { "" };
    format!("{prefix}{underscore}{name}")
}

fn is_protected(name: &str) -> bool {
    PROTECTED.contains(&name) || PROTECTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(naming: Naming, prefix: &str) -> VariableRules {
        VariableRules { naming, prefix: prefix.to_owned(), allowed: BTreeSet::new() }
    }

    /// Entries as `key=value@rank`.
    fn entries(text: &str) -> Vec<KeyValue> {
        let entry = |line: &str| {
            let (rest, rank) = line.rsplit_once('@').unwrap();
            let (key, value) = rest.rsplit_once('=').unwrap();
            let (key, rank) = (key.to_owned(), rank.parse().unwrap());
            KeyValue { key, value: json!(value), rank, unanswered: None }
        };
        text.split_whitespace().map(entry).collect()
    }

    #[track_caller]
    fn check(naming: Naming, text: &str, expected: &str) {
        let shown = match variables(&entries(text), &rules(naming, "")) {
            Ok(Variables { by_name, left_out }) => {
                let set = by_name.iter().map(|(name, value)| format!("{name}={value}"));
                let out = left_out.iter().map(|name| format!("-{name}"));
                set.chain(out).collect::<Vec<_>>().join(" ")
            }
            Err(problem) => problem.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn keys_are_named_as_spring_binds_them_and_plainly() {
        check(Naming::Spring, "server.port=1@0", "SERVER_PORT=1");
        check(Naming::Plain, "server.port=1@0", "SERVER_PORT=1");
        check(Naming::Both, "server.port=1@0", "SERVER_PORT=1");
        check(Naming::Spring, "http.timeout-seconds=1@0", "HTTP_TIMEOUTSECONDS=1");
        check(Naming::Plain, "http.timeout-seconds=1@0", "HTTP_TIMEOUT_SECONDS=1");
        check(
            Naming::Both,
            "http.timeout-seconds=1@0",
            "HTTP_TIMEOUTSECONDS=1 HTTP_TIMEOUT_SECONDS=1",
        );
        check(Naming::Both, "a.maxItems=1@0", "A_MAXITEMS=1");
        check(Naming::Plain, "7up=1@0", "_7UP=1");
    }

    #[test]
    fn lists_and_brackets_are_parts_like_others() {
        check(Naming::Both, "l[0]=a@0 l[1].b=c@0 l[2][3]=d@0", "L_0=a L_1_B=c L_2_3=d");
        check(Naming::Plain, "logging.level.[org.shop]=x@0", "LOGGING_LEVEL_ORG_SHOP=x");
        // Keys that differ in their signs only stay apart.
        check(Naming::Plain, "h.[/**]=1@0 h.[/a/**]=2@0", "H__A___=2 H____=1");
        check(Naming::Plain, "straße=1@0", "STRA_E=1");
    }

    #[test]
    fn of_two_spellings_the_more_specific_source_wins() {
        check(Naming::Spring, "a.max-items=1@1 a.maxItems=2@0", "A_MAXITEMS=2");
        check(Naming::Spring, "a.max-items=1@0 a.maxItems=2@1", "A_MAXITEMS=1");
    }

    #[test]
    fn two_keys_that_disagree_about_one_variable_are_refused() {
        check(Naming::Plain, "a.b-c=1@0 a.b.c=1@1", "A_B_C=1");
        for text in ["a.b-c=1@0 a.b.c=2@1", "a.b-c=1@0 a.b_c=2@0"] {
            let error = variables(&entries(text), &rules(Naming::Plain, "")).err().unwrap();
            assert!(matches!(error, VariableError::Clash { .. }), "{text}");
            assert!(error.to_string().contains("A_B_C"), "{error}");
        }
        check(Naming::Spring, "a.b-c=1@0 a.b.c=2@1", "A_BC=1 A_B_C=2");
    }

    #[test]
    fn protected_variables_need_a_prefix_or_permission() {
        let text = "path=1@0 ld.preload=2@0 home=3@0 port=4@0 headwater.url=5@0";
        check(Naming::Both, text, "PORT=4 -HEADWATER_URL -HOME -LD_PRELOAD -PATH");
        let prefixed = variables(&entries(text), &rules(Naming::Both, "APP_")).unwrap();
        assert!(prefixed.left_out.is_empty());
        assert_eq!(prefixed.by_name["APP_PATH"], "1");
        let mut rules_with_path = rules(Naming::Both, "");
        rules_with_path.allowed.insert("PATH".to_owned());
        let permitted = variables(&entries(text), &rules_with_path).unwrap();
        assert_eq!(permitted.by_name["PATH"], "1");
        assert!(!permitted.by_name.contains_key("HOME"));
        // A prefix that leads to a protected name is not enough.
        let odd = variables(&entries("preload=1@0"), &rules(Naming::Both, "LD_")).unwrap();
        assert!(odd.left_out.contains("LD_PRELOAD"));
    }

    #[test]
    fn a_value_may_hold_lines_but_no_nul_and_has_a_length() {
        let mut entries = entries("a=x@0");
        entries[0].value = json!("one\ntwo");
        let found = variables(&entries, &rules(Naming::Both, "")).unwrap();
        assert_eq!(found.by_name["A"], "one\ntwo");
        entries[0].value = json!("secret\0");
        let error = variables(&entries, &rules(Naming::Both, "")).err().unwrap();
        assert_eq!(error, VariableError::Nul { key: "a".into() });
        entries[0].value = json!("x".repeat(LENGTH_MAX - 2));
        assert!(variables(&entries, &rules(Naming::Both, "")).is_ok());
        entries[0].value = json!("x".repeat(LENGTH_MAX - 1));
        let error = variables(&entries, &rules(Naming::Both, "")).err().unwrap();
        assert_eq!(error, VariableError::TooLong { key: "a".into() });
    }

    #[test]
    fn a_program_can_be_given_so_much_and_no_more() {
        let many = |count: usize| -> Vec<KeyValue> {
            let entry = |number: usize| KeyValue {
                key: format!("k{number}"),
                value: json!("x".repeat(100_000)),
                rank: 0,
                unanswered: None,
            };
            (0..count).map(entry).collect()
        };
        assert!(variables(&many(10), &rules(Naming::Both, "")).is_ok());
        let error = variables(&many(11), &rules(Naming::Both, "")).err().unwrap();
        assert_eq!(error, VariableError::TooMany);
    }
}
