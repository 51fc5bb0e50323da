//! The grammar of keys: their parts, and the spellings that are equal under relaxed binding.

/// The largest number of parts of a key. The rest of a deeper key is its last part.
const DEPTH_MAX: usize = 64;

/// One step of a flat key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part<'a> {
    /// A part between dots: `a` in `a.b`.
    Name(&'a str),
    /// A part between brackets: `0` in `a[0]`, `/api/**` in `routes[/api/**]`.
    Bracket(&'a str),
}

impl<'a> Part<'a> {
    pub(crate) fn text(self) -> &'a str {
        match self {
            Part::Name(text) | Part::Bracket(text) => text,
        }
    }
}

/// Splits a key such as `a.b[0].c` into its parts. Every text is a valid key: unbalanced brackets are part of a name.
pub(crate) fn parts(key: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = Some(key);
    while let Some(text) = rest {
        if parts.len() == DEPTH_MAX - 1 {
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
    // An opening bracket without a closing one is an ordinary character.
    let bracket = text.find('[').filter(|&at| at > 0 && text[at..].contains(']'));
    match (text.find('.'), bracket) {
        (Some(dot), bracket) if bracket.is_none_or(|at| dot < at) => {
            (Part::Name(&text[..dot]), Some(&text[dot + 1..]))
        }
        (_, Some(at)) => (Part::Name(&text[..at]), Some(&text[at..])),
        _ => (Part::Name(text), None),
    }
}

/// Returns the canonical form of a name: `maxitems` for `max-items`, `maxItems` and `max_items`.
pub(crate) fn relaxed(name: &str) -> String {
    let mut relaxed = String::with_capacity(name.len());
    relaxed.extend(letters(name));
    relaxed
}

/// Returns whether two names have the same [`relaxed`] form.
pub(crate) fn are_same(one: &str, other: &str) -> bool {
    letters(one).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|letter| !matches!(letter, '-' | '_')).flat_map(char::to_lowercase)
}

/// Returns the canonical form of a key. Parts in brackets are literal and keep their spelling.
pub(crate) fn relaxed_key(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for part in parts(key) {
        match part {
            Part::Bracket(inner) => text.extend(["[", inner, "]"]),
            Part::Name(name) => text.extend([".", relaxed(name).as_str()]),
        }
    }
    text
}

/// Converts a name to a Rust field name: `max_items` for `max-items` and `maxItems`.
#[cfg(any(feature = "figment", feature = "config"))]
pub(crate) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut lower_before = false;
    for letter in name.chars() {
        if letter.is_uppercase() && lower_before {
            snake.push('_');
        }
        lower_before = letter.is_lowercase() || letter.is_ascii_digit();
        match letter {
            '-' => snake.push('_'),
            _ => snake.extend(letter.to_lowercase()),
        }
    }
    snake
}

/// Returns the environment variables that may contain the value of `key`: `a.b-c`, `A_B_C` and `A_BC` for `a.b-c`.
pub(crate) fn variables(key: &str) -> [String; 3] {
    let upper = key.to_uppercase();
    let underscored = |text: &str| -> String {
        let ends = text.trim_end_matches(']');
        ends.replace("].", "_").replace(['.', '-', '[', ']'], "_")
    };
    [key.to_owned(), underscored(&upper), underscored(&upper.replace('-', ""))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, expected: &[Part<'_>]) {
        assert_eq!(parts(key), expected, "{key}");
    }

    #[test]
    fn a_key_is_split_at_dots_and_brackets() {
        use Part::{Bracket, Name};
        check("a", &[Name("a")]);
        check("a.b-c", &[Name("a"), Name("b-c")]);
        check("a[0][1].b", &[Name("a"), Bracket("0"), Bracket("1"), Name("b")]);
        check("a[b.c].d", &[Name("a"), Bracket("b.c"), Name("d")]);
        check("routes[/api/**]", &[Name("routes"), Bracket("/api/**")]);
        check("[x].y", &[Bracket("x"), Name("y")]);
        check("a[0]x", &[Name("a"), Bracket("0"), Name("x")]);
        check("a[0", &[Name("a[0")]);
        check("a..b", &[Name("a"), Name(""), Name("b")]);
        check("", &[Name("")]);
    }

    #[test]
    fn a_very_deep_key_keeps_its_end_in_one_part() {
        let key = vec!["a"; 10_000].join(".");
        let parts = parts(&key);
        assert_eq!(parts.len(), DEPTH_MAX);
        assert_eq!(parts.last().map(|part| part.text().len()), Some(2 * (10_000 - 63) - 1));
    }

    #[test]
    fn spellings_of_one_name_are_equal() {
        for spelling in ["max-items", "maxItems", "max_items", "MAX_ITEMS"] {
            assert_eq!(relaxed(spelling), "maxitems");
            assert!(are_same(spelling, "maxItems"));
        }
        for other in ["max", "max-items-2", "min-items", ""] {
            assert!(!are_same(other, "maxItems") && !are_same("maxItems", other), "{other}");
        }
        assert_eq!(relaxed_key("Shop.max-items[A-b]"), ".shop.maxitems[A-b]");
    }

    #[test]
    fn variables_are_named_as_spring_names_them() {
        assert_eq!(variables("a.b-c"), ["a.b-c", "A_B_C", "A_BC"]);
        assert_eq!(variables("a[0].b")[1], "A_0_B");
        assert_eq!(variables("a[0]")[1], "A_0");
    }

    #[cfg(any(feature = "figment", feature = "config"))]
    #[test]
    fn names_become_field_names_in_snake_case() {
        assert_eq!(snake_case("max-items"), "max_items");
        assert_eq!(snake_case("maxItems2Go"), "max_items2_go");
        assert_eq!(snake_case("URL"), "url");
    }
}
