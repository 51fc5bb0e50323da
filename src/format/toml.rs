//! TOML, which the original does not read. It is flattened like YAML. Dates and times become text.

use toml_edit::{Document as Parsed, Item, Table, TableLike, Value};

use super::ParseError;
use super::flat_builder::FlatBuilder;
use super::java_number;
use super::position_index::PositionIndex;
use crate::model::{Document, Position, Scalar};

/// The largest TOML file, in bytes. The parser's tree needs several hundred times the size of a dense file.
pub(super) const TOML_BYTES_MAX: usize = 256 * 1024;

/// Parses a file into one document, or into none if it has no key.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    if bytes.len() > TOML_BYTES_MAX {
        return Err(ParseError::whole(format!("toml file is larger than {TOML_BYTES_MAX} bytes")));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        ParseError::at(PositionIndex::new(&valid).of(valid.len()), "byte is not part of utf-8 text")
    })?;
    let places = PositionIndex::new(text);
    let parsed: Parsed<&str> = Parsed::parse(text).map_err(|error| ParseError {
        // The parser's message quotes the file.
        position: error.span().map(|span| places.of(span.start)),
        message: "not valid toml".to_owned(),
        is_foreign: false,
    })?;
    let mut flattener = TomlFlattener { places, flat: FlatBuilder::default() };
    flattener.table(parsed.as_table())?;
    if !parsed.as_table().is_empty() {
        flattener.flat.end_document()?;
    }
    Ok(flattener.flat.finish())
}

struct TomlFlattener<'a> {
    places: PositionIndex<'a>,
    flat: FlatBuilder,
}

impl TomlFlattener<'_> {
    fn table(&mut self, table: &dyn TableLike) -> Result<(), ParseError> {
        table.iter().try_for_each(|(key, item)| {
            let mark = self.flat.enter_key(key);
            self.item(item)?;
            self.flat.leave(mark);
            Ok(())
        })
    }

    fn item(&mut self, item: &Item) -> Result<(), ParseError> {
        match item {
            Item::None => Ok(()),
            Item::Table(table) => self.table(table),
            Item::ArrayOfTables(tables) => self.list(tables.iter(), Self::table_item),
            Item::Value(value) => self.value(value),
        }
    }

    fn table_item(&mut self, table: &Table) -> Result<(), ParseError> {
        self.table(table)
    }

    fn value(&mut self, value: &Value) -> Result<(), ParseError> {
        let scalar = match value {
            Value::String(text) => Scalar::String(text.value().as_str().into()),
            Value::Integer(number) => Scalar::Integer(number.value().to_string().into()),
            Value::Float(number) => Scalar::Float(java_number::double(*number.value())),
            Value::Boolean(value) => Scalar::Bool(*value.value()),
            Value::Datetime(moment) => Scalar::String(moment.value().to_string().into()),
            Value::Array(items) if items.is_empty() => Scalar::String("".into()),
            Value::Array(items) => return self.list(items.iter(), Self::value),
            Value::InlineTable(table) => return self.table(table),
        };
        let position = self.position(value);
        self.flat.put(scalar, position)
    }

    fn list<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        each: impl Fn(&mut Self, T) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        for (index, item) in items.enumerate() {
            let mark = self.flat.enter_item(index);
            each(self, item)?;
            self.flat.leave(mark);
        }
        Ok(())
    }

    fn position(&self, value: &Value) -> Position {
        self.places.of(value.span().map_or(0, |span| span.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, testing};

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, u32, u32)]) {
        testing::check(Format::Toml, text, expected);
    }

    #[track_caller]
    fn check_refused(text: &str, place: Option<(u32, u32)>, message: &str) {
        testing::check_refused(Format::Toml, text, place, message);
    }

    #[test]
    fn tables_and_arrays_become_paths() {
        check("a = 1\n[b]\nc.d = 'x'\n", &[("a", "1", 1, 5), ("b.c.d", "x", 3, 7)]);
        check(
            "a = [1, [2], {b = 3}]",
            &[("a[0]", "1", 1, 6), ("a[1][0]", "2", 1, 10), ("a[2].b", "3", 1, 19)],
        );
        check("[[a]]\nb = 1\n[[a]]\nb = 2", &[("a[0].b", "1", 2, 5), ("a[1].b", "2", 4, 5)]);
        check("'a.b' = 1\n[c]\n'[x.y]' = 2", &[("a.b", "1", 1, 9), ("c[x.y]", "2", 3, 11)]);
        check("a.b = 1\n'a.b' = 2", &[("a.b", "2", 2, 9)]);
    }

    #[test]
    fn values_have_their_types() {
        check(
            "a = 1.50\nb = -inf\nc = nan\nd = true\ne = 0x1F\nf = 2020-01-01T10:00:00Z\ng = \"\"\"\nx\"\"\"",
            &[
                ("a", "1.5", 1, 5),
                ("b", "-Infinity", 2, 5),
                ("c", "NaN", 3, 5),
                ("d", "true", 4, 5),
                ("e", "31", 5, 5),
                ("f", "2020-01-01T10:00:00Z", 6, 5),
                ("g", "x", 7, 5),
            ],
        );
        check("a = []\nb = {}", &[("a", "", 1, 5)]);
    }

    #[test]
    fn a_file_without_keys_is_no_document() {
        assert_eq!(parse(b"# c").unwrap().len(), 0);
        assert_eq!(parse(b"[a]").unwrap().len(), 1);
        assert_eq!(parse(b"\xef\xbb\xbfa = 1").unwrap().len(), 1);
    }

    #[test]
    fn errors_have_their_place() {
        check_refused("a = 1\na = 2", Some((2, 1)), "not valid toml");
        check_refused("a = 1\nb = secret", Some((2, 5)), "not valid toml");
        check_refused("a = 9223372036854775808", Some((1, 5)), "not valid toml");
        assert!(parse(b"a = '\xff'").is_err());
    }

    #[test]
    fn nesting_and_size_are_bounded() {
        for bomb in ["[", "a.", "a=[", "a={a="] {
            assert!(parse(bomb.repeat(50_000).as_bytes()).is_err());
        }
        assert!(parse(format!("{}a = 1", "a.".repeat(50_000)).as_bytes()).is_err());
        assert!(parse(format!("#{}", "x".repeat(TOML_BYTES_MAX - 1)).as_bytes()).is_ok());
        let text = format!("#{}", "x".repeat(TOML_BYTES_MAX));
        check_refused(&text, None, &format!("toml file is larger than {TOML_BYTES_MAX} bytes"));
    }
}
