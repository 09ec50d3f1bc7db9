//! Values of every kind, both ways, through a real server.

use serde_json::{Value, json};

use crate::setup::Router;

async fn one(router: &Router, sql: &str, params: Value) -> String {
    let answer = router.query(sql, params).await;
    answer.ok();
    let (_, rest) = answer.text.split_once(r#""rows":[{"v":"#).unwrap();
    let (value, _) = rest.split_once(r#"}],"row_count""#).unwrap();
    value.to_owned()
}

#[tokio::test]
async fn parameters_come_back_as_they_were_given() {
    let router = Router::start(1).await;
    for (cast, param) in [
        ("int2", "-32768"),
        ("int8", "9223372036854775807"),
        ("numeric", "123456789012345678901234567890.123456789"),
        ("float8", "0.1"),
        ("float8", "1e+300"),
        ("bool", "true"),
        ("text", r#""a \"b\" \\ \n é""#),
        ("text", r#""""#),
        ("varchar", "null"),
        ("jsonb", r#"{"a": [1, null, {"b": "c"}], "n": 1.50}"#),
        ("json", "[1,[2,  3]]"),
        ("int8[]", "[1,null,9007199254740993]"),
        ("int4[]", "[[1,2],[3,4]]"),
        ("text[]", r#"["a,b","NULL",null,"","{}","\"q\" \\"]"#),
        ("bool[]", "[true,false]"),
        ("jsonb[]", r#"[{"a": "b"},null]"#),
        ("uuid", r#""123e4567-e89b-12d3-a456-426614174000""#),
        ("bytea", r#""\\x00ff""#),
        ("bytea[]", r#"["\\x00","\\xff"]"#),
        ("date", r#""2024-02-29""#),
        ("time", r#""03:04:05.678""#),
        ("timestamp", r#""2024-02-29T03:04:05""#),
        ("timestamp[]", r#"["2024-02-29T03:04:05"]"#),
        ("timestamptz", r#""infinity""#),
        ("interval", r#""P1Y2M3DT4H5M6.7S""#),
        ("inet", r#""10.0.0.1""#),
        ("int4range", r#""[1,3)""#),
    ] {
        let body = format!(r#"{{"query":"SELECT $1::{cast} AS v","params":[{param}]}}"#);
        let answer = router.post(body).await;
        answer.ok();
        let expected = format!(r#""rows":[{{"v":{param}}}]"#);
        assert!(
            answer.text.contains(&expected),
            "{cast} {param}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn times_are_iso_8601_whatever_the_server_is_set_to() {
    let router = Router::start(1).await;
    for setting in [
        "ALTER DATABASE app SET DateStyle = 'German'",
        "ALTER DATABASE app SET IntervalStyle = 'sql_standard'",
        "ALTER DATABASE app SET bytea_output = 'escape'",
        "ALTER DATABASE app SET extra_float_digits = -5",
        "ALTER DATABASE app SET TimeZone = 'Asia/Kolkata'",
    ] {
        router.shards[0].psql(setting).await.unwrap();
    }
    for (sql, json) in [
        (
            "'2024-01-02 03:04:05Z'::timestamptz",
            r#""2024-01-02T08:34:05+05:30""#,
        ),
        (
            "ARRAY['2024-01-02 03:04:05Z'::timestamptz]",
            r#"["2024-01-02T08:34:05+05:30"]"#,
        ),
        ("DATE '2024-01-02'", r#""2024-01-02""#),
        ("INTERVAL '1 day 2 hours'", r#""P1DT2H""#),
        (r"'\x0aff'::bytea", r#""\\x0aff""#),
        ("0.1::float8 + 0.2::float8", "0.30000000000000004"),
        ("'NaN'::float8", r#""NaN""#),
        ("'NaN'::numeric", r#""NaN""#),
        ("NULL::int", "null"),
        ("'x'::\"char\"", r#""x""#),
        ("ROW(1,'a')", r#""(1,a)""#),
    ] {
        assert_eq!(
            one(&router, &format!("SELECT {sql} AS v"), json!([])).await,
            json,
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_parameter_that_does_not_fit_is_refused_and_the_backend_lives_on() {
    let router = Router::start(1).await;
    let pid = one(&router, "SELECT pg_backend_pid() AS v", json!([])).await;
    let error = router
        .query("SELECT $1::int", json!([[1]]))
        .await
        .error(400);
    assert_eq!(error["sqlstate"], "42804");
    assert_eq!(
        error["message"],
        "parameter $1: an array does not fit the type int4"
    );
    let error = router
        .query("SELECT $1::int", json!(["x"]))
        .await
        .error(400);
    assert_eq!(error["sqlstate"], "22P02");
    let error = router
        .query("SELECT $1::int, $2::int", json!([1]))
        .await
        .error(400);
    assert_eq!(error["sqlstate"], "08P01");
    let error = router
        .query("SELECT $1::text", json!(["\u{0}"]))
        .await
        .error(400);
    assert_eq!(error["sqlstate"], "22021");
    let after = one(&router, "SELECT pg_backend_pid() AS v", json!([])).await;
    assert_eq!(pid, after);
}
