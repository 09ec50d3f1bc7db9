//! What is counted of the statements that wait for the end of a hold.

use prometheus::{
    Histogram, HistogramOpts, HistogramTimer, IntCounterVec, IntGauge, Opts, Registry,
};

use super::Reason;

#[derive(Debug)]
pub(super) struct Metrics {
    waiting: IntGauge,
    waits: Histogram,
    rejected: IntCounterVec,
}

/// Counts one statement as waiting while it lives, and how long that was.
#[derive(Debug)]
pub(super) struct Waiting {
    gauge: IntGauge,
    _timer: HistogramTimer,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let waiting = IntGauge::new(
            "router_hold_waiting",
            "statements that wait for the end of a hold",
        )?;
        let waits = Histogram::with_opts(
            HistogramOpts::new(
                "router_hold_wait_seconds",
                "how long a statement waited for the end of a hold",
            )
            .buckets(platform::metrics::LATENCY_BUCKETS.to_vec()),
        )?;
        let rejected = IntCounterVec::new(
            Opts::new(
                "router_hold_rejected_total",
                "statements under a hold that were refused, by the limit that they met",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(waiting.clone()))?;
        registry.register(Box::new(waits.clone()))?;
        registry.register(Box::new(rejected.clone()))?;
        for reason in Reason::ALL {
            let _zero = rejected.with_label_values(&[reason.label()]);
        }
        Ok(Self {
            waiting,
            waits,
            rejected,
        })
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.inc();
        Waiting {
            gauge: self.waiting.clone(),
            _timer: self.waits.start_timer(),
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> i64 {
        self.waiting.get()
    }

    pub(super) fn rejected(&self, reason: Reason) {
        self.rejected.with_label_values(&[reason.label()]).inc();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
