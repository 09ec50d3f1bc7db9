//! What a query level hands out: only columns through which a condition from outside would hold
//! for all rows that are read.

use super::*;

/// What the first sub-select hands out.
fn inner(sql: &str) -> String {
    written_outputs(&data(sql).scopes[1].outputs)
}

#[test]
fn a_sub_select_hands_out_its_columns() {
    for (query, expected) in [
        ("select k, v as w from t", "k, v as w"),
        ("select t.k, s.t.v from t", "t.k, s.t.v"),
        ("select * from t", "*"),
        (
            "select t.*, 5, 'x'::text, k + 1 from t",
            "t.*, 5, 'x'::text, ?",
        ),
        ("select distinct k from t", "k"),
        (
            "select k, count(*) from t group by k having count(*) > 1",
            "k, ?",
        ),
        ("select k from t order by v", "k"),
        ("values (1, 'a'), (2, 'b')", "(1, 'a'), (2, 'b')"),
        ("select k from t union select k from u", "[2, 3]"),
        ("select k::text from t", "k::Text"),
        ("select k::numeric from t", "?"),
        (
            "select unnest($1::bigint[]), unnest($2)",
            "array Parameter(0, Some(Integer)) of Parameter(0), \
             array Parameter(1, None) of Parameter(1)",
        ),
        ("select unnest($1, $2)", "?"),
        ("with c as (select k from t) select * from c", "*"),
    ] {
        assert_eq!(
            inner(&format!("select * from ({query}) s")),
            expected,
            "{query}"
        );
        assert_eq!(
            inner(&format!("select * from a where x in ({query})")),
            expected,
            "{query}"
        );
        assert_eq!(
            inner(&format!("with s as ({query}) select * from s")),
            expected,
            "{query}"
        );
    }
}

#[test]
fn rows_that_depend_on_other_rows_have_no_known_origin() {
    for query in [
        "select k from t limit 1",
        "select k from t offset 1",
        "select k from t order by v fetch first row with ties",
        "select distinct on (v) k from t",
        "select k, row_number() over () from t",
        "select k, 1 + sum(v) over (partition by w) from t",
        "select k from t for update",
        "select k from t union select k from u limit 1",
        "delete from t returning k",
        "update t set v = 1 returning k",
        "insert into t values (1) returning k",
    ] {
        if !query.starts_with("select") {
            assert_eq!(
                inner(&format!("with s as ({query}) select * from s")),
                "unknown",
                "{query}"
            );
            continue;
        }
        assert_eq!(
            inner(&format!("select * from ({query}) s")),
            "unknown",
            "{query}"
        );
        assert_eq!(
            inner(&format!("select * from a where x in ({query})")),
            "unknown",
            "{query}"
        );
        assert_eq!(
            inner(&format!("with s as ({query}) select * from s")),
            "unknown",
            "{query}"
        );
    }
}

#[test]
fn a_cte_with_two_references_has_no_known_origin() {
    for sql in [
        "with c as (select * from t) select * from c x, c y where x.k = 5",
        "with c as (select * from t) select * from c where k = 5 and exists (select 1 from c)",
        "with c as (select * from t) select * from c union select * from c",
    ] {
        assert_eq!(inner(sql), "unknown", "{sql}");
    }
    let sql = "with c as (select * from t), d as (select * from c) select * from d";
    assert_eq!(inner(sql), "*");
}

#[test]
fn columns_that_grouping_sets_empty_have_no_known_origin() {
    for group in ["rollup (k)", "cube (k)", "grouping sets ((k), ())"] {
        let query = format!("select k from t where k = 5 group by {group}");
        assert_eq!(
            inner(&format!("select * from ({query}) s")),
            "unknown",
            "{group}"
        );
        assert_eq!(
            inner(&format!("insert into u {query}")),
            "unknown",
            "{group}"
        );
    }
}

#[test]
fn a_constant_that_takes_its_type_from_others_is_forgotten() {
    for (query, expected) in [
        ("values ('05'), ('06')", "('05'), ('06')"),
        (
            "values ('05', 1), (1, 2), (null, 3)",
            "(?, 1), (?, 2), (?, 3)",
        ),
        ("values (1), (null), (2)", "(1), (NULL), (2)"),
        ("values (1), ($1)", "(?), (?)"),
        ("values ($1), ($2)", "(?), (?)"),
        (
            "values ($1::int), ($2::int)",
            "($1::integer), ($2::integer)",
        ),
        ("values ('a'::text), ('b')", "(?), (?)"),
        (
            "values ('a'::text), ('b'::text)",
            "('a'::text), ('b'::text)",
        ),
    ] {
        assert_eq!(
            inner(&format!("insert into t ({query} limit 9)")),
            expected,
            "{query}"
        );
    }
    let branches = data("select '05', 1, $1, $1::int, k from t union values ('a', 2, 3, 4, 5)");
    let written: Vec<_> = branches
        .scopes
        .iter()
        .map(|it| written_outputs(&it.outputs))
        .collect();
    assert_eq!(
        written,
        ["[1, 2]", "?, 1, ?, $1::integer, k", "(?, 2, 3, 4, 5)"]
    );
}

#[test]
fn an_insert_takes_all_rows_of_its_query() {
    for query in ["select k from t limit 1", "select distinct on (v) k from t"] {
        assert_eq!(inner(&format!("insert into u {query}")), "k", "{query}");
    }
    assert_eq!(inner("insert into u (values (1), (2) limit 1)"), "(1), (2)");
}
