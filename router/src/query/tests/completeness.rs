//! No table goes unseen. The oracle is the parse tree itself, written as JSON and searched for
//! every node of a relation or a query, whatever it stands in.

use serde_json::Value as Json;

use super::*;

/// How many relations and how many query levels the tree of a statement has.
fn in_tree(sql: &str) -> (usize, usize) {
    let tree = pg_query::parse(sql, 0).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let json = serde_json::to_value(&tree.protobuf).expect("the tree is plain data");
    let mut counts = (0, 0);
    count(&json, &mut counts);
    counts
}

fn count(json: &Json, counts: &mut (usize, usize)) {
    match json {
        Json::Object(fields) => {
            if fields.contains_key("relname") {
                counts.0 += 1;
            }
            // Only SELECT has a target list and a locking clause.
            let is_select = fields.contains_key("locking_clause");
            let is_write = ["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"]
                .iter()
                .any(|kind| fields.contains_key(*kind));
            counts.1 += usize::from(is_select) + usize::from(is_write);
            fields.values().for_each(|value| count(value, counts));
        }
        Json::Array(items) => items.iter().for_each(|item| count(item, counts)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// How many relations and query levels the analysis has. References to CTEs are relations.
fn in_analysis(data: &Data) -> (usize, usize) {
    let mut relations = 0;
    for entry in data.scopes.iter().flat_map(|scope| &scope.entries) {
        relations += usize::from(matches!(entry.source, Source::Table(_)));
    }
    let plain_values = data.writes.iter().filter(|write| {
        matches!(&write.kind, WriteKind::Insert(insert) if matches!(insert.rows, NewRows::Values(_)))
    });
    (relations, data.scopes.len() + plain_values.count())
}

/// Every place of an expression, as `{}`.
const PLACES: &[&str] = &[
    "select {}",
    "select 1 from x where {} is null",
    "select 1 from x group by {}",
    "select 1 from x group by grouping sets (({}), ())",
    "select 1 from x having {} is null",
    "select 1 from x order by {}",
    "select 1 from x order by {} using <",
    "select distinct on ({}) 1 from x",
    "select 1 limit {}",
    "select 1 offset {}",
    "select 1 fetch first ({}) rows only",
    "select sum({}) from x",
    "select sum(v order by {}) from x",
    "select sum(v) filter (where {} is null) from x",
    "select sum(v) over (partition by {}) from x",
    "select sum(v) over (order by {} rows between ({})::int preceding and current row) from x",
    "select sum(v) over w from x window w as (order by {})",
    "select percentile_cont(0.5) within group (order by {}) from x",
    "select f(variadic {})",
    "select f(a => {})",
    "select case {} when 1 then 2 end",
    "select case when {} is null then 2 end",
    "select case when true then {} else {} end",
    "select coalesce(1, {}), greatest(1, {}), nullif(1, {})",
    "select array[1, {}], row(1, {}), ({}, 1)",
    "select ({})::text, cast({} as int)",
    "select {} collate \"C\"",
    "select {} between {} and {}",
    "select {} in (1, {})",
    "select {} = any(array[{}])",
    "select {} = any({})",
    "select {} in (select v from x where w = {})",
    "select exists (select {}), array(select {})",
    "select ({}).f, ({})[1], a[{}:{}] from x",
    "select not {}, {} and {}, {} or {}",
    "select {} is null, {} is true, {} is document",
    "select {} is distinct from {}, {} like {} escape {}",
    "select xmlelement(name a, xmlattributes({} as b), {}), xmlforest({} as c)",
    "select xmlconcat({}), xmlparse(content {}), xmlserialize(content {} as text)",
    "select extract(year from {}), position({} in {}), overlay({} placing {} from 1)",
    "select {} at time zone 'x', trim(both {} from {})",
    "select json_object('a': {}), json_array({}), json_array(select {})",
    "select json_objectagg('a': {} ), json_arrayagg({} order by {}) filter (where {} is null)",
    "select json_value({}, '$' passing {} as a default {} on empty), json_scalar({})",
    "select json({}), json_serialize({}), {} is json",
    "select grouping({}) from x group by {}",
    "select operator(pg_catalog.-) {}",
    "values (1, {}), ({}, 2)",
    "select 1 from x join y on {} is null",
    "select 1 from x left join y on v = {}",
    "select 1 from x full join y on v = {}",
    "select 1 from x, lateral (select {}) s",
    "select 1 from f({})",
    "select 1 from rows from (f({}), g({}) as (a int))",
    "select 1 from x tablesample bernoulli ({}) repeatable ({})",
    "select 1 from xmltable(xmlnamespaces({} as n), {} passing {} columns a int path {} default {})",
    "select 1 from json_table({}, '$' passing {} as a columns (b int path '$' default {} on empty, \
     nested path '$' columns (c int path '$' default {} on error)))",
    "select 1 union select {} intersect (select {} order by 1 limit {})",
    "with c as (select {}) select 1",
    "with recursive c as (select 1 union all select {} from c) select 1 from c",
    "with c as (delete from x where v = {} returning {}) select 1",
    "with c as (with d as (select {}) select 1 from d) select 1 from c",
    "insert into x values (1, {})",
    "insert into x values (1), ({}) order by {} limit {}",
    "insert into x select {}",
    "insert into x (a[{}]) values (1)",
    "insert into x values (1) on conflict ((v + {})) where v = {} do update set v = {} where w = {}",
    "insert into x values (1) returning {}",
    "with c as (select {}) insert into x select 1 from c",
    "update x set v = {}",
    "update x set (a, b) = ({}, 2)",
    "update x set (a, b) = (select {}, 2)",
    "update x set a[{}] = 1",
    "update x set v = 1 from y, (select {}) s where {} is null returning {}",
    "delete from x using (select {}) s where {} is null returning {}",
    "merge into x using (select {}) s on v = {} when matched and {} is null then update set v = {} \
     when not matched then insert values ({}) when not matched by source then delete returning {}",
];

#[test]
fn every_table_in_every_place_is_an_entry() {
    for place in PLACES {
        for expression in [
            "(select v from hidden)",
            "(select v from hidden where k = (select w from deeper))",
            "(with c as (select v from hidden) select v from deeper)",
            "(select v from hidden union select w from deeper)",
            "(select v from (select v from hidden, deeper) s)",
            "(table hidden)",
        ] {
            let sql = place.replace("{}", expression);
            let data = data(&sql);
            let (tree_relations, tree_queries) = in_tree(&sql);
            let (relations, queries) = in_analysis(&data);
            let references = data
                .scopes
                .iter()
                .flat_map(|scope| &scope.entries)
                .filter(|entry| matches!(entry.name.as_deref(), Some("c" | "d")) && !entry.aliased)
                .count();
            assert_eq!(relations + references, tree_relations, "{sql}");
            assert_eq!(queries, tree_queries, "{sql}");
            assert_eq!(data.opaque, None, "{sql}");
        }
    }
}

#[test]
fn every_call_in_every_place_is_seen() {
    for place in PLACES {
        let sql = place.replace("{}", "nextval('s')");
        // Some places take a query only; the parser says so.
        let Ok(analysis) = analyze(&sql) else {
            continue;
        };
        let functions = &analysis.statements[0].functions;
        let found = functions.iter().any(|call| call.name == "nextval");
        assert!(found, "{sql}");
    }
}
