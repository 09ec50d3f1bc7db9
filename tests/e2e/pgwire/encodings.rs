//! Clients whose encoding is not UTF-8: texts go both ways as PostgreSQL converts them, keys find
//! their shards, and what cannot be converted is told.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{self, Message, Raw, describe, execute, flush, parse, sync, tags};

use super::{error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

mod characters;

use characters::each_character_is_what_postgres_takes_it_for;

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        each_character_is_what_postgres_takes_it_for,
        keys_are_found_whatever_they_are_sent_in,
        statements_over_several_shards_are_converted,
        the_encoding_follows_its_transaction,
        the_encoding_is_asked_for_in_all_ways,
        what_cannot_be_converted_is_refused_as_by_postgres,
        an_answer_that_cannot_be_told_fails_its_transaction,
        copies_are_converted,
        values_in_binary_format_are_converted,
        sessions_of_two_encodings_share_statements,
    )
    .into()
}

/// A message of a text that is not UTF-8.
fn query(sql: &[u8]) -> Vec<u8> {
    raw::message(b'Q', &[sql, b"\0"].concat())
}

/// Bind of the unnamed portal to the unnamed statement, all in one format each.
fn bind(values: &[&[u8]], binary: bool, binary_results: bool) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 1, 0, u8::from(binary)];
    body.extend(u16::try_from(values.len()).unwrap_or(0).to_be_bytes());
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        body.extend_from_slice(value);
    }
    body.extend([0, 1, 0, u8::from(binary_results)]);
    raw::message(b'B', &body)
}

fn parse_bytes(name: &str, sql: &[u8], type_oids: &[u32]) -> Vec<u8> {
    let mut body = [name.as_bytes(), b"\0", sql, b"\0"].concat();
    body.extend(u16::try_from(type_oids.len()).unwrap_or(0).to_be_bytes());
    body.extend(type_oids.iter().flat_map(|oid| oid.to_be_bytes()));
    raw::message(b'P', &body)
}

/// The first column of all rows, in bytes.
fn values(messages: &[Message]) -> anyhow::Result<Vec<Vec<u8>>> {
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.map(|row| {
        Ok(row
            .values()?
            .into_iter()
            .next()
            .flatten()
            .unwrap_or_default())
    })
    .collect()
}

fn value(messages: &[Message]) -> anyhow::Result<Vec<u8>> {
    let values = values(messages)?;
    values
        .into_iter()
        .next()
        .with_context(|| format!("no row: {messages:?}"))
}

async fn connect(cluster: &Cluster, encoding: &str) -> anyhow::Result<Raw> {
    let router = cluster.router(0)?.address();
    Raw::connect_with(&router, &[("client_encoding", encoding)]).await
}

async fn keys_are_found_whatever_they_are_sent_in(cluster: &Cluster) -> Outcome {
    cluster
        .create("enc_keys", "k text PRIMARY KEY, v text", ("k", "text"))
        .await?;
    let mut utf8 = connect(cluster, "UTF8").await?;
    let mut latin1 = connect(cluster, "LATIN1").await?;
    for number in 0..20 {
        let insert = format!("INSERT INTO enc_keys VALUES ('clé {number}', 'ë{number}')");
        same!(sqlstate(&utf8.query(&insert).await?), None);
    }
    for number in 0..20 {
        let key = [b"cl\xe9 ", number.to_string().as_bytes()].concat();
        let expected = [b"\xeb", number.to_string().as_bytes()].concat();
        let text = [b"SELECT v FROM enc_keys WHERE k = '", &key[..], b"'"].concat();
        same!(value(&latin1.exchange(&query(&text)).await?)?, expected);
        for (oid, binary) in [(0, false), (25, true)] {
            let sql = parse("", "SELECT v FROM enc_keys WHERE k = $1", &[oid]);
            let bound = bind(&[&key], binary, false);
            let sent = [sql, bound, execute("", 0), sync()].concat();
            same!(value(&latin1.exchange(&sent).await?)?, expected);
        }
        // An array in binary format: one dimension, without NULLs, of text, one element, from 1 on.
        let length = u32::try_from(key.len())?.to_be_bytes();
        let head = b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x01\0\0\0\x01";
        let array = [&head[..], &length, &key].concat();
        let literal = [b"{\"", &key[..], b"\"}"].concat();
        for (oid, binary, keys) in [(1009, true, array), (0, false, literal)] {
            let sql = parse("", "SELECT v FROM enc_keys WHERE k = ANY($1)", &[oid]);
            let sent = [sql, bind(&[&keys], binary, false), execute("", 0), sync()].concat();
            same!(value(&latin1.exchange(&sent).await?)?, expected);
        }
    }
    // What is written in one encoding is found in the others.
    let insert = b"INSERT INTO enc_keys VALUES ('\xfc', '\xe4')";
    same!(sqlstate(&latin1.exchange(&query(insert)).await?), None);
    let read = utf8.query("SELECT v FROM enc_keys WHERE k = 'ü'").await?;
    same!(value(&read)?, "ä".as_bytes());
    let mut sjis = connect(cluster, "SJIS").await?;
    // The second byte of the first one is a backslash, of the second one a vertical line.
    let insert = b"INSERT INTO enc_keys VALUES ('\x95\x5c', '\x83\x7c\xb1\\')";
    same!(sqlstate(&sjis.exchange(&query(insert)).await?), None);
    let read = utf8.query("SELECT v FROM enc_keys WHERE k = '表'").await?;
    same!(value(&read)?, "ポｱ\\".as_bytes());
    Ok(())
}

async fn statements_over_several_shards_are_converted(cluster: &Cluster) -> Outcome {
    cluster
        .create("enc_many", "k text PRIMARY KEY, v text", ("k", "text"))
        .await?;
    let mut latin1 = connect(cluster, "LATIN1").await?;
    let insert = b"INSERT INTO enc_many VALUES ('\xe0', '\xe9'), ('b', '\xe8'), ('c', 'e'), ('\xff', '\xfc')";
    let told = latin1.exchange(&query(insert)).await?;
    same!(sqlstate(&told), None, "{told:?}");
    let mut utf8 = connect(cluster, "UTF8").await?;
    let sorted = "SELECT k FROM enc_many ORDER BY v";
    let read = values(&utf8.query(sorted).await?)?;
    same!(read, ["c".as_bytes(), b"b", "à".as_bytes(), "ÿ".as_bytes()]);
    let read = values(&latin1.query(sorted).await?)?;
    same!(read, [&b"c"[..], b"b", b"\xe0", b"\xff"]);
    let update = b"UPDATE enc_many SET v = v || '\xdf' WHERE v <> '\xe9'";
    let told = latin1.exchange(&query(update)).await?;
    same!(sqlstate(&told), None, "{told:?}");
    let read = utf8
        .query("SELECT string_agg(v, ' ' ORDER BY v) FROM enc_many")
        .await?;
    same!(value(&read)?, "eß èß é üß".as_bytes());
    let copied = "INSERT INTO enc_many SELECT k || '2', v FROM enc_many";
    let told = latin1.query(copied).await?;
    same!(sqlstate(&told), None, "{told:?}");
    let read = utf8.query("SELECT v FROM enc_many WHERE k = 'à2'").await?;
    same!(value(&read)?, "é".as_bytes());
    // EXECUTE over several shards, and a cursor.
    let prepare = b"PREPARE enc_all AS SELECT k FROM enc_many WHERE v = $1 ORDER BY k";
    latin1.exchange(&query(prepare)).await?;
    let read = latin1.exchange(&query(b"EXECUTE enc_all('\xe9')")).await?;
    same!(values(&read)?, [&b"\xe0"[..], b"\xe0\x32"]);
    latin1.query("BEGIN").await?;
    latin1
        .query("DECLARE enc_cursor CURSOR FOR SELECT k FROM enc_many ORDER BY k")
        .await?;
    let read = latin1.query("FETCH LAST FROM enc_cursor").await?;
    anyhow::ensure!(sqlstate(&read).is_none() || sqlstate(&read).as_deref() == Some("0A000"));
    latin1.query("ROLLBACK").await?;
    Ok(())
}

/// What was last said of the encoding, and the order of the messages.
fn told(session: &Raw, messages: &[Message]) -> (String, String) {
    let name = session.parameters.get("client_encoding");
    (name.cloned().unwrap_or_default(), tags(messages))
}

async fn the_encoding_follows_its_transaction(cluster: &Cluster) -> Outcome {
    cluster
        .create("enc_tx", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    let e = b"SELECT '\xe9'";
    for (sql, encoding, tags) in [
        ("BEGIN", "UTF8", "CZ"),
        ("INSERT INTO enc_tx VALUES (1, 'a')", "UTF8", "CZ"),
        ("SAVEPOINT a", "UTF8", "CZ"),
        ("SET client_encoding = 'latin1'", "LATIN1", "SCZ"),
        ("SET LOCAL client_encoding TO UTF8", "UTF8", "SCZ"),
        ("ROLLBACK TO a", "UTF8", "CZ"),
        ("SET client_encoding = 'latin1'", "LATIN1", "SCZ"),
        ("SAVEPOINT b", "LATIN1", "CZ"),
        ("SET client_encoding = 'koi8r'", "KOI8R", "SCZ"),
        ("ROLLBACK TO b", "LATIN1", "CSZ"),
        ("COMMIT", "LATIN1", "CZ"),
        ("BEGIN", "LATIN1", "CZ"),
        ("SET NAMES 'WIN1251'", "WIN1251", "SCZ"),
        ("SELECT * FROM missing", "WIN1251", "EZ"),
        ("ROLLBACK", "LATIN1", "CSZ"),
        ("SET client_encoding = 'nonsense'", "LATIN1", "EZ"),
        ("SET client_encoding = 'euc_tw'", "LATIN1", "EZ"),
        ("RESET client_encoding", "UTF8", "SCZ"),
        ("SET client_encoding = latin1", "LATIN1", "SCZ"),
        ("DISCARD ALL", "UTF8", "CSZ"),
        ("SET client_encoding = latin1", "LATIN1", "SCZ"),
        ("RESET ALL", "UTF8", "CSZ"),
        ("SET client_encoding = latin1; SELECT 1", "LATIN1", "SCTDCZ"),
    ] {
        let messages = session.query(sql).await?;
        same!(
            told(&session, &messages),
            (encoding.to_owned(), tags.to_owned()),
            "{sql}"
        );
        let shown = session.query("SHOW client_encoding").await?;
        if status(&shown)? != 'E' {
            same!(value(&shown)?, encoding.as_bytes(), "{sql}");
        }
    }
    same!(value(&session.exchange(&query(e)).await?)?, b"\xe9");
    // One after the other in a batch.
    let sent = [
        parse_bytes("", e, &[]),
        bind(&[], false, false),
        execute("", 0),
        parse("", "SET client_encoding = 'UTF8'", &[]),
        bind(&[], false, false),
        execute("", 0),
        parse("", "SELECT 'é'", &[]),
        bind(&[], false, false),
        execute("", 0),
        sync(),
    ]
    .concat();
    let messages = session.exchange(&sent).await?;
    same!(
        values(&messages)?,
        [&b"\xe9"[..], "é".as_bytes()],
        "{messages:?}"
    );
    Ok(())
}

async fn the_encoding_is_asked_for_in_all_ways(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?.address();
    for (name, text) in [
        ("client_encoding", "WIN1252"),
        ("options", "-c client_encoding=cp1252"),
        ("options", "-c client_encoding=windows-1252"),
    ] {
        let session = Raw::connect_with(&router, &[(name, text)]).await;
        if text.ends_with("cp1252") {
            anyhow::ensure!(format!("{:?}", session.err()).contains("22023"));
            continue;
        }
        let mut session = session?;
        same!(
            session
                .parameters
                .get("client_encoding")
                .map(String::as_str),
            Some("WIN1252")
        );
        same!(
            value(&session.exchange(&query(b"SELECT '\x80'")).await?)?,
            b"\x80"
        );
        session.query("SET client_encoding = 'UTF8'").await?;
        same!(value(&session.query("SELECT '€'").await?)?, "€".as_bytes());
        let messages = session.query("DISCARD ALL").await?;
        same!(
            told(&session, &messages),
            ("WIN1252".to_owned(), "CSZ".to_owned())
        );
    }
    let mut session = connect(cluster, "SQL_ASCII").await?;
    same!(
        session
            .parameters
            .get("client_encoding")
            .map(String::as_str),
        Some("SQL_ASCII")
    );
    same!(value(&session.query("SELECT 'é'").await?)?, "é".as_bytes());
    let told = session
        .query("SELECT set_config('client_encoding', 'LATIN1', false)")
        .await?;
    same!(sqlstate(&told).as_deref(), Some("0A000"));
    let told = session.query("SET client_encoding = 'johab'").await?;
    same!(error_of(&told)?.0, "0A000");
    Ok(())
}

async fn what_cannot_be_converted_is_refused_as_by_postgres(cluster: &Cluster) -> Outcome {
    let mut direct = Raw::connect(&cluster.shard("shard-1")?.address()).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (encoding, text) in [
        ("SJIS", &b"SELECT 'a\x81'"[..]),
        ("SJIS", b"SELECT 'a\x81\x20'"),
        ("SJIS", b"SELECT '\xfd'"),
        ("EUC_JP", b"SELECT '\xa4\x20'"),
        ("EUC_KR", b"SELECT '\xc9\xa1'"),
        ("WIN1252", b"SELECT 'a\x81'"),
        ("WIN1252", b"SELECT chr(9731)"),
        ("LATIN1", "SELECT E'\\u2603'".as_bytes()),
        ("LATIN1", b"SELECT 1 AS \"\xe9\", U&'\\2603'"),
    ] {
        let set = format!("SET client_encoding = '{encoding}'");
        let mut said = Vec::new();
        for session in [&mut direct, &mut router] {
            session.query(&set).await?;
            session.query("BEGIN").await?;
            session.query("SELECT 1").await?;
            let messages = session.exchange(&query(text)).await?;
            said.push((error_of(&messages)?, status(&messages)?));
            let messages = session.query("SELECT 1").await?;
            same!(sqlstate(&messages).as_deref(), Some("25P02"));
            session.query("ROLLBACK").await?;
            // The same in a batch.
            let sent = [
                parse_bytes("", text, &[]),
                bind(&[], false, false),
                execute("", 0),
                sync(),
            ];
            let messages = session.exchange(&sent.concat()).await?;
            said.push((error_of(&messages)?, status(&messages)?));
        }
        same!(said[2..], said[..2], "{encoding} {}", text.escape_ascii());
    }
    router.query("SET client_encoding = 'WIN1252'").await?;
    let sent = [
        parse("", "SELECT $1::text", &[]),
        bind(&[b"\x81"], false, false),
        execute("", 0),
        sync(),
    ];
    same!(
        error_of(&router.exchange(&sent.concat()).await?)?.0,
        "22P05"
    );
    same!(
        value(&router.exchange(&query(b"SELECT '\x80'")).await?)?,
        b"\x80"
    );
    Ok(())
}

async fn an_answer_that_cannot_be_told_fails_its_transaction(cluster: &Cluster) -> Outcome {
    cluster
        .create("enc_told", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let mut utf8 = connect(cluster, "UTF8").await?;
    let mut latin1 = connect(cluster, "LATIN1").await?;
    let [one, two] = [
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ];
    for key in [one, two] {
        let snow = key + 1_000_000;
        let insert = format!("INSERT INTO enc_told VALUES ({key}, 'a'), ({snow}, '☃')");
        same!(sqlstate(&utf8.query(&insert).await?), None);
    }
    let count = "SELECT count(*)::text FROM enc_told";
    // Outside of a transaction: a read, over one shard and over both.
    for sql in [
        format!("SELECT v FROM enc_told WHERE k = {}", one + 1_000_000),
        "SELECT v FROM enc_told ORDER BY v".to_owned(),
        "COPY enc_told TO STDOUT".to_owned(),
        "SELECT '☃' AS snow"
            .to_owned()
            .replace('☃', "' || chr(9731) || '"),
    ] {
        let messages = latin1.query(&sql).await?;
        same!(error_of(&messages)?.0, "22P05", "{sql}");
        same!(status(&messages)?, 'I');
        same!(value(&latin1.query(count).await?)?, b"4");
    }
    // What is done is said to be done.
    let insert = format!(
        "INSERT INTO enc_told VALUES ({}, chr(9731)) RETURNING v",
        one + 2_000_000
    );
    same!(error_of(&latin1.query(&insert).await?)?.0, "08007");
    same!(value(&utf8.query(count).await?)?, b"5");
    // In a transaction it is undone with it.
    let insert = format!(
        "INSERT INTO enc_told VALUES ({}, chr(9731)) RETURNING v",
        one + 3_000_000
    );
    latin1.query("BEGIN").await?;
    let messages = latin1.query(&insert).await?;
    same!(
        (error_of(&messages)?.0.as_str(), status(&messages)?),
        ("22P05", 'E')
    );
    same!(
        sqlstate(&latin1.query("SELECT 1").await?).as_deref(),
        Some("25P02")
    );
    same!(tags(&latin1.query("COMMIT").await?), "CZ");
    same!(value(&utf8.query(count).await?)?, b"5");
    untold_before_a_sync(&mut latin1, &insert).await?;
    same!(value(&utf8.query(count).await?)?, b"5");
    // What follows in the string finds its copy failed.
    let string = "SELECT chr(9731); COPY enc_told FROM STDIN";
    let messages = latin1.query(string).await?;
    anyhow::ensure!(sqlstate(&messages).is_some(), "{messages:?}");
    same!(value(&latin1.query(count).await?)?, b"5");
    Ok(())
}

/// As it is undone when the client asks for the answer before its Sync.
async fn untold_before_a_sync(latin1: &mut Raw, insert: &str) -> Outcome {
    let sent = [
        parse("", insert, &[]),
        bind(&[], false, false),
        execute("", 0),
        flush(),
    ];
    latin1.send(&sent.concat()).await?;
    let mut came = Vec::new();
    while came
        .last()
        .is_none_or(|message: &Message| message.tag != b'E')
    {
        came.push(latin1.receive().await?.context("the session ended")?);
    }
    same!(sqlstate(&came).as_deref(), Some("22P05"));
    same!(tags(&latin1.exchange(&sync()).await?), "Z");
    Ok(())
}

async fn copies_are_converted(cluster: &Cluster) -> Outcome {
    cluster
        .create("enc_copy", "k text PRIMARY KEY, v text", ("k", "text"))
        .await?;
    let mut utf8 = connect(cluster, "UTF8").await?;
    let mut sjis = connect(cluster, "SJIS").await?;
    let data = |bytes: &[u8]| raw::message(b'd', bytes);
    let done = raw::message(b'c', b"");
    // Characters are cut, and their second bytes are backslashes.
    let rows = [
        data(b"\x95"),
        data(b"\x5c\t\x83\x5c\nb\t\xb1\n"),
        done.clone(),
    ]
    .concat();
    sjis.send(&raw::query("COPY enc_copy FROM STDIN")).await?;
    let messages = sjis.exchange(&rows).await?;
    same!(sqlstate(&messages), None, "{messages:?}");
    let read = utf8.query("SELECT v FROM enc_copy WHERE k = '表'").await?;
    same!(value(&read)?, "ソ".as_bytes());
    let out = sjis.query("COPY enc_copy TO STDOUT").await?;
    let mut lines: Vec<&[u8]> = Vec::new();
    for message in out.iter().filter(|message| message.tag == b'd') {
        lines.push(&message.body);
    }
    lines.sort_unstable();
    same!(lines, [&b"b\t\xb1\n"[..], b"\x95\x5c\t\x83\x5c\n"]);
    // One that is no text, on one shard's table and on several.
    for table in ["enc_copy", "enc_copy (k, v)"] {
        sjis.send(&raw::query(&format!("COPY {table} FROM STDIN")))
            .await?;
        let rows = [data(b"c\t\xa0\xa0\n"), data(b"d\te\n"), done.clone()].concat();
        let messages = sjis.exchange(&rows).await?;
        let (code, text) = error_of(&messages)?;
        same!(code, "22021", "{text}");
    }
    same!(
        value(&sjis.query("SELECT count(*) FROM enc_copy").await?)?,
        b"2"
    );
    for (sql, code) in [
        ("COPY enc_copy TO STDOUT (FORMAT binary)", "0A000"),
        ("COPY enc_copy TO STDOUT (ENCODING 'LATIN1')", "0A000"),
    ] {
        same!(error_of(&sjis.query(sql).await?)?.0, code, "{sql}");
    }
    sjis.send(&raw::query("COPY enc_copy FROM STDIN (FORMAT binary)"))
        .await?;
    let messages = sjis.exchange(&done).await?;
    same!(error_of(&messages)?.0, "0A000");
    same!(
        value(&sjis.query("SELECT count(*) FROM enc_copy").await?)?,
        b"2"
    );
    Ok(())
}

async fn values_in_binary_format_are_converted(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "enc_binary",
            "k bigint PRIMARY KEY, v text",
            ("k", "bigint"),
        )
        .await?;
    let mut latin1 = connect(cluster, "LATIN1").await?;
    let insert = b"INSERT INTO enc_binary VALUES (200, '\xe9')";
    same!(sqlstate(&latin1.exchange(&query(insert)).await?), None);
    let select = parse(
        "",
        "SELECT v, k, ARRAY[v], '\\xc3a9'::bytea FROM enc_binary WHERE k = $1",
        &[20],
    );
    let bound = bind(&[&200_i64.to_be_bytes()], true, true);
    for (middle, tags_expected) in [(vec![], "12DCZ"), (describe(b'P', ""), "12TDCZ")] {
        let sent = [
            select.clone(),
            bound.clone(),
            middle,
            execute("", 0),
            sync(),
        ]
        .concat();
        let messages = latin1.exchange(&sent).await?;
        same!(tags(&messages), tags_expected, "{messages:?}");
        let row = messages
            .iter()
            .find(|it| it.tag == b'D')
            .context("no row")?;
        let row = row.values()?;
        same!(row[0].as_deref(), Some(&b"\xe9"[..]));
        same!(row[1].as_deref(), Some(&200_i64.to_be_bytes()[..]));
        anyhow::ensure!(
            row[2]
                .as_ref()
                .is_some_and(|it| it.ends_with(b"\0\0\0\x01\xe9"))
        );
        same!(row[3].as_deref(), Some("é".as_bytes()));
    }
    // A parameter of which nobody said what it is.
    let sql = parse("", "SELECT v FROM enc_binary WHERE k = $1", &[]);
    let sent = [
        sql,
        bind(&[&200_i64.to_be_bytes()], true, false),
        execute("", 0),
        sync(),
    ];
    same!(
        error_of(&latin1.exchange(&sent.concat()).await?)?.0,
        "0A000"
    );
    Ok(())
}

async fn sessions_of_two_encodings_share_statements(cluster: &Cluster) -> Outcome {
    cluster
        .create("enc_named", "k text PRIMARY KEY, v text", ("k", "text"))
        .await?;
    let mut utf8 = connect(cluster, "UTF8").await?;
    let mut latin1 = connect(cluster, "LATIN1").await?;
    let mut koi8 = connect(cluster, "KOI8R").await?;
    let insert = "INSERT INTO enc_named SELECT 'k' || i, 'ü' FROM generate_series(1, 9) i";
    same!(sqlstate(&utf8.query(insert).await?), None);
    let sql = "SELECT v || 'é' FROM enc_named WHERE k = $1".as_bytes();
    let prepared = |sql: &[u8]| [parse_bytes("s", sql, &[]), sync()].concat();
    utf8.exchange(&prepared(sql)).await?;
    latin1
        .exchange(&prepared(b"SELECT v || '\xe9' FROM enc_named WHERE k = $1"))
        .await?;
    // The same bytes say something else here.
    koi8.exchange(&prepared(b"SELECT v || '\xe9' FROM enc_named WHERE k = $1"))
        .await?;
    for number in 1..10 {
        let key = format!("k{number}");
        let sent = |name: &str| {
            let bound = raw::bind("", name, false, &[Some(key.as_bytes())]);
            [bound, execute("", 0), sync()].concat()
        };
        same!(value(&utf8.exchange(&sent("s")).await?)?, "üé".as_bytes());
        same!(value(&latin1.exchange(&sent("s")).await?)?, b"\xfc\xe9");
        let told = koi8.exchange(&sent("s")).await?;
        same!(error_of(&told)?.0, "22P05");
        latin1.query("SET client_encoding = 'UTF8'").await?;
        same!(value(&latin1.exchange(&sent("s")).await?)?, "üé".as_bytes());
        latin1.query("SET client_encoding = 'LATIN1'").await?;
    }
    Ok(())
}
