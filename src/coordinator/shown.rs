//! Records of coordinators as people read them: the pieces of the JSON that Kafka's tools print of them, character for character.
//!
//! In Kafka: `DumpLogSegments`, `CoordinatorRecordMessageParser`, and Jackson's way to write a text.

use std::fmt::Write as _;

/// A record's key, `data`, under the type that it begins with.
#[must_use]
pub fn typed(kind: i16, data: &str) -> String {
    format!(r#"{{"type":"{kind}","data":{data}}}"#)
}

/// A record's value, `data`, under the version that it begins with.
#[must_use]
pub fn versioned(version: i16, data: &str) -> String {
    format!(r#"{{"version":"{version}","data":{data}}}"#)
}

/// One more field of an object.
pub fn push(json: &mut String, name: &str, value: &str) {
    json.push_str(&format!(r#","{name}":{value}"#));
}

/// An array.
#[must_use]
pub fn list(elements: impl Iterator<Item = String>) -> String {
    format!("[{}]", elements.collect::<Vec<String>>().join(","))
}

/// A text in quotes, or null.
#[must_use]
pub fn nullable(string: Option<&str>) -> String {
    string.map_or_else(|| "null".to_owned(), text)
}

/// A text in quotes, escaped as JSON and as Java's writer does it.
#[must_use]
pub fn text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control < ' ' => drop(write!(quoted, "\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
