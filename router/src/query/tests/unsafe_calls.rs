//! Which calls are unsafe, wherever they stand.

use super::*;
use crate::query::Reach;

fn calls(sql: &str) -> Vec<(&'static str, Reach)> {
    let calls = statement(sql).functions.into_iter();
    calls.map(|call| (call.name, call.reach)).collect()
}

const OWN: &str = "a function that is not PostgreSQL's own";

#[test]
fn calls_are_found_wherever_they_stand() {
    for sql in [
        "select nextval('s')",
        "select pg_catalog.nextval('s')",
        "select NEXTVAL('s')",
        "select 1 where nextval('s') > 0",
        "select * from t order by nextval('s')",
        "select * from t limit nextval('s')",
        "select 1 + coalesce(nextval('s'), 2)",
        "select case when true then nextval('s') end",
        "select array[nextval('s')]",
        "select (row(nextval('s'))).f1",
        "select sum(v) filter (where nextval('s') > 1) from t",
        "select sum(v) over (partition by nextval('s')) from t",
        "select * from t where exists (select nextval('s'))",
        "select * from nextval('s')",
        "with c as (select nextval('s')) select 1",
        "insert into t values (nextval('s'))",
        "insert into t values (1) on conflict (k) do update set v = nextval('s')",
        "update t set v = nextval('s')",
        "delete from t returning nextval('s')",
        "explain select nextval('s')",
        "execute p(nextval('s'))",
        "declare c cursor for select nextval('s')",
        "copy (select nextval('s')) to stdout",
        "copy t from stdin where nextval('s') > 1",
        "create table x as select nextval('s')",
        "call p(nextval('s'))",
    ] {
        assert_eq!(calls(sql), [("nextval", Reach::HomeOrCommon)], "{sql}");
    }
}

const REACHES: &[(&str, Option<(&str, Reach)>)] = &[
    ("currval('s')", Some(("currval", Reach::Nowhere))),
    ("setval('s', 1)", Some(("setval", Reach::Home))),
    (
        "pg_advisory_lock(1)",
        Some(("pg_advisory_lock", Reach::Session)),
    ),
    (
        "pg_advisory_xact_lock(1)",
        Some(("pg_advisory_xact_lock", Reach::OneShard)),
    ),
    ("pg_notify('a', 'b')", Some(("pg_notify", Reach::Common))),
    ("dblink('x', 'y')", Some(("dblink", Reach::Nowhere))),
    ("public.dblink('x', 'y')", Some(("dblink", Reach::Nowhere))),
    (
        "query_to_xml('x', true, true, '')",
        Some(("query_to_xml", Reach::Nowhere)),
    ),
    (
        "set_config('search_path', 'x', true)",
        Some(("set_config", Reach::Nowhere)),
    ),
    (
        "set_config('app.user', 'x', false)",
        Some(("set_config", Reach::Nowhere)),
    ),
    ("set_config('app.user', 'x', true)", None),
    (
        "set_config('Sharding.key', 'x', true)",
        Some(("set_config", Reach::Nowhere)),
    ),
    ("lo_create(0)", Some(("lo_create", Reach::Common))),
    ("txid_current()", Some(("txid_current", Reach::OneShard))),
    (
        "pg_current_xact_id()",
        Some(("pg_current_xact_id", Reach::OneShard)),
    ),
    (
        "pg_table_size('t')",
        Some(("pg_table_size", Reach::OneShard)),
    ),
    (
        "pg_stat_get_live_tuples(1)",
        Some(("pg_stat_get_live_tuples", Reach::OneShard)),
    ),
    ("my_function(1)", Some((OWN, Reach::OneShard))),
    ("my_schema.lower('A')", Some((OWN, Reach::OneShard))),
    ("random()", None),
    ("now()", None),
    ("clock_timestamp()", None),
    ("gen_random_uuid()", None),
    ("pg_backend_pid()", None),
    ("pg_sleep(1)", None),
    ("version()", None),
    ("current_setting('x')", None),
    ("current_user", None),
    ("lower('A')", None),
    ("pg_catalog.lower('A')", None),
    ("'a' at time zone 'b'", None),
    ("extract(year from now())", None),
    ("trim('a')", None),
    ("substring('a' from 1)", None),
    ("position('a' in 'b')", None),
    ("count(*)", None),
    ("json_agg(1)", None),
    ("row_number() over ()", None),
    ("percentile_cont(0.5) within group (order by 1)", None),
    ("format_type(1, 2)", None),
    ("pg_get_constraintdef(1)", None),
    ("pg_table_is_visible(1)", None),
    ("has_table_privilege('t', 'select')", None),
    ("obj_description(1, 'pg_class')", None),
    ("round(1.5, 1)", None),
];

#[test]
fn each_function_has_its_reach() {
    for &(call, expected) in REACHES {
        // With a condition, since set_config alone is a SET.
        let found = calls(&format!("select {call} where true"));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{call}");
    }
}

#[test]
fn a_call_is_told_once() {
    assert_eq!(
        calls("select nextval('a'), nextval('b') from currval('c')").len(),
        2
    );
}
