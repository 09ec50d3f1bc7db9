//! Finds the rows that differ: those of the buckets that do are read again, with their names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::bucket;
use super::pass::{Plan, Role};
use super::{Difference, Error, Kind};
use crate::identifier::quoted;
use crate::reshard::copy::part;
use crate::reshard::link::Link;

/// Rows that are named at most; who finds so many has found enough.
const MAX_NAMED: usize = 100;
/// Rows of both sides that are held at most while their counterparts may still come.
const MAX_HELD: usize = 1_000_000;
/// Buckets that are read again at most.
const MAX_BUCKETS: usize = 256;

/// Names some of the rows of a table that differ.
pub(super) async fn find(
    plan: &Plan,
    table: usize,
    differing: &BTreeSet<usize>,
) -> Result<Vec<Difference>, Error> {
    let wanted: BTreeSet<usize> = differing.iter().copied().take(MAX_BUCKETS).collect();
    // How often more the owners have a row of this name and this hash than the mirrors.
    let mut surplus: HashMap<(Box<[u8]>, u64), i64> = HashMap::new();
    let mut name = None;
    for source in &plan.sources {
        let mut link = plan.open(source).await?;
        // What the first owner takes for a row's name is asked of all.
        let name = match &name {
            Some(name) => name,
            None => name.insert(row_name(&mut link, plan, table).await?),
        };
        let list = format!("{}, left(ROW({name})::text, 200)", plan.list(table));
        for range in part::ranges(&source.parts, plan.order.workers) {
            let Some(part) = source.parts.get(range.part) else {
                continue;
            };
            if plan.table(part) != table {
                continue;
            }
            let mut put = |row: &[u8], token| {
                if let Some((hash, name)) = hash_and_name(row)
                    && wanted.contains(&bucket::number(token))
                    && surplus.len() < MAX_HELD
                {
                    let entry = surplus.entry((name.into(), hash)).or_default();
                    *entry += match source.role {
                        Role::Owner => 1,
                        Role::Mirror => -1,
                    };
                    if *entry == 0 {
                        surplus.remove(&(name.into(), hash));
                    }
                }
            };
            plan.read(&mut link, (source, part, range), (&list, 3), &mut put)
                .await?;
        }
    }
    Ok(named(surplus))
}

fn named(surplus: HashMap<(Box<[u8]>, u64), i64>) -> Vec<Difference> {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for ((name, _), count) in surplus {
        let kind = if count > 0 {
            Kind::Missing
        } else {
            Kind::Extra
        };
        let name = String::from_utf8_lossy(&name).into_owned();
        kinds
            .entry(name)
            .and_modify(|other| {
                if *other != kind {
                    *other = Kind::Changed;
                }
            })
            .or_insert(kind);
    }
    let all = kinds.into_iter().take(MAX_NAMED);
    all.map(|(key, kind)| Difference { key, kind }).collect()
}

/// The hash and the name of a row of three columns: the key, the hash, the name.
fn hash_and_name(row: &[u8]) -> Option<(u64, &[u8])> {
    let (_, rest) = row.split_first_chunk::<2>()?;
    let (_, rest) = value(rest)?;
    let (hash, rest) = value(rest)?;
    let (name, _) = value(rest)?;
    Some((u64::from_be_bytes(hash.try_into().ok()?), name))
}

fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

/// The columns of the primary key, or else the whole row.
async fn row_name(link: &mut Link, plan: &Plan, table: usize) -> Result<String, Error> {
    let Some(table) = plan.order.tables.get(table) else {
        return Ok(String::new());
    };
    let name = quoted(&table.name).replace('\'', "''");
    let sql = format!(
        "SELECT coalesce((SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place) \
           FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place), \
             pg_attribute a \
           WHERE i.indrelid = c.oid AND i.indisprimary \
             AND a.attrelid = c.oid AND a.attnum = k.number), \
           (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) \
           FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)) \
         FROM pg_class c WHERE c.oid = '{name}'::regclass"
    );
    let rows = link.query("look up a primary key", &sql).await?;
    Ok(rows
        .into_iter()
        .flatten()
        .flatten()
        .next()
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_by_how_they_differ() {
        let row = |name: &str, hash| (Box::from(name.as_bytes()), hash);
        let surplus = HashMap::from([
            (row("(1)", 5), 1),
            (row("(2)", 5), -1),
            (row("(3)", 5), 1),
            (row("(3)", 6), -1),
            (row("(4)", 6), 2),
        ]);
        let kinds: Vec<(String, Kind)> = named(surplus)
            .into_iter()
            .map(|difference| (difference.key, difference.kind))
            .collect();
        let wanted = [
            ("(1)", Kind::Missing),
            ("(2)", Kind::Extra),
            ("(3)", Kind::Changed),
            ("(4)", Kind::Missing),
        ];
        assert_eq!(kinds, wanted.map(|(key, kind)| (key.to_owned(), kind)));
    }
}
