//! Writes a tree as compact JSON, in order, with the fewest possible escapes.

use std::fmt::Write;

use super::nest::NestedNode;
use super::ordered_map::OrderedMap;
use crate::model::Scalar;

pub(super) fn write(root: &NestedNode<'_>) -> String {
    let mut out = String::new();
    write_node(root, &mut out);
    out
}

fn write_node(node: &NestedNode<'_>, out: &mut String) {
    match node {
        NestedNode::Null => out.push_str("null"),
        NestedNode::Scalar(scalar) => write_scalar(scalar, out),
        NestedNode::Map(map) => write_map(map, out),
        NestedNode::List(list) => {
            out.push('[');
            for (place, item) in list.iter().enumerate() {
                separate(place, out);
                write_node(item, out);
            }
            out.push(']');
        }
    }
}

fn write_map(map: &OrderedMap<'_, NestedNode<'_>>, out: &mut String) {
    out.push('{');
    for (place, (key, value)) in map.iter().enumerate() {
        separate(place, out);
        write_string(key, out);
        out.push(':');
        write_node(value, out);
    }
    out.push('}');
}

fn separate(place: usize, out: &mut String) {
    if place > 0 {
        out.push(',');
    }
}

fn write_scalar(scalar: &Scalar, out: &mut String) {
    match scalar {
        Scalar::String(text) => write_string(text, out),
        Scalar::Float(text) if !text.ends_with(|end: char| end.is_ascii_digit()) => {
            write_string(text, out); // JSON has no infinity and no NaN
        }
        Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_) => out.push_str(scalar.text()),
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..' ' => {
                write!(out, "\\u{:04x}", character as u32).expect("a String takes every write");
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
