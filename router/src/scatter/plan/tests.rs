use super::*;
use crate::query::{self, Class};
use crate::route::tests::cluster::snapshot;

fn planned(sql: &str) -> Result<Program, Refusal> {
    let analysis = query::analyze(sql).expect("it is SQL");
    let Some(Class::Select(data)) = analysis.statements.first().map(|it| &it.class) else {
        panic!("it is a SELECT");
    };
    plan(sql, data, (&snapshot(), &["public"]), Manner::ALL[0])
}

/// What shards are asked, with `OWN` for the condition about their own rows.
fn shards(sql: &str) -> String {
    let program = planned(sql).unwrap_or_else(|refusal| panic!("{sql}: {refusal}"));
    program.shards.fill(|hole| match hole {
        Hole::Own(_) => "OWN".to_owned(),
        hole => format!("<{hole:?}>"),
    })
}

fn last(sql: &str) -> String {
    match planned(sql).map(|program| program.finish) {
        Ok(Finish::Last { sql, .. }) => sql.fill(|hole| format!("<{hole:?}>")),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn rows_are_asked_for_as_they_are_with_what_orders_them() {
    assert_eq!(
        shards("SELECT * FROM orders"),
        "SELECT * FROM orders WHERE OWN"
    );
    assert_eq!(
        shards("SELECT id AS i FROM orders o WHERE a OR b ORDER BY i, total + 1 LIMIT 5 OFFSET 2"),
        "SELECT id AS i, id AS vg_order_0, total + 1 AS vg_order_1 FROM orders o \
         WHERE (a OR b) AND OWN ORDER BY i, total + 1 LIMIT <Limit>"
    );
    assert_eq!(
        shards("SELECT * FROM orders ORDER BY 2"),
        "SELECT *, <Output(2)> AS vg_order_0 FROM orders WHERE OWN ORDER BY 2"
    );
}

#[test]
fn groups_that_lie_on_one_shard_are_left_to_it() {
    assert_eq!(
        shards("SELECT customer_id, stddev(total) FROM orders GROUP BY 1 HAVING count(*) > 1"),
        "SELECT customer_id, stddev(total) FROM orders WHERE OWN GROUP BY 1 HAVING count(*) > 1"
    );
    assert_eq!(
        shards("SELECT DISTINCT customer_id, total FROM orders"),
        "SELECT DISTINCT customer_id, total FROM orders WHERE OWN"
    );
}

#[test]
fn aggregates_are_put_together_by_a_last_query() {
    let sql = "SELECT status, count(*), sum(a), avg(b) FROM orders GROUP BY status ORDER BY 2";
    assert_eq!(
        shards(sql),
        "SELECT status AS c0, count(*) AS c1, sum(a) AS c2, pg_catalog.count(b) AS c3, \
         pg_catalog.sum(<Widen(4)>(b)) AS c4 FROM orders WHERE OWN GROUP BY 1"
    );
    assert_eq!(
        last(sql),
        "SELECT p.c0, COALESCE(pg_catalog.sum(p.c1), 0)::bigint, \
         pg_catalog.sum(p.c2)::<Type(2)>, <Average(4, 3)> FROM <Partial> p GROUP BY p.c0 \
         ORDER BY 2"
    );
}

#[test]
fn what_cannot_be_put_together_is_worked_out_from_rows() {
    let sql = "SELECT string_agg(note, ',' ORDER BY id) FROM orders WHERE total > 3";
    assert_eq!(
        shards(sql),
        "SELECT note AS c0, id AS c1 FROM orders WHERE total > 3 AND OWN"
    );
    assert_eq!(
        last(sql),
        "SELECT string_agg(p.c0, ',' ORDER BY p.c1) FROM <Partial> p"
    );
}

#[test]
fn each_side_of_a_union_and_the_level_of_the_table_is_asked_for_own_rows() {
    assert_eq!(
        shards("SELECT id FROM orders UNION ALL SELECT id FROM items ORDER BY 1"),
        "SELECT id, id AS vg_order_0 FROM orders WHERE OWN UNION ALL \
         SELECT id, id AS vg_order_0 FROM items WHERE OWN ORDER BY 1"
    );
    assert_eq!(
        shards("WITH x AS (SELECT * FROM orders) SELECT id FROM x"),
        "WITH x AS (SELECT * FROM orders WHERE OWN) SELECT id FROM x"
    );
}

#[test]
fn rows_of_several_shards_that_belong_together_are_refused() {
    for sql in [
        "SELECT o.id FROM orders o JOIN items i ON i.id = o.id",
        "SELECT o.id FROM orders o, items i",
        "SELECT c.name FROM countries c LEFT JOIN orders o ON o.country = c.id",
        "SELECT c.name FROM countries c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.c = c.id)",
        "SELECT id FROM orders WHERE total > (SELECT avg(total) FROM orders)",
        "SELECT id FROM orders WHERE customer_id NOT IN (SELECT customer_id FROM items)",
        "SELECT (SELECT max(o.total) FROM countries) FROM orders o",
        "SELECT id FROM orders UNION ALL SELECT id FROM countries",
        "SELECT o.id FROM orders o, settings s",
        "SELECT id FROM orders ORDER BY random()",
        "SELECT __vg_own_0__ FROM orders",
        "SELECT 0x10 FROM orders",
        "SELECT id FROM orders WHERE total > 1_000",
    ] {
        assert_eq!(
            planned(sql).map_err(|it| it.sqlstate),
            Err("0A000"),
            "{sql}"
        );
    }
}

fn around(sql: &str) -> Option<(String, String)> {
    let program = planned(sql).ok()?;
    let Finish::Around { inner, outer } = &program.finish else {
        return None;
    };
    let shown = |hole: Hole| format!("<{hole:?}>");
    Some((inner.shards.fill(shown), outer.fill(shown)))
}

#[test]
fn a_query_around_the_one_that_it_reads_comes_last() {
    let with = "WITH x AS (SELECT status, count(*) AS n FROM orders GROUP BY status)";
    let with = format!("{with} SELECT a.n FROM x a JOIN x b ON a.n = b.n");
    for sql in [
        "SELECT count(*) FROM (SELECT id FROM orders ORDER BY id LIMIT 3) x",
        "SELECT EXISTS (SELECT FROM orders)",
        &with,
    ] {
        let (inner, outer) = around(sql).unwrap();
        assert!(inner.contains("FROM orders WHERE <Own(0)>"), "{inner}");
        assert!(outer.contains("<Partial>"), "{outer}");
        assert!(!outer.contains("orders"), "{outer}");
    }
}

#[test]
fn a_query_that_reads_more_than_one_within_it_is_not_put_around_it() {
    for sql in [
        "SELECT count(*) FROM (SELECT id FROM orders LIMIT 3) x, (SELECT id FROM orders LIMIT 3) y",
        "SELECT 1 FROM (SELECT id FROM orders LIMIT 3) x WHERE id = (SELECT max(id) FROM orders)",
        "SELECT (SELECT max(id) FROM orders), (SELECT min(id) FROM orders)",
        "SELECT * FROM (SELECT id FROM orders LIMIT 3 FOR UPDATE) x",
    ] {
        let refusal = planned(sql).map(drop).unwrap_err();
        assert_eq!(refusal.sqlstate, "0A000", "{sql}");
    }
}

#[test]
fn the_sides_of_a_set_operation_are_told_apart_by_a_number() {
    let sql = "SELECT a AS x FROM orders EXCEPT SELECT b FROM orders ORDER BY x LIMIT 2";
    let asked = shards(sql);
    for part in ["0 AS vg_side", "1 AS vg_side", "UNION ALL"] {
        assert!(asked.contains(part), "{asked}");
    }
    let last = last(sql);
    for part in ["p.c0 AS x", "EXCEPT", "LIMIT 2"] {
        assert!(last.contains(part), "{last}");
    }
}
