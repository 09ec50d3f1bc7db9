//! Words that code may not hold, and the wording of errors and invariants.

use crate::report::Report;
use crate::source::{Source, line_of, words};
use crate::tree::{File, Tree};

/// Left over from work in progress; clippy sees them only in what is compiled.
const BANNED: &[(&str, &str)] = &[
    ("dbg!", "is for the desk: remove it, or log with tracing"),
    (
        "todo!",
        "is unfinished: finish it, or return an error that says what is not supported",
    ),
    (
        "unimplemented!",
        "is unfinished: return an error that says what is not supported",
    ),
    (
        "#[allow(",
        "hides a lint: use #[expect(.., reason = \"..\")]",
    ),
    (
        "#![allow(",
        "hides a lint: use #![expect(.., reason = \"..\")]",
    ),
];

/// The one file with the text of etcd keys.
const KEYS: &str = "topology/src/keys.rs";

/// The crates whose errors are typed; `anyhow` is for what ends in their `main.rs`, and for tests.
const TYPED_ERRORS: &[&str] = &[
    "router", "manager", "shardctl", "topology", "wire", "platform",
];

/// An `expect` states the invariant that it relies on, which takes a few words.
const MIN_INVARIANT_WORDS: usize = 3;

pub(crate) fn check(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.rust() {
        banned(file, &source, report);
        unfinished(file, &source, report);
        key_text(file, &source, report);
        let production = production_end(file, &source);
        invariants(file, &source.uncommented[..production], report);
        error_texts(file, &source.uncommented[..production], report);
        untyped_errors(file, &source.code[..production], report);
    }
}

/// Where production code ends and an inline test module begins, in bytes of any view.
fn production_end(file: &File, source: &Source) -> usize {
    if file.is_test() {
        return 0;
    }
    let before = source.first_test_line().saturating_sub(1);
    // Views differ in bytes where a blank stands for a longer character: tests are ASCII enough.
    source
        .code
        .split_inclusive('\n')
        .take(before)
        .map(str::len)
        .sum()
}

fn banned(file: &File, source: &Source, report: &mut Report) {
    for (word, rule) in BANNED {
        for offset in words(&source.code, word) {
            report.add(
                &file.path,
                line_of(&source.code, offset),
                format!("{word} {rule}"),
            );
        }
    }
}

/// Work that is left names the issue in which somebody will find it again.
fn unfinished(file: &File, source: &Source, report: &mut Report) {
    for (index, line) in source.comments.lines().enumerate() {
        for marker in ["TODO", "FIXME", "XXX"] {
            for offset in words(line, marker) {
                let rest = &line[offset + marker.len()..];
                if !rest.starts_with("(#") {
                    let rule = format!("{marker} names no issue: write TODO(#12)");
                    report.add(&file.path, index + 1, rule);
                }
            }
        }
    }
}

fn key_text(file: &File, source: &Source, report: &mut Report) {
    // Tests hold the keys to their text.
    if file.path == KEYS || file.is_test() {
        return;
    }
    for (offset, _) in source.uncommented.match_indices("\"/sharding/v1") {
        let rule = format!("text of an etcd key: take it from {KEYS}");
        report.add(&file.path, line_of(&source.uncommented, offset), rule);
    }
}

fn invariants(file: &File, text: &str, report: &mut Report) {
    for (offset, call) in text.match_indices(".expect(") {
        let Some(reason) = literal(&text[offset + call.len()..]) else {
            continue;
        };
        if reason.split_whitespace().count() < MIN_INVARIANT_WORDS {
            let rule = format!("expect({reason:?}) does not state the invariant that it relies on");
            report.add(&file.path, line_of(text, offset), rule);
        }
    }
}

fn error_texts(file: &File, text: &str, report: &mut Report) {
    for (offset, attribute) in text.match_indices("#[error(") {
        let Some(message) = literal(&text[offset + attribute.len()..]) else {
            continue;
        };
        if let Some(fault) = fault_of(message) {
            let rule = format!("error text {message:?} {fault}");
            report.add(&file.path, line_of(text, offset), rule);
        }
    }
}

/// What is wrong with the text of an error, if anything is.
fn fault_of(message: &str) -> Option<&'static str> {
    let first = message.split_whitespace().next().unwrap_or_default();
    let capitals = first.chars().filter(char::is_ascii_uppercase).count();
    // `TLS`, `PostgreSQL` and `I2` are written so; `Shard` is not.
    let is_proper = capitals > 1 || first.chars().any(|c| c.is_ascii_digit());
    if message.ends_with('.') {
        Some("ends with a full stop")
    } else if first.starts_with(|c: char| c.is_ascii_uppercase()) && !is_proper {
        Some("begins with a capital")
    } else if message.starts_with("failed to ") || first == "error" {
        Some("says that something failed, which is known: name the condition")
    } else {
        None
    }
}

/// The string literal that begins here, blanks aside.
pub(crate) fn literal(text: &str) -> Option<&str> {
    let body = text.trim_start().strip_prefix('"')?;
    let end = body
        .match_indices('"')
        .find(|(at, _)| !body[..*at].ends_with('\\'))?
        .0;
    Some(&body[..end])
}

fn untyped_errors(file: &File, code: &str, report: &mut Report) {
    let crate_name = file.path.split('/').next().unwrap_or_default();
    let ends_in_main = file.name() == "main.rs" || file.path.contains("/src/app");
    if !TYPED_ERRORS.contains(&crate_name) || ends_in_main {
        return;
    }
    for offset in words(code, "anyhow::") {
        let rule = "anyhow is for app, main.rs and tests: name the conditions in an error enum";
        report.add(&file.path, line_of(code, offset), rule);
    }
}

#[cfg(test)]
fn found(path: &str, text: &str) -> Vec<String> {
    let file = File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let root = std::path::PathBuf::new();
    let tree = Tree {
        root,
        files: vec![file],
        paths: Vec::new(),
    };
    let mut report = Report::default();
    check(&tree, &mut report);
    report.lines().to_vec()
}

#[test]
fn banned_words_are_found_in_code_only() {
    let text = "// dbg!(1)\nlet a = \"todo!()\";\nlet b = my_dbg!(2);\n";
    assert!(found("router/src/a.rs", text).is_empty());
    let lines = found("router/src/a.rs", "fn a() {\n    dbg!(1);\n}\n");
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("router/src/a.rs:2: dbg! "),
        "{lines:?}"
    );
}

#[test]
fn an_unfinished_mark_needs_an_issue() {
    assert!(found("router/src/a.rs", "// TODO(#12): later.\n").is_empty());
    assert_eq!(found("router/src/a.rs", "// TODO: later.\n").len(), 1);
}

#[test]
fn etcd_keys_are_spelled_in_one_file() {
    let text = "const A: &str = \"/sharding/v1/x\"; // \"/sharding/v1/y\"\n";
    assert_eq!(found("manager/src/a.rs", text).len(), 1);
    assert!(found(KEYS, text).is_empty());
}

#[test]
fn an_expect_states_an_invariant_except_in_tests() {
    let text = "fn a() {\n    b.expect(\n        \"fails\",\n    );\n}\n";
    let lines = found("router/src/a.rs", text);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("router/src/a.rs:2:"), "{lines:?}");
    assert!(found("router/src/a/tests.rs", text).is_empty());
    assert!(
        found(
            "router/src/a.rs",
            &format!("#[cfg(test)]\nmod tests {{\n{text}}}\n")
        )
        .is_empty()
    );
}

#[test]
fn error_texts_name_the_condition_in_lower_case() {
    assert_eq!(fault_of("shard {0} is not known"), None);
    assert_eq!(fault_of("TLS is off"), None);
    assert_eq!(fault_of("PostgreSQL answered no"), None);
    assert!(fault_of("Shard is not known").is_some());
    assert!(fault_of("shard is not known.").is_some());
    assert!(fault_of("failed to connect").is_some());
}
