//! Statements under hints, and what EXPLAIN (ROUTE) says of them.

use topology::{Key, ShardIndex};

use super::cluster::{neighbours, owner, snapshot};
use crate::query::{Hints, Statement, analyze};
use crate::route::explain::{Question, explain};
use crate::route::{
    Hint, NoParameters, Origin, Parameter, Parameters, Plan, Refusal, Target, plan, resolve_under,
};

fn statement(sql: &str) -> Statement {
    analyze(sql).unwrap().statements.remove(0)
}

fn planned(statement: &Statement) -> Plan {
    plan(statement, &snapshot(), &["public"])
}

/// Where a text goes under the hints in its comments.
fn route(sql: &str) -> Result<Target, Refusal> {
    let (statement, snapshot) = (statement(sql), snapshot());
    let plan = planned(&statement);
    let hint = Hint::read(&statement.hints, Origin::Comment, &plan, &snapshot)?;
    resolve_under(&plan, &NoParameters, &hint, &snapshot)
}

fn shard(sql: &str) -> ShardIndex {
    match route(sql) {
        Ok(Target::Shard { index, .. }) => index,
        other => panic!("{sql}: {other:?}"),
    }
}

fn message(sql: &str) -> String {
    match route(sql) {
        Err(refusal) => format!("{} {refusal}", refusal.sqlstate),
        Ok(target) => panic!("{sql}: {target:?}"),
    }
}

fn id(index: ShardIndex) -> String {
    snapshot().shard(index).unwrap().id.to_string()
}

fn explained(sql: &str, params: Option<&dyn Parameters>) -> Vec<String> {
    let statement = statement(sql);
    let hints = &statement.hints;
    let question = Question {
        plan: &planned(&statement),
        params,
        hints: (!hints.is_empty()).then_some((hints, Origin::Comment)),
    };
    explain(question, &snapshot()).lines
}

#[test]
fn a_key_hint_is_the_key_of_what_shows_none() {
    let sql = "SELECT count(*) FROM orders /* shard_key = 5 */";
    assert_eq!(shard(sql), owner(&Key::Bigint(5)));
    let sql = "SELECT 1 FROM docs /* shard_key = 'it''s' */";
    assert_eq!(shard(sql), owner(&Key::Text("it's".into())));
}

#[test]
fn a_key_hint_must_equal_every_key_that_is_shown() {
    let sql = "SELECT 1 FROM orders WHERE customer_id = 5 /* shard_key = '5' */";
    assert_eq!(shard(sql), owner(&Key::Bigint(5)));
    let sql = "SELECT 1 FROM orders WHERE customer_id = 5 /* shard_key = 6 */";
    assert!(message(sql).starts_with("0A000 hint names another shard key"));
}

#[test]
fn a_hint_that_is_no_key_is_named() {
    let sql = "SELECT 1 FROM orders /* shard_key = 'x' */";
    assert_eq!(
        message(sql),
        "22P02 hint shard_key: invalid input syntax for type bigint: \"x\""
    );
}

#[test]
fn a_shard_hint_runs_a_reading_statement_on_that_shard() {
    for name in ["a", "b", "c"] {
        let index = shard(&format!(
            "SELECT count(*) FROM orders /* shard = '{name}' */"
        ));
        assert_eq!(id(index), name);
        assert_eq!(id(shard(&format!("SELECT 1 /* shard = {name} */"))), name);
    }
    assert!(message("SELECT 1 /* shard = nowhere */").starts_with("22023 hint shard"));
}

#[test]
fn a_shard_hint_takes_only_keys_of_that_shard() {
    let ((one, other), far) = neighbours();
    let here = id(owner(&Key::Bigint(one)));
    for sql in [
        format!("SELECT 1 FROM orders WHERE customer_id IN ({one}, {other})"),
        format!("INSERT INTO orders (customer_id) VALUES ({one}), ({other})"),
        format!("SELECT 1 FROM customers c, orders o WHERE c.id = {one}"),
        format!("SELECT 1 FROM orders /* shard_key = {one} */"),
        format!("DELETE FROM orders /* shard_key = {one} */"),
    ] {
        assert_eq!(id(shard(&format!("{sql} /* shard = {here} */"))), here);
    }
    for sql in [
        format!("SELECT 1 FROM orders WHERE customer_id = {far}"),
        format!("INSERT INTO orders (customer_id) VALUES ({far})"),
        format!("SELECT 1 FROM customers c, orders o WHERE c.id = {far}"),
        format!("SELECT 1 FROM orders /* shard_key = {far} */"),
    ] {
        let refused = message(&format!("{sql} /* shard = {here} */"));
        assert!(refused.starts_with("0A000 hint names shard"), "{refused}");
    }
}

#[test]
fn a_write_under_a_shard_hint_must_show_its_key() {
    for sql in [
        "UPDATE orders SET total = 1",
        "DELETE FROM orders",
        "SELECT 1 FROM orders FOR UPDATE",
        "WITH gone AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM gone",
    ] {
        let refused = message(&format!("{sql} /* shard = a */"));
        assert!(refused.contains("must show its shard key"), "{refused}");
    }
    let refused = message("INSERT INTO orders (total) VALUES (1) /* shard = a */");
    assert!(refused.contains("does not show the value"), "{refused}");
}

#[test]
fn what_lives_elsewhere_is_not_found_under_a_shard_hint() {
    assert_eq!(id(shard("SELECT * FROM settings /* shard = b */")), "b");
    assert!(message("SELECT * FROM settings /* shard = a */").contains("is for shard b"));
    assert!(message("CREATE TABLE t (a int) /* shard = a */").contains("schema change"));
}

#[test]
fn a_key_that_nothing_depends_on_may_be_of_any_type() {
    assert_eq!(route("SELECT 1 /* shard_key = 'x' */"), Ok(Target::Any));
    let index = shard("SELECT 1 FROM countries /* shard_key = 5 */");
    assert_eq!(index, owner(&Key::Bigint(5)));
    let home = id(shard("SELECT * FROM settings /* shard_key = 5 */"));
    assert_eq!(home, "b");
}

#[test]
fn a_route_is_explained_with_the_place_of_its_key() {
    let key = Key::Bigint(5);
    let vnode = snapshot().owner_of(&key).unwrap();
    let (token, there) = (topology::hash::token_of(&key), id(vnode.owner));
    let lines = explained(
        "EXPLAIN (ROUTE) SELECT 1 FROM orders WHERE customer_id = 5",
        None,
    );
    let place = format!(
        "  Key: 5 (literal)  Token: {token}  Vnode: {}  Shard: {there}",
        vnode.token
    );
    let expected = [
        format!("Route to shard {there}"),
        "  Reason: the statement shows its shard key".to_owned(),
        place,
        "  Epoch: 7".to_owned(),
    ];
    assert_eq!(lines, expected);
}

/// One parameter in text format.
struct One(&'static str);

impl Parameters for One {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        (index == 0).then_some(Parameter {
            value: Some(self.0.as_bytes()),
            binary: false,
            type_oid: 25,
        })
    }
}

#[test]
fn a_parameter_is_named_until_it_is_known() {
    let sql = "EXPLAIN (ROUTE) SELECT 1 FROM orders WHERE customer_id = $1";
    let lines = explained(sql, None);
    assert_eq!(lines[0], "Route by parameter $1");
    assert!(
        lines.contains(&"  Key: by parameter $1".to_owned()),
        "{lines:?}"
    );
    let there = id(owner(&Key::Bigint(5)));
    let lines = explained(&format!("{sql} /* shard_key = 5 */"), None);
    assert!(
        lines[0].starts_with(&format!("Route to shard {there}, if")),
        "{lines:?}"
    );
    let lines = explained(sql, Some(&One("5")));
    assert_eq!(lines[0], format!("Route to shard {there}"));
    assert!(lines[2].starts_with("  Key: 5 (parameter $1)"), "{lines:?}");
}

#[test]
fn a_refusal_and_a_hint_are_explained() {
    let lines = explained("EXPLAIN (ROUTE) SELECT count(*) FROM orders", None);
    assert!(
        lines[0].starts_with("Refused: table \"orders\""),
        "{lines:?}"
    );
    assert_eq!(lines[1], "  SQLSTATE: 0A000");
    assert!(lines[2].starts_with("  Advice: "), "{lines:?}");
    let lines = explained(
        "EXPLAIN (ROUTE) SELECT count(*) FROM orders /* shard = a */",
        None,
    );
    assert_eq!(lines[0], "Route to shard a");
    assert!(
        lines.contains(&"  Hint: shard = 'a' (comment)".to_owned()),
        "{lines:?}"
    );
    for (sql, first) in [
        ("SELECT 1", "Route to any shard"),
        ("SELECT * FROM jobs", "Route to shard c"),
        ("CREATE TABLE t (a int)", "Route to every shard"),
    ] {
        let hints = Hints::default();
        assert!(hints.is_empty());
        let statement = statement(sql);
        let question = Question {
            plan: &planned(&statement),
            params: None,
            hints: None,
        };
        assert_eq!(explain(question, &snapshot()).lines[0], first);
    }
}

#[test]
fn explain_route_takes_no_other_option() {
    let lines = explained("EXPLAIN (ROUTE, ANALYZE) SELECT 1", None);
    assert!(lines[0].contains("other options"), "{lines:?}");
    let off = statement("EXPLAIN (ROUTE off) SELECT 1");
    assert!(matches!(off.class, crate::query::Class::Explain { .. }));
}
