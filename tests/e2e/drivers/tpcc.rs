//! A small TPC-C with the warehouse as the key: orders and payments of which some are of other
//! warehouses, and the conditions of the specification at its end.

use std::io::Write as _;
use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;

use super::client::{Client, Language};
use crate::suite::{Outcome, Suite, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite: tpcc_is_consistent_over_several_shards).into()
}

const TPCC: Client = Client {
    language: Language::Python,
    name: "tpcc",
    modules: &["psycopg2"],
    arguments: &[],
};

async fn tpcc_is_consistent_over_several_shards(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?.address();
    TPCC.check_available(&router).await?;
    let shown = TPCC.run(&router, "run").await?;
    let counts = shown.lines().next().unwrap_or_default();
    writeln!(std::io::stderr(), "tpcc: {counts}")?;
    Ok(())
}
