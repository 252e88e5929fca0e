//! Rows of configuration tables: one row per key, in the crate that uses it. Parser, DescribeConfigs, validation and docs derive from them.

use thiserror::Error;

/// What a key's value must look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A 16-bit integer in the given inclusive range.
    Short(i64, i64),
    /// A 32-bit integer in the given inclusive range.
    Int(i64, i64),
    /// A 64-bit integer in the given inclusive range.
    Long(i64, i64),
    /// A floating-point number in the given inclusive range.
    Double(f64, f64),
    /// Any text.
    Text,
    /// Any text but none at all.
    NonEmptyText,
    /// One of the given words.
    OneOf(&'static [&'static str]),
    /// One of the given words, in upper or lower case.
    OneOfAnyCase(&'static [&'static str]),
    /// Comma-separated words, each one of the given ones (any word if there are none given).
    List(&'static [&'static str]),
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
}

/// Where a key may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Read at start only.
    Static,
    /// Of a broker or the cluster's default, changeable while it runs.
    Broker,
    /// Of a broker, changeable while it runs; the cluster has no default of it.
    OneBroker,
    /// Of a topic; a broker key of the name in [`Row::synonym`] is its default.
    Topic,
    /// Of a group.
    Group,
    /// Of a subscription to client metrics.
    ClientMetrics,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Kafka's own name of the key, verbatim.
    pub name: &'static str,
    /// The form of its values.
    pub kind: Kind,
    /// The default as text; `None` means that there is none (Kafka's null).
    pub default: Option<&'static str>,
    /// Where it may be set.
    pub scope: Scope,
    /// The broker key that gives a topic key its default, as `log.retention.ms` does for `retention.ms`.
    pub synonym: Option<&'static str>,
    /// One sentence for people.
    pub doc: &'static str,
}

/// A refused value. Its text is the one sentence that a person sees.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("Invalid value {value} for configuration {name}: {reason}")]
pub struct InvalidValue {
    /// The key.
    pub name: String,
    /// The value as given.
    pub value: String,
    /// What is allowed.
    pub reason: String,
}

impl Row {
    /// Checks a value against the row.
    ///
    /// # Errors
    /// Names the key, the value and the allowed range.
    pub fn check(&self, value: &str) -> Result<(), InvalidValue> {
        let refuse = |reason: String| Err(InvalidValue { name: self.name.to_owned(), value: value.to_owned(), reason });
        let trimmed = value.trim();
        match self.kind {
            Kind::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => refuse("Expected value to be either true or false".to_owned()),
            },
            Kind::Short(low, high) | Kind::Int(low, high) | Kind::Long(low, high) => match trimmed.parse::<i64>() {
                Ok(number) if (low..=high).contains(&number) => Ok(()),
                Ok(number) if number < low => refuse(format!("Value must be at least {low}")),
                Ok(_) => refuse(format!("Value must be no more than {high}")),
                Err(_) => refuse(format!("Not a whole number between {low} and {high}")),
            },
            Kind::Double(low, high) => match trimmed.parse::<f64>() {
                Ok(number) if number >= low && number <= high => Ok(()),
                Ok(_) => refuse(format!("Value must be between {low} and {high}")),
                Err(_) => refuse("Not a number".to_owned()),
            },
            Kind::OneOfAnyCase(words) if !words.iter().any(|word| word.eq_ignore_ascii_case(trimmed)) => {
                refuse(format!("String must be one of (case insensitive): {}", words.join(", ")))
            }
            Kind::NonEmptyText if trimmed.is_empty() => refuse("String must be non-empty".to_owned()),
            Kind::OneOf(words) if !words.contains(&trimmed) => refuse(format!("String must be one of: {}", words.join(", "))),
            Kind::List(words) if !words.is_empty() => {
                match trimmed.split(',').map(str::trim).find(|word| !word.is_empty() && !words.contains(word)) {
                    Some(_) => refuse(format!("String must be one of: {}", words.join(", "))),
                    None => Ok(()),
                }
            }
            Kind::OneOf(_) | Kind::OneOfAnyCase(_) | Kind::List(_) => Ok(()),
            Kind::Text | Kind::NonEmptyText | Kind::Class | Kind::Password => Ok(()),
        }
    }

    /// Whether DescribeConfigs must hide the value.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = Row { name: "a.b", kind: Kind::Int(1, 9), default: Some("1"), scope: Scope::Static, synonym: None, doc: "" };

    #[test]
    fn a_value_outside_its_range_is_refused_with_key_value_and_range() {
        let refusal = ROW.check("10").expect_err("out of range").to_string();
        assert_eq!(refusal, "Invalid value 10 for configuration a.b: Value must be no more than 9");
        assert!(ROW.check("x").is_err());
        assert!(ROW.check("9").is_ok());
    }

    #[test]
    fn a_list_is_checked_word_by_word() {
        let row = Row { kind: Kind::List(&["compact", "delete"]), ..ROW };
        assert!(row.check("compact, delete").is_ok());
        assert!(row.check("compact,keep").is_err());
    }
}
