//! The `{name:value}` groups in front of a ciphertext.

/// Ends the prefixes: everything behind it is text.
const PLAIN: &str = "{plain}";
/// Prefixes that the original replaces by the names of the request.
const REPLACED: [&str; 2] = ["name", "profiles"];
/// The most groups. Further ones are text, so that a hostile value costs no time.
const GROUP_COUNT_MAX: usize = 32;

/// A text and the prefixes in front of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PrefixedText<'a> {
    pub(super) text: &'a str,
    /// Names and values, in order. A repeated name keeps its place and takes the later value.
    groups: Vec<(&'a str, &'a str)>,
}

impl<'a> PrefixedText<'a> {
    /// Splits the text. A group extends from `{` over the first colon to the next `}`.
    pub(super) fn parse(value: &'a str) -> Self {
        let (head, text) =
            value.split_once(PLAIN).unwrap_or_else(|| value.split_at(groups_end(value)));
        let mut groups: Vec<(&str, &str)> = Vec::new();
        // A group such as `{foo}{key:old}` contains a brace. The part behind the brace has the name and the value.
        for part in head.split('}').take(2 * GROUP_COUNT_MAX) {
            let Some((name, value)) = part.strip_prefix('{').and_then(|part| part.split_once(':'))
            else {
                continue;
            };
            match groups.iter_mut().find(|(known, _)| *known == name) {
                Some(group) => group.1 = value,
                None => groups.push((name, value)),
            }
        }
        Self { text, groups }
    }

    /// The value of a prefix.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        self.groups.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The prefixes as text, without those that name an application or profiles.
    pub(super) fn prefixes(&self) -> String {
        let groups = self.groups.iter().filter(|(name, _)| !REPLACED.contains(name));
        groups.map(|(name, value)| format!("{{{name}:{value}}}")).collect()
    }
}

/// The end of the groups at the start of a text.
fn groups_end(value: &str) -> usize {
    let mut end = 0;
    for _ in 0..GROUP_COUNT_MAX {
        let Some(length) = group_length(&value[end..]) else { break };
        end += length;
    }
    end
}

/// The length of the group at the start of a text. A line break ends no group.
fn group_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('{')?;
    let colon = inside.find(':')?;
    let close = colon + inside[colon..].find('}')?;
    if inside[..close].contains(['\n', '\r']) {
        return None;
    }
    Some(close + 2)
}

#[cfg(test)]
mod tests {
    use super::{GROUP_COUNT_MAX, PrefixedText};

    #[track_caller]
    fn check(value: &str, groups: &[(&str, &str)], text: &str) {
        let expected = PrefixedText { text, groups: groups.to_vec() };
        assert_eq!(PrefixedText::parse(value), expected, "{value:?}");
    }

    #[test]
    fn groups_precede_the_text() {
        check("abc", &[], "abc");
        check("{key:old}abc", &[("key", "old")], "abc");
        check("{key:old}{secret:s}abc", &[("key", "old"), ("secret", "s")], "abc");
        check("{secret:a:b}abc", &[("secret", "a:b")], "abc");
        check("{key: old}abc", &[("key", " old")], "abc");
        check("{key:}abc", &[("key", "")], "abc");
        check("{key:a}{key:b}abc", &[("key", "b")], "abc");
    }

    #[test]
    fn a_group_without_a_colon_is_text_or_part_of_the_next_group() {
        check("{foo}abc", &[], "{foo}abc");
        check("{foo}{key:old}abc", &[("key", "old")], "abc");
        check("{}abc", &[], "{}abc");
        check("{key:old", &[], "{key:old");
        check("{foo\n:x}abc", &[], "{foo\n:x}abc");
    }

    #[test]
    fn plain_ends_the_prefixes() {
        check("{plain}{key:old}abc", &[], "{key:old}abc");
        check("{key:old}{plain}{a:b}{plain}c", &[("key", "old")], "{a:b}{plain}c");
    }

    #[test]
    fn groups_beyond_the_limit_are_text() {
        let many = "{a:b}".repeat(GROUP_COUNT_MAX + 1);
        assert_eq!(PrefixedText::parse(&many).text, "{a:b}");
        let distinct: String = (0..100_000).map(|number| format!("{{{number}:}}")).collect();
        assert_eq!(PrefixedText::parse(&distinct).groups.len(), GROUP_COUNT_MAX);
        let distinct = format!("{distinct}{{plain}}x");
        assert_eq!(PrefixedText::parse(&distinct).groups.len(), 2 * GROUP_COUNT_MAX);
    }

    #[test]
    fn recognised_prefixes_come_back() {
        let prefixes = |value| PrefixedText::parse(value).prefixes();
        assert_eq!(prefixes("{key:old}{name:x}{profiles:dev}{a:b}text"), "{key:old}{a:b}");
        assert_eq!(prefixes("{\"a\":1}"), "{\"a\":1}");
        assert_eq!(prefixes("text"), "");
    }
}
