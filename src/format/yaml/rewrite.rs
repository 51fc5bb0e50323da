//! Rewrites two spellings of YAML 1.1 that the parser rejects: a dash as the whole text of a flow item (`[-, x]`), and quoted
//! text whose lines begin with a tab or are indented less than their key.
//!
//! A file that does not parse is rewritten and parsed once more. Positions of values stay the same: the rewriting adds only
//! white space that quoting removes, and replaces a dash by one character that the file does not contain.

use super::events::{self, SyntaxFault};

/// The most quoted texts of one file that are rewritten.
const TEXTS_MAX: usize = 100;
/// The most bytes that are parsed in order to find them.
const PARSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A file in a spelling that the parser accepts.
pub(super) struct RewrittenText {
    pub(super) text: String,
    /// The character that replaces dashes.
    pub(super) dash: Option<char>,
}

/// Rewrites a file that does not parse. Returns `None` if nothing can be rewritten.
pub(super) fn rewrite(text: &str) -> Option<RewrittenText> {
    let mut rewritten = RewrittenText { text: text.to_owned(), dash: None };
    let mut is_changed = false;
    for _ in 0..TEXTS_MAX.min(PARSED_BYTES_MAX / text.len().max(1)) {
        let next = match events::first_fault(&rewritten.text) {
            None => break,
            Some(SyntaxFault::QuotedLine { before, at }) => indented(&rewritten.text, before, at),
            Some(SyntaxFault::Other) if rewritten.dash.is_none() => {
                let placeholder = unused(&rewritten.text);
                let replaced = placeholder.and_then(|sign| without_dashes(&rewritten.text, sign));
                rewritten.dash = replaced.is_some().then_some(placeholder).flatten();
                replaced
            }
            Some(SyntaxFault::Other) => None,
        };
        let Some(next) = next else { break };
        rewritten.text = next;
        is_changed = true;
    }
    is_changed.then_some(rewritten)
}

/// A private-use character that the text does not contain.
fn unused(text: &str) -> Option<char> {
    ('\u{e000}'..='\u{e0ff}').find(|sign| !text.contains(*sign))
}

/// Replaces each dash that may be a whole flow item. `None` if there is none. It can also replace dashes in other texts, and
/// `events` restores all of them.
fn without_dashes(text: &str, sign: char) -> Option<String> {
    let bytes = text.as_bytes();
    let stands_alone = |at: usize| {
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        let is_start = matches!(before, b'[' | b'{' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r');
        is_start && matches!(bytes.get(at + 1), Some(b',' | b']' | b'}'))
    };
    let mut written = String::with_capacity(text.len() + 16);
    let mut from = 0;
    for (at, _) in text.match_indices('-').filter(|(at, _)| stands_alone(*at)) {
        written.push_str(&text[from..at]);
        written.push(sign);
        from = at + 1;
    }
    written.push_str(&text[from..]);
    (from > 0).then_some(written)
}

/// Indents the lines of the quoted text around `at`, which begins behind `before`, by blanks. `None` if they are indented
/// already.
fn indented(text: &str, before: usize, at: usize) -> Option<String> {
    let (start, end) = quoted_around(text, before, at)?;
    let first_break = start + text[start..end].find(['\n', '\r'])?;
    let depth = 1 + text[..first_break].split(['\n', '\r']).map(lead).max().unwrap_or(0);
    let mut written = text[..first_break].to_owned();
    let mut rest = &text[first_break..end];
    while let Some(line_end) = rest.find(['\n', '\r']) {
        written.push_str(&rest[..=line_end]);
        rest = &rest[line_end + 1..];
        let content = rest.trim_start_matches([' ', '\t']);
        if !content.is_empty() && !content.starts_with(['\n', '\r']) {
            let blanks = rest.len() - content.len();
            written.extend(std::iter::repeat_n(' ', blanks.max(depth)));
        }
        rest = content;
    }
    written.push_str(rest);
    written.push_str(&text[end..]);
    (written != text).then_some(written)
}

/// The indentation of a line's content. The signs of list items and keys count as indentation.
fn lead(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t', '-', '?']).len()
}

/// The start and the end of the quoted text around a place.
fn quoted_around(text: &str, before: usize, at: usize) -> Option<(usize, usize)> {
    let mut from = before;
    while from <= at {
        let start = opening_quote(text, from, at)?;
        let length = quoted_length(&text[start..])?;
        if start + length > at {
            return Some((start, start + length));
        }
        from = start + length;
    }
    None
}

/// The first quote that opens a quoted text, outside comments and words.
fn opening_quote(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut in_comment = false;
    let mut last = from.checked_sub(1).map_or(b'\n', |last| text.as_bytes()[last]);
    for (at, byte) in text.as_bytes().iter().enumerate().take(to).skip(from) {
        let is_after_blank = matches!(last, b' ' | b'\t' | b'\n' | b'\r');
        match byte {
            b'\n' | b'\r' => in_comment = false,
            b'#' if is_after_blank => in_comment = true,
            b'"' | b'\'' if !in_comment && (is_after_blank || b"[{,:".contains(&last)) => {
                return Some(at);
            }
            _ => {}
        }
        last = *byte;
    }
    None
}

/// The length of a quoted text, including its quotes.
fn quoted_length(text: &str) -> Option<usize> {
    let quote = *text.as_bytes().first()?;
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 2,
            byte if byte != quote => at += 1,
            _ if quote == b'\'' && bytes.get(at + 1) == Some(&quote) => at += 2,
            _ => return Some(at + 1),
        }
    }
    None
}
