//! Heartbeats in the owner's log.
//!
//! They are transactions: a message outside of one is not flushed, and would only be seen with the
//! next write of somebody else.

use std::convert::Infallible;

use tokio::time::{MissedTickBehavior, interval};

use super::hub::Hub;
use super::lag::INTERVAL;
use crate::reshard::apply::Error;
use crate::reshard::session::Session;
use crate::reshard::stream::sort::HEARTBEAT_PREFIX;

/// Nobody else has to have them.
const LOCAL: &str = "SET synchronous_commit = local";
const BEAT: &str = "SELECT pg_logical_emit_message(true, $1, $2)::text";

/// Writes heartbeats until the session breaks.
pub(super) async fn run(owner: &Session, tag: &str, hub: &Hub) -> Error {
    match beat(owner, tag, hub).await {
        Ok(never) => match never {},
        Err(error) => owner.error("write a heartbeat", error).into(),
    }
}

async fn beat(owner: &Session, tag: &str, hub: &Hub) -> Result<Infallible, tokio_postgres::Error> {
    owner.batch_execute(LOCAL).await?;
    let statement = owner.prepare(BEAT).await?;
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_u64;
    loop {
        tick.tick().await;
        number += 1;
        hub.heartbeat_sent(number);
        let content = format!("{tag} {number}");
        let row = owner
            .query_one(&statement, &[&HEARTBEAT_PREFIX, &content])
            .await?;
        let written: String = row.get(0);
        if let Ok(lsn) = written.parse() {
            hub.owner_end(lsn);
        }
    }
}
