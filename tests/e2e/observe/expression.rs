//! The metrics that a PromQL expression names: enough of its grammar for those of this repository.

/// What is a word of the language, where it stands alone.
const WORDS: &[&str] = &["and", "or", "unless", "offset", "bool", "inf", "nan"];

/// What a list of labels follows.
const BEFORE_LABELS: &[&str] = &[
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// The names of metrics in an expression, in their order.
pub(crate) fn metrics(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if let Some(end) = closing(first) {
            rest = after(rest.get(1..).unwrap_or_default(), end);
        } else if first.is_ascii_alphabetic() || first == '_' {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(length);
            let behind = behind.trim_start();
            rest = behind;
            if BEFORE_LABELS.contains(&word) {
                rest = after(behind.trim_start_matches('('), ')');
            } else if !is_called(behind) && !WORDS.contains(&word) {
                found.push(word.to_owned());
            }
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    found
}

/// What is skipped whole: matchers, ranges and texts.
fn closing(first: char) -> Option<char> {
    match first {
        '{' => Some('}'),
        '[' => Some(']'),
        '"' => Some('"'),
        _ => None,
    }
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// Whether what is before it is a function or an aggregation.
fn is_called(behind: &str) -> bool {
    let starts = |word: &str| {
        behind
            .strip_prefix(word)
            .is_some_and(|it| it.starts_with([' ', '(']))
    };
    behind.starts_with('(') || starts("by") || starts("without")
}
