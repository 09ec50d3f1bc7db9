//! Whether the foreign keys of tables that were made or changed can be held: each shard looks for
//! the row that is referred to among its own.

use std::collections::BTreeMap;

use topology::{Placement, Snapshot, TableName};
use wire::quote::literal;

use super::Failure;
use super::participant::{Participant, Row};
use crate::route::Refusal;

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    name: String,
    from: TableName,
    to: TableName,
    /// The columns, and what they refer to.
    columns: Vec<(String, String)>,
}

/// Refuses foreign keys, from or to `tables`, whose rows may be on another shard than those that
/// refer to them. `made` are tables that are about to be registered.
pub(super) async fn check(
    member: &mut Participant,
    tables: &[String],
    made: &[(TableName, Placement)],
    snapshot: &Snapshot,
) -> Result<(), Failure> {
    if tables.is_empty() {
        return Ok(());
    }
    let place = |name: &TableName| {
        let new = made.iter().find(|(known, _)| known == name);
        let known = snapshot.table(name).map(|table| &table.placement);
        new.map(|(_, placement)| placement).or(known)
    };
    let rows = member.rows(&question(tables)).await?;
    for reference in read(&rows) {
        if let (Some(from), Some(to)) = (place(&reference.from), place(&reference.to)) {
            judge(&reference, from, to)?;
        }
    }
    Ok(())
}

fn question(tables: &[String]) -> String {
    let names: Vec<String> = tables
        .iter()
        .map(|name| format!("pg_catalog.to_regclass({})", literal(name)))
        .collect();
    let named = format!("ANY (ARRAY[{}]::pg_catalog.oid[])", names.join(", "));
    format!(
        "SELECT k.oid, k.conname, n.nspname, c.relname, rn.nspname, rc.relname, a.attname, ra.attname \
         FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_class rc ON rc.oid = k.confrelid \
         JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace \
         CROSS JOIN LATERAL pg_catalog.generate_subscripts(k.conkey, 1) at \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[at] \
         JOIN pg_catalog.pg_attribute ra ON ra.attrelid = k.confrelid AND ra.attnum = k.confkey[at] \
         WHERE k.contype = 'f' AND (k.conrelid = {named} OR k.confrelid = {named})"
    )
}

fn read(rows: &[Row]) -> Vec<Reference> {
    let mut found: BTreeMap<&str, Reference> = BTreeMap::new();
    for row in rows {
        let [
            Some(id),
            Some(name),
            Some(schema),
            Some(table),
            Some(to_schema),
            Some(to_table),
            Some(column),
            Some(to_column),
        ] = row.as_slice()
        else {
            continue;
        };
        let from = TableName::try_from_parts(schema, table);
        let to = TableName::try_from_parts(to_schema, to_table);
        // What has no such name is not registered.
        let (Ok(from), Ok(to)) = (from, to) else {
            continue;
        };
        let reference = found.entry(id).or_insert_with(|| Reference {
            name: name.clone(),
            from,
            to,
            columns: Vec::new(),
        });
        reference.columns.push((column.clone(), to_column.clone()));
    }
    found.into_values().collect()
}

fn judge(reference: &Reference, from: &Placement, to: &Placement) -> Result<(), Refusal> {
    let Reference {
        name,
        from: table,
        to: other,
        columns,
    } = reference;
    let hint = match (from, to) {
        (
            Placement::Sharded { shard_key, .. },
            Placement::Sharded {
                shard_key: other_key,
                ..
            },
        ) => {
            let pairs = |(column, to): &(String, String)| column == shard_key && to == other_key;
            if columns.iter().any(pairs) {
                return Ok(());
            }
            format!("let its columns pair the shard keys \"{shard_key}\" and \"{other_key}\"")
        }
        (_, Placement::Reference) => return Ok(()),
        (Placement::Unsharded { shard_id }, Placement::Unsharded { shard_id: there })
            if shard_id == there =>
        {
            return Ok(());
        }
        (
            Placement::Reference | Placement::Unsharded { .. } | Placement::View { .. },
            Placement::Sharded { .. },
        )
        | (_, Placement::Unsharded { .. } | Placement::View { .. }) => {
            "refer to a reference table, or leave the foreign key out".to_owned()
        }
    };
    let message = format!(
        "foreign key \"{name}\" of table \"{table}\" can't be held: the row of \"{other}\" may be on \
         another shard"
    );
    Err(Refusal::unsupported(message).hint(hint))
}

#[cfg(test)]
mod tests {
    use topology::{GroupName, ShardId};

    use super::*;

    fn sharded(key: &str) -> Placement {
        Placement::Sharded {
            group: GroupName::try_new("default").unwrap(),
            shard_key: key.to_owned(),
        }
    }

    fn unsharded(shard: &str) -> Placement {
        Placement::Unsharded {
            shard_id: ShardId::try_new(shard).unwrap(),
        }
    }

    fn holds(from: &Placement, to: &Placement) -> bool {
        let name = |name: &str| TableName::try_from_parts("public", name).unwrap();
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let reference = Reference {
            name: "f".to_owned(),
            from: name("lines"),
            to: name("orders"),
            columns: vec![pair("customer", "customer_id"), pair("id", "id")],
        };
        judge(&reference, from, to).is_ok()
    }

    #[test]
    fn a_foreign_key_holds_where_both_rows_are_on_one_shard() {
        assert!(holds(&sharded("customer"), &sharded("customer_id")));
        assert!(!holds(&sharded("id"), &sharded("customer_id")));
        assert!(!holds(&sharded("customer"), &sharded("id")));
        assert!(holds(&sharded("x"), &Placement::Reference));
        assert!(holds(&Placement::Reference, &Placement::Reference));
        assert!(!holds(&Placement::Reference, &sharded("customer_id")));
        assert!(holds(&unsharded("a"), &Placement::Reference));
        assert!(holds(&unsharded("a"), &unsharded("a")));
        assert!(!holds(&unsharded("a"), &unsharded("b")));
        assert!(!holds(&sharded("customer"), &unsharded("a")));
    }

    #[test]
    fn columns_of_one_constraint_belong_together() {
        let row = |id: &str, column: &str| {
            let texts = [id, "f", "public", "a", "public", "b", column, column];
            texts.map(|text| Some(text.to_owned())).to_vec()
        };
        let found = read(&[row("1", "x"), row("2", "z"), row("1", "y")]);
        let columns: Vec<usize> = found.iter().map(|it| it.columns.len()).collect();
        assert_eq!(columns, [2, 1]);
    }
}
