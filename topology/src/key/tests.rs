//! Keys are read as PostgreSQL reads them, alike from text and from binary.

use proptest::prelude::*;

use super::{InvalidKey, Key, KeyType, MAX_TEXT_KEY_BYTES};

const ALL: [KeyType; 3] = [KeyType::Bigint, KeyType::Text, KeyType::Uuid];

fn bigint(text: &str) -> Result<Key<'_>, InvalidKey> {
    Key::from_text(KeyType::Bigint, text.as_bytes())
}

fn uuid(text: &str) -> Result<Key<'_>, InvalidKey> {
    Key::from_text(KeyType::Uuid, text.as_bytes())
}

fn syntax(key_type: KeyType, value: &str) -> InvalidKey {
    let value = value.to_owned();
    InvalidKey::Syntax { key_type, value }
}

/// One of the spellings that `uuid_in` takes: hyphens after any group of four, either case.
fn spell(bytes: [u8; 16], hyphens: u8, upper: bool, braces: bool) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        text.push_str(&format!("{byte:02x}"));
        if at % 2 == 1 && at < 15 && hyphens >> (at / 2) & 1 == 1 {
            text.push('-');
        }
    }
    if upper {
        text = text.to_uppercase();
    }
    if braces { format!("{{{text}}}") } else { text }
}

proptest! {
    #[test]
    fn a_bigint_is_the_same_key_in_text_and_in_binary(
        value in any::<i64>(),
        spaces in "[ \t\n\r\x0b\x0c]{0,3}",
        zeros in "0{0,3}",
    ) {
        let (sign, digits) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
        let text = format!("{spaces}{sign}{zeros}{digits}{spaces}");
        let key = bigint(&text).unwrap();
        prop_assert_eq!(&key, &Key::Bigint(value));
        let bytes = value.to_be_bytes();
        prop_assert_eq!(Key::from_binary(KeyType::Bigint, &bytes).unwrap(), key);
    }

    #[test]
    fn every_width_of_an_integer_is_the_same_key(value in any::<i16>()) {
        let key = Key::Bigint(value.into());
        let (int2, int4) = (value.to_be_bytes(), i32::from(value).to_be_bytes());
        let int8 = i64::from(value).to_be_bytes();
        for bytes in [&int2[..], &int4, &int8] {
            prop_assert_eq!(Key::from_binary(KeyType::Bigint, bytes).unwrap(), key.clone());
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_is_out_of_range(digits in "[+-]?[1-9][0-9]{19,40}") {
        let value = digits.clone();
        prop_assert_eq!(bigint(&digits).unwrap_err(), InvalidKey::OutOfRange { value });
    }

    #[test]
    fn a_text_is_the_same_key_in_text_and_in_binary(text in "\\PC{0,60}") {
        let key = Key::from_text(KeyType::Text, text.as_bytes()).unwrap();
        prop_assert_eq!(&key, &Key::Text(text.as_str().into()));
        prop_assert_eq!(&Key::from_binary(KeyType::Text, text.as_bytes()).unwrap(), &key);
        prop_assert_eq!(key.clone().into_owned(), key);
    }

    #[test]
    fn a_uuid_is_the_same_key_in_every_spelling_and_in_binary(
        bytes in any::<[u8; 16]>(),
        hyphens in any::<u8>(),
        upper in any::<bool>(),
        braces in any::<bool>(),
    ) {
        let text = spell(bytes, hyphens, upper, braces);
        let key = uuid(&text).unwrap();
        prop_assert_eq!(&key, &Key::Uuid(bytes));
        prop_assert_eq!(Key::from_binary(KeyType::Uuid, &bytes).unwrap(), key);
    }

    #[test]
    fn any_bytes_are_a_key_of_the_type_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        for key_type in ALL {
            let (text, binary) = (
                Key::from_text(key_type, &bytes),
                Key::from_binary(key_type, &bytes),
            );
            for key in [text, binary].into_iter().flatten() {
                prop_assert_eq!(key.key_type(), key_type);
            }
        }
    }

    #[test]
    fn any_text_is_a_key_of_the_type_or_an_error(text in "[-+{}0-9a-f \t\\PC]{0,50}") {
        for key_type in ALL {
            if let Err(error) = Key::from_text(key_type, text.as_bytes()) {
                prop_assert!(error.to_string().chars().count() < 200);
            }
        }
    }

    #[test]
    fn a_key_type_is_read_from_its_own_name_and_from_no_other(word in "\\PC{0,80}") {
        match KeyType::parse(&word) {
            Ok(key_type) => prop_assert!(ALL.contains(&key_type)),
            Err(error) => prop_assert!(error.to_string().chars().count() < 200),
        }
        for key_type in ALL {
            prop_assert_eq!(KeyType::parse(key_type.as_str()).unwrap(), key_type);
        }
    }
}

#[test]
fn what_int8in_refuses_is_refused() {
    for text in [
        "", " ", "-", "+", "+-1", "--1", "1 2", "1.0", "1e3", "0x1f", "1_000", "١", "1\0",
    ] {
        assert_eq!(bigint(text), Err(syntax(KeyType::Bigint, text)));
    }
}

#[test]
fn the_ends_of_bigint_are_keys_and_their_neighbours_are_not() {
    assert_eq!(bigint("9223372036854775807"), Ok(Key::Bigint(i64::MAX)));
    assert_eq!(bigint("-9223372036854775808"), Ok(Key::Bigint(i64::MIN)));
    for text in ["9223372036854775808", "-9223372036854775809"] {
        let value = text.to_owned();
        assert_eq!(bigint(text), Err(InvalidKey::OutOfRange { value }));
    }
}

#[test]
fn what_uuid_in_refuses_is_refused() {
    let good = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    assert!(uuid(good).is_ok());
    let bad = [
        String::new(),
        good.replace('-', "--"),
        good.replace("bc99-", "bc9-9"),
        format!("{good}0"),
        format!("{good}-"),
        format!("-{good}"),
        format!("{{{good}"),
        format!("{good}}}"),
        format!(" {good}"),
        good.replace('e', "g"),
        good.strip_suffix('1').unwrap().to_owned(),
    ];
    for text in bad {
        assert!(
            matches!(uuid(&text), Err(InvalidKey::Syntax { .. })),
            "{text}"
        );
    }
}

#[test]
fn a_text_key_is_limited_in_bytes_in_both_formats() {
    let longest = "é".repeat(MAX_TEXT_KEY_BYTES / 2);
    assert!(Key::from_text(KeyType::Text, longest.as_bytes()).is_ok());
    let longer = format!("{longest}x");
    let bytes = longer.len();
    let read = [Key::from_text, Key::from_binary];
    for read in read {
        let refused = read(KeyType::Text, longer.as_bytes());
        assert_eq!(refused, Err(InvalidKey::TooLong { bytes }));
    }
}

#[test]
fn a_binary_value_of_another_length_is_refused() {
    for (key_type, fitting) in [(KeyType::Bigint, vec![2, 4, 8]), (KeyType::Uuid, vec![16])] {
        for bytes in 0..20 {
            let read = Key::from_binary(key_type, &[0; 20][..bytes]).map(drop);
            let wrong = InvalidKey::BinaryLength { key_type, bytes };
            let wanted = if fitting.contains(&bytes) {
                Ok(())
            } else {
                Err(wrong)
            };
            assert_eq!(read, wanted);
        }
    }
}
