//! Each character of each encoding, both ways, held against a server.

use anyhow::Context as _;
use tests::Cluster;
use tests::raw::Raw;

use super::{query, sqlstate, value};
use crate::suite::{Outcome, same};

const ENCODINGS: [&str; 34] = [
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN866",
    "WIN874",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
    "KOI8R",
    "KOI8U",
    "EUC_JP",
    "EUC_KR",
    "EUC_CN",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
];

/// What PostgreSQL can make of numbers: `encodes` of a character, `decodes` of one to three bytes.
const PROBES: &str = "
    CREATE FUNCTION encodes(point int, encoding name) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN PERFORM convert_to(chr(point), encoding); RETURN true;
    EXCEPTION WHEN OTHERS THEN RETURN false; END $$;
    CREATE FUNCTION decodes(code bytea, encoding name) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN PERFORM convert_from(code, encoding); RETURN true;
    EXCEPTION WHEN OTHERS THEN RETURN false; END $$;
    CREATE FUNCTION codes(encoding name) RETURNS SETOF bytea LANGUAGE sql AS $$
    SELECT set_byte('\\x00', 0, i) FROM generate_series(128, 255) i WHERE encoding ~ '^(LATIN|ISO|WIN|KOI)'
    UNION ALL SELECT set_byte(set_byte('\\x0000', 0, i), 1, j)
    FROM generate_series(128, 255) i, generate_series(64, 255) j WHERE encoding !~ '^(LATIN|ISO|WIN|KOI)'
    UNION ALL SELECT set_byte(set_byte('\\x8f0000', 1, i), 2, j)
    FROM generate_series(161, 254) i, generate_series(161, 254) j WHERE encoding = 'EUC_JP' $$;";

pub(super) async fn each_character_is_what_postgres_takes_it_for(cluster: &Cluster) -> Outcome {
    let server = cluster.shard("shard-1")?.address();
    let mut direct = Raw::connect(&server).await?;
    same!(sqlstate(&direct.query(PROBES).await?), None);
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for encoding in ENCODINGS {
        let last = if encoding.starts_with(['L', 'I', 'K', 'W']) {
            0x2600
        } else {
            0xffff
        };
        direct.query("SET client_encoding = 'UTF8'").await?;
        let points = format!(
            "SELECT array_agg(i) FROM generate_series(128, {last}) i
             WHERE i NOT BETWEEN 55296 AND 57343 AND encodes(i, '{encoding}')"
        );
        let points = String::from_utf8(value(&direct.query(&points).await?)?)?;
        let codes = format!(
            "SELECT encode(string_agg(c, ''), 'hex') FROM codes('{encoding}') c
             WHERE decodes(c, '{encoding}')"
        );
        let codes = value(&direct.query(&codes).await?)?;
        let pairs = codes.as_chunks::<2>().0.iter();
        let digits = |pair: &[u8; 2]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
        let codes: anyhow::Result<Vec<u8>> = pairs.map(digits).collect();
        let codes = codes?;
        let set = format!("SET client_encoding = '{encoding}'");
        let all =
            format!("SELECT string_agg(chr(i), '' ORDER BY i) FROM unnest('{points}'::int[]) i");
        let text = [b"SELECT md5('", &codes[..], b"'), '", &codes[..], b"'"].concat();
        let mut said = Vec::new();
        for session in [&mut direct, &mut router] {
            same!(sqlstate(&session.query(&set).await?), None, "{encoding}");
            let encoded = value(&session.query(&all).await?)?;
            let decoded = session.exchange(&query(&text)).await?;
            let row = decoded.iter().find(|it| it.tag == b'D').context("no row")?;
            said.push((encoded, row.values()?));
        }
        anyhow::ensure!(
            said.first() == said.last(),
            "{encoding} is converted otherwise"
        );
    }
    let drop = "DROP FUNCTION encodes; DROP FUNCTION decodes; DROP FUNCTION codes";
    same!(sqlstate(&direct.query(drop).await?), None);
    Ok(())
}
