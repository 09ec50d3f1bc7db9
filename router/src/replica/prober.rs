//! Asks every replica each second how far it is behind, over a connection that reads do not use.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::join_all;
use platform::Shutdown;
use tokio::time::Instant;
use topology::Epoch;
use wire::backend::{DataRow, tag};

use super::lag::{self, Measured};
use super::{Replica, Replicas, metrics::Metrics};
use crate::core::Core;
use crate::exec::conversation::{self, Message};
use crate::pool::Lease;
use crate::view::Serving;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a replica may take to answer. The next round waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest message of an answer.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Probes until shutdown.
pub async fn run(core: Arc<Core>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut epoch = Epoch::default();
    loop {
        tokio::select! {
            // A process that ends waits for nothing.
            biased;
            () = shutdown.requested() => return,
            _ = ticks.tick() => {}
        }
        let serving = core.view.load();
        if serving.snapshot.epoch() != epoch {
            epoch = serving.snapshot.epoch();
            core.replicas.forget_lags();
        }
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            () = round(&serving, &core.replicas) => {}
        }
    }
}

async fn round(serving: &Serving, metrics: &Metrics) {
    let replicas = serving.replicas().iter().flat_map(Replicas::all);
    join_all(replicas.map(|replica| look(replica, metrics))).await;
}

async fn look(replica: &Replica, metrics: &Metrics) {
    let at = Instant::now();
    let asked = tokio::time::timeout(PATIENCE, ask(replica)).await;
    let lag = asked.ok().flatten();
    replica.note(lag.map(|lag| Measured { lag, at }));
    metrics.lag(&replica.pool, lag);
}

/// Its lag; none when it can't be asked or should not be read from. A backend that did not answer
/// well is dropped, and so closed.
async fn ask(replica: &Replica) -> Option<Duration> {
    let mut lease = replica.probe.checkout_once().await.ok()?;
    let mut out = BytesMut::new();
    wire::frontend::encode::query(&mut out, lag::QUESTION.as_bytes()).ok()?;
    conversation::send(&mut lease, &mut out).await.ok()?;
    let mut found = None;
    loop {
        let message = receive(&mut lease).await?;
        match message.tag() {
            tag::DATA_ROW => found = read(&message),
            tag::ERROR_RESPONSE => return None,
            tag::READY_FOR_QUERY => break,
            _ => {}
        }
    }
    lease.give_back();
    found
}

async fn receive(lease: &mut Lease) -> Option<Message> {
    conversation::receive(lease, MAX_ANSWER_BYTES).await.ok()
}

fn read(row: &Message) -> Option<Duration> {
    let row = DataRow::decode(row.body()).ok()?;
    let text = |index| -> Option<&str> { std::str::from_utf8(row.values.get(index)??).ok() };
    lag::of_answer(text(0), text(1))
}
