//! Excerpts of git's error output for the log and for pages: a few lines joined into one, without credentials, without paths
//! of this machine, and without characters that change the display of the rest. Pure.

use crate::terminal::is_invisible;

/// The beginnings of lines with a reason. Lines from the remote begin with `remote:`.
const BEGINNINGS: [&str; 5] = ["fatal:", "error:", "remote:", "ssh:", "git:"];
/// The most lines that are kept, counted from the end.
const LINE_COUNT_MAX: usize = 3;
/// The most characters of one line.
const LINE_LENGTH_MAX: usize = 240;

/// A text that is never shown, with its replacement.
pub(super) type Hidden = (String, &'static str);

/// The last lines with a reason, joined into one line. `None` for output without text.
pub(super) fn excerpt(said: &str, hidden: &[Hidden]) -> Option<String> {
    let lines: Vec<String> = said
        .split(['\n', '\r'])
        .map(|line| clean(line, hidden))
        .filter(|line| !line.is_empty())
        .collect();
    let says_why = |line: &&String| BEGINNINGS.iter().any(|beginning| line.starts_with(beginning));
    let mut kept: Vec<&str> = lines.iter().filter(says_why).map(String::as_str).collect();
    if kept.is_empty() {
        kept = lines.iter().map(String::as_str).collect();
    }
    kept.dedup();
    let first = kept.len().saturating_sub(LINE_COUNT_MAX);
    (!kept.is_empty()).then(|| kept[first..].join("; "))
}

fn clean(line: &str, hidden: &[Hidden]) -> String {
    let mut line: String = line
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .filter(|character| !is_invisible(*character))
        .collect();
    for (text, shown) in hidden.iter().filter(|(text, _)| !text.is_empty()) {
        line = line.replace(text, shown);
    }
    let line = without_logins(line.trim());
    line.chars().take(LINE_LENGTH_MAX).collect()
}

/// Removes the user and the password from every URL.
fn without_logins(line: &str) -> String {
    let mut parts = line.split("://");
    let mut cleaned = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        cleaned.push_str("://");
        cleaned.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        cleaned.push_str(rest);
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, expected: Option<&str>) {
        let hidden = [
            ("hunter2".to_owned(), "(password)"),
            ("/data/mirrors".to_owned(), "(mirrors)"),
            (String::new(), "(nothing)"),
        ];
        assert_eq!(excerpt(said, &hidden).as_deref(), expected, "{said:?}");
    }

    #[test]
    fn the_last_lines_that_say_why_are_one_line() {
        check("", None);
        check(" \n\r\n", None);
        check("Permission denied (publickey).\n", Some("Permission denied (publickey)."));
        check(
            "Cloning...\nerror: a\nhint: b\nfatal: c\n\nPlease make sure\n",
            Some("error: a; fatal: c"),
        );
        check("error: 1\nerror: 2\nerror: 3\nfatal: 4\n", Some("error: 2; error: 3; fatal: 4"));
        check("fatal: same\nfatal: same\n", Some("fatal: same"));
        let long = format!("fatal: {}", "ä".repeat(1_000));
        assert_eq!(excerpt(&long, &[]).unwrap().chars().count(), LINE_LENGTH_MAX);
    }

    #[test]
    fn no_credential_and_no_path_of_this_machine_is_left() {
        check("fatal: the token hunter2 is old", Some("fatal: the token (password) is old"));
        check(
            "fatal: unable to access 'https://ada:x@y@h.example/r.git/': no",
            Some("fatal: unable to access 'https://h.example/r.git/': no"),
        );
        check(
            "fatal: ssh://ada@h.example and https://t@i.example: no",
            Some("fatal: ssh://h.example and https://i.example: no"),
        );
        check("fatal: in '/data/mirrors/ab.git'", Some("fatal: in '(mirrors)/ab.git'"));
    }

    #[test]
    fn characters_that_change_how_the_rest_is_shown_are_left_out() {
        check(
            "remote: \u{1b}[31mred\u{7}\u{202e}dlo\u{200b}\u{feff}",
            Some("remote:  [31mred dlo"),
        );
        check("fatal: a\u{2028}b\u{e0041}c\u{85}d", Some("fatal: abc d"));
    }
}
