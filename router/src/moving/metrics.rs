//! What is counted of statements that a shard refused because their rows are being moved.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

#[derive(Debug)]
pub(super) struct Metrics {
    refusals: IntCounterVec,
    retries: IntCounter,
    given_up: IntCounter,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let refusals = IntCounterVec::new(
            Opts::new(
                "shard_move_refusals_total",
                "statements that a shard refused because their rows are being moved, by its code",
            ),
            &["code"],
        )?;
        let retries = IntCounter::new(
            "shard_move_retries_total",
            "times that the router ran one of them again, or one that was out of date before it was sent",
        )?;
        let given_up = IntCounter::new(
            "shard_move_given_up_total",
            "those of them that the client was told of (40001)",
        )?;
        registry.register(Box::new(refusals.clone()))?;
        registry.register(Box::new(retries.clone()))?;
        registry.register(Box::new(given_up.clone()))?;
        for code in ["VG001", "VG002", "VG003"] {
            let _zero = refusals.with_label_values(&[code]);
        }
        Ok(Self {
            refusals,
            retries,
            given_up,
        })
    }

    pub(super) fn refused(&self, code: &str) {
        self.refusals.with_label_values(&[code]).inc();
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    pub(super) fn given_up(&self) {
        self.given_up.inc();
    }
}
