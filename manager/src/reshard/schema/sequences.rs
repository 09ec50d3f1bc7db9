//! Raises the sequences of tables on a shard that is about to own rows: what it hands out next
//! must not be a value that a row which has moved there already has.

use std::collections::BTreeMap;

use topology::{TableName, Term};

use crate::identifier;
use crate::reshard::session::{Error, Session};

/// Sequences with increment 1 that columns of some tables own or take their defaults from, by
/// name, with the last value that was handed out.
const VALUES: &str = "\
    SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.pg_sequence_last_value(c.oid) \
    FROM pg_catalog.unnest($1::text[]) name \
    CROSS JOIN LATERAL (SELECT d.objid AS oid FROM pg_catalog.pg_depend d \
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') \
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = pg_catalog.to_regclass(name) \
      UNION SELECT d.refobjid FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_depend d \
          ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid \
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
        WHERE f.adrelid = pg_catalog.to_regclass(name)) s \
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement = 1 \
    JOIN pg_catalog.pg_class c ON c.oid = s.oid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// Whether there are any, of which [`carry_sequences`] would have to know.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn has_sequences(session: &Session, tables: &[TableName]) -> Result<bool, Error> {
    let names: Vec<String> = tables.iter().map(identifier::quoted).collect();
    Ok(!values(session, &names).await?.is_empty())
}

/// Raises those of `to` that are below those of `from`; never lowers one. Call it once `from` is
/// fenced and before `to` is open. Sequences with another increment are the operator's: shards
/// have them offset from each other. Returns how many were raised.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn carry_sequences(
    from: &Session,
    to: &mut Session,
    term: Term,
    tables: &[TableName],
) -> Result<usize, Error> {
    let names: Vec<String> = tables.iter().map(identifier::quoted).collect();
    let (wanted, present) = (values(from, &names).await?, values(to, &names).await?);
    let mut raised = 0;
    let mut text = String::new();
    for (name, value) in wanted {
        let Some(value) = value else {
            continue; // It never handed out any.
        };
        if present.get(&name).is_some_and(|there| *there < Some(value)) {
            let name = wire::quote::literal(&name);
            text += &format!("SELECT pg_catalog.setval({name}, {value});");
            raised += 1;
        }
    }
    if raised > 0 {
        let work = to.begin(term).await?;
        work.run("raise sequences", &text).await?;
        work.commit("raise sequences").await?;
    }
    Ok(raised)
}

async fn values(
    session: &Session,
    names: &[String],
) -> Result<BTreeMap<String, Option<i64>>, Error> {
    let rows = session.query(VALUES, &[&names]).await;
    let rows = rows.map_err(|e| session.error("read sequences", e))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
