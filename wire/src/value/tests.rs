//! The small pieces: strings, formats, ids and values.

use super::*;

#[test]
fn a_text_compares_as_bytes_and_shows_what_is_not_utf8() {
    let text = Text::new(b"na\xc3\xafve");
    assert_eq!(text.as_str(), Ok("na\u{ef}ve"));
    assert!(text == "na\u{ef}ve" && text == *"na\u{ef}ve");
    assert_eq!(text.as_ref(), text.as_bytes());
    let latin1 = Text::new(b"na\xefve");
    assert!(latin1.as_str().is_err());
    assert_eq!(latin1.to_lossy(), "na\u{fffd}ve");
    assert_eq!(format!("{latin1:?}"), "\"na\u{fffd}ve\"");
    assert!(Text::default().is_empty() && !text.is_empty());
}

#[test]
fn only_two_format_codes_have_a_meaning() {
    for code in i16::MIN..=i16::MAX {
        let format = Format::from_code(code);
        assert_eq!(
            format.map(Format::code),
            (0..=1).contains(&code).then_some(code)
        );
    }
    assert_eq!(Format::default(), Format::Text);
}

#[test]
fn no_format_means_text_and_one_means_all() {
    let none = Formats::default();
    assert!(none.is_empty());
    assert_eq!(none.of(7), Format::Text);
    let one = Formats::new(&[0, 1]).unwrap();
    assert_eq!(
        (one.len(), one.of(0), one.of(7)),
        (1, Format::Binary, Format::Binary)
    );
    let each = Formats::new(&[0, 1, 0, 0]).unwrap();
    let formats: Vec<_> = each.iter().collect();
    assert_eq!(formats, [Format::Binary, Format::Text]);
    assert_eq!((each.of(0), each.of(1)), (Format::Binary, Format::Text));
    // Beyond the last there is no item; text is as good as any answer.
    assert_eq!(each.of(2), Format::Text);
    assert_eq!(format!("{each:?}"), "[Binary, Text]");
    assert_eq!(Formats::new(&[0, 1, 0x80, 0]), Err(i16::MIN));
}

#[test]
fn object_ids_are_unsigned() {
    let oids = Oids::new(&[0, 0, 0, 23, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!((oids.len(), oids.is_empty()), (2, false));
    assert_eq!(
        (oids.get(0), oids.get(1), oids.get(2)),
        (Some(23), Some(u32::MAX), None)
    );
    assert_eq!(oids.iter().len(), 2);
    assert_eq!(format!("{oids:?}"), "[23, 4294967295]");
    assert!(Oids::default().is_empty());
}

#[test]
fn null_the_empty_value_and_no_value_are_three_things() {
    let values = Values::new(3, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x02ab");
    assert_eq!(values.get(0), Some(None));
    assert_eq!(values.get(1), Some(Some(&b""[..])));
    assert_eq!(values.get(2), Some(Some(&b"ab"[..])));
    assert_eq!(values.get(3), None);
    assert_eq!((values.len(), values.is_empty()), (3, false));
    let mut iter = values.into_iter();
    assert_eq!(iter.len(), 3);
    assert_eq!(iter.next(), Some(None));
    assert_eq!(iter.len(), 2);
    assert_eq!(iter.nth(1), Some(Some(&b"ab"[..])));
    assert_eq!((iter.next(), iter.len()), (None, 0));
}
