//! The adapter to the YAML parser. It translates events and replaces the texts of errors, which quote the file.

use std::borrow::Cow;

use granit_parser::{
    ErrorKind, Event as Raw, Marker, Parser, ScalarStyle, ScanError, Span, StrInput,
};

use super::value_start::{self, TextPlace};
use crate::format::ParseError;
use crate::model::Position;

const NAMESPACE: &str = "tag:yaml.org,2002:";

/// A parser event. Anchors are numbered from 1, and 0 means no anchor.
pub(super) enum YamlEvent<'a> {
    DocumentStart,
    DocumentEnd,
    Alias(usize),
    Scalar {
        text: Cow<'a, str>,
        plain: bool,
        anchor: usize,
        tag: Tag,
    },
    ListStart {
        anchor: usize,
        tag: Tag,
    },
    MapStart {
        anchor: usize,
        tag: Tag,
    },
    /// The end of a list or a map.
    End,
}

/// An explicit tag.
pub(super) enum Tag {
    None,
    /// `!`: the scalar is typed like a plain one, quoted or not.
    NonSpecific,
    /// `!!name`.
    Standard(Box<str>),
    Unknown,
}

/// Reads the events of a text, each with the start of its node.
pub(super) struct EventReader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
    /// The end of the previous event.
    end: TextPlace,
    /// The character that replaces dashes in the text.
    dash: Option<char>,
}

/// The reason why the parser rejects a text, as far as `rewrite` needs it.
pub(super) enum SyntaxFault {
    /// A line of quoted text begins with a tab or with too little indentation. `before` is the offset behind the previous
    /// event, and `at` the offset of the fault.
    QuotedLine {
        before: usize,
        at: usize,
    },
    Other,
}

/// The first fault that the parser finds in a text.
pub(super) fn first_fault(text: &str) -> Option<SyntaxFault> {
    let mut parser = Parser::new_from_str(text);
    let mut before = 0;
    loop {
        let error = match parser.next_event()? {
            Ok((Raw::StreamEnd, _)) => return None,
            Ok((_, span)) => {
                before = place(&span.end).offset;
                continue;
            }
            Err(error) => error,
        };
        let at = place(error.marker()).offset;
        return Some(match error.kind() {
            ErrorKind::InvalidQuotedScalarIndent | ErrorKind::TabInIndentation => {
                SyntaxFault::QuotedLine { before: before.min(at), at }
            }
            _ => SyntaxFault::Other,
        });
    }
}

impl<'a> EventReader<'a> {
    pub(super) fn new(text: &'a str, dash: Option<char>) -> Self {
        let options = granit_parser::options! { emit_anchor_events: true, emit_comments: false };
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            text,
            end: TextPlace::default(),
            dash,
        }
    }

    /// Reads the next event. Returns `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<(YamlEvent<'a>, Position)>, ParseError> {
        loop {
            let Some(next) = self.parser.next_event() else { return Ok(None) };
            let (raw, span) = next.map_err(|error| lowered(&error))?;
            let start = self.start_of_node(&raw, &span)?;
            if !matches!(raw, Raw::Anchor(..)) {
                self.end = place(&span.end);
            }
            let event = match raw {
                Raw::StreamEnd => return Ok(None),
                Raw::DocumentStart(..) => YamlEvent::DocumentStart,
                Raw::DocumentEnd => YamlEvent::DocumentEnd,
                Raw::SequenceEnd | Raw::MappingEnd => YamlEvent::End,
                Raw::Alias(anchor) => YamlEvent::Alias(anchor),
                Raw::SequenceStart(_, anchor, tag) => {
                    YamlEvent::ListStart { anchor, tag: lower_tag(tag) }
                }
                Raw::MappingStart(_, anchor, tag) => {
                    YamlEvent::MapStart { anchor, tag: lower_tag(tag) }
                }
                Raw::Scalar(text, style, anchor, tag) => YamlEvent::Scalar {
                    text: with_dashes(self.scalar_text(text, style, &span), self.dash),
                    plain: style == ScalarStyle::Plain,
                    anchor,
                    tag: lower_tag(tag),
                },
                // The start of the stream, and anchors, which `start_of_node` has already read with their node.
                _ => continue,
            };
            return Ok(Some((event, start)));
        }
    }

    /// The start of a node: the first of its anchor and its tag, or the start of its text.
    fn start_of_node(&mut self, event: &Raw<'a>, span: &Span) -> Result<Position, ParseError> {
        let tag = span.tag_start();
        let anchor = match event.anchor_id() {
            None => None,
            Some(_) => match self.parser.peek().transpose().map_err(|error| lowered(&error))? {
                Some((Raw::Anchor(..), span)) => Some(span.start),
                _ => None,
            },
        };
        let own = place(&span.start);
        let start = match (tag, anchor, event) {
            (Some(tag), Some(anchor), _) => {
                place(if anchor.index() < tag.index() { &anchor } else { &tag })
            }
            (Some(first), None, _) | (None, Some(first), _) => place(&first),
            (None, None, Raw::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..)) => {
                value_start::of_block(self.text, self.end)
            }
            (None, None, Raw::Scalar(..)) if span.start.index() == span.end.index() => {
                value_start::of_nothing(self.text, own, self.end)
            }
            _ => own,
        };
        Ok(start.position())
    }

    /// Undoes two additions of the parser: `~` for an absent value, and an absent last line break.
    fn scalar_text(&self, text: Cow<'a, str>, style: ScalarStyle, span: &Span) -> Cow<'a, str> {
        match style {
            ScalarStyle::Plain if span.start.index() == span.end.index() => Cow::Borrowed(""),
            ScalarStyle::Literal | ScalarStyle::Folded
                if span.end.byte_offset() == Some(self.text.len()) =>
            {
                without_added_break(text, self.text)
            }
            _ => text,
        }
    }
}

/// Removes the line break that the parser adds to a block at the end of a file without a final line break.
fn without_added_break<'a>(block: Cow<'a, str>, text: &str) -> Cow<'a, str> {
    let last_line = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    let Some(without) = block.strip_suffix('\n') else { return block };
    if without.is_empty() && follows_content(text, last_line) {
        return Cow::Borrowed("");
    }
    let last_of_block = without.rsplit('\n').next().unwrap_or_default();
    let is_blank = |line: &str| line.bytes().all(|byte| byte == b' ');
    // A last line of blanks belongs to the block only if it is indented deeper than the block.
    if last_line.is_empty()
        || is_blank(last_line) && (last_of_block.is_empty() || !is_blank(last_of_block))
    {
        return block;
    }
    Cow::Owned(without.to_owned())
}

/// Returns true if the last line is blank and the line above it is not.
fn follows_content(text: &str, last_line: &str) -> bool {
    let above = &text[..text.len() - last_line.len()];
    let above = above.strip_suffix('\n').unwrap_or(above);
    let above = above.strip_suffix('\r').unwrap_or(above).trim_end_matches(' ');
    !last_line.is_empty()
        && last_line.trim_end_matches(' ').is_empty()
        && !above.ends_with(['\n', '\r'])
}

/// Restores the dashes that `rewrite` replaced in the text of a scalar.
fn with_dashes(text: Cow<'_, str>, dash: Option<char>) -> Cow<'_, str> {
    match dash.filter(|sign| text.contains(*sign)) {
        Some(sign) => Cow::Owned(text.replace(sign, "-")),
        None => text,
    }
}

fn lower_tag(tag: Option<Cow<'_, granit_parser::Tag>>) -> Tag {
    let Some(tag) = tag else { return Tag::None };
    if tag.original_parts() == ("!", "") || tag.original_parts() == ("", "!") {
        return Tag::NonSpecific;
    }
    match tag.suffix_in_namespace(NAMESPACE) {
        Some(name) => Tag::Standard(name.as_ref().into()),
        None => Tag::Unknown,
    }
}

fn place(marker: &Marker) -> TextPlace {
    let offset = marker.byte_offset().unwrap_or_default();
    TextPlace { offset, line: marker.line(), column: marker.col() + 1 }
}

fn lowered(error: &ScanError) -> ParseError {
    ParseError::at(place(error.marker()).position(), sentence(error.kind()))
}

/// The message for an error. Frequent mistakes have their own message.
fn sentence(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::UnknownAnchor => "alias names an anchor that is not defined before it",
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "tab where only blanks may indent",
        ErrorKind::InvalidIndentation | ErrorKind::InvalidBlockScalarIndent => {
            "line is indented wrongly"
        }
        ErrorKind::InvalidQuotedScalarIndent => "quoted text is indented less than its key",
        ErrorKind::UnclosedQuotedScalar => "quoted text is not closed",
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidUnicodeEscape => "quoted text holds an escape that yaml does not have",
        ErrorKind::InvalidLowSurrogateHexEscape
        | ErrorKind::InvalidLowSurrogate
        | ErrorKind::MissingLowSurrogate
        | ErrorKind::UnpairedLowSurrogate => "escape is half a surrogate pair",
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::MisplacedFlowCollectionEnd
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence => "brackets do not match",
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator => {
            "comma or closing bracket expected"
        }
        ErrorKind::InvalidTrailingDoubleQuotedScalar
        | ErrorKind::InvalidTrailingSingleQuotedScalar => "text follows the closing quote",
        ErrorKind::MappingValueNotAllowed => "colon and blank within a value that is not quoted",
        ErrorKind::SimpleKeyExpected | ErrorKind::ExpectedBlockMappingKey => {
            "key and colon expected"
        }
        ErrorKind::CommentNotSeparated | ErrorKind::CommentInterceptedScalar => {
            "comment is not set off by a blank"
        }
        ErrorKind::BomInsideDocument => "byte order mark inside the text",
        ErrorKind::RecursionLimitExceeded => "nested too deeply",
        ErrorKind::DirectiveByteLimitExceeded { .. } => "directive is too long",
        _ => "not valid yaml",
    }
}
