//! Which names topics may have.

use thiserror::Error;

const MAX_NAME_LENGTH: usize = 249;

/// Why a name is none for a topic. Its text is Kafka's.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TopicNameError {
    /// No name.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// `.` or `..`.
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    /// Too long.
    #[error("Topic name is invalid: the length of '{0}' is longer than the max allowed length {MAX_NAME_LENGTH}")]
    TooLong(String),
    /// Other characters.
    #[error("Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")]
    Characters(String),
}

/// Checks a topic's name (`Topic.validate`).
///
/// # Errors
/// Says what is wrong with it.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots(name.to_owned()));
    }
    // Java counts UTF-16 units.
    if name.encode_utf16().count() > MAX_NAME_LENGTH {
        return Err(TopicNameError::TooLong(name.to_owned()));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(TopicNameError::Characters(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_kafka_does() {
        let longest = "a".repeat(MAX_NAME_LENGTH);
        for name in ["a", "A.b_c-9", "...", longest.as_str()] {
            assert_eq!(check_topic_name(name), Ok(()));
        }
        assert_eq!(check_topic_name(""), Err(TopicNameError::Empty));
        assert_eq!(check_topic_name("..").expect_err("dots").to_string(), "Topic name is invalid: '..' is not allowed");
        assert!(matches!(check_topic_name(&"a".repeat(250)), Err(TopicNameError::TooLong(_))));
        assert!(matches!(check_topic_name("a b"), Err(TopicNameError::Characters(_))));
        assert!(matches!(check_topic_name("ä"), Err(TopicNameError::Characters(_))));
    }
}
