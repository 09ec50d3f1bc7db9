//! Collects violations, so that one run shows all of them.

use std::fmt::Write as _;

/// All violations that were found.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<String>);

impl Report {
    /// Records a violation at a line, counted from 1.
    pub(crate) fn add(&mut self, path: &str, line: usize, rule: impl AsRef<str>) {
        self.0.push(format!("{path}:{line}: {}", rule.as_ref()));
    }

    /// Fails with every violation, in the order of the files.
    pub(crate) fn assert_empty(mut self) {
        self.0.sort();
        self.0.dedup();
        let mut text = String::new();
        for violation in &self.0 {
            writeln!(text, "{violation}").expect("a String takes all that is written");
        }
        let count = self.0.len();
        assert!(self.0.is_empty(), "{count} habits are broken:\n{text}");
    }

    /// What was found, for the rules' own tests.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> &[String] {
        &self.0
    }
}
