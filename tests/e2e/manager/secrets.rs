//! A password that an operator puts into an endpoint is never stored, shown or logged.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::http;

use super::{leader, managers};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: a_password_in_an_endpoint_goes_nowhere).into()
}

const SECRET: &str = "correct-horse-battery";

async fn a_password_in_an_endpoint_goes_nowhere() -> Outcome {
    let cluster = managers(2, 2).await?;
    let follower = &cluster.managers[1 - leader(&cluster).await?];
    let with_password = |number: usize| {
        let login = format!("postgres://someone:{SECRET}@");
        cluster.spares[number]
            .endpoint()
            .replace("postgres://", &login)
    };
    let body = json!({
        "name": "a",
        "primary_endpoint": with_password(0),
        "replicas": [with_password(1)],
    });
    let made = http::post(&follower.api("/shards"), &body)
        .await?
        .expect(201)?;
    same!(
        made["primary_endpoint"],
        json!(cluster.spares[0].endpoint())
    );
    // What is wrong is refused without being repeated.
    for endpoint in [
        format!("mysql://someone:{SECRET}@127.0.0.1/app"),
        format!("postgres://someone:{SECRET}@127.0.0.1"),
        format!("postgres://someone:{SECRET}@:5432/app"),
    ] {
        let body = json!({ "name": "b", "primary_endpoint": endpoint });
        let answer = http::post(&follower.api("/shards"), &body).await?;
        same!(answer.status.as_u16(), 400);
        anyhow::ensure!(!answer.body.contains(SECRET), "{}", answer.body);
    }
    let everything = cluster.etcd.etcdctl(&["get", "--prefix", ""])?;
    anyhow::ensure!(
        everything.contains("/sharding/v1/topology/shards/a"),
        "nothing is stored"
    );
    anyhow::ensure!(!everything.contains(SECRET), "etcd holds the password");
    anyhow::ensure!(
        !everything.contains(tests::postgres::PASSWORD),
        "etcd holds DB_PASSWORD"
    );
    for manager in &cluster.managers {
        anyhow::ensure!(
            !manager.0.log().contains(SECRET),
            "a log holds the password"
        );
        for path in ["/shards", "/topology", "/audit", "/ring"] {
            let shown = http::get(&manager.api(path)).await?.body;
            anyhow::ensure!(!shown.contains(SECRET), "{path} shows the password");
        }
        anyhow::ensure!(
            !manager.0.metrics().await?.contains(SECRET),
            "metrics show it"
        );
    }
    Ok(())
}
