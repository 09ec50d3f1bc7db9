//! Pure: a report as YAML. The fields are those of the JSON, in the same order.

use serde::Serialize;

/// The report as one YAML document.
pub(super) fn write(report: &impl Serialize) -> String {
    yaml_serde::to_string(report)
        .expect("reports hold only texts, numbers and lists, which YAML can write")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn lists_and_objects_stand_in_blocks() {
        let value = json!({
            "a": [{ "b": 1, "c": [true, null] }],
            "e": { "f": "one word", "g": [] },
        });
        let text = "a:\n- b: 1\n  c:\n  - true\n  - null\ne:\n  f: one word\n  g: []\n";
        assert_eq!(write(&value), text);
    }

    #[test]
    fn no_text_is_read_as_something_else() {
        let texts = [
            "no",
            "~",
            "null",
            "1e3",
            "0x10",
            "0o7",
            "1_000",
            "12:30:45",
            "2026-01-01",
            "",
            " a ",
            "a: \"b\"\n",
            "- a",
            "# a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "{a",
            "[a",
            "a\tb",
            "'a'",
            "\u{7}",
            "\u{feff}a",
            "line\nline\n\n",
            "true",
            ".inf",
            "=",
            "<<",
            "...",
            "---",
        ];
        let value =
            json!({ "texts": &texts[..], "yes": texts[0], "whole": u64::MAX, "part": 0.25 });
        let read: Value = yaml_serde::from_str(&write(&value)).unwrap();
        assert_eq!(read, value);
    }
}
