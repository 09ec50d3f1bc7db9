//! Statement texts that are changed anywhere: nothing panics, and what is rewritten is the same
//! statement.

use router::query::{self, Form};
use router::route::{self, Plan};
use tests::random::Random;
use tests::statements::Maker;

use crate::mutation::mutate;
use crate::routing::{cluster, columns_of};
use crate::{Outcome, ensure};

const TEXTS: &[&str] = &[
    "WITH RECURSIVE c(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM c) SELECT * FROM c, fz_orders o",
    "INSERT INTO public . fz_orders AS \"o\"\"x\" OVERRIDING USER VALUE VALUES (1, 2, 3), (4, 5, 6)",
    "WITH i AS (INSERT INTO fz_customers VALUES (1, 2) RETURNING *) INSERT INTO fz_orders SELECT 1, id FROM i",
    "PREPARE \"p 1\" (bigint, text[]) AS INSERT INTO fz_orders VALUES ($1, 5, $2)",
    "EXPLAIN (ANALYZE, COSTS off) EXECUTE p (1, 'x', NULL)",
    "MERGE INTO fz_orders t USING fz_customers u ON t.customer_id = u.id WHEN MATCHED THEN DELETE",
    "COPY (SELECT * FROM fz_orders WHERE customer_id = 5) TO STDOUT; SET search_path = a, public",
    "/* shard_key = 'x' */ SELECT set_config('a.b', $1, true) -- shard = 1",
    "ALTER TABLE fz_orders ADD COLUMN a int, DROP b; BEGIN READ ONLY; DECLARE c CURSOR FOR SELECT 1",
];

pub(crate) fn case(random: &mut Random) -> Outcome {
    let mut text = if random.chance(50) {
        let sql = Maker::new(random.number(), true).statement().sql;
        sql.into_bytes()
    } else {
        random.pick(TEXTS).as_bytes().to_vec()
    };
    mutate(random, &mut text);
    let Ok(sql) = String::from_utf8(text) else {
        return Ok(());
    };
    let mut form = Form::default();
    form.read(&sql);
    for place in [query::prepared_body(&sql), query::executed_name(&sql)] {
        let place = place.unwrap_or_default();
        ensure!(sql.get(place.clone()).is_some(), "{place:?} of {sql}");
    }
    let Ok(analysis) = query::analyze(&sql) else {
        return Ok(());
    };
    let mut plans = Vec::new();
    for statement in &analysis.statements {
        ensure!(
            sql.get(statement.location.clone()).is_some(),
            "{sql}: {statement:?}"
        );
        plans.push(route::plan(statement, cluster(), &["public"]));
    }
    let inserts: Vec<_> = route::unnamed_inserts(&plans).collect();
    if inserts.is_empty() {
        return Ok(());
    }
    let known: Vec<_> = inserts.iter().map(|it| (*it, columns_of(it))).collect();
    let known: Vec<_> = known.iter().map(|(it, names)| (*it, &**names)).collect();
    let named = route::name_columns(&sql, &known).ok_or_else(|| format!("no names: {sql}"))?;
    let again = query::analyze(&named).map_err(|error| format!("{error}: {sql} -> {named}"))?;
    ensure!(
        again.statements.len() == analysis.statements.len(),
        "{sql} -> {named}"
    );
    for statement in &again.statements {
        let plan = route::plan(statement, cluster(), &["public"]);
        ensure!(
            !matches!(plan, Plan::NeedsColumns { .. }),
            "{sql} -> {named}"
        );
    }
    Ok(())
}
