//! Pure: cells to text, in columns two spaces apart, as kubectl prints them.

use std::borrow::Cow;

/// What stands in a cell that has no value.
pub const NONE: &str = "-";

const GAP: usize = 2;

/// Columns under an upper-case header.
#[derive(Debug, Clone)]
pub struct Grid {
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A grid with this header and no rows.
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|title| (*title).to_owned()).collect();
        Self { rows: vec![header] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The lines. A row's last cell is not padded, so that no line ends in spaces.
    #[must_use]
    pub fn render(&self) -> String {
        let rows: Vec<Vec<Cow<'_, str>>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| printable(cell)).collect())
            .collect();
        let mut widths: Vec<usize> = Vec::new();
        for row in &rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}{:GAP$}", ""));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Lines of `Name:  value`, the values under each other.
#[must_use]
pub fn facts(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0) + ":".len();
    let line = |(name, value): &(&str, String)| {
        let name = format!("{name}:");
        format!("{name:width$}{:GAP$}{}\n", "", printable(value))
    };
    lines.iter().map(line).collect()
}

/// The text, or [`NONE`] for an empty one.
#[must_use]
pub fn or_none(text: &str) -> String {
    if text.is_empty() { NONE } else { text }.to_owned()
}

/// Writes control characters as escapes: a quoted identifier may hold any, and one must neither
/// break a line nor move the terminal's cursor.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|character| {
        if character.is_control() {
            character.escape_default().to_string()
        } else {
            character.to_string()
        }
    });
    Cow::Owned(escaped.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_two_apart() {
        let mut grid = Grid::new(&["ID", "STATUS"]);
        grid.row(["shard-1".to_owned(), "up".to_owned()]);
        grid.row(["b".to_owned(), NONE.to_owned()]);
        assert_eq!(grid.render(), "ID       STATUS\nshard-1  up\nb        -\n");
    }

    #[test]
    fn a_control_character_in_a_cell_stays_on_its_line() {
        let mut grid = Grid::new(&["NAME"]);
        grid.row(["a\nb\u{1b}[2J".to_owned()]);
        assert_eq!(grid.render(), "NAME\na\\nb\\u{1b}[2J\n");
    }

    #[test]
    fn facts_stand_under_each_other() {
        let text = facts(&[("Term", "7".to_owned()), ("Epoch", "12".to_owned())]);
        assert_eq!(text, "Term:   7\nEpoch:  12\n");
    }
}
