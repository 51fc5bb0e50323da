//! TOML, an addition of Headwater: flattened as YAML is, dates and times as text.

use toml_edit::{Document as Parsed, Item, Table, TableLike, Value};

use super::ParseError;
use super::flat::Flat;
use super::java;
use super::place::Places;
use crate::model::{Document, Position, Scalar};

/// The largest TOML file, in bytes: the parser's tree takes several hundred times the room of a dense file.
pub(super) const TOML_BYTES_MAX: usize = 256 * 1024;

/// Reads the one document of a file; a file without any key is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, ParseError> {
    if bytes.len() > TOML_BYTES_MAX {
        return Err(ParseError::whole(format!("toml file is larger than {TOML_BYTES_MAX} bytes")));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        ParseError::at(Places::new(&valid).of(valid.len()), "byte is not part of utf-8 text")
    })?;
    let places = Places::new(text);
    let parsed: Parsed<&str> = Parsed::parse(text).map_err(|error| ParseError {
        // The parser's own message quotes the file.
        position: error.span().map(|span| places.of(span.start)),
        message: "not valid toml".to_owned(),
    })?;
    let mut flattener = Flattener { places, flat: Flat::default() };
    flattener.table(parsed.as_table())?;
    if !parsed.as_table().is_empty() {
        flattener.flat.end_document()?;
    }
    Ok(flattener.flat.finish())
}

struct Flattener<'a> {
    places: Places<'a>,
    flat: Flat,
}

impl Flattener<'_> {
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
            Value::Float(number) => Scalar::Float(java::double(*number.value())),
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
