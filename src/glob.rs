//! Wildcards in names: `*` stands for any text, and `?`, where it is one, for any one character.

/// Returns whether a name, as a whole, matches a pattern of `*` and `?`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    matches_with(pattern, name, Some('?'))
}

/// Returns whether a text, as a whole, matches a pattern of `*` alone.
pub(crate) fn matches_stars(pattern: &str, text: &str) -> bool {
    matches_with(pattern, text, None)
}

/// Goes back to the last `*` alone, so that the time is at most the product of both lengths.
fn matches_with(pattern: &str, text: &str, any_one: Option<char>) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star = None;
    loop {
        let (mut pattern_after, mut text_after) = (pattern.clone(), text.clone());
        match (pattern_after.next(), text_after.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                pattern = pattern_after;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (Some(p), Some(t)) if Some(p) == any_one || p == t => {
                (pattern, text) = (pattern_after, text_after);
            }
            _ => {
                let Some((after, rest)) = &mut last_star else {
                    return false;
                };
                if rest.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), rest.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("foo*", "foo-dev", true),
            ("f?o", "foo", true),
            ("a*b*c", "axxbyyc", true),
            ("foo", "foobar", false),
            ("?", "", false),
            ("?", "ö", true),
            ("**", "x", true),
            ("**", "", true),
            ("*a*a", "aa", true),
            ("*a*a", "a", false),
            ("ab*ba", "abba", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_question_mark_is_plain_text_where_only_stars_are_wildcards() {
        assert!(matches_stars("a?*", "a?b"));
        assert!(!matches_stars("a?*", "abb"));
        assert!(matches_stars("ab*ba", "abba"));
        assert!(!matches_stars("ab*ba", "aba"));
    }
}
