//! Views: what is written in their place, and where that goes.

use topology::{ShardIndex, Snapshot};

use super::cluster::snapshot_with;
use crate::query::analyze;
use crate::route::{Plan, Refusal, may_change_views, plan, reading, with_views};

const VIEWS: [(&str, &str); 10] = [
    (
        "paid",
        "SELECT id, customer_id FROM public.orders WHERE status = 'paid'",
    ),
    (
        "Mixed",
        "SELECT customers.id AS \"K\" FROM public.customers",
    ),
    (
        "lines",
        "SELECT o.customer_id, i.id FROM (public.orders o JOIN public.items i ON ((i.customer_id = o.customer_id)))",
    ),
    ("twice", "SELECT p.id, p.customer_id FROM public.paid p"),
    ("loop_a", "SELECT 1 FROM public.loop_b"),
    ("loop_b", "SELECT 1 FROM public.loop_a"),
    ("lands", "SELECT countries.code FROM public.countries"),
    ("options", "SELECT settings.k FROM public.settings"),
    (
        "work",
        "SELECT jobs.k, s.k AS other FROM public.jobs, public.settings s",
    ),
    ("lost", "SELECT unknown.k FROM public.unknown"),
];

fn snapshot() -> Snapshot {
    snapshot_with(&VIEWS)
}

fn plans(sql: &str) -> Vec<Plan> {
    let snapshot = snapshot();
    let analysis = analyze(sql).unwrap();
    let statements = analysis.statements.iter();
    statements
        .map(|statement| plan(statement, &snapshot, &["public"]))
        .collect()
}

/// The text that is run, and the only plan of it.
fn written(sql: &str) -> (String, Plan) {
    let text = with_views(sql, &plans(sql)).unwrap_or_else(|| panic!("{sql}: {:?}", plans(sql)));
    let plan = plans(&text).remove(0);
    (text, plan)
}

fn refused(sql: &str) -> Refusal {
    match plans(sql).remove(0) {
        Plan::Refused(refusal) => refusal,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn a_query_takes_the_place_of_its_view() {
    let paid = "(SELECT id, customer_id FROM public.orders WHERE status = 'paid')";
    for (sql, expected) in [
        (
            "SELECT * FROM paid",
            format!("SELECT * FROM {paid} AS \"paid\" "),
        ),
        (
            "select p.id from public . \"paid\" as p where true",
            format!("select p.id from {paid}  as p where true"),
        ),
        (
            "SELECT 1 FROM paid;SELECT 2 FROM paid x",
            format!("SELECT 1 FROM {paid} AS \"paid\" ;SELECT 2 FROM {paid}  x"),
        ),
        (
            "SELECT \"K\" FROM \"Mixed\"",
            "SELECT \"K\" FROM (SELECT customers.id AS \"K\" FROM public.customers) AS \"Mixed\" "
                .to_owned(),
        ),
        (
            "INSERT INTO orders (id, customer_id) SELECT * FROM paid",
            format!("INSERT INTO orders (id, customer_id) SELECT * FROM {paid} AS \"paid\" "),
        ),
        (
            "SELECT 1 FROM twice",
            format!("SELECT 1 FROM (SELECT p.id, p.customer_id FROM {paid}  p) AS \"twice\" "),
        ),
        (
            "EXPLAIN SELECT 1 FROM paid",
            format!("EXPLAIN SELECT 1 FROM {paid} AS \"paid\" "),
        ),
        (
            "COPY (SELECT 1 FROM paid) TO STDOUT",
            format!("COPY (SELECT 1 FROM {paid} AS \"paid\" ) TO STDOUT"),
        ),
    ] {
        let found = with_views(sql, &plans(sql));
        assert_eq!(found.as_deref(), Some(&*expected), "{sql}");
    }
    for sql in [
        "WITH paid AS (SELECT 1) SELECT * FROM paid",
        "SELECT * FROM app.paid",
        "CREATE VIEW more AS SELECT * FROM paid",
        "PREPARE p AS SELECT * FROM paid",
        "SELECT paid.id FROM orders paid WHERE customer_id = 1",
    ] {
        assert_eq!(with_views(sql, &plans(sql)), None, "{sql}");
    }
}

#[test]
fn what_stands_in_its_place_is_routed_as_any_query() {
    for sql in [
        "SELECT * FROM paid WHERE customer_id = 5",
        "SELECT * FROM twice t JOIN orders o USING (customer_id) WHERE o.customer_id = $1",
        "SELECT * FROM lines WHERE customer_id = 7",
        "SELECT \"K\" FROM \"Mixed\" WHERE \"K\" = 7",
        "UPDATE orders SET status = 'x' FROM paid WHERE paid.customer_id = orders.customer_id \
         AND orders.customer_id = 3",
    ] {
        let (text, plan) = written(sql);
        assert!(matches!(plan, Plan::Key { .. }), "{text}: {plan:?}");
    }
    let (_, plan) = written("SELECT * FROM paid");
    assert!(matches!(plan, Plan::NeedsHint { .. }), "{plan:?}");
    assert_eq!(
        written("SELECT * FROM lands").1,
        Plan::Any { writes: false }
    );
    assert_eq!(
        written("SELECT * FROM options").1,
        Plan::Home(ShardIndex(1))
    );
    let (_, apart) = written("SELECT * FROM work");
    assert!(matches!(apart, Plan::Refused(_)), "{apart:?}");
    let (_, lost) = written("SELECT * FROM lost");
    assert!(matches!(&lost, Plan::Refused(refusal) if refusal.message.contains("unknown")));
}

#[test]
fn what_can_not_be_written_in_its_place_is_refused_by_its_name() {
    for (sql, words) in [
        ("TABLE paid", "view \"paid\" stands where"),
        ("SELECT * FROM ONLY paid", "view \"paid\" stands where"),
        (
            "SELECT * FROM paid TABLESAMPLE system (1)",
            "view \"paid\" stands where",
        ),
        ("SELECT * FROM loop_a", "views deep"),
        ("UPDATE paid SET id = 1", "view \"paid\" can only be read"),
        (
            "INSERT INTO paid VALUES (1, 2)",
            "view \"paid\" can only be read",
        ),
        (
            "DELETE FROM paid WHERE customer_id = 1",
            "view \"paid\" can only be read",
        ),
        ("COPY paid TO STDOUT", "view \"paid\" can only be read"),
        ("LOCK TABLE paid", "LOCK TABLE of \"paid\""),
    ] {
        let refusal = refused(sql);
        assert!(refusal.message.contains(words), "{sql}: {refusal}");
        assert_eq!(refusal.sqlstate, "0A000", "{sql}");
    }
    let snapshot = snapshot();
    let analysis = analyze("SELECT * FROM paid").unwrap();
    let hidden = plan(
        &analysis.statements[0],
        &snapshot,
        &["public", "pg_catalog"],
    );
    assert!(matches!(hidden, Plan::Refused(_)), "{hidden:?}");
}

#[test]
fn a_refusal_names_the_views_of_its_statement() {
    let sql = "SELECT * FROM lines l, paid p, paid q";
    let refusal = Refusal::unsupported("no");
    let named = reading(refusal.clone(), &plans(sql));
    assert_eq!(named.message, "no, reading views \"lines\", \"paid\"");
    assert_eq!(reading(refusal.clone(), &plans("SELECT 1")), refusal);
}

#[test]
fn views_grow_to_a_limit_only() {
    let long = format!("SELECT '{}' AS a FROM public.orders", "x".repeat(60_000));
    let snapshot = snapshot_with(&[("long", &long)]);
    let count = |count| {
        let from = vec!["long"; count].into_iter().enumerate();
        let from: Vec<String> = from.map(|(at, view)| format!("{view} l{at}")).collect();
        let analysis = analyze(&format!("SELECT 1 FROM {}", from.join(", "))).unwrap();
        plan(&analysis.statements[0], &snapshot, &["public"])
    };
    assert!(matches!(count(4), Plan::NeedsViews { .. }));
    assert!(matches!(count(5), Plan::Refused(refusal) if refusal.sqlstate == "54000"));
}

#[test]
fn changes_of_views_go_where_their_tables_are() {
    let everywhere = [
        "CREATE VIEW v AS SELECT * FROM orders",
        "CREATE VIEW v AS SELECT * FROM paid",
        "DROP VIEW paid",
        "ALTER VIEW paid RENAME TO more",
        "GRANT SELECT ON paid TO someone",
        // Whoever makes these knows the only shard, and brings views up to date.
        "CREATE VIEW v AS SELECT * FROM settings",
        "CREATE VIEW v AS SELECT * FROM options",
        "DROP VIEW options",
        "ALTER TABLE settings RENAME COLUMN k TO j",
    ];
    for sql in everywhere {
        assert_eq!(plans(sql), [Plan::Everywhere], "{sql}");
    }
    let home = Plan::Home(ShardIndex(1));
    for sql in [
        "GRANT SELECT ON options TO someone",
        "CREATE INDEX ON settings (k)",
    ] {
        assert_eq!(plans(sql), std::slice::from_ref(&home), "{sql}");
    }
    let snapshot = snapshot();
    let of = |sql: &str| {
        let analysis = analyze(sql).unwrap();
        let crate::query::Class::Ddl(ddl) = &analysis.statements[0].class else {
            panic!("{sql}");
        };
        let home = crate::route::home_of(ddl, &snapshot, &["public"]);
        (home.unwrap(), may_change_views(ddl, &snapshot))
    };
    assert_eq!(of("DROP VIEW options"), (Some(ShardIndex(1)), true));
    assert_eq!(of("DROP TABLE orders CASCADE"), (None, true));
    assert_eq!(of("CREATE TABLE t (k int)"), (None, false));
    assert_eq!(of("CREATE TEMP VIEW t AS SELECT 1"), (None, false));
    let apart = plans("CREATE VIEW v AS SELECT * FROM options, orders");
    assert!(matches!(apart.as_slice(), [Plan::Refused(_)]), "{apart:?}");
}
