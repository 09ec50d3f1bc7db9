//! Which statements readers and whoever is limited to some groups may run.

use super::super::tests::cluster::snapshot;
use super::*;
use crate::query::analyze;

/// What names tables of other groups, in every place where SQL can name one, or does what is no
/// reading or writing of rows.
const OF_OTHERS: &[&str] = &[
    "SELECT * FROM orders",
    "SELECT * FROM docs WHERE slug IN (SELECT note FROM orders)",
    "WITH o AS (SELECT * FROM orders) SELECT * FROM docs",
    "SELECT (SELECT count(*) FROM orders) FROM docs",
    "INSERT INTO docs SELECT * FROM orders",
    "DELETE FROM docs USING orders",
    "UPDATE countries SET name = ''",
    "SELECT * FROM settings",
    "SELECT * FROM pg_class",
    "SELECT * FROM unknown",
    "DROP TABLE docs",
    "CALL p()",
    "EXPLAIN SELECT * FROM orders",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "TABLE orders",
    "SELECT slug FROM docs UNION ALL SELECT note FROM orders",
    "SELECT slug FROM docs EXCEPT (SELECT note FROM orders LIMIT 1)",
    "SELECT * FROM docs JOIN pages ON (SELECT true FROM orders LIMIT 1)",
    "SELECT * FROM docs, LATERAL (SELECT * FROM orders) AS o",
    "SELECT * FROM docs ORDER BY (SELECT max(id) FROM orders)",
    "SELECT * FROM docs LIMIT (SELECT count(*) FROM orders)",
    "SELECT * FROM docs OFFSET (SELECT count(*) FROM orders)",
    "SELECT slug FROM docs GROUP BY slug, (SELECT 1 FROM orders)",
    "SELECT slug FROM docs GROUP BY slug HAVING EXISTS (TABLE orders)",
    "SELECT count(*) FILTER (WHERE EXISTS (TABLE orders)) FROM docs",
    "SELECT row_number() OVER (ORDER BY (SELECT 1 FROM orders)) FROM docs",
    "SELECT count(*) OVER w FROM docs WINDOW w AS (ORDER BY (SELECT 1 FROM orders))",
    "SELECT DISTINCT ON ((SELECT 1 FROM orders)) slug FROM docs",
    "SELECT ARRAY(SELECT note FROM orders) FROM docs",
    "SELECT CASE WHEN EXISTS (TABLE orders) THEN 1 END FROM docs",
    "SELECT coalesce((SELECT note FROM orders LIMIT 1), '') FROM docs",
    "SELECT upper((SELECT note FROM orders LIMIT 1))",
    "SELECT * FROM generate_series(1, (SELECT count(*) FROM orders))",
    "SELECT * FROM docs TABLESAMPLE system ((SELECT 1 FROM orders))",
    "SELECT ((SELECT o FROM orders AS o LIMIT 1)).note",
    "VALUES ((SELECT note FROM orders LIMIT 1))",
    "INSERT INTO docs (slug) VALUES ((SELECT note FROM orders LIMIT 1))",
    "INSERT INTO docs (slug) VALUES ('a') ON CONFLICT (slug) DO UPDATE \
     SET slug = (SELECT note FROM orders LIMIT 1)",
    "INSERT INTO docs (slug) VALUES ('a') RETURNING (SELECT note FROM orders LIMIT 1)",
    "INSERT INTO orders SELECT 1",
    "UPDATE docs SET slug = (SELECT note FROM orders LIMIT 1) WHERE slug = 'a'",
    "UPDATE docs SET (slug) = (SELECT note FROM orders LIMIT 1) WHERE slug = 'a'",
    "UPDATE docs SET slug = 'b' FROM orders WHERE docs.slug = 'a'",
    "DELETE FROM docs WHERE slug = 'a' RETURNING (SELECT note FROM orders LIMIT 1)",
    "MERGE INTO docs USING orders ON false WHEN NOT MATCHED THEN DO NOTHING",
    "MERGE INTO docs USING pages ON docs.slug = pages.slug \
     WHEN MATCHED AND EXISTS (TABLE orders) THEN DELETE",
    "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r, orders) SELECT * FROM r",
    "WITH x AS (INSERT INTO orders VALUES (1) RETURNING *) SELECT 1",
    "WITH docs AS (TABLE orders) SELECT * FROM docs",
    "SELECT * FROM other.docs",
    "SELECT * FROM pg_catalog.docs",
    "SELECT * INTO copied FROM docs",
    "CREATE TABLE copied AS SELECT * FROM docs",
    "COPY docs TO STDOUT",
    "COPY (SELECT * FROM orders) TO STDOUT",
    "DECLARE c CURSOR FOR SELECT * FROM orders",
    "PREPARE p AS SELECT * FROM orders",
    "EXECUTE p",
    "LOCK TABLE docs",
    "VACUUM docs",
    "SET search_path TO other",
    "GRANT SELECT ON docs TO public",
];

fn check(rights: &Rights, sql: &str) -> Result<(), String> {
    let analysis = analyze(sql).unwrap();
    let snapshot = snapshot();
    let checked = rights.check(&analysis.statements[0], (&snapshot, &["public"]));
    checked.map_err(|refusal| refusal.message)
}

#[test]
fn a_reader_reads_only() {
    let reader = Rights {
        may_write: false,
        scope: Scope::All,
    };
    for sql in [
        "SELECT * FROM orders",
        "SHOW search_path",
        "EXPLAIN DELETE FROM orders",
        "EXPLAIN ANALYZE SELECT 1",
    ] {
        assert_eq!(check(&reader, sql), Ok(()), "{sql}");
    }
    for sql in [
        "INSERT INTO orders VALUES (1)",
        "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM orders",
        "CREATE TABLE x (id int)",
        "CALL p()",
        "DO $$BEGIN END$$",
        "TRUNCATE orders",
    ] {
        assert!(check(&reader, sql).is_err(), "{sql}");
        assert_eq!(check(&Rights::default(), sql), Ok(()), "{sql}");
    }
}

#[test]
fn whoever_is_limited_to_groups_names_no_other_tables() {
    let writer = Rights {
        may_write: true,
        scope: Scope::Only(["texts".to_owned()].into()),
    };
    for sql in [
        "SELECT * FROM docs",
        "SELECT * FROM docs JOIN countries ON true",
        "UPDATE pages SET body = '' WHERE slug = 'a'",
        "INSERT INTO docs SELECT * FROM pages",
        "SELECT 1",
        "SHOW search_path",
    ] {
        assert_eq!(check(&writer, sql), Ok(()), "{sql}");
    }
    for sql in OF_OTHERS {
        assert!(check(&writer, sql).is_err(), "{sql}");
    }
    assert_eq!(writer.check_group("texts"), Ok(()));
    assert!(writer.check_group("default").is_err());
}
