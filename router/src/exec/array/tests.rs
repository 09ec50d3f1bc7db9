use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<String, Malformed> {
    let mut out = String::new();
    for event in Reader::new(text, b',') {
        match event? {
            Event::Open => out.push('('),
            Event::Close => out.push(')'),
            Event::Null => out.push('~'),
            Event::Element(text) => {
                out.push('<');
                out.push_str(&text);
                out.push('>');
            }
        }
    }
    Ok(out)
}

#[test]
fn arrays_as_the_server_writes_them_are_read() {
    for (text, events) in [
        ("{}", "()"),
        ("{1}", "(<1>)"),
        ("{1,-2,NULL}", "(<1><-2>~)"),
        ("{\"NULL\",null}", "(<NULL>~)"),
        ("{\"\",\"a,b\",\"{c}\"}", "(<><a,b><{c}>)"),
        (
            r#"{"a\"b","a\\b",plain text}"#,
            r#"(<a"b><a\b><plain text>)"#,
        ),
        ("{{1,2},{3,4}}", "((<1><2>)(<3><4>))"),
        ("[0:1]={a,b}", "(<a><b>)"),
        ("[2:2][0:1]={{a,b}}", "((<a><b>))"),
        ("{2024-01-02 03:04:05+00}", "(<2024-01-02 03:04:05+00>)"),
        ("{\"x=y\"}", "(<x=y>)"),
        ("{{{{{{1}}}}}}", "((((((<1>))))))"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(events), "{text}");
    }
}

#[test]
fn what_is_no_array_is_refused() {
    for text in [
        "",
        "1",
        "{",
        "}",
        "{1",
        "{1,}",
        "{,1}",
        "{1}}",
        "{1}x",
        "{\"a}",
        "{\"a\\",
        "{a\\b}",
        "{{1}{2}}",
        "{1{2}}",
        "{\"a\"b}",
        "[0:1]",
        "{{{{{{{1}}}}}}}",
    ] {
        assert_eq!(read(text), Err(Malformed), "{text}");
    }
}

#[test]
fn boxes_are_divided_by_semicolons() {
    let events: Result<Vec<_>, _> = Reader::new("{(1,1),(0,0);(2,2),(0,0)}", b';').collect();
    let element = |text| Event::Element(Cow::Borrowed(text));
    let expected = vec![
        Event::Open,
        element("(1,1),(0,0)"),
        element("(2,2),(0,0)"),
        Event::Close,
    ];
    assert_eq!(events, Ok(expected));
}

proptest! {
    #[test]
    fn elements_that_are_written_are_read_back(elements in prop::collection::vec(".*", 0..8)) {
        let mut text = String::from("{");
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            write_element(&mut text, element);
        }
        text.push('}');
        let read: Result<Vec<_>, _> = Reader::new(&text, b',').collect();
        let read = read.unwrap();
        let inner: Vec<String> = read[1..read.len() - 1]
            .iter()
            .map(|event| match event {
                Event::Element(text) => text.clone().into_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(inner, elements);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in r#"[{}",\\a=\[: ]{0,40}"#) {
        let _events: Vec<_> = Reader::new(&text, b',').collect();
    }
}
