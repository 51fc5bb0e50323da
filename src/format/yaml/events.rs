//! The only file that knows the YAML parser: its events in our words, its errors without its texts.

use std::borrow::Cow;

use granit_parser::{
    ErrorKind, Event as Raw, Marker, Parser, ScalarStyle, ScanError, Span, StrInput,
};

use super::start::{self, Place};
use crate::format::ParseError;
use crate::model::Position;

const NAMESPACE: &str = "tag:yaml.org,2002:";

/// What the composer needs to know. Anchors are numbers from 1, 0 is none.
pub(super) enum Event<'a> {
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
    /// Where the event before ended.
    end: Place,
}

impl<'a> Events<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let options = granit_parser::options! { emit_anchor_events: true, emit_comments: false };
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            text,
            end: Place::default(),
        }
    }

    /// The next event, `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<(Event<'a>, Position)>, ParseError> {
        loop {
            let Some(next) = self.parser.next_event() else { return Ok(None) };
            let (raw, span) = next.map_err(|error| lowered(&error))?;
            let start = self.start_of_node(&raw, &span)?;
            if !matches!(raw, Raw::Anchor(..)) {
                self.end = place(&span.end);
            }
            let event = match raw {
                Raw::StreamEnd => return Ok(None),
                Raw::DocumentStart(..) => Event::DocumentStart,
                Raw::DocumentEnd => Event::DocumentEnd,
                Raw::SequenceEnd | Raw::MappingEnd => Event::End,
                Raw::Alias(anchor) => Event::Alias(anchor),
                Raw::SequenceStart(_, anchor, tag) => {
                    Event::ListStart { anchor, tag: lower_tag(tag) }
                }
                Raw::MappingStart(_, anchor, tag) => {
                    Event::MapStart { anchor, tag: lower_tag(tag) }
                }
                Raw::Scalar(text, style, anchor, tag) => Event::Scalar {
                    text: self.scalar_text(text, style, &span),
                    plain: style == ScalarStyle::Plain,
                    anchor,
                    tag: lower_tag(tag),
                },
                // The start of the stream, and anchors, which were looked at with their node.
                _ => continue,
            };
            return Ok(Some((event, start)));
        }
    }

    /// A node begins at its anchor or its tag, whichever comes first; otherwise where its own text does.
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
                start::of_block(self.text, self.end)
            }
            (None, None, Raw::Scalar(..)) if span.start.index() == span.end.index() => {
                start::of_nothing(self.text, own, self.end)
            }
            _ => own,
        };
        Ok(start.position())
    }

    /// Undoes two courtesies of the parser: `~` for a value that is not there, and a last line break that is not there.
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

/// A block that ends with the file: its last line has no line break if the file has none.
fn without_added_break<'a>(block: Cow<'a, str>, text: &str) -> Cow<'a, str> {
    let last_line = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    let Some(without) = block.strip_suffix('\n') else { return block };
    if without.is_empty() && follows_content(text, last_line) {
        return Cow::Borrowed("");
    }
    let last_of_block = without.rsplit('\n').next().unwrap_or_default();
    let is_blank = |line: &str| line.bytes().all(|byte| byte == b' ');
    // A last line of blanks is one of the block only if it is further in than the block.
    if last_line.is_empty()
        || is_blank(last_line) && (last_of_block.is_empty() || !is_blank(last_of_block))
    {
        return block;
    }
    Cow::Owned(without.to_owned())
}

/// Whether the last line is blank and the one above it is not.
fn follows_content(text: &str, last_line: &str) -> bool {
    let above = &text[..text.len() - last_line.len()];
    let above = above.strip_suffix('\n').unwrap_or(above);
    let above = above.strip_suffix('\r').unwrap_or(above).trim_end_matches(' ');
    !last_line.is_empty()
        && last_line.trim_end_matches(' ').is_empty()
        && !above.ends_with(['\n', '\r'])
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

fn place(marker: &Marker) -> Place {
    let offset = marker.byte_offset().unwrap_or_default();
    Place { offset, line: marker.line(), column: marker.col() + 1 }
}

fn lowered(error: &ScanError) -> ParseError {
    ParseError::at(place(error.marker()).position(), sentence(error.kind()))
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
        ErrorKind::InvalidIndentation | ErrorKind::InvalidBlockScalarIndent => {
            "line is indented wrongly"
        }
        ErrorKind::InvalidQuotedScalarIndent => "quoted text goes on further out than its key",
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
