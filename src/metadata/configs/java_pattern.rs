//! Whether a text is a regular expression of Java's (`java.util.regex.Pattern` without flags): what Kafka checks where a pattern is configured, though
//! nothing is matched here. It follows that class's grammar, its oddities included: `]` and `}` stand for themselves outside of a class, `{2}` may stand
//! alone, a class may hold classes and intersections.
//!
//! Left out are the names of Unicode properties (`\p{...}`), characters (`\N{...}`) and the comments that `(?x)` allows: of those only the form is checked.
//! And a look-behind that can match texts of any length is refused, of which Java lets a few pass by an overflow.

use std::collections::BTreeSet;

/// Groups and classes within each other; deeper ones are refused.
const DEPTH_MAX: u32 = 100;

/// Whether Java would compile it.
pub(super) fn is_java_pattern(text: &str) -> bool {
    let mut parser = Parser { letters: unquoted(text), at: 0, names: BTreeSet::new(), depth: 0 };
    parser.alternatives().is_some() && parser.at == parser.letters.len()
}

/// One position of a pattern: a character, or one that stands for itself since it was quoted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letter {
    Plain(char),
    Quoted(char),
}

/// Takes out `\Q...\E`.
fn unquoted(text: &str) -> Vec<Letter> {
    let mut letters = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (inside, behind) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            letters.extend(inside.chars().map(Letter::Quoted));
            rest = behind;
        } else if letter == '\\' {
            let mut pair = rest.chars();
            letters.extend(pair.by_ref().take(2).map(Letter::Plain));
            rest = pair.as_str();
        } else {
            letters.push(Letter::Plain(letter));
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
    }
    letters
}

/// Whether what was read can match texts of any length, which a look-behind may not.
type Unbounded = bool;

struct Parser {
    letters: Vec<Letter>,
    at: usize,
    names: BTreeSet<String>,
    depth: u32,
}

/// Each part reads what it is about; `None` where Java refuses.
impl Parser {
    fn peek_at(&self, ahead: usize) -> Option<char> {
        match self.letters.get(self.at + ahead) {
            Some(Letter::Plain(letter)) => Some(*letter),
            _ => None,
        }
    }

    fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.letters.get(self.at)?;
        self.at += 1;
        match letter {
            Letter::Plain(letter) | Letter::Quoted(letter) => Some(*letter),
        }
    }

    fn eat(&mut self, letter: char) -> Option<()> {
        (self.peek() == Some(letter)).then(|| self.at += 1)
    }

    fn alternatives(&mut self) -> Option<Unbounded> {
        let mut is_unbounded = self.sequence()?;
        while self.eat('|').is_some() {
            is_unbounded |= self.sequence()?;
        }
        Some(is_unbounded)
    }

    fn sequence(&mut self) -> Option<Unbounded> {
        let mut is_unbounded = false;
        while self.at < self.letters.len() {
            is_unbounded |= match self.peek() {
                Some('|' | ')') => break,
                Some('*' | '+' | '?') => return None,
                Some('(') => match self.group()? {
                    Some(inside) => inside | self.repetition()?,
                    // Flags alone cannot be repeated.
                    None => false,
                },
                Some('[') => {
                    self.class()?;
                    self.repetition()?
                }
                Some('\\') => {
                    self.at += 1;
                    self.escape(false)?.is_unbounded() | self.repetition()?
                }
                // What is repeated may be nothing.
                Some('{') => self.repetition()?,
                _ => {
                    self.at += 1;
                    self.repetition()?
                }
            };
        }
        Some(is_unbounded)
    }

    /// `?`, `*`, `+` or `{n,m}`, each of which `?` or `+` may follow.
    fn repetition(&mut self) -> Option<Unbounded> {
        let is_unbounded = match self.peek() {
            Some('?') => false,
            Some('*' | '+') => true,
            Some('{') => return self.counted(),
            _ => return Some(false),
        };
        self.at += 1;
        if matches!(self.peek(), Some('?' | '+')) {
            self.at += 1;
        }
        Some(is_unbounded)
    }

    fn counted(&mut self) -> Option<Unbounded> {
        self.eat('{')?;
        let least = self.number()?;
        let mut is_unbounded = false;
        if self.eat(',').is_some() {
            if self.peek() == Some('}') {
                is_unbounded = true;
            } else if self.number()? < least {
                return None;
            }
        }
        self.eat('}')?;
        if matches!(self.peek(), Some('?' | '+')) {
            self.at += 1;
        }
        Some(is_unbounded)
    }

    fn number(&mut self) -> Option<i32> {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        digits.parse().ok()
    }

    /// A group; `None` inside for flags that stand alone.
    fn group(&mut self) -> Option<Option<Unbounded>> {
        self.eat('(')?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let mut is_look_behind = false;
        if self.eat('?').is_some() {
            match self.peek()? {
                ':' | '=' | '!' | '>' => self.at += 1,
                '<' if matches!(self.peek_at(1), Some('=' | '!')) => {
                    self.at += 2;
                    is_look_behind = true;
                }
                '<' => {
                    self.at += 1;
                    let name = self.name()?;
                    if !self.names.insert(name) {
                        return None;
                    }
                }
                _ => {
                    if self.flags()? {
                        self.depth -= 1;
                        return Some(None);
                    }
                }
            }
        }
        let is_unbounded = self.alternatives()?;
        self.eat(')')?;
        self.depth -= 1;
        if is_look_behind && is_unbounded { None } else { Some(Some(is_unbounded)) }
    }

    /// The flags of a group, and `true` if the group has nothing else.
    fn flags(&mut self) -> Option<bool> {
        let mut is_negated = false;
        loop {
            match self.next()? {
                'i' | 'm' | 's' | 'd' | 'u' | 'c' | 'x' | 'U' => {}
                '-' if !is_negated => is_negated = true,
                ')' => return Some(true),
                ':' => return Some(false),
                _ => return None,
            }
        }
    }

    /// A group's name and the `>` behind it.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(letter) = self.peek().filter(char::is_ascii_alphanumeric) {
            name.push(letter);
            self.at += 1;
        }
        self.eat('>')?;
        name.starts_with(|first: char| first.is_ascii_alphabetic()).then_some(name)
    }

    /// What follows a backslash.
    fn escape(&mut self, is_in_class: bool) -> Option<Escaped> {
        let letter = self.next()?;
        Some(match letter {
            '0' => {
                self.peek().filter(|digit| ('0'..='7').contains(digit))?;
                let most = if matches!(self.peek(), Some('0'..='3')) { 3 } else { 2 };
                let mut value = 0;
                for _ in 0..most {
                    let Some(digit) = self.peek().and_then(|digit| digit.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    self.at += 1;
                }
                Escaped::One(value)
            }
            'x' => Escaped::One(self.hexadecimal_of_x()?),
            'u' => Escaped::One(self.hexadecimal(4)?),
            'c' => Escaped::One(u32::from(self.next()?) ^ 64),
            'a' => Escaped::One(7),
            'e' => Escaped::One(27),
            'f' => Escaped::One(12),
            'n' => Escaped::One(10),
            'r' => Escaped::One(13),
            't' => Escaped::One(9),
            'N' => {
                self.braced()?;
                Escaped::One(0)
            }
            'p' | 'P' => {
                if self.peek() == Some('{') {
                    self.braced()?;
                } else {
                    self.next().filter(|category| "LMNZCPS".contains(*category))?;
                }
                Escaped::Many
            }
            'D' | 'd' | 'H' | 'h' | 'S' | 's' | 'V' | 'v' | 'W' | 'w' => Escaped::Many,
            _ if is_in_class && letter.is_ascii_alphanumeric() => return None,
            '1'..='9' => Escaped::Reference,
            'b' => {
                // The only boundary with a name; other braces count.
                if self.peek() == Some('{') && self.peek_at(1) == Some('g') {
                    self.at += 2;
                    self.eat('}')?;
                }
                Escaped::Many
            }
            'k' => {
                self.eat('<')?;
                let name = self.name()?;
                self.names.contains(&name).then_some(Escaped::Reference)?
            }
            'A' | 'B' | 'G' | 'Z' | 'z' => Escaped::Many,
            'R' => Escaped::Many,
            'X' => Escaped::Reference,
            _ if letter.is_ascii_alphabetic() => return None,
            _ => Escaped::One(letter.into()),
        })
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0, |value, _| Some(value * 16 + self.next()?.to_digit(16)?))
    }

    fn hexadecimal_of_x(&mut self) -> Option<u32> {
        if self.eat('{').is_none() {
            return self.hexadecimal(2);
        }
        let mut value = 0_u32;
        let mut is_empty = true;
        while self.peek() != Some('}') {
            value = value * 16 + self.next()?.to_digit(16)?;
            is_empty = false;
            if value > u32::from(char::MAX) {
                return None;
            }
        }
        self.at += 1;
        (!is_empty).then_some(value)
    }

    /// `{...}` with something in it.
    fn braced(&mut self) -> Option<()> {
        self.eat('{')?;
        let from = self.at;
        while self.next()? != '}' {}
        (self.at > from + 1).then_some(())
    }

    /// A class in brackets.
    fn class(&mut self) -> Option<()> {
        self.eat('[')?;
        let _negated = self.eat('^');
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.class_inside()?;
        self.depth -= 1;
        self.eat(']')
    }

    /// What stands in a class, up to its end or to where an intersection's part ends.
    fn class_inside(&mut self) -> Option<()> {
        let mut is_empty = true;
        loop {
            match self.peek() {
                Some('[') => self.class()?,
                Some('&') if self.peek_at(1) == Some('&') => {
                    self.at += 2;
                    let mut has_right = false;
                    while !matches!(self.peek(), Some(']' | '&')) {
                        if self.peek() == Some('[') {
                            self.class()?;
                        } else {
                            self.class_inside()?;
                        }
                        has_right = true;
                    }
                    if is_empty && !has_right {
                        return None;
                    }
                }
                Some(']') if !is_empty => return Some(()),
                _ => self.class_range()?,
            }
            is_empty = false;
        }
    }

    fn class_range(&mut self) -> Option<()> {
        let first = match self.class_letter()? {
            Escaped::One(first) => first,
            Escaped::Many | Escaped::Reference => return Some(()),
        };
        if self.peek() != Some('-') || matches!(self.peek_at(1), Some('[' | ']')) {
            return Some(());
        }
        self.at += 1;
        match self.class_letter()? {
            Escaped::One(last) => (last >= first).then_some(()),
            Escaped::Many | Escaped::Reference => None,
        }
    }

    fn class_letter(&mut self) -> Option<Escaped> {
        if self.eat('\\').is_some() { self.escape(true) } else { self.next().map(|letter| Escaped::One(letter.into())) }
    }
}

/// What an escape stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escaped {
    /// One character.
    One(u32),
    /// One of several, or a place.
    Many,
    /// What an earlier group has matched, or something else of any length.
    Reference,
}

impl Escaped {
    fn is_unbounded(self) -> bool {
        self == Self::Reference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_compiles_is_a_pattern() {
        for text in [
            "",
            "a.*",
            "10[.][0-9]+",
            r"(?:a|b+)\(?",
            "a|",
            "()",
            "[]a]",
            "[^]a]",
            "a]}",
            "{2}a",
            "a{2}{3}",
            "a{2,}?",
            "a{2,3}+",
            "^*",
            "[a-z&&[^bc]]",
            "[a&b]",
            "[a-]",
            "[a-[b]]",
            r"\Q*(\E",
            r"\Q*",
            r"(?i)a",
            "(?i-m:a)",
            "(?<a1>x)\\k<a1>",
            "(?<=a{1,3})b",
            r"\1",
            r"\p{L}\P{Lu}\pL",
            r"\x41\x{1F600}\u0041",
            r"\012\cA\e\t",
            r"[\w&&[^\d]]",
            r"\b\B\A\z\Z\G\R\X\h",
            "(?>a)",
            "(?!a)",
            "a++",
            r"\-",
            "[[a]b]",
            "[&&a]",
        ] {
            assert!(is_java_pattern(text), "{text}");
        }
    }

    #[test]
    fn what_java_refuses_is_none() {
        for text in [
            "*a",
            "a**",
            "(",
            ")",
            "a)",
            "([",
            "[",
            "[]",
            "[^]",
            "[b-a]",
            "a{",
            "a{,3}",
            "a{3,2}",
            "a{99999999999}",
            "a{x}",
            "a{2",
            "(?",
            "(?a)",
            "(?<1>x)",
            "(?<a>x)(?<a>y)",
            "(?<a",
            r"\",
            r"\y",
            r"\k<a>",
            r"\0",
            r"\x4",
            r"\u004",
            "(?<=a*)b",
            r"(?<=\1)b",
            "(?i)*",
            r"[\b]",
            r"[\1]",
            r"\p{}",
            r"\pQ",
            "[a-\\d]",
            "[&&]",
            "x|*",
            "(*)",
        ] {
            assert!(!is_java_pattern(text), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(is_java_pattern(&nested(50)) && !is_java_pattern(&nested(50_000)));
        assert!(!is_java_pattern(&"[".repeat(50_000)));
    }
}
