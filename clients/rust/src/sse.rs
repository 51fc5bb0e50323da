//! Server-sent events out of bytes that come in pieces of any size, as the HTML standard reads them.
//!
//! It keeps one event at most and refuses what is longer than it was told to keep. An event that a cut connection left
//! without its final blank line never comes out.

use std::time::Duration;

/// Something that a stream said. Comments, which only show that it is alive, are not among it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Event(Event),
    /// How long to wait before connecting again.
    Retry(Duration),
}

/// A whole event. `Debug` is derived for tests; data is never logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; `message` where the stream gave none.
    pub(crate) name: String,
    /// The last id that the stream gave, with this event or an earlier one.
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// A line or an event is longer than may be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What is known of a stream so far.
pub(crate) struct Decoder {
    length_max: usize,
    line: Vec<u8>,
    is_first_line: bool,
    /// The line before ended in a carriage return: a line feed now belongs to it.
    after_return: bool,
    name: String,
    id: Option<String>,
    /// Every line of data with a line feed behind it.
    data: String,
}

impl Decoder {
    /// Keeps no more than so many bytes of a line and of an event's data together.
    pub(crate) fn new(length_max: usize) -> Decoder {
        Decoder {
            length_max,
            line: Vec::new(),
            is_first_line: true,
            after_return: false,
            name: String::new(),
            id: None,
            data: String::new(),
        }
    }

    /// Takes the next bytes and adds what they complete.
    pub(crate) fn push(&mut self, mut bytes: &[u8], items: &mut Vec<Item>) -> Result<(), TooLong> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + part.len() > self.length_max {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            items.extend(self.end_line());
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Item> {
        let line = std::mem::take(&mut self.line);
        let is_first = std::mem::take(&mut self.is_first_line);
        let line = line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| is_first).unwrap_or(&line);
        if line.is_empty() {
            return self.end_event();
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Some(Item::Retry(Duration::from_millis(value.parse().ok()?)));
            }
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Item> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        data.pop()?;
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Item::Event(Event { name, id: self.id.clone(), data }))
    }
}

#[cfg(test)]
mod tests;
