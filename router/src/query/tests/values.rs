//! Which constants are taken for what, as the other side of `k = ...`.

use super::*;

/// The value that an expression is read as, in an INSERT so that every value shows.
fn value(expression: &str) -> String {
    let sql = format!("insert into t values ({expression})");
    let data = data(&sql);
    match data.writes.as_slice() {
        [write] => match &write.kind {
            WriteKind::Insert(insert) => match &insert.rows {
                NewRows::Values(rows) => written_values(&rows[0]),
                other => panic!("{sql}: {other:?}"),
            },
            other => panic!("{sql}: {other:?}"),
        },
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn constants_are_read_as_they_are_written() {
    for (expression, expected) in [
        ("5", "5"),
        ("-5", "-5"),
        ("(5)", "5"),
        ("((-5))", "-5"),
        ("- 5", "-5"),
        ("-(5)", "-5"),
        ("007", "7"),
        ("2147483647", "2147483647"),
        ("2147483648", "2147483648"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0002147483648", "2147483648"),
        ("99999999999999999999", "99999999999999999999"),
        ("'5'", "'5'"),
        ("''", "''"),
        ("E'a\\n'", "'a\n'"),
        ("U&'\\0061'", "'a'"),
        ("$$a'b$$", "'a'b'"),
        ("'a' -- one\n 'b'", "'ab'"),
        ("NULL", "NULL"),
        ("DEFAULT", "DEFAULT"),
        ("$1", "$1"),
        ("$65536", "$65536"),
        ("$65537", "?"),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn casts_to_key_types_keep_the_value() {
    for (expression, expected) in [
        ("5::bigint", "'5'::integer"),
        ("5::int8", "'5'::integer"),
        ("5::smallint", "'5'::integer"),
        ("5::pg_catalog.int4", "'5'::integer"),
        ("'5'::bigint", "'5'::integer"),
        ("bigint '5'", "'5'::integer"),
        ("cast('5' as int)", "'5'::integer"),
        ("5::int::bigint", "'5'::integer"),
        ("5::text", "'5'::text"),
        ("5::int::text", "'5'::text"),
        ("' 5'::int::text", "?"),
        ("'05'::int::text", "?"),
        ("'a'::text", "'a'::text"),
        ("'a'::varchar", "'a'::text"),
        ("'a'::character varying", "'a'::text"),
        ("'a'::text::varchar", "'a'::text"),
        ("text 'a'", "'a'::text"),
        ("'5'::text::bigint", "'5'::integer"),
        ("'a0'::uuid", "'a0'::uuid"),
        ("'a0'::text::uuid", "'a0'::uuid"),
        ("$1::bigint", "$1::integer"),
        ("cast($1 as int8)", "$1::integer"),
        ("$1::int4::int8", "$1::integer"),
        ("$2::uuid", "$2::uuid"),
        ("$2::text", "$2::text"),
        ("NULL::bigint", "NULL"),
        ("NULL::numeric", "NULL"),
    ] {
        assert_eq!(value(expression), expected, "{expression}");
    }
}

#[test]
fn what_may_change_the_value_is_not_read() {
    for expression in [
        "5.0",
        "5e0",
        "5.5",
        "0x10",
        "0b1",
        "0o7",
        "1_000",
        "-0x10",
        "+5",
        "5 + 0",
        "-(-5)",
        "-5::bigint",
        "5::numeric",
        "5::float8",
        "5::oid",
        "5::uuid",
        "'5'::numeric",
        "'5'::varchar(3)",
        "'5'::char(3)",
        "'5'::char",
        "'5'::bpchar",
        "'5'::name",
        "'5'::citext",
        "'5'::\"char\"",
        "'5'::\"bigint\"",
        "'5'::public.int8",
        "'2020-01-01'::timestamp",
        "date '2020-01-01'",
        "'a' collate \"C\"",
        "$1::text::bigint",
        "$1::bigint::text",
        "$1::timestamp",
        "$1::varchar(2)",
        "$1 + 1",
        "'{1}'::bigint[]",
        "true",
        "B'101'",
        "X'1F'",
        "'a' || 'b'",
        "lower('A')",
        "(select 5)",
        "array[5]",
        "row(5)",
        "current_user",
        "case when true then 5 end",
        "coalesce(5)",
    ] {
        assert_eq!(value(expression), "?", "{expression}");
    }
}
