//! End to end: router and manager as black boxes against real PostgreSQL and real etcd.
//!
//! `cargo test -p tests --test e2e -- [FILTER] [--list] [--test-threads N]`; the programs must have
//! been built before (`cargo build --workspace --bins`). KEEP_TEST_FILES=1 keeps logs and data.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

mod access;
mod balance;
mod console;
mod deploy;
mod differential;
mod drivers;
mod failover;
mod faults;
mod grpc;
mod harness;
mod hold;
mod http;
mod lifecycle;
mod logic;
mod manager;
mod metrics;
mod moving;
mod observe;
mod operate;
mod outage;
mod pgwire;
mod replicas;
mod reshard;
mod scatter;
mod schema;
mod security;
mod suite;
mod transactions;

use suite::Suite;

/// Tests mostly wait for servers, so there are more of them at a time than cores.
const PARALLEL: usize = 4;

fn main() -> ExitCode {
    if harness::is_child() {
        return harness::run_child();
    }
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(PARALLEL);
    let suite = match Suite::new() {
        Ok(suite) => Arc::new(suite),
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    // The longest ones first.
    let trials = [
        reshard::trials(&suite),
        security::trials(&suite),
        failover::trials(&suite),
        faults::trials(&suite),
        differential::trials(&suite),
        scatter::trials(&suite),
        logic::trials(&suite),
        outage::trials(&suite),
        transactions::trials(&suite),
        access::trials(&suite),
        lifecycle::trials(&suite),
        manager::trials(&suite),
        pgwire::trials(&suite),
        schema::trials(&suite),
        replicas::trials(&suite),
        console::trials(&suite),
        deploy::trials(&suite),
        drivers::trials(&suite),
        http::trials(&suite),
        grpc::trials(&suite),
        balance::trials(&suite),
        metrics::trials(&suite),
        observe::trials(&suite),
        operate::trials(&suite),
        harness::trials(&suite),
        hold::trials(&suite),
        moving::trials(&suite),
    ];
    let conclusion = libtest_mimic::run(&arguments, trials.into_iter().flatten().collect());
    suite.end();
    conclusion.exit_code()
}
