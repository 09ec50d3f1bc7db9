//! Sizes, names, heads and blanks of files.

use std::path::Path;

use crate::report::Report;
use crate::tree::{File, Tree};

const MAX_FILE_LINES: usize = 600;

/// A file longer than this is long; few lines may lie in long files.
const LONG_FILE_LINES: usize = 500;
const MAX_LONG_PERCENT: usize = 12;

const MAX_DOCUMENT_LINES: &[(&str, usize)] = &[("README.md", 150), ("ARCHITECTURE.md", 350)];

/// What the repository's root may show.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".dockerignore",
    ".env.example",
    ".gitignore",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile.manager",
    "Dockerfile.router",
    "LICENSE",
    "Makefile",
    "README.md",
    "clippy.toml",
    "configs",
    "deny.toml",
    "docker-compose.prod.yml",
    "docs",
    "k8s",
    "manager",
    "platform",
    "proto",
    "router",
    "rustfmt.toml",
    "scripts",
    "shardctl",
    "tests",
    "topology",
    "wire",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "common", "helpers", "helper", "misc", "manager",
];

/// Modules that may keep such a name, each with its reason.
const NAMED_WITH_REASON: &[(&str, &str)] = &[(
    "router/src/pool/manager.rs",
    "bb8 calls the trait that it implements so",
)];

/// Top folders of a machine; a path into one is of use on one machine only.
const MACHINE_FOLDERS: &[&str] = &["work", "home", "root", "Users", "tmp"];

pub(crate) fn check(tree: &Tree, report: &mut Report) {
    top_level(tree, report);
    share_of_long_files(tree, report);
    for file in &tree.files {
        length(file, report);
        name(file, report);
        machine_paths(file, report);
        if !file.is_golden() && !file.is_stub() {
            blanks(file, report);
        }
        // The parent of a tests.rs says what is tested.
        let is_module = file.has_extension("rs") && file.name() != "tests.rs" && !file.is_stub();
        if is_module && !file.text.starts_with("//! ") {
            report.add(
                &file.path,
                1,
                "begin with `//! ` and what the file is responsible for",
            );
        }
    }
}

fn top_level(tree: &Tree, report: &mut Report) {
    for path in tree.paths.iter().filter(|path| !path.contains('/')) {
        if !TOP_LEVEL.contains(&path.as_str()) {
            report.add(
                path,
                1,
                "is not a name of the root: put it below, or list it in tidy",
            );
        }
    }
}

fn length(file: &File, report: &mut Report) {
    let lines = file.text.lines().count();
    let limit = MAX_DOCUMENT_LINES
        .iter()
        .find(|(path, _)| *path == file.path);
    let limit = limit.map(|(_, limit)| *limit);
    let limit = limit.or_else(|| file.has_extension("rs").then_some(MAX_FILE_LINES));
    if let Some(limit) = limit.filter(|limit| lines > *limit) {
        let rule = format!("has {lines} lines, more than {limit}: split it by its head's sentence");
        report.add(&file.path, lines, rule);
    }
}

fn share_of_long_files(tree: &Tree, report: &mut Report) {
    let lengths = tree.files.iter().filter(|file| file.has_extension("rs"));
    let lengths: Vec<usize> = lengths.map(|file| file.text.lines().count()).collect();
    let all: usize = lengths.iter().sum();
    let long: usize = lengths
        .iter()
        .filter(|lines| **lines > LONG_FILE_LINES)
        .sum();
    if long * 100 > all * MAX_LONG_PERCENT {
        let rule = format!("{long} of {all} lines are in files longer than {LONG_FILE_LINES}");
        report.add("(all files)", 1, rule);
    }
}

fn name(file: &File, report: &mut Report) {
    if file.name() == "mod.rs" {
        report.add(&file.path, 1, "is a mod.rs: write foo.rs beside foo/");
    }
    let has_reason = NAMED_WITH_REASON.iter().any(|(path, _)| *path == file.path);
    let Some((_, inside)) = file.path.split_once("/src/") else {
        return;
    };
    for part in &Path::new(inside).with_extension("") {
        if EMPTY_NAMES.iter().any(|name| part == *name) && !has_reason {
            let part = part.to_string_lossy();
            report.add(
                &file.path,
                1,
                format!("module name {part} says nothing: name its concept"),
            );
        }
    }
}

fn machine_paths(file: &File, report: &mut Report) {
    for (index, line) in file.text.lines().enumerate() {
        if let Some(folder) = machine_folder(line) {
            let rule = format!("names a path below /{folder}, which is of one machine only");
            report.add(&file.path, index + 1, rule);
        }
    }
}

/// The folder, if the line holds an absolute path into one.
fn machine_folder(line: &str) -> Option<&'static str> {
    let holds = |folder: &&&str| {
        let needle = format!("/{folder}/");
        line.match_indices(&needle).any(|(offset, _)| {
            // A quote that closes a word, as in "$base"/x, is part of a longer path.
            let before = line[..offset].trim_end_matches('"').chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-/}$)>*".contains(c))
        })
    };
    MACHINE_FOLDERS.iter().find(holds).copied()
}

fn blanks(file: &File, report: &mut Report) {
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with(char::is_whitespace) {
            report.add(&file.path, index + 1, "ends in a blank");
        }
    }
    let lines = file.text.lines().count();
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        report.add(&file.path, lines, "does not end with a line feed");
    }
    if file.text.ends_with("\n\n") {
        report.add(&file.path, lines, "ends with an empty line");
    }
}

#[test]
fn only_absolute_paths_are_paths_of_a_machine() {
    let folder = MACHINE_FOLDERS[0];
    assert_eq!(machine_folder(&format!("see /{folder}/x")), Some(folder));
    assert_eq!(machine_folder(&format!("\"/{folder}/x\"")), Some(folder));
    assert_eq!(machine_folder(&format!("$base/{folder}/x")), None);
    assert_eq!(machine_folder(&format!("\"$base\"/{folder}/x")), None);
    assert_eq!(machine_folder(&format!("../{folder}/x")), None);
}

#[test]
fn blanks_at_line_ends_are_reported_with_their_line() {
    let mut report = Report::default();
    let file = File {
        path: "a.md".to_owned(),
        text: "a\nb \n\n".to_owned(),
    };
    blanks(&file, &mut report);
    assert_eq!(
        report.lines(),
        ["a.md:2: ends in a blank", "a.md:3: ends with an empty line"]
    );
}

#[test]
fn a_module_with_an_empty_name_is_reported_wherever_it_stands() {
    for (path, is_bad) in [
        ("router/src/utils.rs", true),
        ("router/src/pool/helpers/a.rs", true),
        ("manager/src/lib.rs", false),
        ("tests/e2e/manager.rs", false),
        ("router/src/pool/manager.rs", false),
    ] {
        let mut report = Report::default();
        name(
            &File {
                path: path.to_owned(),
                text: String::new(),
            },
            &mut report,
        );
        assert_eq!(!report.lines().is_empty(), is_bad, "{path}");
    }
}
