//! What a client may ask of a manager: a burst, then a rate; less with wrong credentials.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::{Cluster, http, wait};

use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: a_client_that_asks_too_much_waits_and_probes_go_on).into()
}

async fn a_client_that_asks_too_much_waits_and_probes_go_on() -> Outcome {
    let plan = Plan {
        shards: 0,
        routers: 0,
        managers: 1,
        manager_config: json!({ "limits": { "requests_per_second": 2, "request_burst": 10 } }),
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    let manager = cluster.manager(0)?;
    let mut refused = 0;
    for _ in 0..60 {
        let answer = http::get(&manager.api("/shards")).await?;
        if answer.status == 429 {
            refused += 1;
            let body = answer.expect(429)?;
            same!(body["error"]["code"], json!("resource_exhausted"), "{body}");
        }
    }
    anyhow::ensure!(refused > 20, "{refused} of 60 were refused");
    for _ in 0..60 {
        let probe = http::get(&format!("{}/healthz", manager.0.http())).await?;
        same!(probe.status.as_u16(), 200, "{}", probe.body);
    }
    wait::until("the client let in again", wait::SETTLE, async || {
        http::get(&manager.api("/shards")).await?.expect(200)?;
        Ok(())
    })
    .await
}
