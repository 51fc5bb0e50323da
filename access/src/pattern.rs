//! Patterns over names and paths: `*` matches within a segment, `**` matches across separators.
//!
//! The wildcards of the server's settings and search paths have one kind of star, which crosses separators. A policy
//! needs both kinds, because `payments/*` must not reach into the directories below.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The longest accepted pattern. The bound keeps the states of a match on the stack.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Each byte of a pattern is at most one token, and one state follows the last token.
const STATE_COUNT_MAX: usize = PATTERN_BYTES_MAX + 1;

/// A pattern that a whole text matches or does not match.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: Arc<str>,
    /// Empty for a pattern without a star, because most patterns of a large policy are names.
    tokens: Box<[Token]>,
    separator: u8,
}

/// The states of a pattern.
#[derive(Clone, Copy)]
struct Automaton<'p> {
    tokens: &'p [Token],
    separator: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `*`: any bytes except the separator.
    Within,
    /// `**`: any bytes.
    Across,
    /// `**/` at the start of a segment: no segment, or any number of whole segments.
    Segments,
    /// The inside of a segment that `Segments` has begun. It always follows `Segments`.
    InsideSegment,
}

/// A text that is not a valid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("an empty pattern matches nothing. Remove it, or write \"**\" for any name")]
    Empty,
    #[error(
        "a pattern has at most {PATTERN_BYTES_MAX} bytes, this one has {0}. Split it into several"
    )]
    TooLong(usize),
    #[error("three stars in a row have no meaning. Write * within a name or ** across names")]
    TooManyStars,
    #[error("a control character cannot be part of a pattern. Remove it")]
    Control,
}

impl Pattern {
    /// Parses a pattern over paths and names, whose segments are separated by `/`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::with_separator(text, b'/')
    }

    /// Parses a pattern over property keys, whose segments are separated by `.`.
    pub fn parse_key(text: &str) -> Result<Self, PatternError> {
        Self::with_separator(text, b'.')
    }

    /// Parses a pattern over paths and names, and keeps the text without a copy.
    pub(crate) fn of_shared(text: Arc<str>) -> Result<Self, PatternError> {
        Self::with_separator(text, b'/')
    }

    fn with_separator(
        text: impl AsRef<str> + Into<Arc<str>>,
        separator: u8,
    ) -> Result<Self, PatternError> {
        let tokens = Self::parse_tokens(text.as_ref(), separator)?;
        Ok(Self { text: text.into(), tokens, separator })
    }

    fn parse_tokens(text: &str, separator: u8) -> Result<Box<[Token]>, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong(text.len()));
        }
        if text.contains("***") {
            return Err(PatternError::TooManyStars);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        let has_star = text.contains('*');
        Ok(if has_star { tokens(text.as_bytes(), separator).into() } else { Box::default() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text without a copy.
    pub(crate) fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Returns true if the pattern contains no star.
    pub fn is_literal(&self) -> bool {
        !self.text.contains('*')
    }

    /// Returns true for `*` and `**` alone.
    pub fn is_any(&self) -> bool {
        matches!(&*self.text, "*" | "**")
    }

    /// Returns true if the whole text matches. The time is at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let Some((prefix, _)) = self.text.split_once('*') else {
            return *self.text == *text;
        };
        if !text.starts_with(prefix) {
            return false;
        }
        let automaton = Automaton { tokens: &self.tokens, separator: self.separator };
        let count = self.tokens.len();
        let (mut states, mut next) = ([false; STATE_COUNT_MAX], [false; STATE_COUNT_MAX]);
        automaton.enter(&mut states, prefix.len());
        for byte in text.bytes().skip(prefix.len()) {
            next[..=count].fill(false);
            let mut alive = false;
            for state in (0..count).filter(|state| states[*state]) {
                if let Some(target) = automaton.step(state, byte) {
                    automaton.enter(&mut next, target);
                    alive = true;
                }
            }
            if !alive {
                return false;
            }
            std::mem::swap(&mut states, &mut next);
        }
        states[count]
    }

    /// Returns true if a text exists that both patterns match.
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut alphabet: Vec<u8> = self.text.bytes().chain(other.text.bytes()).collect();
        // A pattern contains no control character, so that this byte stands for all bytes that neither pattern names.
        alphabet.extend([self.separator, other.separator, 0]);
        alphabet.sort_unstable();
        alphabet.dedup();
        let (own, theirs) = (self.all_tokens(), other.all_tokens());
        let own = Automaton { tokens: &own, separator: self.separator };
        let theirs = Automaton { tokens: &theirs, separator: other.separator };
        let width = theirs.tokens.len() + 1;
        let mut seen = vec![false; (own.tokens.len() + 1) * width];
        let mut open = vec![(0, 0)];
        while let Some((one, two)) = open.pop() {
            if std::mem::replace(&mut seen[one * width + two], true) {
                continue;
            }
            if one == own.tokens.len() && two == theirs.tokens.len() {
                return true;
            }
            open.extend(own.skip(one).map(|next| (next, two)));
            open.extend(theirs.skip(two).map(|next| (one, next)));
            let both = |byte: &u8| Some((own.step(one, *byte)?, theirs.step(two, *byte)?));
            open.extend(alphabet.iter().filter_map(both));
        }
        false
    }

    /// The tokens, also of a pattern without a star.
    fn all_tokens(&self) -> Cow<'_, [Token]> {
        if self.is_literal() {
            tokens(self.text.as_bytes(), self.separator).into()
        } else {
            Cow::Borrowed(&self.tokens)
        }
    }
}

impl Automaton<'_> {
    /// Marks a state and the states that follow it without a byte.
    fn enter(&self, states: &mut [bool; STATE_COUNT_MAX], state: usize) {
        let mut next = Some(state);
        while let Some(state) = next {
            states[state] = true;
            next = self.skip(state);
        }
    }

    /// The state that follows without a byte.
    fn skip(&self, state: usize) -> Option<usize> {
        match self.tokens.get(state)? {
            Token::Within | Token::Across => Some(state + 1),
            Token::Segments => Some(state + 2),
            Token::Byte(_) | Token::InsideSegment => None,
        }
    }

    /// The state that follows after a byte.
    fn step(&self, state: usize, byte: u8) -> Option<usize> {
        let is_separator = byte == self.separator;
        match self.tokens.get(state)? {
            Token::Byte(expected) => (byte == *expected).then_some(state + 1),
            Token::Within => (!is_separator).then_some(state),
            Token::Across => Some(state),
            Token::Segments => Some(if is_separator { state } else { state + 1 }),
            Token::InsideSegment => Some(if is_separator { state - 1 } else { state }),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        // The tokens follow from both.
        self.text == other.text && self.separator == other.separator
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn tokens(text: &[u8], separator: u8) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let starts_segment = at == 0 || text[at - 1] == separator;
        if starts_segment && rest.starts_with(b"**") && rest.get(2) == Some(&separator) {
            tokens.extend([Token::Segments, Token::InsideSegment]);
            at += 3;
        } else if rest.starts_with(b"**") {
            tokens.push(Token::Across);
            at += 2;
        } else {
            tokens.push(if rest[0] == b'*' { Token::Within } else { Token::Byte(rest[0]) });
            at += 1;
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn one_star_stays_within_a_segment_and_two_stars_cross_it() {
        for (text, name, expected) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*", "orders", true),
            ("*", "feature/x", false),
            ("**", "feature/x", true),
            ("**", "", true),
            ("*", "", true),
            ("team-*", "team-a", true),
            ("team-*", "team", false),
            ("docs/**", "docs/a/b", true),
            ("docs/**", "docs", false),
            ("docs/*", "docs/a/b", false),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "ax", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/c/d/b", true),
            ("a/**/b", "ab", false),
            ("a**b", "a/x/b", true),
            ("*a*/b", "xaya/b", true),
            ("*.yml", "orders.yml", true),
            ("*.yml", "a/orders.yml", false),
            ("ö*", "öl", true),
            ("?", "a", false),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn a_dot_separates_the_segments_of_a_key() {
        let passwords = Pattern::parse_key("**.password").unwrap();
        assert!(passwords.matches("password"));
        assert!(passwords.matches("spring.datasource.password"));
        assert!(!passwords.matches("spring.passwords"));
        assert!(!passwords.matches("mypassword"));
    }

    #[test]
    fn unusable_patterns_are_rejected() {
        assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
        assert_eq!(Pattern::parse("a***"), Err(PatternError::TooManyStars));
        assert_eq!(Pattern::parse("a\n"), Err(PatternError::Control));
        assert_eq!(Pattern::parse(&"a".repeat(257)), Err(PatternError::TooLong(257)));
        let longest = "*a".repeat(128);
        assert!(pattern(&longest).matches(&"xa".repeat(128)));
    }

    #[test]
    fn overlapping_patterns_share_a_text() {
        for (one, other, expected) in [
            ("a/*", "*/b", true),
            ("a/*", "b/*", false),
            ("docs/**", "**/x.md", true),
            ("docs/*", "docs/a/**", false),
            ("*.yml", "orders*", true),
            ("orders", "orders", true),
            ("orders", "billing", false),
            ("**/a", "a", true),
        ] {
            assert_eq!(pattern(one).overlaps(&pattern(other)), expected, "{one} {other}");
            assert_eq!(pattern(other).overlaps(&pattern(one)), expected, "{other} {one}");
        }
    }

    /// A second, recursive definition of the same language.
    fn naive(pattern: &[u8], text: &[u8], starts_segment: bool) -> bool {
        if starts_segment && pattern.starts_with(b"**/") {
            let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            return naive(&pattern[3..], text, true)
                || ends.into_iter().any(|(at, _)| naive(&pattern[3..], &text[at + 1..], true));
        }
        if pattern.starts_with(b"**") {
            return (0..=text.len()).any(|at| naive(&pattern[2..], &text[at..], false));
        }
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(b'*'), first) => {
                naive(&pattern[1..], text, false)
                    || first.is_some_and(|byte| *byte != b'/') && naive(pattern, &text[1..], false)
            }
            (Some(expected), Some(byte)) if expected == byte => {
                naive(&pattern[1..], &text[1..], *byte == b'/')
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_equals_the_recursive_definition(
            text in "[ab/*]{1,8}",
            name in "[ab/]{0,8}",
        ) {
            if let Ok(pattern) = Pattern::parse(&text) {
                let expected = naive(text.as_bytes(), name.as_bytes(), true);
                prop_assert_eq!(pattern.matches(&name), expected);
            }
        }

        #[test]
        fn patterns_that_match_one_name_overlap(
            one in "[ab/*]{1,6}",
            other in "[ab/*]{1,6}",
            name in "[ab/]{0,6}",
        ) {
            if let (Ok(one), Ok(other)) = (Pattern::parse(&one), Pattern::parse(&other)) {
                let is_common = one.matches(&name) && other.matches(&name);
                prop_assert!(!is_common || one.overlaps(&other));
            }
        }
    }
}
