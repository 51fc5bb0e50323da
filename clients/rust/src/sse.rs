//! A decoder for server-sent events, as the HTML standard defines them. It accepts the bytes in pieces of any size.
//!
//! The decoder buffers at most one event and rejects one that exceeds its limit. It never returns an incomplete event,
//! such as the last one of an interrupted connection.

use std::time::Duration;

/// One item of a stream. Comments, which are only signs of life, are not returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Event(Event),
    /// The time to wait before the next connection.
    Retry(Duration),
}

/// A complete event. `Debug` exists for tests: the data is never logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The type of the event. `message` when the stream names none.
    pub(crate) name: String,
    /// The last id of the stream, from this event or an earlier one.
    pub(crate) id: Option<String>,
    pub(crate) data: String,
    /// Set when the event names the rollout of a candidate, in a field of Headwater's own.
    pub(crate) is_candidate: bool,
    /// The id of a trial, in a field of Headwater's own.
    pub(crate) trial: Option<String>,
}

/// A line or an event exceeds the limit of the decoder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLongError;

/// The state of decoding one stream.
pub(crate) struct Decoder {
    length_max: usize,
    line: Vec<u8>,
    is_first_line: bool,
    /// The previous line ended with a carriage return. A line feed that follows belongs to the same line end.
    after_return: bool,
    name: String,
    id: Option<String>,
    /// The data of the event so far, with a line feed after each line.
    data: String,
    is_candidate: bool,
    trial: Option<String>,
}

impl Decoder {
    /// Creates a decoder. `length_max` limits the bytes of the current line and the data of the current event together.
    pub(crate) fn new(length_max: usize) -> Decoder {
        Decoder {
            length_max,
            line: Vec::new(),
            is_first_line: true,
            after_return: false,
            name: String::new(),
            id: None,
            data: String::new(),
            is_candidate: false,
            trial: None,
        }
    }

    /// Decodes the next bytes and appends the completed items.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        items: &mut Vec<Item>,
    ) -> Result<(), TooLongError> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + part.len() > self.length_max {
                return Err(TooLongError);
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
            "rollout" => self.is_candidate = true,
            "try" => self.trial = Some(value.to_owned()),
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
        let is_candidate = std::mem::take(&mut self.is_candidate);
        let trial = self.trial.take();
        data.pop()?;
        let name = if name.is_empty() { "message".to_owned() } else { name };
        Some(Item::Event(Event { name, id: self.id.clone(), data, is_candidate, trial }))
    }
}

#[cfg(test)]
mod tests;
