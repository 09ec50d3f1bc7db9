//! A part of the rows of an INSERT, as a text of its own.

use pg_query::NodeEnum;
use pg_query::protobuf::{BoolExpr, BoolExprType, Node, Token};

use super::parse;

/// The text of a single INSERT of VALUES with only the rows at these places, which are in order;
/// none when it is none.
#[must_use]
pub fn with_rows(sql: &str, rows: &[usize], max_bytes: usize) -> Option<String> {
    let mut tree = parse::parse(sql, max_bytes).ok()?;
    let [raw] = tree.stmts.as_mut_slice() else {
        return None;
    };
    let node = raw.stmt.as_mut()?.node.as_mut()?;
    let NodeEnum::InsertStmt(insert) = node else {
        return None;
    };
    let NodeEnum::SelectStmt(select) = insert.select_stmt.as_mut()?.node.as_mut()? else {
        return None;
    };
    let lists = std::mem::take(&mut select.values_lists);
    let lists = lists.into_iter().enumerate();
    let kept = lists.filter(|(place, _)| rows.binary_search(place).is_ok());
    select.values_lists = kept.map(|(_, list)| list).collect();
    (select.values_lists.len() == rows.len()).then_some(())?;
    tree.deparse(pg_query::DeparseOptions::default()).ok()
}

/// The text of a single INSERT whose query has a further condition; none when it is none.
#[must_use]
pub fn with_condition(sql: &str, condition: &str, max_bytes: usize) -> Option<String> {
    let mut tree = parse::parse(sql, max_bytes).ok()?;
    let mut other = parse::parse(&format!("SELECT WHERE {condition}"), max_bytes).ok()?;
    let [raw] = other.stmts.as_mut_slice() else {
        return None;
    };
    let Some(NodeEnum::SelectStmt(holder)) = raw.stmt.as_mut()?.node.as_mut() else {
        return None;
    };
    let condition = holder.where_clause.take()?;
    let [raw] = tree.stmts.as_mut_slice() else {
        return None;
    };
    let Some(NodeEnum::InsertStmt(insert)) = raw.stmt.as_mut()?.node.as_mut() else {
        return None;
    };
    let NodeEnum::SelectStmt(select) = insert.select_stmt.as_mut()?.node.as_mut()? else {
        return None;
    };
    select.where_clause = Some(match select.where_clause.take() {
        None => condition,
        Some(own) => Box::new(Node {
            node: Some(NodeEnum::BoolExpr(Box::new(BoolExpr {
                boolop: BoolExprType::AndExpr.into(),
                args: vec![*condition, *own],
                ..BoolExpr::default()
            }))),
        }),
    });
    tree.deparse(pg_query::DeparseOptions::default()).ok()
}

/// Whether a single INSERT, UPDATE or DELETE hands out rows.
#[must_use]
pub fn returns_rows(sql: &str, max_bytes: usize) -> bool {
    let Ok(tree) = parse::parse(sql, max_bytes) else {
        return true;
    };
    let node = tree.stmts.first().and_then(|raw| raw.stmt.as_ref());
    match node.and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::InsertStmt(it)) => it.returning_clause.is_some(),
        Some(NodeEnum::UpdateStmt(it)) => it.returning_clause.is_some(),
        Some(NodeEnum::DeleteStmt(it)) => it.returning_clause.is_some(),
        _ => true,
    }
}

/// The parameters of a text, counted from 0, each once.
#[must_use]
pub fn parameters_in(sql: &str) -> Vec<u16> {
    let Ok(scanned) = pg_query::scan(sql) else {
        return Vec::new();
    };
    let params = scanned.tokens.iter();
    let params = params.filter(|token| token.token() == Token::Param);
    let mut numbers: Vec<u16> = params
        .filter_map(|token| {
            let (start, end) = (usize::try_from(token.start), usize::try_from(token.end));
            let text = sql.get(start.ok()?..end.ok()?)?;
            text.strip_prefix('$')?.parse::<u16>().ok()?.checked_sub(1)
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::MAX_STATEMENT_BYTES;

    #[test]
    fn an_insert_keeps_the_rows_that_are_asked_for() {
        let sql = "INSERT INTO t AS x (a, b) VALUES ($1, 'a'), ($2, 'b'), (3, $4) \
                   ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a";
        let part = with_rows(sql, &[0, 2], MAX_STATEMENT_BYTES).unwrap();
        assert_eq!(
            part,
            "INSERT INTO t AS x (a, b) VALUES ($1, 'a'), (3, $4) ON CONFLICT (a) DO UPDATE SET \
             b = excluded.b RETURNING a"
        );
        assert_eq!(parameters_in(&part), [0, 3]);
        assert!(returns_rows(sql, MAX_STATEMENT_BYTES));
        assert!(!returns_rows("DELETE FROM t", MAX_STATEMENT_BYTES));
        assert_eq!(with_rows(sql, &[7], MAX_STATEMENT_BYTES), None);
        assert_eq!(with_rows("SELECT 1", &[0], MAX_STATEMENT_BYTES), None);
    }
}
