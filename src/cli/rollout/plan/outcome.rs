//! The outcome of a tried push, from what git prints. Pure.

/// The beginning of the last line of a dry run that the server would accept.
const ACCEPTED: &str = "dry run: the push would be accepted";
/// Git's words for a server without push options.
const NO_OPTIONS: &str = "does not support push options";

/// What a push would do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PlanOutcome {
    /// The server would accept the push. The lines are those of the server.
    Accepted(Vec<String>),
    /// The branch is at the commit already.
    UpToDate,
    /// The server would reject the push.
    Rejected(Vec<String>),
    /// Git itself would not send the push, for this reason.
    NotSent(String),
    NoOptions,
    /// The branch has moved.
    Moved,
    /// Git could not try the push. The lines are those of the server, and the last one of git.
    Failed(Vec<String>),
}

/// Reads the exit code, the output and the messages of `git push --porcelain`.
pub(super) fn of(code: i32, out: &str, err: &str) -> PlanOutcome {
    let lines = server_lines(err);
    match out.lines().find_map(status) {
        Some(("=", _)) => PlanOutcome::UpToDate,
        Some(("!", summary)) if summary.starts_with("[remote rejected]") => {
            match lines.last().is_some_and(|line| line.starts_with(ACCEPTED)) {
                true => PlanOutcome::Accepted(lines),
                false if lines.is_empty() => PlanOutcome::Rejected(vec![summary.to_owned()]),
                false => PlanOutcome::Rejected(lines),
            }
        }
        Some(("!", summary)) => {
            let reason = summary.trim_start_matches("[rejected]").trim();
            PlanOutcome::NotSent(reason.trim_matches(['(', ')']).to_owned())
        }
        Some(_) if code == 0 => PlanOutcome::Moved,
        _ if err.contains(NO_OPTIONS) => PlanOutcome::NoOptions,
        _ => {
            let is_own = |line: &&str| !line.starts_with("remote:") && !line.trim().is_empty();
            let last = err.lines().rfind(is_own).unwrap_or("git printed no reason");
            PlanOutcome::Failed(lines.into_iter().chain([last.trim().to_owned()]).collect())
        }
    }
}

/// The flag and the summary of a reference in a line of `--porcelain`.
fn status(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.splitn(3, '\t');
    let (flag, _, summary) = (parts.next()?, parts.next()?, parts.next()?);
    (flag.len() == 1).then_some((flag, summary))
}

/// The lines of the server. Git fills each with blanks.
fn server_lines(err: &str) -> Vec<String> {
    let lines = err.lines().filter_map(|line| line.strip_prefix("remote:"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: &str = "To http://127.0.0.1:8888/-/git/main.git\n";

    #[track_caller]
    fn check(code: i32, status: &str, err: &str, expected: &PlanOutcome) {
        assert_eq!(of(code, &format!("{TO}{status}"), err), *expected);
    }

    #[test]
    fn the_last_line_of_the_server_decides() {
        let hook = "!\te796:refs/heads/main\t[remote rejected] (pre-receive hook declined)\n";
        let failed = "error: failed to push some refs to 'http://127.0.0.1:8888/-/git/main.git'\n";
        let stage = "remote:   1 of 12 first        \n";
        let accepted =
            "remote: dry run: the push would be accepted. No branch was updated        \n";
        let last = "dry run: the push would be accepted. No branch was updated".to_owned();
        let accepted_lines = vec!["  1 of 12 first".to_owned(), last];
        check(
            1,
            hook,
            &format!("{stage}{accepted}{failed}"),
            &PlanOutcome::Accepted(accepted_lines),
        );
        let rejected = "remote: push rejected, no branch was updated: no        \n";
        let lines = vec!["push rejected, no branch was updated: no".to_owned()];
        check(1, hook, &format!("{rejected}{failed}"), &PlanOutcome::Rejected(lines));
        let bare = vec!["[remote rejected] (pre-receive hook declined)".to_owned()];
        check(1, hook, failed, &PlanOutcome::Rejected(bare));
    }

    #[test]
    fn git_does_not_send_what_is_there_or_does_not_follow() {
        check(0, "=\te796:refs/heads/main\t[up to date]\nDone\n", "", &PlanOutcome::UpToDate);
        let behind = "!\te796:refs/heads/main\t[rejected] (fetch first)\n";
        check(1, behind, "", &PlanOutcome::NotSent("fetch first".to_owned()));
    }

    #[test]
    fn a_server_that_does_not_try_the_push_is_noticed() {
        let moved = "*\te796:refs/heads/main\t[new branch]\nDone\n";
        check(0, moved, "", &PlanOutcome::Moved);
        let err = "fatal: the receiving end does not support push options\n";
        assert_eq!(of(128, "", err), PlanOutcome::NoOptions);
        let err = "remote: wait        \nfatal: unable to access 'http://127.0.0.1:1/'\n";
        let lines = ["wait", "fatal: unable to access 'http://127.0.0.1:1/'"];
        assert_eq!(of(128, "", err), PlanOutcome::Failed(lines.map(str::to_owned).into()));
        let none = PlanOutcome::Failed(vec!["git printed no reason".to_owned()]);
        assert_eq!(of(1, "", ""), none);
    }
}
