//! Parts of a record as JSON, the same in `klamm consume --json` and in `klamm log dump --json`. Pure.

use record_batch::RecordView;
use serde_json::{Map, Value, json};

/// Puts headers (if there are any), key and value of a record into an object. Headers are one list, name after value, as kcat has them. What is no
/// UTF-8 comes in hexadecimal, under a name that says so.
pub fn insert_data(object: &mut Map<String, Value>, record: &RecordView<'_>) {
    let mut headers = Vec::new();
    for header in record.headers.iter() {
        headers.push(json!(String::from_utf8_lossy(header.key)));
        headers.push(header.value.map_or(Value::Null, |value| match std::str::from_utf8(value) {
            Ok(text) => json!(text),
            Err(_) => json!({ "hex": hex(value) }),
        }));
    }
    if !headers.is_empty() {
        object.insert("headers".to_owned(), Value::Array(headers));
    }
    for (name, bytes) in [("key", record.key), ("payload", record.value)] {
        match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| hex(bytes))) {
            None => object.insert(name.to_owned(), Value::Null),
            Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
            Some(Err(hex)) => object.insert(format!("{name}_hex"), json!(hex)),
        };
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
