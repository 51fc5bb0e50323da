//! `.xml` as `java.util.Properties` writes it: `<properties><entry key="…">…</entry></properties>` (specification, 10).

use roxmltree::{Document as Xml, Node, ParsingOptions};

use super::flat::Flat;
use super::{KEYS_MAX, ParseError};
use crate::model::{Document, Position, Scalar};

/// The most nodes that a file may have: an entry is an element and its text, and there is white space between them.
const NODES_MAX: u32 = 4 * KEYS_MAX as u32;

/// Parses a file; one without entries gives no document.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ParseError::whole("not valid UTF-8"))?;
    let options = ParsingOptions { allow_dtd: true, nodes_limit: NODES_MAX, ..Default::default() };
    let xml = Xml::parse_with_options(text, options).map_err(|error| {
        let at = error.pos();
        let position = Position { line: at.row, column: at.col };
        ParseError::at(position, "not well-formed XML, or larger than its limits")
    })?;
    let root = xml.root_element();
    if !root.has_tag_name("properties") {
        return Err(refusal(&xml, root, "the outermost element is not <properties>"));
    }
    let mut flat = Flat::with_repeated_keys();
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
    fn what_is_no_properties_file_is_refused() {
        for text in ["", "<a/>", "<properties><entry>x</entry></properties>", "<properties>"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
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
