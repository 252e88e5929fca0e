//! Java's properties files, as `java.util.Properties` reads them.

use thiserror::Error;

/// An escape that Java refuses too.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("line {line} has a malformed \\uxxxx escape")]
pub struct MalformedEscape {
    /// The line on which the entry begins, from 1.
    pub line: usize,
}

/// The entries of a file in order; of a key that comes twice, the last one counts.
///
/// # Errors
/// An escape is malformed.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, MalformedEscape> {
    let mut entries = Vec::new();
    for (line, entry) in logical_lines(text) {
        let (key, value) = split(&entry);
        let unescape = |part: &str| unescape(part).ok_or(MalformedEscape { line });
        entries.push((unescape(key)?, unescape(value)?));
    }
    Ok(entries)
}

/// A file's text: UTF-8, or ISO 8859-1 (Java's way) where it is not UTF-8.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Lines without comments and blank ones, those that end with a backslash joined with the next, each with its number.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut entries: Vec<(usize, String)> = Vec::new();
    let mut is_continued = false;
    let lines = text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    for (number, line) in (1..).zip(lines) {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        // A comment is none where it continues a line.
        if !is_continued && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let continues = backslashes % 2 == 1;
        let part = if continues { line.get(..line.len() - 1).unwrap_or_default() } else { line };
        match entries.last_mut() {
            Some((_, entry)) if is_continued => entry.push_str(part),
            _ => entries.push((number, part.to_owned())),
        }
        is_continued = continues;
    }
    entries
}

/// The key ends at the first unescaped `=`, `:` or blank; blanks around one `=` or `:` belong to neither.
fn split(entry: &str) -> (&str, &str) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut is_escaped = false;
    let end = entry.find(|c: char| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        is_escaped = c == '\\';
        blank(c) || c == '=' || c == ':'
    });
    let Some((key, rest)) = end.and_then(|end| entry.split_at_checked(end)) else { return (entry, "") };
    let rest = rest.trim_start_matches(blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(blank))
}

fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let plain = match character {
            '\\' => match characters.next() {
                Some('u') => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    units.push(is_hex.then(|| u16::from_str_radix(&digits, 16).ok()).flatten()?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend(plain.encode_utf16(&mut [0; 2]).iter());
    }
    // Two escapes may be the halves of one character, as Java's strings are UTF-16.
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String)> {
        parse(text).expect("well-formed")
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn entries_are_read_as_java_reads_them() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("a=b", &[("a", "b")]),
            ("  a = b  ", &[("a", "b  ")]),
            ("a:b\r\nc d\r\n", &[("a", "b"), ("c", "d")]),
            ("a\tb", &[("a", "b")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("# a=b\n! c=d\n\n   \n e=f", &[("e", "f")]),
            ("a=b\\\n    c", &[("a", "bc")]),
            ("a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]),
            ("a=b,\\\n  # c", &[("a", "b,# c")]),
            ("a\\ b\\=c=d", &[("a b=c", "d")]),
            ("a==b", &[("a", "=b")]),
            ("listeners=PLAINTEXT://:9092,CONTROLLER://:9093", &[("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093")]),
            ("a=\\u0041\\t\\n\\q", &[("a", "A\t\nq")]),
            ("a=\\uD83D\\uDE00", &[("a", "😀")]),
            ("a=b\\", &[("a", "b")]),
            ("a=1\na=2", &[("a", "1"), ("a", "2")]),
        ];
        for (text, expected) in table {
            assert_eq!(entries(text), pairs(expected), "{text:?}");
        }
    }

    #[test]
    fn a_malformed_escape_is_refused_with_its_line() {
        assert_eq!(parse("a=b\nc=\\u00g1"), Err(MalformedEscape { line: 2 }));
        assert_eq!(parse("a=\\u00"), Err(MalformedEscape { line: 1 }));
        assert!(parse("a=\\u+041").is_err());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_latin1() {
        assert_eq!(decode(b"a=\xe4"), "a=ä");
        assert_eq!(decode("a=ä".as_bytes()), "a=ä");
    }
}
