//! Rust sources as text, as far as the rules need it.

use std::path::{Path, PathBuf};

/// A source file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Relative to the root.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// All Rust sources of the workspace's crates.
#[must_use]
pub fn all() -> Vec<Source> {
    crate::files("src", &[".rs"]).into_iter().map(|path| Source { text: crate::text(&path), path }).collect()
}

impl Source {
    /// The crate's folder name.
    #[must_use]
    pub fn crate_name(&self) -> &str {
        self.path.components().nth(1).and_then(|part| part.as_os_str().to_str()).unwrap_or_default()
    }

    /// The path with slashes.
    #[must_use]
    pub fn path_text(&self) -> String {
        self.path.to_string_lossy().replace('\\', "/")
    }

    /// Whether the whole file is test code.
    #[must_use]
    pub fn is_test_file(&self) -> bool {
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.path.components().any(|part| part.as_os_str() == "tests") || name == "tests.rs" || name.ends_with("_test.rs")
    }

    /// Whether a program wrote it.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        self.text.lines().next().is_some_and(|line| line.starts_with("//") && line.contains("@generated"))
    }

    /// The lines before the file's test module, with their numbers from 1; nothing of a test file.
    pub fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test_file() { 0 } else { self.test_module_line().unwrap_or(usize::MAX) };
        (1..).zip(self.text.lines()).take_while(move |(number, _)| *number < end)
    }

    /// Where the test module in the file begins: rustfmt leaves `mod tests {` at the margin.
    #[must_use]
    pub fn test_module_line(&self) -> Option<usize> {
        let lines: Vec<&str> = self.text.lines().collect();
        let opens = |line: &str| line.starts_with("mod ") && line.ends_with('{');
        (1..).zip(lines.windows(2)).find_map(|(number, pair)| match pair {
            [attribute, module] if attribute.starts_with("#[cfg(test)]") && opens(module) => Some(number),
            _ => None,
        })
    }

    /// Lines of code before the test module: neither blank nor comment.
    #[must_use]
    pub fn code_lines(&self) -> usize {
        self.shipped_lines().filter(|(_, line)| is_code(line)).count()
    }

    /// Lines of code of the test module in the file.
    #[must_use]
    pub fn test_module_lines(&self) -> usize {
        match self.test_module_line() {
            Some(start) => self.text.lines().skip(start - 1).filter(|line| is_code(line)).count(),
            None => 0,
        }
    }

    /// The lines of the head doc, without their `//!`.
    #[must_use]
    pub fn head(&self) -> Vec<&str> {
        let comments = self.text.lines().skip_while(|line| line.starts_with("// @generated"));
        comments.map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line)).collect()
    }

    /// The lines of one section of the head doc.
    #[must_use]
    pub fn head_section(&self, title: &str) -> Option<Vec<&str>> {
        let heading = format!("# {title}");
        let head = self.head();
        let mut lines = head.iter().skip_while(|line| line.trim() != heading);
        lines.next()?;
        Some(lines.take_while(|line| !line.starts_with("# ")).copied().collect())
    }

    /// Whether it implements an API.
    #[must_use]
    pub fn is_handler(&self) -> bool {
        let below_apis = self.path.starts_with(Path::new("src/apis")) && self.path.components().count() == 4;
        below_apis && self.text.contains("const KEY: i16")
    }

    /// Kafka's name of the API that the file implements, which is the file's own in another case; elsewhere crate and file.
    #[must_use]
    pub fn subject(&self) -> String {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if !self.path.starts_with(Path::new("src/apis")) {
            return format!("{} ({stem})", self.crate_name());
        }
        let word = |word: &str| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
        };
        stem.split('_').map(word).collect()
    }
}

fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}
