//! The checklist of docs/security.md: each line has something that checks it, and the tests that it
//! names exist.

use crate::report::Report;
use crate::tree::Tree;

const PAGE: &str = "docs/security.md";
const HEADING: &str = "## Checklist";
/// What a line begins with that is to be ticked off.
const BOX: &str = "| [ ] ";

pub(crate) fn check(tree: &Tree, report: &mut Report) {
    let Some(page) = tree.files.iter().find(|file| file.path == PAGE) else {
        report.add(PAGE, 1, "is not there");
        return;
    };
    let mut lines = page.text.lines().enumerate();
    let is_there = lines.by_ref().any(|(_, line)| line == HEADING);
    let boxes: Vec<(usize, &str)> = lines.filter(|(_, line)| line.starts_with(BOX)).collect();
    if !is_there || boxes.is_empty() {
        report.add(PAGE, 1, format!("has no lines under {HEADING}"));
    }
    let known = names(tree);
    for (index, line) in boxes {
        let checked_by = line.trim_end_matches(" |").rsplit_once(" | ");
        let checked_by = checked_by.map_or("", |(_, by)| by);
        if !checked_by.contains('`') {
            report.add(
                PAGE,
                index + 1,
                "name the test or the command that checks it",
            );
        }
        // As cargo takes it: a part of a name will do.
        let is_known = |name: &str| known.iter().any(|known| known.contains(name));
        for name in tests_of(checked_by).filter(|name| !is_known(name)) {
            report.add(PAGE, index + 1, format!("there is no test {name}"));
        }
    }
}

/// The names of tests: between backticks, right behind `test` or `tests` or another such name, or
/// at the end of a call of cargo test.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.split('`')
        .enumerate()
        .filter_map(move |(index, piece)| {
            if index % 2 == 0 {
                let words = piece.trim_end();
                is_test = words.ends_with("test")
                    || words.ends_with("tests")
                    || (is_test && words == ",");
                return None;
            }
            if let Some((_, name)) = piece.split_once(" -- ")
                && piece.starts_with("cargo test")
            {
                return Some(name);
            }
            is_test.then_some(piece)
        })
}

/// The names of all functions, and of all files without their ending.
fn names(tree: &Tree) -> Vec<&str> {
    let mut names = Vec::new();
    for file in tree.files.iter().filter(|file| file.has_extension("rs")) {
        let stem = file.path.rsplit('/').next().unwrap_or_default();
        names.push(stem.trim_end_matches(".rs"));
        names.extend(file.text.split("fn ").skip(1).map(|rest| {
            let end = rest.find(['(', '<']).unwrap_or_default();
            &rest[..end]
        }));
    }
    names
}
