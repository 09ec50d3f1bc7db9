use super::*;
use crate::query::Class;
use crate::route::tests::cluster::snapshot;

fn planned(sql: &str) -> Result<Program, Refusal> {
    let analysis = query::analyze(sql).expect("it is SQL");
    let Some(Class::Select(data)) = analysis.statements.first().map(|it| &it.class) else {
        panic!("it is a SELECT");
    };
    plan(sql, data, (&snapshot(), &["public"]), Names::Columns)
}

#[test]
fn show() {
    for sql in [
        "SELECT * FROM orders",
        "SELECT * FROM orders ORDER BY total DESC, 1 LIMIT 10 OFFSET $1",
        "SELECT id AS i, total FROM orders o ORDER BY i, total + 1 NULLS FIRST",
        "SELECT count(*), sum(total), avg(total), min(note), count(DISTINCT note) FROM orders",
        "SELECT status, count(*) FILTER (WHERE total > 3) AS n FROM orders GROUP BY 1 HAVING count(*) > 2 ORDER BY n DESC, status LIMIT 3",
        "SELECT customer_id, sum(total) FROM orders GROUP BY customer_id ORDER BY 2 LIMIT 3",
        "SELECT DISTINCT status FROM orders ORDER BY status",
        "SELECT DISTINCT customer_id, status FROM orders",
        "SELECT o.id, i.id FROM orders o JOIN items i USING (customer_id) WHERE i.q > 1",
        "SELECT o.id, i.id FROM orders o JOIN items i ON i.order_id = o.id",
        "SELECT o.id, c.name FROM orders o LEFT JOIN countries c ON c.id = o.country",
        "SELECT o.id, c.name FROM countries c LEFT JOIN orders o ON c.id = o.country",
        "SELECT id, row_number() OVER (ORDER BY total) FROM orders",
        "SELECT string_agg(note, ',' ORDER BY id) FROM orders",
        "SELECT id FROM orders UNION ALL SELECT id FROM items ORDER BY 1",
        "SELECT id FROM orders UNION SELECT id FROM items ORDER BY 1",
        "SELECT id FROM orders UNION ALL SELECT 1",
        "WITH x AS (SELECT * FROM orders WHERE total > 4) SELECT id FROM x",
        "SELECT max(n) FROM (SELECT customer_id, count(*) AS n FROM orders GROUP BY customer_id) x",
        "SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) FROM customers c",
        "SELECT id FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id)",
        "SELECT id FROM customers c WHERE total > (SELECT avg(total) FROM orders o)",
        "SELECT date_trunc('day', at), count(*)*1.0/sum(count(*)) OVER () FROM orders GROUP BY 1 ORDER BY 1",
        "SELECT status, note, grouping(status), count(*) FROM orders GROUP BY ROLLUP(status, note)",
    ] {
        println!("{sql}");
        match planned(sql) {
            Ok(program) => println!("   {}\n   {:?}", program.shards.0, program.finish),
            Err(refusal) => println!("   REFUSED {}", refusal.message),
        }
    }
}
