//! Where we answer otherwise on purpose: the request, and the heading of `docs/differences.md` that says why.

/// A difference that is meant.
pub(super) struct Difference {
    /// The heading in `docs/differences.md`.
    pub(super) heading: &'static str,
    /// Whether exactly this request is named, so that it must differ.
    pub(super) exact: bool,
}

const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("environments", "names-23", "Parameters in paths are refused"),
    ("environments", "names-24", "Empty path segments collapse"),
    ("environments", "activation-12", "A bad file is an error of its own, not a missing master"),
    ("environments", "imports-12", "A bad file is an error of its own, not a missing master"),
    ("environments", "imports-13", "A bad file is an error of its own, not a missing master"),
    ("environments", "documents-06", "Sealed values keep their marker"),
    ("environments", "documents-07", "Sealed values keep their marker"),
    ("environments", "v2-06", "Sealed values keep their marker"),
    ("environments", "failures-01", "A bad file is an error of its own, not a missing master"),
    ("environments", "failures-02", "A bad file is an error of its own, not a missing master"),
    ("environments", "failures-05", "A bad file is an error of its own, not a missing master"),
    ("environments", "failures-10", "A bad file is an error of its own, not a missing master"),
    ("environments", "failures-19", "Names with wildcards are not found"),
    ("environments", "v2-11", "Errors are always application/json"),
    ("environments", "v2-12", "Errors are always application/json"),
];

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
