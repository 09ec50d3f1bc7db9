use super::*;
use crate::query::Class;
use crate::route::tests::cluster::snapshot;

fn planned(sql: &str) -> Result<Program, Refusal> {
    let analysis = query::analyze(sql).expect("it is SQL");
    let Some(Class::Select(data)) = analysis.statements.first().map(|it| &it.class) else {
        panic!("it is a SELECT");
    };
    plan(sql, data, (&snapshot(), &["public"]), Names::Columns)
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
        "SELECT max(n) FROM (SELECT status, count(*) AS n FROM orders GROUP BY 1) x",
        "SELECT count(*) FROM (SELECT DISTINCT status FROM orders) x",
        "SELECT * FROM (SELECT id FROM orders LIMIT 5) x",
        "SELECT (SELECT max(o.total) FROM countries) FROM orders o",
        "SELECT id FROM orders UNION ALL SELECT id FROM countries",
        "SELECT id FROM orders EXCEPT SELECT id FROM items",
        "SELECT o.id FROM orders o, settings s",
        "WITH x AS (SELECT * FROM orders) SELECT * FROM x a JOIN x b USING (id)",
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
