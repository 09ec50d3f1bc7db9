//! What kind each statement is of, and where its text stands.

use super::*;
use crate::query::{CopyStatement, CursorUse, Setting};

fn set(name: &str, local: bool, values: Option<&[&str]>) -> Class {
    Class::Set(Setting {
        name: name.to_owned(),
        local,
        values: values.map(|values| values.iter().map(|it| (*it).to_owned()).collect()),
        parameter: None,
    })
}

fn table(name: &str) -> TableRef {
    TableRef {
        schema: None,
        name: name.to_owned(),
    }
}

fn cursor(word: &'static str, name: Option<&str>) -> Class {
    Class::Cursor(CursorUse {
        word,
        cursor: name.map(ToOwned::to_owned),
    })
}

fn declare(hold: bool) -> Class {
    Class::DeclareCursor {
        name: "c".to_owned(),
        hold,
        query: Box::new(class("select 1")),
    }
}

#[test]
fn transactions_are_told_apart() {
    for (sql, expected) in [
        ("begin", Class::Begin { read_only: false }),
        ("begin read only", Class::Begin { read_only: true }),
        (
            "begin read only, read write",
            Class::Begin { read_only: false },
        ),
        (
            "start transaction isolation level serializable, read only, deferrable",
            Class::Begin { read_only: true },
        ),
        ("commit", Class::Commit { chain: false }),
        ("end and chain", Class::Commit { chain: true }),
        ("rollback", Class::Rollback { chain: false }),
        ("abort and chain", Class::Rollback { chain: true }),
        ("savepoint \"A\"", Class::Savepoint("A".to_owned())),
        ("release A", Class::Release("a".to_owned())),
        ("rollback to savepoint a", Class::RollbackTo("a".to_owned())),
        ("prepare transaction 'x'", Class::PrepareTransaction),
        ("commit prepared 'x'", Class::FinishPrepared),
        ("rollback prepared 'x'", Class::FinishPrepared),
    ] {
        assert_eq!(class(sql), expected, "{sql}");
    }
}

#[test]
fn settings_keep_their_values_as_text() {
    for (sql, expected) in [
        (
            "set Search_Path to a, \"B\"",
            set("search_path", false, Some(&["a", "B"])),
        ),
        ("set schema 'x'", set("search_path", false, Some(&["x"]))),
        (
            "set names 'utf8'",
            set("client_encoding", false, Some(&["utf8"])),
        ),
        (
            "set statement_timeout = 5",
            set("statement_timeout", false, Some(&["5"])),
        ),
        ("set x.y = 1.5", set("x.y", false, Some(&["1.5"]))),
        ("set x.y = -1", set("x.y", false, Some(&["-1"]))),
        ("set a = on", set("a", false, Some(&["on"]))),
        ("set a = true", set("a", false, Some(&["true"]))),
        ("set local a = 'b c'", set("a", true, Some(&["b c"]))),
        ("set session a = 'b'", set("a", false, Some(&["b"]))),
        ("set a to default", set("a", false, None)),
        ("set a from current", set("a", false, Some(&[]))),
    ] {
        assert_eq!(class(sql), expected, "{sql}");
    }
}

#[test]
fn settings_with_words_of_their_own_have_plain_names() {
    for (sql, expected) in [
        (
            "set time zone 'UTC'",
            set("timezone", false, Some(&["UTC"])),
        ),
        ("set time zone local", set("timezone", false, None)),
        ("set time zone -5", set("timezone", false, Some(&["-5"]))),
        (
            "set time zone interval '-08:00' hour to minute",
            set("timezone", false, Some(&["INTERVAL '-08:00'"])),
        ),
        ("set role r", set("role", false, Some(&["r"]))),
        ("set role none", set("role", false, Some(&["none"]))),
        ("set local role r", set("role", true, Some(&["r"]))),
        (
            "set session authorization u",
            set("session_authorization", false, Some(&["u"])),
        ),
        (
            "set session authorization default",
            set("session_authorization", false, None),
        ),
        (
            "set transaction isolation level serializable",
            set("transaction", true, Some(&[])),
        ),
        (
            "set transaction snapshot 'x'",
            set("transaction", true, Some(&[])),
        ),
        (
            "set session characteristics as transaction isolation level serializable, read only",
            set(
                "session characteristics",
                false,
                Some(&[
                    "transaction_isolation",
                    "serializable",
                    "transaction_read_only",
                    "1",
                ]),
            ),
        ),
        ("set constraints all deferred", Class::SetConstraints),
        ("reset a", Class::Reset(Some("a".to_owned()))),
        ("reset all", Class::Reset(None)),
        ("reset role", Class::Reset(Some("role".to_owned()))),
        ("reset time zone", Class::Reset(Some("timezone".to_owned()))),
        (
            "reset session authorization",
            Class::Reset(Some("session_authorization".to_owned())),
        ),
        ("show Search_Path", Class::Show("search_path".to_owned())),
        ("show all", Class::Show("all".to_owned())),
        ("show time zone", Class::Show("timezone".to_owned())),
        (
            "show transaction isolation level",
            Class::Show("transaction_isolation".to_owned()),
        ),
    ] {
        assert_eq!(class(sql), expected, "{sql}");
    }
}

#[test]
fn session_statements_are_told_apart() {
    for (sql, expected) in [
        ("discard all", Class::DiscardAll),
        ("discard plans", Class::DiscardOther("DISCARD PLANS")),
        ("discard temp", Class::DiscardOther("DISCARD TEMP")),
        ("deallocate all", Class::Deallocate(None)),
        (
            "deallocate prepare \"P\"",
            Class::Deallocate(Some("P".to_owned())),
        ),
        ("listen a", Class::Listen("a".to_owned())),
        ("unlisten a", Class::Unlisten(Some("a".to_owned()))),
        ("unlisten *", Class::Unlisten(None)),
        ("notify a, 'b'", Class::Notify("a".to_owned())),
        ("declare c cursor for select 1", declare(false)),
        (
            "declare c binary scroll cursor for select 1",
            declare(false),
        ),
        ("declare c cursor without hold for select 1", declare(false)),
        ("declare c cursor with hold for select 1", declare(true)),
        ("fetch all from c", cursor("FETCH", Some("c"))),
        ("move 5 in c", cursor("MOVE", Some("c"))),
        ("close c", cursor("CLOSE", Some("c"))),
        ("close all", cursor("CLOSE", None)),
        (
            "lock table a, only b in share mode",
            Class::LockTable(vec![table("a"), table("b")]),
        ),
        ("checkpoint", Class::Maintenance("CHECKPOINT")),
        ("call p()", Class::Call),
        ("do $$ begin end $$", Class::Do),
        ("create database d", Class::Other("CREATE DATABASE")),
        ("alter system set a = 1", Class::Other("ALTER SYSTEM")),
        ("drop owned by r", Class::Other("DROP OWNED")),
        (
            "create publication p for all tables",
            Class::Other("CREATE PUBLICATION"),
        ),
        ("load 'x'", Class::Other("LOAD")),
    ] {
        assert_eq!(class(sql), expected, "{sql}");
    }
}

#[test]
fn copy_tells_table_and_direction() {
    let copy = |table: Option<TableRef>, from, through_client, columns: &[&str]| {
        let query = table.is_none().then(|| Box::new(class("select 1")));
        Class::Copy(CopyStatement {
            table,
            query,
            from,
            through_client,
            columns: columns.iter().map(|it| (*it).to_owned()).collect(),
            names_encoding: false,
        })
    };
    for (sql, expected) in [
        ("copy t from stdin", copy(Some(table("t")), true, true, &[])),
        (
            "copy t (a, \"B\") to stdout csv",
            copy(Some(table("t")), false, true, &["a", "B"]),
        ),
        ("copy t from '/x'", copy(Some(table("t")), true, false, &[])),
        (
            "copy t to program 'x'",
            copy(Some(table("t")), false, false, &[]),
        ),
        ("copy (select 1) to stdout", copy(None, false, true, &[])),
    ] {
        assert_eq!(class(sql), expected, "{sql}");
    }
}

#[test]
fn explain_is_of_the_class_that_it_explains() {
    for (sql, expected) in [
        ("explain select * from t where k = 5", false),
        ("explain analyze select * from t where k = 5", true),
        ("explain (analyze) select * from t where k = 5", true),
        ("explain (analyze off) select * from t where k = 5", false),
        (
            "explain (analyze 0, verbose) select * from t where k = 5",
            false,
        ),
        ("explain (analyze true) select * from t where k = 5", true),
        ("explain (costs off) select * from t where k = 5", false),
    ] {
        let Class::Explain { analyze, inner } = class(sql) else {
            panic!("{sql}");
        };
        assert_eq!(analyze, expected, "{sql}");
        // The same but for where the table's name stands.
        let (Class::Select(mut inner), Class::Select(mut alone)) =
            (*inner, class("select * from t where k = 5"))
        else {
            panic!("{sql}");
        };
        inner.reads.clear();
        alone.reads.clear();
        assert_eq!(inner, alone, "{sql}");
    }
    assert!(matches!(
        class("explain execute p"),
        Class::Explain { inner, .. } if *inner == class("execute p")
    ));
}

#[test]
fn each_statement_has_its_place_in_the_text() {
    let sql = "select 'ä;' ; /* ; */ select $$;$$;;  -- ;\n insert into t values (1)";
    let analysis = analysis(sql);
    let texts: Vec<_> = analysis
        .statements
        .iter()
        .map(|statement| sql.get(statement.location.clone()).map(str::trim))
        .collect();
    assert_eq!(
        texts,
        [
            Some("select 'ä;'"),
            Some("/* ; */ select $$;$$"),
            Some("-- ;\n insert into t values (1)")
        ]
    );
    assert!(matches!(analysis.statements[2].class, Class::Insert(_)));
}

#[test]
fn an_empty_text_has_no_statements() {
    for sql in ["", "  ", ";", ";;", "-- nothing", "/* nothing */;"] {
        assert!(analysis(sql).statements.is_empty(), "{sql}");
    }
}

#[test]
fn a_select_of_set_config_alone_is_a_set() {
    for (sql, expected) in [
        (
            "select set_config('TimeZone', 'UTC', false)",
            set("timezone", false, Some(&["UTC"])),
        ),
        (
            "select current_setting('jit') as cur, pg_catalog.set_config('jit', 'off', false) as new",
            set("jit", false, Some(&["off"])),
        ),
        (
            "select set_config('search_path', 'a, \"b\"', true)",
            set("search_path", true, Some(&["a", "b"])),
        ),
    ] {
        assert_eq!(class(sql), expected, "{sql}");
    }
    let Class::Set(setting) = class("select set_config('jit', $1::text, false)") else {
        panic!("not a SET");
    };
    assert_eq!((setting.parameter, setting.values), (Some(0), None));
}

#[test]
fn a_set_config_that_may_not_be_run_is_no_set() {
    for sql in [
        "select set_config('jit', 'off', false) where false",
        "select set_config('jit', 'off', false) from t",
        "select set_config($1, 'off', false)",
        "select set_config('jit', 'off', $1)",
        "select set_config('jit', null, false)",
        "select set_config('Sharding.key', '1', false)",
        "select set_config('jit', lower('OFF'), false)",
        "select lower(set_config('jit', 'off', false))",
        "select set_config('jit', 'off', false), set_config('jit', 'on', false)",
        "select set_config('jit', 'off', false) limit 0",
    ] {
        assert!(matches!(class(sql), Class::Select(_)), "{sql}");
    }
}
