//! The only file that knows the YAML parser: its events in our words, its errors without its texts.

use std::borrow::Cow;

use granit_parser::{ErrorKind, Event as Raw, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::format::ParseError;
use crate::model::Position;

const NAMESPACE: &str = "tag:yaml.org,2002:";

/// What the composer needs to know. Anchors are numbers from 1, 0 is none.
pub(super) enum Event<'a> {
    DocumentStart,
    DocumentEnd,
    Alias(usize),
    Scalar { text: Cow<'a, str>, plain: bool, anchor: usize, tag: Tag },
    ListStart { anchor: usize, tag: Tag },
    MapStart { anchor: usize, tag: Tag },
    /// Of a list or a map.
    End,
}

/// An explicit tag.
pub(super) enum Tag {
    None,
    /// `!`: typed as a plain scalar is, quoted or not.
    NonSpecific,
    /// `!!name`.
    Standard(Box<str>),
    Unknown,
}

/// The events of a text, each with the place where its node begins.
pub(super) struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
}

impl<'a> Events<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let options = granit_parser::options! { emit_anchor_events: true, emit_comments: false };
        Self { parser: Parser::new_from_str_with_options(text, options), text }
    }

    /// The next event, `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<(Event<'a>, Position)>, ParseError> {
        loop {
            let Some(next) = self.parser.next_event() else { return Ok(None) };
            let (raw, span) = next.map_err(|error| lowered(&error))?;
            let event = match raw {
                Raw::StreamEnd => return Ok(None),
                Raw::DocumentStart(..) => Event::DocumentStart,
                Raw::DocumentEnd => Event::DocumentEnd,
                Raw::SequenceEnd | Raw::MappingEnd => Event::End,
                Raw::Alias(anchor) => Event::Alias(anchor),
                Raw::SequenceStart(_, anchor, tag) => Event::ListStart { anchor, tag: lower_tag(tag) },
                Raw::MappingStart(_, anchor, tag) => Event::MapStart { anchor, tag: lower_tag(tag) },
                Raw::Scalar(text, style, anchor, tag) => Event::Scalar {
                    text: self.scalar_text(text, style, &span),
                    plain: style == ScalarStyle::Plain,
                    anchor,
                    tag: lower_tag(tag),
                },
                // The start of the stream, and anchors, which were looked at with their node.
                _ => continue,
            };
            let start = self.start_of_node(&event, &span)?;
            return Ok(Some((event, start)));
        }
    }

    /// A node begins at its anchor or its tag, whichever comes first.
    fn start_of_node(&mut self, event: &Event<'a>, span: &Span) -> Result<Position, ParseError> {
        let mut start = span.tag_start().unwrap_or(span.start);
        if let Event::Scalar { anchor: 1.., .. } | Event::ListStart { anchor: 1.., .. } | Event::MapStart { anchor: 1.., .. } = event
            && let Some(next) = self.parser.peek()
            && let (Raw::Anchor(..), anchor) = next.map_err(|error| lowered(&error))?
            && anchor.start.index() < start.index()
        {
            start = anchor.start;
        }
        Ok(position(&start))
    }

    /// Undoes two courtesies of the parser: `~` for a value that is not there, and a last line break that is not there.
    fn scalar_text(&self, text: Cow<'a, str>, style: ScalarStyle, span: &Span) -> Cow<'a, str> {
        match style {
            ScalarStyle::Plain if span.start.index() == span.end.index() => Cow::Borrowed(""),
            ScalarStyle::Literal | ScalarStyle::Folded if self.ends_within_line(span) => {
                match text.strip_suffix('\n') {
                    Some(without) => Cow::Owned(without.to_owned()),
                    None => text,
                }
            }
            _ => text,
        }
    }

    fn ends_within_line(&self, span: &Span) -> bool {
        span.end.byte_offset() == Some(self.text.len()) && !self.text.ends_with(['\n', '\r'])
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

fn position(marker: &Marker) -> Position {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col() + 1) }
}

fn lowered(error: &ScanError) -> ParseError {
    ParseError::at(position(error.marker()), sentence(error.kind()))
}

/// The mistakes that are made often have a sentence of their own.
fn sentence(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::UnknownAnchor => "alias names an anchor that is not defined before it",
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => "tab where only blanks may indent",
        ErrorKind::InvalidIndentation | ErrorKind::InvalidBlockScalarIndent => "line is indented wrongly",
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
        ErrorKind::InvalidTrailingDoubleQuotedScalar | ErrorKind::InvalidTrailingSingleQuotedScalar => {
            "text follows the closing quote"
        }
        ErrorKind::MappingValueNotAllowed => "colon and blank within a value that is not quoted",
        ErrorKind::SimpleKeyExpected | ErrorKind::ExpectedBlockMappingKey => "key and colon expected",
        ErrorKind::RecursionLimitExceeded => "nested too deeply",
        ErrorKind::DirectiveByteLimitExceeded { .. } => "directive is too long",
        _ => "not valid yaml",
    }
}
