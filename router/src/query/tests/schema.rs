//! What a schema change does to tables, and why some are refused.

use super::*;
use crate::query::{Change, Ddl, KeyColumnType, Manner, NewIndex};

fn ddl(sql: &str) -> Ddl {
    match class(sql) {
        Class::Ddl(ddl) => ddl,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The tag and the changes in a short form.
fn changes(sql: &str) -> String {
    let ddl = ddl(sql);
    let changes: Vec<_> = ddl.changes.iter().map(written_change).collect();
    format!("{}: {}", ddl.tag, changes.join(", "))
        .trim_end()
        .to_owned()
}

fn written_change(change: &Change) -> String {
    match change {
        Change::Create {
            table,
            columns,
            open,
        } => {
            let columns: Vec<_> = columns
                .iter()
                .map(|column| format!("{} {}", column.name, written_type(column.key_type)))
                .collect();
            let open = if *open { " .." } else { "" };
            format!(
                "create {}({}{open})",
                written_table(table),
                columns.join(" ")
            )
        }
        Change::Alter(table) => format!("alter {}", written_table(table)),
        Change::Mention(table) => format!("mention {}", written_table(table)),
        Change::Drop(table) => format!("drop {}", written_table(table)),
        Change::Truncate(table) => format!("truncate {}", written_table(table)),
        Change::Rename(table) => format!("rename {}", written_table(table)),
        Change::Column {
            table,
            column,
            verb,
        } => format!("{verb} {}.{column}", written_table(table)),
        Change::Unique { table, constraint } => format!(
            "{} of {}({})",
            constraint.kind,
            written_table(table),
            constraint.columns.join(" ")
        ),
    }
}

fn written_type(key_type: KeyColumnType) -> &'static str {
    match key_type {
        KeyColumnType::Family(Family::Integer) => "integer",
        KeyColumnType::Family(Family::Text) => "text",
        KeyColumnType::Family(Family::Uuid) => "uuid",
        KeyColumnType::CutText => "cut",
        KeyColumnType::Other => "other",
    }
}

#[test]
fn new_tables_show_their_columns_and_constraints() {
    for (sql, expected) in [
        (
            "create table s.t (a int, b bigint not null, c text, d uuid, e varchar)",
            "CREATE TABLE: create s.t(a integer b integer c text d uuid e text)",
        ),
        (
            "create table t (a varchar(5), b char(5), c char, d int[], e numeric, f citext)",
            "CREATE TABLE: create t(a cut b cut c cut d other e other f other)",
        ),
        (
            "create table t (a text collate \"C\", b text collate x, c text collate pg_catalog.\"de\")",
            "CREATE TABLE: create t(a text b other c text)",
        ),
        (
            "create table t (a int primary key, b text unique)",
            "CREATE TABLE: create t(a integer b text), a primary key of t(a), \
             a unique constraint of t(b)",
        ),
        (
            "create table t (a int, b int, primary key (a, b), unique (b), check (a > 1))",
            "CREATE TABLE: create t(a integer b integer), a primary key of t(a b), \
             a unique constraint of t(b)",
        ),
        (
            "create table t (a int, b tsrange, exclude using gist (a with =, b with &&))",
            "CREATE TABLE: create t(a integer b other), an exclusion constraint of t(a)",
        ),
        (
            "create table t (a int references u, foreign key (a) references s.w (x))",
            "CREATE TABLE: create t(a integer), mention u, mention s.w",
        ),
        (
            "create table t (like u, a int)",
            "CREATE TABLE: create t(a integer ..), mention u",
        ),
        (
            "create table t () inherits (u)",
            "CREATE TABLE: create t( ..), mention u",
        ),
        (
            "create table t partition of u for values in (1)",
            "CREATE TABLE: create t( ..), mention u",
        ),
        ("create table t of x", "CREATE TABLE: create t( ..)"),
        (
            "create table if not exists t (a int default 5, b uuid default gen_random_uuid()) \
             partition by hash (a)",
            "CREATE TABLE: create t(a integer b uuid)",
        ),
    ] {
        assert_eq!(changes(sql), expected, "{sql}");
        assert!(ddl(sql).objections.is_empty(), "{sql}");
    }
}

const TOUCHING: &[(&str, &str)] = &[
    ("alter table t add column a int", "ALTER TABLE: alter t"),
    (
        "alter table t add a int unique references u",
        "ALTER TABLE: alter t, a unique constraint of t(a), mention u",
    ),
    (
        "alter table s.t drop column a",
        "ALTER TABLE: alter s.t, drop s.t.a",
    ),
    (
        "alter table t alter a type text, alter b set not null",
        "ALTER TABLE: alter t, change the type of t.a",
    ),
    ("alter table t rename a to b", "ALTER TABLE: rename t.a"),
    ("alter table t rename to u", "ALTER TABLE: rename t"),
    ("alter index t rename to u", "ALTER INDEX: rename t"),
    (
        "alter table t rename constraint a to b",
        "ALTER TABLE: alter t",
    ),
    ("alter table t set schema s", "ALTER TABLE: rename t"),
    ("alter table t owner to r", "ALTER TABLE: alter t"),
    (
        "alter table t add constraint c primary key (a, b)",
        "ALTER TABLE: alter t, a primary key of t(a b)",
    ),
    (
        "alter table t add primary key using index i",
        "ALTER TABLE: alter t",
    ),
    ("alter table t drop constraint c", "ALTER TABLE: alter t"),
    (
        "alter table t attach partition u default",
        "ALTER TABLE: alter t, alter u",
    ),
    ("alter table t inherit u", "ALTER TABLE: alter t, mention u"),
    (
        "alter table t enable row level security",
        "ALTER TABLE: alter t",
    ),
    ("create index on t (a)", "CREATE INDEX: alter t"),
    (
        "create unique index i on s.t (a, lower(b))",
        "CREATE INDEX: a unique index of s.t(a)",
    ),
    ("drop table a, s.b cascade", "DROP TABLE: drop a, drop s.b"),
    ("drop index i", "DROP INDEX:"),
    ("drop view v", "DROP VIEW: drop v"),
    ("drop trigger g on s.t", "DROP TRIGGER: alter s.t"),
    ("drop function f(int)", "DROP FUNCTION:"),
    (
        "truncate a, only s.b",
        "TRUNCATE TABLE: truncate a, truncate s.b",
    ),
    ("create schema s", "CREATE SCHEMA:"),
    (
        "create or replace view v as with c as (select * from a) select * from c, s.b, a",
        "CREATE VIEW: mention s.b, mention a",
    ),
    ("create type x as enum ('a')", "CREATE TYPE:"),
    ("create type x as (a int)", "CREATE TYPE:"),
    ("alter type x add attribute a int", "ALTER TYPE:"),
    ("alter type x add value 'b'", "ALTER TYPE:"),
    ("alter type x rename attribute a to b", "ALTER TYPE:"),
    ("create domain d as int", "CREATE DOMAIN:"),
    (
        "create function f() returns int language sql as 'select 1'",
        "CREATE FUNCTION:",
    ),
    (
        "create procedure f() language sql as 'select 1'",
        "CREATE PROCEDURE:",
    ),
    (
        "create aggregate a (int) (sfunc = f, stype = int)",
        "CREATE AGGREGATE:",
    ),
    ("create extension pgcrypto", "CREATE EXTENSION:"),
    (
        "create trigger g after insert on t execute function f()",
        "CREATE TRIGGER: alter t",
    ),
    (
        "create policy p on t using (true)",
        "CREATE POLICY: alter t",
    ),
    (
        "create statistics s on a, b from t",
        "CREATE STATISTICS: alter t",
    ),
    ("comment on table s.t is 'x'", "COMMENT: mention s.t"),
    ("comment on column s.t.c is 'x'", "COMMENT: mention s.t"),
    ("comment on function f() is 'x'", "COMMENT:"),
    ("grant select on a, b to r", "GRANT: mention a, mention b"),
    ("revoke all on schema s from r", "REVOKE:"),
    (
        "alter default privileges grant select on tables to r",
        "ALTER DEFAULT PRIVILEGES:",
    ),
];

#[test]
fn changes_name_the_tables_that_they_touch() {
    for &(sql, expected) in TOUCHING {
        assert_eq!(changes(sql), expected, "{sql}");
        assert!(ddl(sql).objections.is_empty(), "{sql}");
    }
}

/// What draws values from a sequence; empty where nothing does.
const DRAWING: &[(&str, &str)] = &[
    ("create table t (a serial)", "a serial column"),
    (
        "create table t (a bigserial primary key)",
        "a serial column",
    ),
    ("alter table t add a smallserial", "a serial column"),
    (
        "create table t (a int generated always as identity)",
        "an identity column",
    ),
    (
        "alter table t alter a add generated by default as identity",
        "an identity column",
    ),
    (
        "create table t (a int default nextval('s'))",
        "a default from a sequence",
    ),
    (
        "create table t (a text default 'x' || nextval('s'))",
        "a default from a sequence",
    ),
    (
        "alter table t alter a set default nextval('s')",
        "a default from a sequence",
    ),
    (
        "alter table t add a int default nextval('s')",
        "a default from a sequence",
    ),
    ("alter table t alter a restart with 5", ""),
    ("create sequence s", ""),
    ("alter sequence s restart", ""),
    ("alter sequence s owned by t.a", ""),
];

#[test]
fn what_draws_from_a_sequence_is_told() {
    for &(sql, what) in DRAWING {
        let ddl = ddl(sql);
        assert_eq!(ddl.draws.unwrap_or_default(), what, "{sql}");
        assert!(ddl.objections.is_empty(), "{sql}");
    }
}

const OBJECTED: &[(&str, &str, bool)] = &[
    (
        "alter sequence s increment 5",
        "ALTER SEQUENCE with other options",
        false,
    ),
    (
        "alter table t alter a set increment by 5",
        "other options of an identity column",
        false,
    ),
    (
        "create table t as select * from u",
        "a table that is made of the rows",
        false,
    ),
    (
        "select * into t from u",
        "a table that is made of the rows",
        false,
    ),
    (
        "select 1 into t union select 2",
        "a table that is made of the rows",
        false,
    ),
    (
        "create materialized view v as select 1",
        "a materialized view",
        false,
    ),
    (
        "create rule r as on insert to t do nothing",
        "a rule",
        false,
    ),
    (
        "create foreign table t (a int) server s",
        "a foreign object",
        false,
    ),
    (
        "alter schema a rename to b",
        "a new name for a schema",
        true,
    ),
    (
        "create schema s create table t (a int)",
        "CREATE SCHEMA with other objects",
        true,
    ),
];

#[test]
fn what_differs_by_shard_is_objected_to() {
    for &(sql, what, everywhere) in OBJECTED {
        let ddl = ddl(sql);
        let [objection] = ddl.objections.as_slice() else {
            panic!("{sql}: {:?}", ddl.objections);
        };
        assert!(
            objection.what.starts_with(what),
            "{sql}: {}",
            objection.what
        );
        assert_eq!(objection.everywhere, everywhere, "{sql}");
        assert!(!objection.hint.is_empty());
    }
}

#[test]
fn a_table_of_rows_names_what_it_reads() {
    assert_eq!(
        changes("create table t as select * from u where exists (select 1 from w)"),
        "CREATE TABLE AS: create t( ..), mention u, mention w"
    );
    assert_eq!(
        changes("select * into t from u"),
        "SELECT INTO: create t( ..), mention u"
    );
}

#[test]
fn what_may_not_run_in_a_transaction_is_run_in_turn() {
    let manner = |sql: &str| match class(sql) {
        Class::Ddl(ddl) => (ddl.tag, ddl.manner, ddl.changes.len()),
        other => panic!("{sql}: {other:?}"),
    };
    let index = |name: Option<&str>| {
        Manner::IndexInTurn(NewIndex {
            name: name.map(str::to_owned),
            table: TableRef {
                schema: None,
                name: "t".to_owned(),
            },
        })
    };
    for (sql, expected) in [
        ("vacuum full t", ("VACUUM", Manner::InTurn, 1)),
        ("vacuum", ("VACUUM", Manner::InTurn, 0)),
        ("analyze t (a), u", ("ANALYZE", Manner::InTurn, 2)),
        ("cluster", ("CLUSTER", Manner::InTurn, 0)),
        ("reindex table t", ("REINDEX", Manner::InTurn, 1)),
        ("reindex index i", ("REINDEX", Manner::InTurn, 0)),
        (
            "create index concurrently on t (a)",
            ("CREATE INDEX", index(None), 1),
        ),
        (
            "create unique index concurrently i on t (a)",
            ("CREATE INDEX", index(Some("i")), 1),
        ),
        (
            "drop index concurrently i",
            ("DROP INDEX", Manner::InTurn, 0),
        ),
        (
            "alter table t detach partition u concurrently",
            ("ALTER TABLE", Manner::InTurn, 2),
        ),
        (
            "create index on t (a)",
            ("CREATE INDEX", Manner::Together, 1),
        ),
    ] {
        assert_eq!(manner(sql), expected, "{sql}");
    }
}

#[test]
fn what_belongs_to_a_server_is_done_once_on_each() {
    for (sql, tag) in [
        ("create user u", "CREATE ROLE"),
        ("alter role u set jit = off", "ALTER ROLE"),
        ("alter role u rename to v", "ALTER ROLE"),
        ("drop role u", "DROP ROLE"),
        ("grant a to b", "GRANT ROLE"),
        ("revoke a from b", "REVOKE ROLE"),
        ("comment on role u is 'x'", "COMMENT"),
        ("grant connect on database d to u", "GRANT"),
    ] {
        let Class::Ddl(ddl) = class(sql) else {
            panic!("{sql}");
        };
        assert_eq!((ddl.tag, ddl.manner), (tag, Manner::OncePerServer), "{sql}");
    }
    let Class::Ddl(grant) = class("grant select on t to u") else {
        panic!("not a change");
    };
    assert_eq!(grant.manner, Manner::Together);
}
