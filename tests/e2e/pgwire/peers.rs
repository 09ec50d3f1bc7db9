//! Several routers behind one address: a cancel request comes to any of them.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::cluster::Plan;
use tests::raw::{Raw, cancel as cancel_request, query};
use tests::{Cluster, wait};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::cancel::{running, sleeper};
use super::{refused, sqlstate};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_cancel_reaches_its_session_through_any_router,
        a_cancel_for_a_router_that_is_gone_is_dropped,
    )
    .into()
}

/// Two routers that know of each other.
async fn routers() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        routers: 2,
        ..Plan::default()
    })
    .await?;
    wait::until("the routers' records", wait::SETTLE, async || {
        let keys = ["get", "--prefix", "--keys-only", "/sharding/v1/routers/"];
        let keys = cluster.etcd.etcdctl(&keys)?;
        let known = keys.lines().filter(|line| !line.is_empty()).count();
        anyhow::ensure!(known == 2, "{known} are known: {keys}");
        Ok(())
    })
    .await?;
    Ok(cluster)
}

/// Passes each connection on to one of two ports at random, as a load balancer would.
async fn balance(listener: TcpListener, ports: [u16; 2]) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let port = ports[usize::from(uuid::Uuid::new_v4().as_bytes()[0] & 1)];
        connections.spawn(async move {
            let mut far = TcpStream::connect(("127.0.0.1", port)).await?;
            tokio::io::copy_bidirectional(&mut near, &mut far).await
        });
    }
}

async fn a_cancel_reaches_its_session_through_any_router() -> Outcome {
    let cluster = routers().await?;
    let ports = [0, 1].map(|index| cluster.routers[index].address().port);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut balanced = cluster.router(0)?.address();
    balanced.port = listener.local_addr()?.port();
    let sql = sleeper(&cluster, "peers_a").await?;
    cluster.settle().await?;
    for (mine, other) in [(0, 1), (1, 0)] {
        let mut session = Raw::connect(&cluster.router(mine)?.address()).await?;
        session.send(&query(&sql)).await?;
        running(&cluster, "peers_a").await?;
        let mut canceller = Raw::open(ports[other]).await?;
        canceller.send(&cancel_request(&session.cancel_key)).await?;
        same!(canceller.byte().await?, None, "a cancel is not answered");
        let answer = session.until_ready().await?;
        same!(sqlstate(&answer).as_deref(), Some("57014"), "to {other}");
    }
    let statements = async {
        for _ in 0..8 {
            let client = balanced.client().await?;
            let token = client.cancel_token();
            let (slept, cancelled) = tokio::join!(client.query(&sql, &[]), async {
                running(&cluster, "peers_a").await?;
                anyhow::Ok(token.cancel_query(NoTls).await?)
            });
            cancelled?;
            same!(refused(slept)?.code().code(), "57014");
        }
        Ok(())
    };
    tokio::select! {
        () = balance(listener, ports) => anyhow::bail!("the balancer ended"),
        outcome = statements => outcome,
    }
}

async fn a_cancel_for_a_router_that_is_gone_is_dropped() -> Outcome {
    let mut cluster = routers().await?;
    let sql = sleeper(&cluster, "peers_b").await?.replace("60", "1");
    let other = cluster.router(1)?.address().port;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    // One that was passed on already goes no further, whomever it is for.
    session.send(&query(&sql)).await?;
    running(&cluster, "peers_b").await?;
    let mut passed_on = session.cancel_key.clone();
    passed_on.extend(b"hop1");
    let mut canceller = Raw::open(other).await?;
    canceller.send(&cancel_request(&passed_on)).await?;
    same!(canceller.byte().await?, None);
    same!(sqlstate(&session.until_ready().await?), None);
    cluster.routers[0].program.kill().await?;
    let mut canceller = Raw::open(other).await?;
    canceller.send(&cancel_request(&session.cancel_key)).await?;
    same!(canceller.byte().await?, None);
    let log = cluster.router(1)?.program.log();
    let dropped = log.contains("dropped another router's cancel request");
    anyhow::ensure!(dropped, "nothing in the log: {log}");
    Ok(())
}
