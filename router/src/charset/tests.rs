use super::*;

fn charset(name: &str) -> &'static Charset {
    Named::find(name).unwrap().charset().unwrap()
}

fn to_utf8(name: &str, text: &[u8]) -> Result<String, Inconvertible> {
    let bytes = charset(name).decode(text)?;
    Ok(String::from_utf8(bytes).unwrap())
}

fn from_utf8(name: &str, text: &str) -> Result<Vec<u8>, Inconvertible> {
    let mut out = Vec::new();
    charset(name).encode(text.as_bytes(), &mut out)?;
    Ok(out)
}

#[test]
fn names_are_compared_as_postgres_compares_them() {
    for (name, shown) in [
        ("latin1", "LATIN1"),
        ("ISO-8859-15", "LATIN9"),
        ("'utf-8'", "UTF8"),
        ("unicode", "UTF8"),
        ("sql_ascii", "SQL_ASCII"),
        ("Windows-1252", "WIN1252"),
        ("Shift_JIS", "SJIS"),
        ("euc_tw", "EUC_TW"),
    ] {
        assert_eq!(Named::find(name).unwrap().name(), shown, "{name}");
    }
    assert!(Named::find("latin99").is_none());
    assert!(Named::find("").is_none());
    for converted in names::NAMES.map(|(_, name)| name) {
        let named = Named::find(converted).unwrap();
        assert_eq!(named.name(), converted);
    }
    for charset in &CHARSETS {
        assert!(Named::find(charset.name).unwrap().charset().is_some());
    }
}

#[test]
fn texts_are_converted_both_ways() {
    for (name, bytes, text) in [
        ("LATIN1", &b"caf\xe9 \x80"[..], "café \u{80}"),
        ("WIN1252", b"\x80 5", "€ 5"),
        ("LATIN9", b"\xa4", "€"),
        ("KOI8R", b"\xf0\xd2\xc9", "При"),
        ("SJIS", b"\x95\x5c \xb1 \\", "表 ｱ \\"),
        ("EUC_JP", b"\xc9\xbd \x8e\xb1 \x8f\xb0\xa1", "表 ｱ 丂"),
        ("EUC_KR", b"\xb0\xa1", "가"),
        ("UHC", b"\x81\x41", "갂"),
        ("EUC_CN", b"\xd6\xd0", "中"),
        ("GBK", b"\x81\x5c", "乗"),
        ("BIG5", b"\xb3\x5c", "許"),
    ] {
        assert_eq!(to_utf8(name, bytes).unwrap(), text, "{name}");
        assert_eq!(from_utf8(name, text).unwrap(), bytes, "{name}");
    }
}

#[test]
fn what_is_no_character_is_told_in_the_words_of_postgres() {
    let told = |error: Inconvertible| (error.sqlstate(), error.to_string());
    for (name, bytes, sqlstate, message) in [
        (
            "SJIS",
            &b"a\x81"[..],
            "22021",
            "invalid byte sequence for encoding \"SJIS\": 0x81",
        ),
        (
            "EUC_JP",
            b"\xa4 ",
            "22021",
            "invalid byte sequence for encoding \"EUC_JP\": 0xa4 0x20",
        ),
        (
            "WIN1252",
            b"\x81",
            "22P05",
            "character with byte sequence 0x81 in encoding \"WIN1252\" has no equivalent in \
             encoding \"UTF8\"",
        ),
    ] {
        let error = to_utf8(name, bytes).unwrap_err();
        assert_eq!(told(error), (sqlstate, message.to_owned()));
    }
    let error = from_utf8("LATIN1", "a☃").unwrap_err();
    let message = "character with byte sequence 0xe2 0x98 0x83 in encoding \"UTF8\" has no \
                   equivalent in encoding \"LATIN1\"";
    assert_eq!(told(error), ("22P05", message.to_owned()));
    let mut out = Vec::new();
    charset("LATIN1").encode_as_far_as_possible("é☃𝄞".as_bytes(), &mut out);
    assert_eq!(out, b"\xe9??");
}

#[test]
fn every_character_comes_back_unless_postgres_brings_it_elsewhere() {
    for charset in &CHARSETS {
        let mut elsewhere = 0;
        for point in 0x80..=u16::MAX {
            let Some(c) = char::from_u32(u32::from(point)) else {
                continue;
            };
            let mut bytes = Vec::new();
            if !charset.put(c, &mut bytes) {
                continue;
            }
            match charset.decode(&bytes) {
                Ok(back) if back == c.to_string().as_bytes() => {}
                Ok(_) | Err(_) => elsewhere += 1,
            }
        }
        let expected = match charset.name {
            "SJIS" => 8,
            "EUC_JP" | "GBK" => 1,
            _ => 0,
        };
        assert_eq!(elsewhere, expected, "{}", charset.name);
    }
}

#[test]
fn a_text_may_come_in_parts() {
    let charset = charset("SJIS");
    let text = b"\x95\x5c\xb1a\x95";
    let mut out = Vec::new();
    assert_eq!(charset.decode_part(text, &mut out), Ok(4));
    assert_eq!(out, "表ｱa".as_bytes());
}
