//! What each query level reads from, and what it can see.

use super::*;

#[test]
fn entries_stand_in_the_order_of_from() {
    for (sql, expected) in [
        ("select 1", ""),
        ("select * from t", "t"),
        ("select * from s.t", "s.t"),
        ("select * from db.s.t", "s.t"),
        ("table t", "t"),
        ("select * from T, \"T\"", "t, T"),
        ("select * from \"a.b\".\"c d\" as \"E\"", "a.b.c d as E"),
        ("select * from only t", "t"),
        ("select * from t as x(a, b)", "t as x(..)"),
        ("select * from t tablesample bernoulli (10)", "t"),
        ("select * from generate_series(1, 2) g", "? as g"),
        ("select * from generate_series(1, 2)", "?"),
        (
            "select * from rows from (f(1), g(2)) as x(a, b)",
            "? as x(..)",
        ),
        (
            "select * from json_to_record('{}') as x(a int, b text)",
            "? as x",
        ),
        ("select * from (select 1) s", "#1 as s | "),
        ("select * from (values (1)) v(a)", "#1 as v(..) | "),
        ("select * from a left join b on true", "a, b or null"),
        ("select * from a right join b on true", "a or null, b"),
        (
            "select * from a full join b on true",
            "a or null, b or null",
        ),
        (
            "select * from a left join (b join c on true) on true",
            "a, b or null, c or null",
        ),
        (
            "select * from (a join b on true) as j join c on true",
            "a hidden by 2, b hidden by 2, ? as j, c",
        ),
        (
            "select * from ((a join b on true) as j join c on true) as i",
            "a hidden by 2, b hidden by 2, ? as j hidden by 4, c hidden by 4, ? as i",
        ),
        ("select * from a join b using (k) as x", "a, b, ? as x"),
        ("insert into t select * from u", "t | u"),
        ("update t as x set v = 1 from u", "t as x, u"),
        ("delete from t using u, w", "t, u, w"),
        (
            "merge into t using u on true when matched then delete",
            "t, u",
        ),
    ] {
        assert_eq!(entries(sql), expected, "{sql}");
    }
}

#[test]
fn a_cte_hides_a_table_of_its_name_where_it_is_in_sight() {
    for (sql, expected) in [
        ("with t as (select 1) select * from t", "#1 | "),
        ("with t as (select 1) select * from public.t", "public.t | "),
        ("with t as (select * from t) select * from t", "#1 | t"),
        (
            "with a as (select * from b), b as (select 1) select * from a, b",
            "#1, #2 | b | ",
        ),
        (
            "with a as (select 1), b as (select * from a) select * from b",
            "#2 |  | #1",
        ),
        (
            "select * from t, (with t as (select 1) select * from t) s",
            "t, #1 as s | #2 | ",
        ),
        (
            "select (with t as (select 1) select 2 from t), 3 from t",
            "t | #2 | ",
        ),
        (
            "with t as (select 1) select (select 2 from t) from u",
            "u |  | #1",
        ),
        (
            "with t as (select 1) select 2 from t union select 3 from t",
            " |  | #1 | #1",
        ),
        ("with t as (select 1) delete from t", "t | "),
        (
            "with t as (select 1) insert into t select * from t",
            "t |  | #1",
        ),
        (
            "insert into t with t as (select 1) select * from t",
            "t | #2 | ",
        ),
        (
            "with t(a) as (select 1) select * from t x",
            "#1 as x(..) | ",
        ),
        (
            "with recursive t as (select 1 union all select * from t, u) select * from t",
            "? |  |  | ?, u",
        ),
        (
            "with recursive a as (select * from b), b as (select * from c) select * from a",
            "? | ? | c",
        ),
        (
            "with d as (delete from t returning *) select * from d, t",
            "#1, t | t",
        ),
        ("with T as (select 1) select * from t, \"T\"", "#1, T | "),
    ] {
        assert_eq!(entries(sql), expected, "{sql}");
    }
}

#[test]
fn a_sub_query_sees_what_its_place_allows() {
    let own = |sql: &str| {
        parents(sql)
            .into_iter()
            .skip(1)
            .flatten()
            .collect::<Vec<_>>()
    };
    for (sql, expected) in [
        (
            "select * from a, b where exists (select 1)",
            vec![(0, 0..2)],
        ),
        ("select (select 1) from a", vec![(0, 0..1)]),
        ("select * from a, (select 1) s, b", vec![(0, 0..0)]),
        ("select * from a, lateral (select 1) s, b", vec![(0, 0..1)]),
        (
            "select * from a, b join lateral (select 1) s on true",
            vec![(0, 0..2)],
        ),
        (
            "select * from c, a join b on exists (select 1)",
            vec![(0, 1..3)],
        ),
        ("select * from a, f((select 1)), b", vec![(0, 0..1)]),
        ("with w as (select 1) select * from a", vec![(0, 0..0)]),
        (
            "select 1 from a union select 2 from b",
            vec![(0, 0..0), (0, 0..0)],
        ),
        ("insert into t values ((select 1))", vec![(0, 0..0)]),
        ("insert into t select 1", vec![(0, 0..0)]),
        (
            "insert into t values (1) returning (select 2)",
            vec![(0, 0..1)],
        ),
        ("update t set v = (select 1) from u", vec![(0, 0..2)]),
    ] {
        assert_eq!(own(sql), expected, "{sql}");
    }
}

#[test]
fn joins_merge_columns() {
    let merged = |sql: &str| {
        let merged = data(sql).scopes.remove(0).merged;
        let all = merged.into_iter().map(|it| {
            let name = it.name.unwrap_or_else(|| "*".to_owned());
            format!("{name} {:?} {:?} {:?}", it.joined, it.left, it.right)
        });
        all.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        merged("select * from a join b using (k, v)"),
        "k Inner 0..1 1..2; v Inner 0..1 1..2"
    );
    assert_eq!(
        merged("select * from a left join b using (k) full join c using (k)"),
        "k Left 0..1 1..2; k Full 0..2 2..3"
    );
    assert_eq!(
        merged("select * from a natural right join b"),
        "* Right 0..1 1..2"
    );
    assert_eq!(merged("select * from a join b on true"), "");
}

#[test]
fn locking_clauses_are_seen_anywhere() {
    for (sql, expected) in [
        ("select * from t", false),
        ("select * from t for update", true),
        ("select * from t for key share skip locked", true),
        ("select * from (select * from t for share) s", true),
        (
            "select * from u where exists (select 1 from t for update)",
            true,
        ),
        ("with c as (select * from t for update) select 1", true),
        ("(select * from t for update) union all (select 2)", true),
    ] {
        assert_eq!(data(sql).locks_rows, expected, "{sql}");
    }
}

#[test]
fn what_is_not_looked_into_is_said() {
    for sql in [
        "update t set v = 1 where current of c",
        "delete from t where current of c",
        "select * from (select 1 into x) s",
    ] {
        assert!(data(sql).opaque.is_some(), "{sql}");
    }
}
