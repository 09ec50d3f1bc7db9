use proptest::prelude::*;

use super::*;
use crate::exec::array::write_element;

fn written(type_oid: u32, text: &str, numbers_as_strings: bool) -> String {
    let mut out = Vec::new();
    write_value(
        &mut out,
        Shape::or_text(type_oid),
        Some(text),
        numbers_as_strings,
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn values_keep_their_types() {
    for (type_oid, text, json) in [
        (16, "t", "true"),
        (16, "f", "false"),
        (21, "-32768", "-32768"),
        (20, "9223372036854775807", "9223372036854775807"),
        (1700, "0.10", "0.10"),
        (
            1700,
            "123456789012345678901234567890.5",
            "123456789012345678901234567890.5",
        ),
        (1700, "NaN", r#""NaN""#),
        (701, "1e+20", "1e+20"),
        (701, "-0", "-0"),
        (701, "-Infinity", r#""-Infinity""#),
        (700, "0.1", "0.1"),
        (25, "a\"b\\\n\u{1f600}", "\"a\\\"b\\\\\\n\u{1f600}\""),
        (3802, r#"{"a": [1, null]}"#, r#"{"a": [1, null]}"#),
        (17, "\\x00ff", r#""\\x00ff""#),
        (
            1184,
            "2024-01-02 03:04:05+00",
            r#""2024-01-02T03:04:05+00:00""#,
        ),
        (1114, "2024-01-02 03:04:05.5", r#""2024-01-02T03:04:05.5""#),
        (1082, "2024-01-02", r#""2024-01-02""#),
        (1083, "03:04:05", r#""03:04:05""#),
        (1266, "03:04:05+02", r#""03:04:05+02:00""#),
        (1186, "P1DT2H", r#""P1DT2H""#),
        (790, "$1.00", r#""$1.00""#),
        (90_000, "(1,2)", r#""(1,2)""#),
    ] {
        assert_eq!(written(type_oid, text, false), json);
    }
}

#[test]
fn arrays_are_nested_and_typed_by_their_elements() {
    for (type_oid, text, json) in [
        (
            1016,
            "{1,NULL,9223372036854775807}",
            "[1,null,9223372036854775807]",
        ),
        (1007, "{}", "[]"),
        (1007, "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
        (
            1009,
            r#"{"a,b","NULL",NULL,"\"q\""}"#,
            r#"["a,b","NULL",null,"\"q\""]"#,
        ),
        (1000, "{t,f}", "[true,false]"),
        (3807, r#"{"{\"a\": 1}",NULL}"#, r#"[{"a": 1},null]"#),
        (
            1185,
            r#"{"2024-01-02 03:04:05+00"}"#,
            r#"["2024-01-02T03:04:05+00:00"]"#,
        ),
        (1001, r#"{"\\x0a"}"#, r#"["\\x0a"]"#),
        (
            1020,
            "{(1,1),(0,0);(2,2),(0,0)}",
            r#"["(1,1),(0,0)","(2,2),(0,0)"]"#,
        ),
        (1007, "[0:1]={5,6}", "[5,6]"),
        (1007, "not an array", r#""not an array""#),
    ] {
        assert_eq!(written(type_oid, text, false), json);
    }
}

#[test]
fn long_numbers_become_strings_where_that_is_asked_for() {
    assert_eq!(written(20, "1", true), r#""1""#);
    assert_eq!(written(1700, "1.5", true), r#""1.5""#);
    assert_eq!(written(1016, "{1}", true), r#"["1"]"#);
    assert_eq!(written(23, "1", true), "1");
    assert_eq!(written(701, "1.5", true), "1.5");
}

#[test]
fn no_column_hides_another() {
    let names = distinct_names(&["a", "b", "a", "a", "a_2", "?column?"]);
    assert_eq!(names, ["a", "b", "a_3", "a_4", "a_2", "?column?"]);
}

proptest! {
    #[test]
    fn every_text_array_is_json_with_the_same_elements(
        elements in prop::collection::vec(prop::option::of("(?s).{0,12}"), 0..6)
    ) {
        let mut text = String::from("{");
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            match element {
                None => text.push_str("NULL"),
                Some(element) => write_element(&mut text, element),
            }
        }
        text.push('}');
        let json = written(1009, &text, false);
        let read: Vec<Option<String>> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read, elements);
    }
}
