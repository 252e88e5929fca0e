//! How `klamm consume` prints a record: kcat's format strings, and JSON with kcat's names.

use std::io::{self, Write};

use record_batch::{RecordHeader, RecordView, TimestampType};
use serde_json::{Map, Value, json};

use crate::{ToolProblem, record_json};

/// A record and where it was.
pub(crate) struct Printed<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) record: RecordView<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Value,
    ValueBytes,
    Key,
    KeyBytes,
    Offset,
    Partition,
    Topic,
    Timestamp,
    Headers,
}

/// A format that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format(Vec<Part>);

impl Format {
    /// The value and a newline.
    pub(crate) fn plain() -> Self {
        Self(vec![Part::Value, Part::Literal(b"\n".to_vec())])
    }

    /// Reads a format string.
    pub(crate) fn parse(text: &str) -> Result<Self, ToolProblem> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '%' => match characters.next() {
                    Some('%') => literal.push(b'%'),
                    directive => {
                        let part = directive.and_then(part_of).ok_or_else(|| unknown('%', directive))?;
                        if !literal.is_empty() {
                            parts.push(Part::Literal(std::mem::take(&mut literal)));
                        }
                        parts.push(part);
                    }
                },
                '\\' => literal.push(escaped(&mut characters)?),
                other => literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// Prints a record.
    pub(crate) fn write(&self, out: &mut impl Write, printed: &Printed<'_>) -> io::Result<()> {
        let record = &printed.record;
        for part in &self.0 {
            match part {
                Part::Literal(bytes) => out.write_all(bytes)?,
                Part::Value => out.write_all(record.value.unwrap_or_default())?,
                Part::ValueBytes => write_length(out, record.value)?,
                Part::Key => out.write_all(record.key.unwrap_or_default())?,
                Part::KeyBytes => write_length(out, record.key)?,
                Part::Offset => write!(out, "{}", record.offset)?,
                Part::Partition => write!(out, "{}", printed.partition)?,
                Part::Topic => write!(out, "{}", printed.topic)?,
                Part::Timestamp => write!(out, "{}", record.timestamp)?,
                Part::Headers => write_headers(out, record.headers.iter())?,
            }
        }
        Ok(())
    }
}

fn part_of(directive: char) -> Option<Part> {
    Some(match directive {
        's' => Part::Value,
        'S' => Part::ValueBytes,
        'k' => Part::Key,
        'K' => Part::KeyBytes,
        'o' => Part::Offset,
        'p' => Part::Partition,
        't' => Part::Topic,
        'T' => Part::Timestamp,
        'h' => Part::Headers,
        _ => return None,
    })
}

fn escaped(characters: &mut std::str::Chars<'_>) -> Result<u8, ToolProblem> {
    Ok(match characters.next() {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = characters.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| unknown('\\', Some('x')))?
        }
        other => return Err(unknown('\\', other)),
    })
}

fn unknown(sign: char, character: Option<char>) -> ToolProblem {
    ToolProblem::Format(match character {
        Some(character) => format!("'{sign}{character}' means nothing"),
        None => format!("it ends with '{sign}'"),
    })
}

fn write_length(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => write!(out, "-1"),
    }
}

fn write_headers<'a>(out: &mut impl Write, headers: impl Iterator<Item = RecordHeader<'a>>) -> io::Result<()> {
    for (index, header) in headers.enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(header.key)?;
        out.write_all(b"=")?;
        // As kcat says it.
        out.write_all(header.value.unwrap_or(b"NULL"))?;
    }
    Ok(())
}

/// A record as JSON.
pub(crate) fn as_json(printed: &Printed<'_>) -> Value {
    let record = &printed.record;
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(printed.topic));
    object.insert("partition".to_owned(), json!(printed.partition));
    object.insert("offset".to_owned(), json!(record.offset));
    let timestamp_type = match printed.timestamp_type {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "logappend",
    };
    object.insert("tstype".to_owned(), json!(timestamp_type));
    object.insert("ts".to_owned(), json!(record.timestamp));
    record_json::insert_data(&mut object, record);
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use record_batch::{BatchBuilder, DecompressLimits, walk_records};

    use super::*;

    /// Shows a record as a consumer would meet it.
    fn with_record(key: Option<&[u8]>, value: Option<&[u8]>, check: impl Fn(&Printed<'_>)) {
        let mut builder = BatchBuilder::new().with_base_offset(7);
        builder.append(1000, key, value, &[(b"a", Some(b"1")), (b"b", None)]);
        let mut visit = |record: RecordView<'_>| {
            check(&Printed { topic: "t", partition: 3, timestamp_type: TimestampType::CreateTime, record });
            ControlFlow::Continue(())
        };
        walk_records(&builder.build(), DecompressLimits::default(), &mut visit).expect("walks");
    }

    fn printed(format: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let format = Format::parse(format).expect("understood");
        let out = std::cell::RefCell::new(Vec::new());
        with_record(key, value, |printed| format.write(&mut *out.borrow_mut(), printed).expect("writes"));
        String::from_utf8(out.into_inner()).expect("text")
    }

    #[test]
    fn directives_are_kcats() {
        assert_eq!(printed("%t %p %o %T %k=%s %K %S %h%%\\n", Some(b"k"), Some(b"value")), "t 3 7 1000 k=value 1 5 a=1,b=NULL%\n");
        assert_eq!(printed("[%k|%s|%K|%S]\\x41\\t", None, None), "[||-1|-1]A\t");
        assert_eq!(printed("é%s", None, Some(b"x")), "éx");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for format in ["%q", "%", "\\q", "\\", "\\xg1"] {
            assert!(matches!(Format::parse(format), Err(ToolProblem::Format(_))), "{format}");
        }
    }

    #[test]
    fn json_keeps_null_apart_from_empty_and_bytes_apart_from_text() {
        with_record(None, Some(b""), |printed| {
            let expected = json!({"topic": "t", "partition": 3, "offset": 7, "tstype": "create", "ts": 1000, "headers": ["a", "1", "b", null], "key": null, "payload": ""});
            assert_eq!(as_json(printed), expected);
        });
        with_record(Some(b"\xff\x00"), None, |printed| {
            let value = as_json(printed);
            assert_eq!((&value["key_hex"], &value["payload"], value.get("key")), (&json!("ff00"), &Value::Null, None));
        });
    }
}
