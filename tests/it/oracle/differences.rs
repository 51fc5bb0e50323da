//! Where we answer otherwise on purpose: the request, and the heading of `docs/differences.md` that says why.

/// A difference that is meant.
pub(super) struct Difference {
    /// The heading in `docs/differences.md`.
    pub(super) heading: &'static str,
    /// Whether exactly this request is named, so that it must differ.
    pub(super) exact: bool,
}

const DIFFERENCES: &[(&str, &str, &str)] = &[];

/// What is known of a request; `*` stands for a whole setup that is not run, and ends an id that begins so.
pub(super) fn difference(setup: &str, id: &str) -> Option<Difference> {
    DIFFERENCES.iter().find_map(|(known, pattern, heading)| {
        let exact = *pattern == id;
        let begins = pattern
            .strip_suffix('*')
            .is_some_and(|start| !start.is_empty() && id.starts_with(start));
        (*known == setup && (exact || begins)).then_some(Difference { heading, exact })
    })
}
