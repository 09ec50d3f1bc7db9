//! The registration that the comment of a CREATE TABLE asks for: `/* shard_key = column */`,
//! `/* table_kind = reference */`, `/* table_kind = unsharded */`.

use wire::quote;

use super::Refusal;
use crate::query::{Change, Class, Placing, Registration, Statement};

/// What a statement asks to be registered; none when it asks for nothing.
///
/// # Errors
/// The [`Refusal`] when its hints do not go together.
pub fn registration(statement: &Statement) -> Result<Option<Registration>, Refusal> {
    let Class::Ddl(ddl) = &statement.class else {
        return Ok(None);
    };
    let created = ddl.changes.iter().find_map(|change| match change {
        Change::Create { table, .. } => Some(table),
        _ => None,
    });
    let Some(table) = created else {
        return Ok(None);
    };
    let hints = &statement.hints;
    let kind = hints.table_kind.as_deref();
    let placing = match (kind, &hints.shard_key) {
        (None | Some("sharded"), Some(column)) if hints.shard.is_none() => Placing::Sharded {
            column: column.clone(),
            group: hints.table_group.clone(),
        },
        (Some("reference"), None) if hints.shard.is_none() => Placing::Reference,
        (Some("unsharded"), None) => Placing::Unsharded {
            shard: hints.shard.clone(),
        },
        (None, None) => return Ok(None),
        (Some("sharded"), None) => return Err(contradicting("no shard_key")),
        (_, Some(_)) => return Err(contradicting("a shard_key")),
        (Some(_), None) => return Err(contradicting("another kind or a shard")),
    };
    if hints.table_group.is_some() && !matches!(placing, Placing::Sharded { .. }) {
        return Err(contradicting("a table_group"));
    }
    let table = match &table.schema {
        Some(schema) => quote::qualified(schema, &table.name),
        None => quote::ident(&table.name),
    };
    Ok(Some(Registration { table, placing }))
}

fn contradicting(with: &str) -> Refusal {
    Refusal {
        sqlstate: "42601",
        message: format!(
            "the comment of CREATE TABLE has {with}, which does not fit its other hints"
        ),
        hint: Some(
            "write shard_key = column, table_kind = reference, or table_kind = unsharded with an \
             optional shard = 'id'"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::analyze;

    fn of(sql: &str) -> Result<Option<Registration>, Refusal> {
        registration(&analyze(sql).unwrap().statements[0])
    }

    #[test]
    fn the_comment_of_a_new_table_says_where_its_rows_are_to_be() {
        let sharded = |group: Option<&str>| Placing::Sharded {
            column: "k".to_owned(),
            group: group.map(str::to_owned),
        };
        for (sql, table, placing) in [
            (
                "/* shard_key = k */ create table t (k int)",
                "\"t\"",
                sharded(None),
            ),
            (
                "create table s.\"T\" (k int) /* shard_key = 'k', table_group = g */",
                "\"s\".\"T\"",
                sharded(Some("g")),
            ),
            (
                "/* table_kind = reference */ create table t (k int)",
                "\"t\"",
                Placing::Reference,
            ),
            (
                "/* table_kind = unsharded, shard = 'shard-2' */ create table t (k int)",
                "\"t\"",
                Placing::Unsharded {
                    shard: Some("shard-2".to_owned()),
                },
            ),
        ] {
            let registration = Registration {
                table: table.to_owned(),
                placing,
            };
            assert_eq!(of(sql), Ok(Some(registration)), "{sql}");
        }
        for sql in [
            "create table t (k int)",
            "/* shard_key = k */ drop table t",
            "/* shard_key = 5 */ select 1",
        ] {
            assert_eq!(of(sql), Ok(None), "{sql}");
        }
    }

    #[test]
    fn hints_that_do_not_go_together_are_refused() {
        for sql in [
            "/* shard_key = k, table_kind = reference */ create table t (k int)",
            "/* shard_key = k, shard = 'a' */ create table t (k int)",
            "/* table_kind = sharded */ create table t (k int)",
            "/* table_kind = reference, table_group = g */ create table t (k int)",
        ] {
            assert!(of(sql).is_err(), "{sql}");
        }
    }
}
