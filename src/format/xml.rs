//! `.xml` files in the format of `java.util.Properties`: `<properties><entry key="…">…</entry></properties>`.
//!
//! See docs/protocol.md#10-properties-xml-toml-and-json.

mod prolog;

use roxmltree::{Document as Xml, Node, ParsingOptions};

use super::flat_builder::FlatBuilder;
use super::{KEYS_MAX, ParseError};
use crate::model::{Document, Position, Scalar};

/// The most nodes of a file. An entry is an element with a text, and white space follows it.
const NODES_MAX: u32 = 4 * KEYS_MAX as u32;

/// Returns true if the root element is not `properties`: the file is XML of another kind, or no XML.
pub(super) fn is_foreign(bytes: &[u8]) -> bool {
    // A file in a broken encoding is classified by its root element too.
    let text = prolog::decode(bytes).unwrap_or_else(|| String::from_utf8_lossy(bytes));
    prolog::root(&text) != Some("properties")
}

/// The error for a file of another kind.
pub(super) fn foreign() -> ParseError {
    ParseError::foreign("root element is not <properties>: the file is not configuration")
}

/// Parses a file into one document, or into none if it has no entries.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let text = prolog::decode(bytes)
        .ok_or_else(|| ParseError::whole("not valid text in the declared encoding or in UTF-8"))?;
    let options = ParsingOptions { allow_dtd: true, nodes_limit: NODES_MAX, ..Default::default() };
    let xml = Xml::parse_with_options(&text, options).map_err(|error| {
        let at = error.pos();
        let position = Position { line: at.row, column: at.col };
        ParseError::at(position, "not well-formed XML, or larger than its limits")
    })?;
    let root = xml.root_element();
    let mut flat = FlatBuilder::with_repeated_keys();
    for element in root.children().filter(Node::is_element) {
        match (element.tag_name().name(), element.attribute("key")) {
            ("entry", Some(key)) => {
                let mark = flat.enter_key(key);
                let place = position(&xml, element.first_child().unwrap_or(element));
                flat.put(Scalar::String(text_of(&xml, element)?.into()), place)?;
                flat.leave(mark);
            }
            ("comment", _) => {}
            _ => return Err(refusal(&xml, element, "neither a comment nor an entry with a key")),
        }
    }
    if !flat.is_empty() {
        flat.end_document()?;
    }
    Ok(flat.finish())
}

fn text_of(xml: &Xml<'_>, element: Node<'_, '_>) -> Result<String, ParseError> {
    let mut text = String::new();
    for child in element.children() {
        if child.is_element() {
            return Err(refusal(xml, child, "an element inside an entry"));
        }
        text.push_str(child.text().unwrap_or_default());
    }
    Ok(text)
}

fn position(xml: &Xml<'_>, node: Node<'_, '_>) -> Position {
    let at = xml.text_pos_at(node.range().start);
    Position { line: at.row, column: at.col }
}

fn refusal(xml: &Xml<'_>, node: Node<'_, '_>, message: &'static str) -> ParseError {
    ParseError::at(position(xml, node), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
        crate::format::parse(Format::Xml, bytes)
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let documents = parse(text.as_bytes()).unwrap();
        let actual: Vec<(&str, &str)> = documents
            .iter()
            .flat_map(|document| &document.properties)
            .map(|property| (&*property.key, property.value.text()))
            .collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn entries_are_properties() {
        check(
            "<?xml version=\"1.0\"?><!DOCTYPE properties SYSTEM \"http://java.sun.com/dtd/properties.dtd\">\
             <properties><comment>c</comment><entry key=\"a.b\">x &amp; y</entry><entry key=\"e\"/>\
             <entry key=\"a.b\">z</entry></properties>",
            &[("a.b", "z"), ("e", "")],
        );
        check("<properties/>", &[]);
    }

    #[test]
    fn other_files_are_rejected() {
        for text in ["<properties><entry>x</entry></properties>", "<properties>"] {
            assert!(!parse(text.as_bytes()).unwrap_err().is_foreign, "{text}");
        }
        for text in
            ["", "text", "<a/>", "<a>", "<p:properties xmlns:p='u'/>", "{{ a }}<properties/>"]
        {
            assert!(parse(text.as_bytes()).unwrap_err().is_foreign, "{text}");
        }
    }

    #[test]
    fn the_declared_encoding_is_used() {
        let latin1 = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><properties><entry key=\"a\">\xfc</entry></properties>";
        assert_eq!(parse(latin1).unwrap()[0].properties[0].value.text(), "\u{fc}");
        let broken = parse(b"<properties><entry key=\"a\">\xfc</entry></properties>").unwrap_err();
        assert!(!broken.is_foreign, "{broken}");
    }

    #[test]
    fn a_large_file_of_another_kind_is_not_parsed() {
        let large = format!("<project>{}</project>", "<a/>".repeat(2_000_000));
        assert!(parse(large.as_bytes()).unwrap_err().is_foreign);
    }

    #[test]
    fn entities_do_not_explode_and_do_not_read_files() {
        let laughs = "<!DOCTYPE p [<!ENTITY a \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\">\
            <!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">\
            <!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;\"><!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;\">]>\
            <properties><entry key=\"k\">&e;</entry></properties>";
        assert!(parse(laughs.as_bytes()).is_err());
        let file = "<!DOCTYPE p [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>\
            <properties><entry key=\"k\">&x;</entry></properties>";
        let documents = parse(file.as_bytes());
        let leaked = documents.is_ok_and(|documents| {
            documents.iter().any(|d| d.properties.iter().any(|p| p.value.text().contains("root")))
        });
        assert!(!leaked);
    }
}
