//! Pure: what a command found, as a table for people or as JSON for scripts.
//!
//! One file a subject, each with the shape that `help` documents and how it looks as a table.

use serde::Serialize;

use crate::args::Output;

pub mod access;
mod amount;
pub mod audit;
pub mod backup;
pub mod count;
pub mod groups;
pub mod job;
pub mod plan;
pub mod progress;
pub mod promotion;
pub mod removed;
pub mod ring;
pub mod route;
pub mod routers;
pub mod schema;
pub mod shards;
pub mod status;
pub mod tables;
pub mod users;
pub mod version;

/// What a command prints.
pub trait Report: Serialize {
    /// The table form; every line ends with a line feed.
    fn table(&self) -> String;
}

/// The report in the form that was asked for.
#[must_use]
pub fn render(report: &impl Report, output: Output) -> String {
    match output {
        Output::Table => report.table(),
        Output::Json => {
            let mut text = serde_json::to_string_pretty(report)
                .expect("reports hold only texts, numbers and lists, which JSON can write");
            text.push('\n');
            text
        }
    }
}

/// Empty texts of an answer are absent values.
pub(crate) fn present(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
