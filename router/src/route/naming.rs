//! Writes the names of its columns into an INSERT that leaves them out, so that PostgreSQL puts the
//! values into exactly the columns that the statement is routed by, whatever has become of the
//! table meanwhile.

use super::{Plan, UnnamedInsert};

/// The INSERTs of a text whose columns have to be known.
pub fn unnamed_inserts(plans: &[Plan]) -> impl Iterator<Item = &UnnamedInsert> {
    plans.iter().flat_map(|plan| match plan {
        Plan::NeedsColumns { inserts, .. } => inserts.as_slice(),
        Plan::Key { .. }
        | Plan::Any { .. }
        | Plan::Catalog
        | Plan::Home(_)
        | Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsHint { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => &[],
    })
}

/// The text with the columns of each INSERT, given in the order of their table. Names that stand
/// for no value are left out, as PostgreSQL leaves them out.
#[must_use]
pub fn name_columns(sql: &str, inserts: &[(&UnnamedInsert, &[String])]) -> Option<String> {
    let mut inserts = inserts.to_vec();
    inserts.sort_by_key(|(insert, _)| insert.unnamed.at);
    let mut named = String::with_capacity(sql.len() + 64);
    let mut copied = 0;
    for (insert, columns) in inserts {
        let at = insert.unnamed.at;
        named.push_str(sql.get(copied..at)?);
        copied = at;
        let width = insert.unnamed.width.unwrap_or(columns.len());
        columns.first()?;
        for (index, column) in columns.iter().take(width).enumerate() {
            named.push_str(if index == 0 { " (\"" } else { ", \"" });
            named.push_str(&column.replace('"', "\"\""));
            named.push('"');
        }
        // The next word may follow without a space.
        named.push_str(") ");
    }
    named.push_str(sql.get(copied..)?);
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Unnamed;
    use topology::TableName;

    fn insert(at: usize, width: Option<usize>) -> UnnamedInsert {
        UnnamedInsert {
            table: TableName::try_from_parts("public", "t").unwrap(),
            unnamed: Unnamed { at, width },
        }
    }

    #[test]
    fn names_are_written_for_as_many_columns_as_there_are_values() {
        let columns = ["a".to_owned(), "B \"c\"".to_owned(), "d".to_owned()];
        let sql = "INSERT INTO t VALUES (1, 2)";
        for (width, list) in [
            (Some(1), "(\"a\")"),
            (Some(2), "(\"a\", \"B \"\"c\"\"\")"),
            (Some(9), "(\"a\", \"B \"\"c\"\"\", \"d\")"),
            (None, "(\"a\", \"B \"\"c\"\"\", \"d\")"),
        ] {
            let named = name_columns(sql, &[(&insert(13, width), &columns)]);
            let expected = format!("INSERT INTO t {list}  VALUES (1, 2)");
            assert_eq!(named.as_deref(), Some(&*expected));
        }
    }

    #[test]
    fn every_insert_of_a_text_gets_its_own_names() {
        let sql = "INSERT INTO t VALUES (1); INSERT INTO u(SELECT 2)";
        let (first, second) = (["a".to_owned()], ["b".to_owned()]);
        let inserts = [
            (insert(39, Some(1)), &second),
            (insert(13, Some(1)), &first),
        ];
        let inserts: Vec<_> = inserts.iter().map(|(it, list)| (it, &list[..])).collect();
        let named = name_columns(sql, &inserts).unwrap();
        assert_eq!(
            named,
            "INSERT INTO t (\"a\")  VALUES (1); INSERT INTO u (\"b\") (SELECT 2)"
        );
    }

    #[test]
    fn a_place_outside_of_the_text_and_a_table_without_columns_are_left_alone() {
        let columns = ["a".to_owned()];
        assert_eq!(name_columns("x", &[(&insert(7, None), &columns)]), None);
        assert_eq!(name_columns("x", &[(&insert(1, None), &[])]), None);
    }
}
