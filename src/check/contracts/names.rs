//! The spelling of keys under relaxed binding: `max-items`, `maxItems` and `max_items` are one name.

/// The most parts of a key. The rest of a deeper key is its last part.
const PART_COUNT_MAX: usize = 64;

/// One part of a flat key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A part between dots.
    Name(&'a str),
    /// A part between brackets.
    Bracket(&'a str),
}

impl Part<'_> {
    /// Appends the part in its relaxed spelling.
    pub(super) fn append(self, key: &mut String) {
        match self {
            Part::Name(name) => {
                key.push('.');
                let letters = name.chars().filter(|letter| !matches!(letter, '-' | '_'));
                key.extend(letters.flat_map(char::to_lowercase));
            }
            Part::Bracket(inner) => key.extend(["[", inner, "]"]),
        }
    }

    /// Appends the part in its relaxed spelling, with `[]` for every index of a list.
    pub(super) fn append_pattern(self, key: &mut String) {
        match self {
            Part::Bracket(inner) if inner.bytes().all(|byte| byte.is_ascii_digit()) => {
                key.push_str("[]");
            }
            part => part.append(key),
        }
    }
}

/// Splits a key such as `a.b[0].c` into its parts. An unbalanced bracket is part of a name.
pub(super) fn parts(key: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = Some(key);
    while let Some(text) = rest {
        if parts.len() == PART_COUNT_MAX - 1 {
            parts.push(Part::Name(text));
            break;
        }
        let (part, next) = first_part(text);
        parts.push(part);
        rest = next;
    }
    parts
}

fn first_part(text: &str) -> (Part<'_>, Option<&str>) {
    let bracket = text.strip_prefix('[').and_then(|inner| inner.split_once(']'));
    if let Some((inner, rest)) = bracket {
        let next = rest.strip_prefix('.').or((!rest.is_empty()).then_some(rest));
        return (Part::Bracket(inner), next);
    }
    let bracket = text.find('[').filter(|&at| at > 0 && text[at..].contains(']'));
    match (text.find('.'), bracket) {
        (Some(dot), bracket) if bracket.is_none_or(|at| dot < at) => {
            (Part::Name(&text[..dot]), Some(&text[dot + 1..]))
        }
        (_, Some(at)) => (Part::Name(&text[..at]), Some(&text[at..])),
        _ => (Part::Name(text), None),
    }
}

/// Returns the relaxed spelling of a key. Each part begins with a dot or a bracket.
pub(super) fn relaxed(key: &str) -> String {
    let mut text = String::with_capacity(key.len() + 1);
    parts(key).into_iter().for_each(|part| part.append(&mut text));
    text
}

/// Returns the relaxed spelling of a key with `[]` for every index of a list.
pub(super) fn pattern(key: &str) -> String {
    let mut text = String::with_capacity(key.len() + 1);
    parts(key).into_iter().for_each(|part| part.append_pattern(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_key_are_equal() {
        for key in ["Shop.max-items", "shop.maxItems", "shop.max_items"] {
            assert_eq!(relaxed(key), ".shop.maxitems");
        }
        assert_eq!(relaxed("a[0].b[X-y]"), ".a[0].b[X-y]");
        assert_eq!(pattern("a[0].b[X-y]"), ".a[].b[X-y]");
        assert_eq!(pattern("routes[].path"), ".routes[].path");
        assert_eq!(pattern(&vec!["a"; 10_000].join(".")).len(), 20_000);
    }
}
