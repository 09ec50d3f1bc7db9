//! Rows are cut alike however the data comes.

use super::*;

fn options(sql: &str) -> Options {
    Options::read(sql, "k").unwrap()
}

/// The heads, rows and keys of data that comes in chunks of a size.
fn cut(sql: &str, key: usize, data: &[u8], size: usize) -> Result<Vec<Piece>, Refusal> {
    let mut splitter = Splitter::new(options(sql), key);
    let mut pieces = Vec::new();
    for chunk in data.chunks(size) {
        splitter.push(chunk);
        while let Some(piece) = splitter.next(false)? {
            pieces.push(piece);
        }
    }
    while let Some(piece) = splitter.next(true)? {
        pieces.push(piece);
    }
    Ok(pieces)
}

/// The keys of the rows, which all together are the data.
fn keys(sql: &str, key: usize, data: &[u8]) -> Vec<Option<String>> {
    let whole = cut(sql, key, data, usize::MAX).unwrap();
    for size in 1..12 {
        assert_eq!(
            cut(sql, key, data, size).unwrap(),
            whole,
            "in chunks of {size}"
        );
    }
    let mut all = Vec::new();
    let mut keys = Vec::new();
    for piece in whole {
        match piece {
            Piece::Head(bytes) => all.extend_from_slice(&bytes),
            Piece::Row(bytes, field) => {
                all.extend_from_slice(&bytes);
                keys.push(match field {
                    Field::Value(value) => Some(String::from_utf8_lossy(&value).into_owned()),
                    Field::Null => None,
                    Field::Missing => Some("missing".to_owned()),
                });
            }
            Piece::End => return keys,
        }
    }
    assert_eq!(all, data);
    keys
}

fn some(all: &[&str]) -> Vec<Option<String>> {
    all.iter().map(|it| Some((*it).to_owned())).collect()
}

#[test]
fn text_ends_its_rows_at_newlines_without_a_backslash() {
    let copy = "COPY t FROM STDIN";
    let data = b"a\t1\nb\\\nc\t2\nd\\\\\t3\n\\t\t\\x34\\063\nx\t\\N\nlast\t7";
    let mut wanted = some(&["1", "2", "3", "43"]);
    wanted.extend([None, Some("7".to_owned())]);
    assert_eq!(keys(copy, 1, data), wanted);
    assert_eq!(keys(copy, 0, data)[1], Some("b\nc".to_owned()));
    assert_eq!(keys(copy, 2, b"1\t2\n"), some(&["missing"]));
    assert_eq!(keys(copy, 0, b"1\r\n2\r\n"), some(&["1", "2"]));
    assert_eq!(keys(copy, 0, b"1\r2\r"), some(&["1", "2"]));
    assert_eq!(keys(copy, 0, b"1\n\\.\nrest"), some(&["1"]));
}

#[test]
fn a_marker_in_csv_data_is_what_all_shards_take_it_for() {
    let of = |versions: &[&'static str]| CsvMarker::of(versions.iter().copied());
    assert_eq!(of(&["15.8 (Debian 15.8-0)", "17rc1"]), CsvMarker::Ends);
    assert_eq!(of(&["18.1", "19devel"]), CsvMarker::IsRow);
    for versions in [&["17.0", "18.0"][..], &["15", ""], &[]] {
        assert_eq!(of(versions), CsvMarker::Differs, "{versions:?}");
    }
    let pieces = |marker| {
        let options = Options::read("COPY t FROM STDIN CSV", "k").unwrap();
        let mut splitter = Splitter::new(options, 0);
        splitter.tell_csv_marker(marker);
        splitter.push(b"1\n\\.\n2\n");
        std::iter::from_fn(|| splitter.next(true).transpose()).collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(pieces(CsvMarker::Ends).unwrap()[1..], [Piece::End]);
    assert_eq!(pieces(CsvMarker::IsRow).unwrap().len(), 3);
    assert_eq!(pieces(CsvMarker::Differs).unwrap_err().sqlstate, "0A000");
}

#[test]
fn lines_that_end_in_different_ways_are_refused_as_postgresql_does() {
    for data in [&b"1\n2\r\n"[..], b"1\r\n2\n", b"1\r2\n", b"1\n2\r3\n"] {
        for size in [1, 2, 100] {
            let refused = cut("COPY t FROM STDIN", 0, data, size).unwrap_err();
            assert_eq!(refused.sqlstate, "22P04");
        }
    }
}

#[test]
fn csv_has_newlines_and_delimiters_within_quotes() {
    let copy = "COPY t FROM STDIN WITH (FORMAT csv, HEADER)";
    let data = b"k,\"v\nw\"\n1,\"a,\n\"\"b\"\n\"2\",\n\"\",x\n,y\na\"b,c\"d,e\n";
    let mut wanted = some(&["1", "2", ""]);
    wanted.extend([None, Some("ab,cd".to_owned())]);
    assert_eq!(keys(copy, 0, data), wanted);
    let escaped =
        "COPY t FROM STDIN (FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NIL')";
    assert_eq!(
        keys(escaped, 1, b"'a\\'\n;';1\nb;NIL\nc;'NIL'\n"),
        [Some("1".to_owned()), None, Some("NIL".to_owned())]
    );
    let forced = "COPY t FROM STDIN (FORMAT csv, FORCE_NULL (k), NULL 'NIL')";
    assert_eq!(
        keys(forced, 0, b"'NIL'\n\"NIL\"\n"),
        [Some("'NIL'".to_owned()), None]
    );
    let never = "COPY t FROM STDIN (FORMAT csv, FORCE_NOT_NULL (k))";
    assert_eq!(keys(never, 0, b",x\n"), some(&[""]));
}

#[test]
fn binary_is_cut_by_its_lengths() {
    let head = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let mut data = head.to_vec();
    for key in [&b"abc"[..], b""] {
        data.extend_from_slice(&2_i16.to_be_bytes());
        data.extend_from_slice(&(-1_i32).to_be_bytes());
        data.extend_from_slice(&i32::try_from(key.len()).unwrap().to_be_bytes());
        data.extend_from_slice(key);
    }
    data.extend_from_slice(&(-1_i16).to_be_bytes());
    let copy = "COPY t FROM STDIN (FORMAT binary)";
    assert_eq!(keys(copy, 1, &data), some(&["abc", ""]));
    assert_eq!(keys(copy, 0, &data), [None, None]);
    assert_eq!(keys(copy, 5, &data), some(&["missing", "missing"]));
}

#[test]
fn columns_are_written_into_a_copy() {
    let names = ["a".to_owned(), "Order".to_owned()];
    for sql in [
        "COPY s.t FROM STDIN",
        "COPY t FROM STDIN CSV HEADER DELIMITER '|' NULL 'x'",
        "COPY t FROM STDIN WITH (FORMAT csv, FORCE_NULL (a), QUOTE '''') WHERE a > 1",
        "COPY t FROM STDIN WITH (FREEZE on)",
        "COPY t FROM STDIN BINARY",
    ] {
        let written = with_columns(sql, &names);
        let written = written.unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
        assert!(written.contains("(a, \"Order\")"), "{written}");
    }
    assert!(Options::read("COPY t FROM STDIN (ENCODING 'latin1')", "k").is_err());
    assert!(Options::read("COPY t FROM STDIN (ON_ERROR ignore)", "k").is_err());
}
