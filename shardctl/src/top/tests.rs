//! Two readings of scripted metrics.

use super::*;
use crate::report::tests::check;

fn router(queries: u32, errors: u32, fast: u32, slow: u32) -> Heard<Samples> {
    let all = fast + slow;
    Ok(Samples::parse(&format!(
        "router_build_info{{version=\"0.1.0\"}} 1\ncatalog_version 12\n\
         router_client_connections{{front=\"pgwire\"}} 8\nrouter_hold_waiting 1\n\
         shard_health_status{{shard_id=\"alpha\"}} 1\n\
         shard_queries_total{{shard_id=\"alpha\",status=\"success\"}} {queries}\n\
         shard_queries_total{{shard_id=\"alpha\",status=\"error\"}} {errors}\n\
         shard_query_duration_seconds_bucket{{shard_id=\"alpha\",route=\"key\",le=\"0.001\"}} {fast}\n\
         shard_query_duration_seconds_bucket{{shard_id=\"alpha\",route=\"key\",le=\"0.01\"}} {all}\n\
         shard_query_duration_seconds_bucket{{shard_id=\"alpha\",route=\"key\",le=\"+Inf\"}} {all}\n\
         shard_connections_active{{shard_id=\"alpha\"}} 3\n\
         shard_connections_waiting{{shard_id=\"alpha\"}} 2\n\
         shard_connections_max{{shard_id=\"alpha\"}} 20\n"
    )))
}

fn manager() -> Heard<Samples> {
    Ok(Samples::parse(
        "manager_build_info{version=\"0.1.0\"} 1\nreshard_job_progress{job_id=\"j1\"} 0.425\n\
         reshard_job_rows_per_second{job_id=\"j1\"} 1200\nreshard_job_lag_seconds{job_id=\"j1\"} 0.5\n\
         reshard_job_status{job_id=\"j1\",status=\"precopy\"} 1\n",
    ))
}

#[test]
fn rates_and_percentiles_are_of_the_interval() {
    let before = vec![("a:9090".to_owned(), router(1000, 10, 500, 500))];
    let after = vec![
        ("a:9090".to_owned(), router(1190, 20, 598, 502)),
        ("m:9091".to_owned(), manager()),
        ("n:9091".to_owned(), Err("connection refused".to_owned())),
    ];
    let top = between(&before, &after, 2.0);
    let load = &top.routers[0].load;
    assert!((load.queries_per_second - 100.0).abs() < 1e-9);
    assert!((load.errors_per_second - 5.0).abs() < 1e-9);
    // 98 of 100 within 1 ms; the 99th is in the middle of the two in the next bucket.
    assert!((load.p50_ms.unwrap() - 0.51).abs() < 0.01);
    assert!((load.p99_ms.unwrap() - 5.5).abs() < 0.01);
    check("top", &top);
}

#[test]
fn a_router_that_was_started_anew_counts_from_nothing() {
    let before = vec![("a:9090".to_owned(), router(1000, 10, 500, 500))];
    let after = vec![("a:9090".to_owned(), router(6, 0, 6, 0))];
    let top = between(&before, &after, 1.0);
    assert!((top.routers[0].load.queries_per_second - 6.0).abs() < 1e-9);
}

#[test]
fn the_first_reading_has_no_rates() {
    let top = between(
        &Vec::new(),
        &vec![("a:9090".to_owned(), router(9, 0, 9, 0))],
        1.0,
    );
    assert!(top.routers[0].load.queries_per_second.abs() < 1e-9);
    assert_eq!(top.routers[0].load.p99_ms, None);
}
