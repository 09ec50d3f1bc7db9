//! Scanners against rows that are cut at every place.

use topology::hash::token_of;
use topology::{Key, KeyType, Token};

use super::{Format, Malformed, Scanner};

fn binary_row(key: &[u8], values: &[Option<&[u8]>]) -> Vec<u8> {
    let columns = i16::try_from(values.len() + 1).unwrap();
    let mut row = columns.to_be_bytes().to_vec();
    for value in std::iter::once(&Some(key)).chain(values) {
        match value {
            None => row.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                row.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                row.extend_from_slice(value);
            }
        }
    }
    row
}

fn scanned(scanner: &mut Scanner, pieces: &[&[u8]]) -> Result<Vec<(Vec<u8>, Token)>, Malformed> {
    let mut rows = Vec::new();
    for piece in pieces {
        scanner.feed(piece, &mut |row, token| rows.push((row.to_vec(), token)))?;
    }
    scanner.end()?;
    Ok(rows)
}

#[test]
fn binary_rows_are_found_however_they_are_cut() {
    let keys = [1_i64, -7, i64::MAX, 42];
    let rows: Vec<(Vec<u8>, Token)> = keys
        .into_iter()
        .map(|key| {
            let row = binary_row(&key.to_be_bytes(), &[None, Some(b"abc"), Some(b"")]);
            (row, token_of(&Key::Bigint(key)))
        })
        .collect();
    let mut all = Format::Binary.head().to_vec();
    rows.iter().for_each(|(row, _)| all.extend(row));
    all.extend(Format::Binary.tail());
    let scanner = || Scanner::new(Format::Binary, KeyType::Bigint, 4);
    for cut in 0..=all.len() {
        let (a, b) = all.split_at(cut);
        assert_eq!(scanned(&mut scanner(), &[a, b]), Ok(rows.clone()), "{cut}");
    }
    let bytes: Vec<&[u8]> = all.chunks(1).collect();
    assert_eq!(scanned(&mut scanner(), &bytes), Ok(rows));
    let cut_off = &all[..all.len() - 2];
    assert_eq!(scanned(&mut scanner(), &[cut_off]), Err(Malformed::End));
    assert_eq!(scanned(&mut scanner(), &[&all, b"x"]), Err(Malformed::End));
}

#[test]
fn narrow_integers_and_uuids_have_the_tokens_of_their_keys() {
    let uuid = [7_u8; 16];
    let cases: [(KeyType, Vec<u8>, Key<'_>); 4] = [
        (
            KeyType::Bigint,
            5_i16.to_be_bytes().to_vec(),
            Key::Bigint(5),
        ),
        (
            KeyType::Bigint,
            (-5_i32).to_be_bytes().to_vec(),
            Key::Bigint(-5),
        ),
        (KeyType::Uuid, uuid.to_vec(), Key::Uuid(uuid)),
        (KeyType::Text, "naïve".into(), Key::Text("naïve".into())),
    ];
    for (key_type, bytes, key) in cases {
        let mut all = Format::Binary.head().to_vec();
        all.extend(binary_row(&bytes, &[]));
        all.extend(Format::Binary.tail());
        let rows = scanned(&mut Scanner::new(Format::Binary, key_type, 1), &[&all]).unwrap();
        assert_eq!(rows[0].1, token_of(&key), "{key:?}");
    }
}

#[test]
fn rows_of_another_shape_are_refused() {
    let scan = |rows: &[u8]| {
        let mut scanner = Scanner::new(Format::Binary, KeyType::Bigint, 2);
        scanned(&mut scanner, &[Format::Binary.head(), rows])
    };
    let (found, expected) = (1, 2);
    assert_eq!(
        scan(&binary_row(&[0; 8], &[])),
        Err(Malformed::Columns { found, expected })
    );
    let null = [0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(scan(&null), Err(Malformed::NullKey));
    assert_eq!(
        scan(&[0, 2, 0xff, 0, 0, 0]),
        Err(Malformed::Length(-0x0100_0000))
    );
    assert!(matches!(
        scan(&binary_row(&[0; 3], &[None])),
        Err(Malformed::Key(_))
    ));
    let mut scanner = Scanner::new(Format::Binary, KeyType::Bigint, 2);
    let no_header = [b'x'; 30];
    assert_eq!(scanned(&mut scanner, &[&no_header]), Err(Malformed::Header));
}

#[test]
fn text_rows_are_found_and_their_keys_unescaped() {
    let all = b"a\\tb\\\\\\n\t1\t\\N\nplain\n\tempty key\n".as_slice();
    let keys = ["a\tb\\\n", "plain", ""];
    for cut in 0..=all.len() {
        let (a, b) = all.split_at(cut);
        let mut scanner = Scanner::new(Format::Text, KeyType::Text, 3);
        let rows = scanned(&mut scanner, &[a, b]).unwrap();
        let tokens: Vec<Token> = rows.iter().map(|(_, token)| *token).collect();
        assert_eq!(
            tokens,
            keys.map(|key| token_of(&Key::Text(key.into()))),
            "{cut}"
        );
        assert_eq!(rows.concat_bytes(), all);
    }
    let mut scanner = Scanner::new(Format::Text, KeyType::Bigint, 2);
    assert_eq!(
        scanned(&mut scanner, &[b"\\N\t1\n"]),
        Err(Malformed::NullKey)
    );
    let mut scanner = Scanner::new(Format::Text, KeyType::Bigint, 2);
    assert_eq!(scanned(&mut scanner, &[b"1\t1"]), Err(Malformed::End));
}

trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for Vec<(Vec<u8>, Token)> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|(row, _)| row.clone()).collect()
    }
}
