//! The rule for the plan of rollouts: a plan file that is new or changed can be used.
//!
//! The plan is no configuration. Its file is in the reserved directory of the tree, and is looked up by its name alone.

use headwater_rollout::plan::{PlanFile, PlanProblem};

use super::{Check, FindingSeverity, Rule};
use crate::model::{Origin, Position, Problem};
use crate::snapshot::Member;
use crate::tree::{ReservedEntry, Tree, TreeError};

/// The path of the file.
pub const PLAN_PATH: &str = PlanFile::PATH;
/// The name of the file in the reserved directory.
const FILE_NAME: &str = "rollout.toml";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Returns true if a tree has a plan file.
///
/// # Errors
/// When the source cannot be read.
pub fn has_plan(tree: &Tree) -> Result<bool, TreeError> {
    Ok(tree.reserved_entry(FILE_NAME)?.is_some())
}

/// Reads the plan file of a tree. `None` if there is none. `checks` are the names of the checks that the operator defines.
///
/// # Errors
/// The outer error when the source cannot be read, the inner one when the file cannot be used.
pub fn read_plan(
    tree: &Tree,
    checks: &[&str],
) -> Result<Option<Result<PlanFile, Vec<Problem>>>, TreeError> {
    let unusable = |message: &str| {
        let origin = Origin { file: PLAN_PATH.into(), position: None };
        Ok(Some(Err(vec![Problem { origin, key: None, message: message.to_owned() }])))
    };
    let file = match tree.reserved_entry(FILE_NAME)? {
        None => return Ok(None),
        Some(ReservedEntry::Other) => {
            return unusable("is no regular file. Commit the file itself");
        }
        Some(ReservedEntry::File(id)) => id,
    };
    let Some(text) = tree.reserved_bytes(file, FILE_BYTES_MAX)? else {
        return unusable(&format!("has more than {FILE_BYTES_MAX} bytes"));
    };
    let parsed = PlanFile::parse(PLAN_PATH, &text, checks);
    Ok(Some(parsed.map_err(|error| error.problems.into_iter().map(problem).collect())))
}

fn problem(PlanProblem { file, place, message }: PlanProblem) -> Problem {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let position = Position { line: number(place.line), column: number(place.column) };
    Problem {
        origin: Origin { file: (*file).into(), position: Some(position) },
        key: None,
        message,
    }
}

impl Check<'_> {
    /// Checks the plan file of a member, unless it is the same as before.
    pub(super) fn plan(
        &mut self,
        member: &Member,
        before: Option<&Member>,
    ) -> Result<(), TreeError> {
        if !self.terms.rules.contains(&Rule::Plan) {
            return Ok(());
        }
        let was = match before {
            Some(before) => before.tree.reserved_entry(FILE_NAME)?,
            None => None,
        };
        if member.tree.reserved_entry(FILE_NAME)? == was {
            return Ok(());
        }
        let checks: Vec<&str> = self.terms.plan_checks.iter().map(String::as_str).collect();
        if let Some(Err(problems)) = read_plan(&member.tree, &checks)? {
            for problem in problems {
                self.add(FindingSeverity::Problem, problem, None);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{commit, layout};
    use super::super::{CheckPolicy, CheckReport, Strictness, check};
    use super::*;
    use crate::catalog;
    use crate::model::{Label, Query};
    use crate::resolve;
    use crate::source::memory::MemorySource;
    use crate::tree::{RESERVED, join};

    /// The report on a change after a first commit.
    fn report(first: &str, change: &str) -> CheckReport {
        let source = MemorySource::new(layout(&["*", ".headwater", "{application}"]));
        let before = commit(&source, first);
        let after = commit(&source, change);
        check(&after, Some(&before), &[], &CheckPolicy::new(Strictness::Lenient)).unwrap()
    }

    fn problems(report: &CheckReport) -> Vec<String> {
        report.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_plan_has_its_place_in_the_reserved_directory() {
        assert_eq!(join(RESERVED, FILE_NAME), PlanFile::PATH);
    }

    #[test]
    fn a_plan_that_cannot_be_used_is_a_problem_with_its_place() {
        const ORDERS: &str = "//- orders.yml\na: 1\n";
        let found = report(ORDERS, "//- .headwater/rollout.toml\n[limits]\ninstances = \"lots\"\n");
        let [problem] = &problems(&found)[..] else { panic!("{found:?}") };
        assert!(problem.starts_with(".headwater/rollout.toml:2:13: instances: "), "{problem}");
        assert_eq!((found.file_count, found.environment_count), (0, 0));
        let found = report(ORDERS, "//- .headwater/rollout.toml\n[plan.x]\nexec = \"reboot\"\n");
        let told = problems(&found).join("\n");
        assert!(told.contains("rollout.toml:2:1: exec: a plan cannot run"), "{told}");
        let found = report(ORDERS, "//- .headwater/rollout.toml\n[limits]\napplications = 3\n");
        assert_eq!(problems(&found), [""; 0]);
    }

    #[test]
    fn only_a_new_or_changed_plan_is_checked() {
        const BAD: &str = "//- .headwater/rollout.toml\nnonsense\n";
        assert_eq!(problems(&report(BAD, "//- orders.yml\na: 1\n")), [""; 0]);
        assert_eq!(problems(&report(BAD, "//- .headwater/rollout.toml\n")), [""; 0], "removed");
        assert_eq!(problems(&report(BAD, "//- .headwater/rollout.toml\nother\n")).len(), 1);
        assert_eq!(problems(&report("//- a.yml\na: 1\n", BAD)).len(), 1);
    }

    #[test]
    fn a_plan_is_a_file() {
        let found = report("//- a.yml\na: 1\n", "//- .headwater/rollout.toml/x.toml\na = 1\n");
        assert_eq!(
            problems(&found),
            [".headwater/rollout.toml: is no regular file. Commit the file itself"]
        );
        let found = report("//- a.yml\na: 1\n", "//- .headwater\na\n");
        assert_eq!(problems(&found).len(), 1);
        let large = format!("//- .headwater/rollout.toml\n#{}\n", "x".repeat(300_000));
        let found = report("//- a.yml\na: 1\n", &large);
        assert_eq!(problems(&found), [".headwater/rollout.toml: has more than 262144 bytes"]);
    }

    /// Trap: a search path of `*` matches the directory.
    #[test]
    fn a_plan_is_no_configuration() {
        const PLANNED: &str = "//- orders.yml\na: 1\n//- .headwater/rollout.toml\n[limits]\napplications = 3\n\
                               //- .headwater/application.yml\nb: 2\n";
        let source = MemorySource::new(layout(&["*", "**", ".headwater", "{application}"]));
        let snapshot = commit(&source, PLANNED);
        let [member] = &snapshot.members[..] else { panic!("one member") };
        let catalog = catalog::catalog(&snapshot).unwrap();
        assert_eq!(catalog.applications, ["orders".to_owned()].into());
        for application in ["orders", "rollout", ".headwater"] {
            let label = Label::Default;
            let query = Query { application: application.into(), profiles: "dev".into(), label };
            let resolved = resolve::resolve(member, &member.tree, &query).unwrap();
            let sources = resolved.outcome.unwrap();
            let of_plan = sources.iter().filter(|own| own.name.contains("headwater"));
            assert_eq!(of_plan.count(), 0, "{application}: {sources:?}");
        }
        let mut paths = Vec::new();
        member.tree.walk(&mut |path| paths.push(path.to_owned())).unwrap();
        assert_eq!(paths, ["orders.yml"]);
        assert!(member.tree.file(PlanFile::PATH).unwrap().is_none());
        assert!(member.tree.kind(RESERVED).unwrap().is_none());
    }
}
