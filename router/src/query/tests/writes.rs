//! What a statement writes.

use super::*;

#[test]
fn writes_show_their_columns_and_rows() {
    for (sql, expected) in [
        ("select * from t for update", ""),
        ("insert into t values (1, 'a')", "0: t insert (1, 'a')"),
        (
            "insert into s.t (k, v) values (1, $1), (2, default)",
            "0: s.t insert (k, v) (1, $1), (2, DEFAULT)",
        ),
        ("insert into t default values", "0: t insert defaults"),
        ("insert into t as x values (1)", "0: t as x insert (1)"),
        ("insert into t (k) select k from u", "0: t insert (k) #1"),
        ("insert into t table u", "0: t insert #1"),
        ("insert into t (values (1), (2))", "0: t insert (1), (2)"),
        ("insert into t values (1) limit 1", "0: t insert #1"),
        (
            "insert into t values (1) on conflict do nothing",
            "0: t insert (1)",
        ),
        (
            "insert into t values (1) on conflict (k) do update set v = excluded.v, (a, b) = (1, 2)",
            "0: t insert (1) or set v, a, b",
        ),
        (
            "insert into t (\"K\", arr[1]) values (1, 2)",
            "0: t insert (K, arr) (1, 2)",
        ),
        (
            "update t set k = 1, (a, b) = (select 1, 2), c[1] = 3",
            "0: t update k, a, b, c",
        ),
        ("delete from t", "0: t delete"),
        (
            "merge into t using u on t.k = u.k when not matched then insert values (1)",
            "0: t merge",
        ),
        (
            "with d as (delete from a returning *), i as (insert into b select * from d) \
             update c set v = 1",
            "1: a delete; 2: b insert #3; 0: c update v",
        ),
        (
            "with d as (delete from a returning *) select * from d",
            "1: a delete",
        ),
    ] {
        assert_eq!(writes(sql), expected, "{sql}");
    }
}
