//! Which conditions are facts, and of what.

use super::*;

#[test]
fn every_spelling_of_an_equality_is_a_fact() {
    for (condition, expected) in [
        ("id = 5", "0: id in (5)"),
        ("5 = id", "0: id in (5)"),
        ("id = -5", "0: id in (-5)"),
        ("id = (5)", "0: id in (5)"),
        ("(id) = 5", "0: id in (5)"),
        ("(id = 5)", "0: id in (5)"),
        ("id = '5'", "0: id in ('5')"),
        ("id = 5::bigint", "0: id in ('5'::integer)"),
        ("id = $1", "0: id in ($1)"),
        ("$1 = id", "0: id in ($1)"),
        ("id = $1::bigint", "0: id in ($1::integer)"),
        ("id = cast($1 as int8)", "0: id in ($1::integer)"),
        ("id = null", "0: id in (NULL)"),
        ("id operator(pg_catalog.=) 5", "0: id in (5)"),
        ("id in (5)", "0: id in (5)"),
        ("id in (5, 6)", "0: id in (5, 6)"),
        ("id in ($1, $2)", "0: id in ($1, $2)"),
        ("id = any($1)", "0: id in array $1"),
        ("id = some($1)", "0: id in array $1"),
        ("id = any($1::bigint[])", "0: id in array $1::integer"),
        ("id = any('{1,2}')", "0: id in array '{1,2}'"),
        (
            "id = any('{1,2}'::int[])",
            "0: id in array '{1,2}'::integer",
        ),
        ("id = any(array[1, 2])", "0: id in (1, 2)"),
        (
            "id = any(array[1, $2]::bigint[])",
            "0: id in ('1'::integer, $2::integer)",
        ),
        ("id = 5 or id = 6", "0: id in (5, 6)"),
        (
            "id = 5 or 6 = id or (id in (7, 8) or id = $1)",
            "0: id in (5, 6, 7, 8, $1)",
        ),
        ("t.id = 5", "0: t.id in (5)"),
        ("public.t.id = 5", "0: public.t.id in (5)"),
        ("db.public.t.id = 5", "0: public.t.id in (5)"),
        ("\"Id\" = 5 and ID = 6", "0: Id in (5); 0: id in (6)"),
        ("id = 5 and v = 'x'", "0: id in (5); 0: v in ('x')"),
        ("id = 5 and (v > 3 and w = 1)", "0: id in (5); 0: w in (1)"),
        ("(id, v) = (5, 'x')", "0: id in (5); 0: v in ('x')"),
        ("row(id, v) = row(5, w)", "0: id in (5); 0: v = w"),
        ("(id, v + 1) = (5, 6)", "0: id in (5)"),
        (
            "(id, v) in ((1, 'a'), (2, 'b'))",
            "0: id in (1, 2); 0: v in ('a', 'b')",
        ),
        ("id = v", "0: id = v"),
        ("id in (select x from u)", "0: id in #1"),
        ("id = any (select x from u)", "0: id in #1"),
        ("id in (values (1), (2))", "0: id in #1"),
        ("id = 5 and id = 6", "0: id in (5); 0: id in (6)"),
    ] {
        let sql = format!("select * from t where {condition}");
        assert_eq!(facts(&sql), expected, "{condition}");
    }
}

#[test]
fn what_does_not_hold_for_every_row_is_no_fact() {
    for condition in [
        "not id = 5",
        "not (id = 5 and v = 1)",
        "id <> 5",
        "id >= 5 and id <= 5",
        "id between 5 and 5",
        "id not in (5)",
        "id <> all (array[5])",
        "id = all (array[5])",
        "id = any(array[]::int[])",
        "id is not distinct from 5",
        "id = 5 or v = 1",
        "id = 5 or true",
        "id = 5 or t.id = 6",
        "id = 5 or (id = 6 and v = 1)",
        "(id = 5) is not false",
        "(id = 5) = true",
        "case when id = 5 then true else true end",
        "coalesce(id = 5, true)",
        "id like 'a'",
        "id ~~ '5'",
        "id::text = '5'",
        "cast(id as text) = '5'",
        "id + 0 = 5",
        "id collate \"C\" = 'a'",
        "id = 'a' collate \"C\"",
        "id operator(public.=) 5",
        "id === 5",
        "id = 5.0",
        "id = 5::numeric",
        "id = '5'::char(3)",
        "id = '5'::varchar(1)",
        "id = 5 + 1",
        "id in (5, 1 + 1)",
        "id = any(array[5, v])",
        "id = any('{5}'::numeric[])",
        "id = any($1::text[]::bigint[])",
        "id = any($1::bigint)",
        "id = any(array[array[5]])",
        "5 = any(ids)",
        "id = abs(5)",
        "id = (select 5)",
        "id = (select x from u where x = 5 limit 0)",
        "id not in (select x from u)",
        "id <> any (select x from u)",
        "id = all (select x from u)",
        "(id, v) in (select x, y from u)",
        "(id, v) <> (5, 6)",
        "(id, v) > (5, 6)",
        "(t.*, id) = (u.*, 5)",
        "(id, v) in ((1, 2), (3, 4, 5))",
        "(id).x = 5",
        "ids[1] = 5",
        "nullif(id, 5) is null",
        "id isnull",
        "exists (select 1)",
        "id = 0x10",
    ] {
        let sql = format!("select * from t where {condition}");
        let facts = facts(&sql);
        let own = facts
            .split("; ")
            .filter(|fact| fact.starts_with("0:"))
            .count();
        assert_eq!(own, 0, "{condition}: {facts}");
    }
}

#[test]
fn having_is_no_fact() {
    assert_eq!(facts("select id from t group by id having id = 5"), "");
}

#[test]
fn a_join_s_condition_restricts_the_side_that_must_match() {
    for (from, expected) in [
        ("a join b on a.k = b.k", "0: a.k = b.k"),
        (
            "a join b on a.k = b.k and a.k = 5",
            "0: a.k = b.k; 0: a.k in (5)",
        ),
        ("a inner join b on a.k = 5 or a.k = 6", "0: a.k in (5, 6)"),
        ("a left join b on b.k = 5", "0: b.k in (5) for 1..2"),
        ("a right join b on a.k = 5", "0: a.k in (5) for 0..1"),
        ("a full join b on a.k = 5", ""),
        ("a cross join b", ""),
        ("c, a left join b on a.k = b.k", "0: a.k = b.k for 2..3"),
        ("c, a join b on a.k = 5", "0: a.k in (5) for 1..3"),
        (
            "a left join (b join c on b.k = c.k) on a.k = b.k",
            "0: b.k = c.k for 1..3; 0: a.k = b.k for 1..3",
        ),
        (
            "(a left join b on b.k = 1) join c on c.k = 2",
            "0: b.k in (1) for 1..2; 0: c.k in (2)",
        ),
        (
            "a full join b on a.k = 1 join c on c.k = 2",
            "0: c.k in (2)",
        ),
        ("a join b using (k)", "0: k = k"),
        ("a left join b using (k)", "0: k = k for 1..2"),
        ("a full join b using (k)", ""),
        ("a natural join b", ""),
    ] {
        assert_eq!(facts(&format!("select * from {from}")), expected, "{from}");
    }
}

#[test]
fn a_condition_sees_only_the_sides_of_its_join() {
    let data = data("select * from c, a join b on x = 1 where y = 2");
    let ranges: Vec<_> = data.scopes[0]
        .facts
        .iter()
        .map(|fact| match &fact.test {
            Test::Among(column, _) => column.among.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ranges, [1..3, 0..3]);
}

#[test]
fn the_condition_of_a_merge_is_no_fact() {
    assert_eq!(
        facts("merge into t using u on t.k = u.k and t.k = 5 when matched then delete"),
        ""
    );
}

#[test]
fn facts_of_sub_queries_stay_in_their_scope() {
    for (sql, expected) in [
        (
            "select * from t where exists (select 1 from u where u.k = t.k and u.k = 5)",
            "1: u.k = t.k; 1: u.k in (5)",
        ),
        ("select (select v from u where k = 5) from t", "1: k in (5)"),
        (
            "select * from (select * from t where k = 5) s",
            "1: k in (5)",
        ),
        (
            "with c as (select * from t where k = 5) select * from c",
            "1: k in (5)",
        ),
        (
            "select 1 from t where k = 1 union select 1 from t where k = 2",
            "1: k in (1); 2: k in (2)",
        ),
        (
            "delete from t using u where t.k = u.k and u.k = 5",
            "0: t.k = u.k; 0: u.k in (5)",
        ),
        (
            "update t set v = 1 from u where t.k = 5 returning *",
            "0: t.k in (5)",
        ),
    ] {
        assert_eq!(facts(sql), expected, "{sql}");
    }
}
