//! What is counted of events for the audit log.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The counters.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Events that are in etcd, for the leader to take.
    pub(super) handed_over: IntCounter,
    /// Events that are on record by their number only.
    pub(super) unlisted: IntCounter,
    /// Hand-overs that did not succeed, and were or will be tried again.
    pub(super) failures: IntCounter,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let events = IntCounterVec::new(
            Opts::new(
                "router_audit_events_total",
                "logins and refusals for the audit log, by what became of them",
            ),
            &["outcome"],
        )?;
        let failures = IntCounter::new(
            "router_audit_handover_failures_total",
            "times that events for the audit log could not be left in etcd, and waited",
        )?;
        registry.register(Box::new(events.clone()))?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self {
            handed_over: events.with_label_values(&["handed_over"]),
            unlisted: events.with_label_values(&["unlisted"]),
            failures,
        })
    }
}
