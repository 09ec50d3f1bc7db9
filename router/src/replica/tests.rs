use super::*;
use crate::query::analyze;

fn permit(sql: &str, plan: &Plan, consistency: Consistency) -> bool {
    let analysis = analyze(sql).unwrap();
    Permit::of(&analysis.statements[0], plan, consistency).is_some()
}

#[test]
fn only_statements_that_read_get_a_permit() {
    let reads = Plan::Any { writes: false };
    for sql in [
        "SELECT * FROM t WHERE k = 1",
        "VALUES (1)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT count(*), now() FROM t",
    ] {
        assert!(permit(sql, &reads, Consistency::Eventual), "{sql}");
        assert!(!permit(sql, &reads, Consistency::Strong), "{sql}");
        let writes = Plan::Any { writes: true };
        assert!(!permit(sql, &writes, Consistency::Eventual), "{sql}");
    }
    for sql in [
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1 WHERE k = 1",
        "DELETE FROM t WHERE k = 1",
        "WITH a AS (DELETE FROM t RETURNING k) SELECT * FROM a",
        "SELECT * FROM t WHERE k = 1 FOR UPDATE",
        "SELECT * FROM t WHERE k = 1 FOR SHARE",
        "SELECT * INTO u FROM t",
        "SELECT nextval('s')",
        "SELECT pg_advisory_lock(1)",
        "SELECT set_config('work_mem', '1MB', false)",
        "SELECT my_function(1)",
        "SELECT txid_current()",
        "EXPLAIN ANALYZE SELECT 1",
        "CREATE TABLE u (a int)",
        "BEGIN",
        "SET a.b = 1",
        "SHOW work_mem",
    ] {
        assert!(!permit(sql, &reads, Consistency::Eventual), "{sql}");
    }
}

#[test]
fn a_plan_that_runs_everywhere_or_nowhere_gets_no_permit() {
    assert!(!permit(
        "SELECT 1",
        &Plan::Everywhere,
        Consistency::Eventual
    ));
}
