//! What the router counts besides its pools. Names and labels are those of the dashboards.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use platform::metrics::register_on_scrape;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use topology::{Epoch, ShardId, Snapshot};

use crate::error::Error;
use crate::route::{Refusal, Target};

mod hot;
mod routes;
mod tally;

pub use routes::{Decision, route_of};

use hot::Hot;
use tally::Tally;

/// Counters by decision.
type Routes = Tally<{ Decision::ALL.len() }>;

/// The counters of the data plane.
#[derive(Debug, Clone)]
pub struct Metrics {
    errors: IntCounterVec,
    refusals: IntCounterVec,
    health: IntGaugeVec,
    catalog_version: IntGauge,
    clients: IntGaugeVec,
    max_clients: IntGaugeVec,
    routes: Arc<Routes>,
    hot: Arc<Hot>,
    /// The shards that were probed last.
    probed: Arc<Mutex<BTreeSet<ShardId>>>,
}

/// Counts one client of a front while it lives.
#[derive(Debug)]
pub struct Connected(IntGauge);

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        let gauges = |name, help, label| IntGaugeVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            errors: counters(
                "router_errors_total",
                "errors that the router itself answered with",
                "sqlstate",
            )?,
            refusals: counters(
                "router_refusals_total",
                "statements that the router did not run, or not to their end",
                "reason",
            )?,
            health: gauges(
                "shard_health_status",
                "1 when the shard's primary answers, else 0",
                "shard_id",
            )?,
            catalog_version: IntGauge::new(
                "catalog_version",
                "epoch of the topology that is served",
            )?,
            clients: gauges(
                "router_client_connections",
                "clients that are connected",
                "front",
            )?,
            max_clients: gauges(
                "router_client_connections_max",
                "clients that may be connected",
                "front",
            )?,
            routes: Arc::default(),
            hot: Arc::default(),
            probed: Arc::default(),
        };
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.health.clone()))?;
        registry.register(Box::new(metrics.catalog_version.clone()))?;
        registry.register(Box::new(metrics.clients.clone()))?;
        registry.register(Box::new(metrics.max_clients.clone()))?;
        for front in ["pgwire", "console"] {
            let _zero = metrics.clients.with_label_values(&[front]);
        }
        // What alerts and dashboards look at begins at 0, else a rate misses the first.
        for reason in routes::REASONS {
            let _zero = metrics.refusals.with_label_values(&[reason]);
        }
        metrics.show_routes(registry)?;
        metrics.show_hot(registry)?;
        Ok(metrics)
    }

    fn show_routes(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let help = "statements by where they were sent";
        let shown = IntCounterVec::new(Opts::new("router_routes_total", help), &["decision"])?;
        let counters: [IntCounter; Decision::ALL.len()] =
            Decision::ALL.map(|decision| shown.with_label_values(&[decision.as_str()]));
        let routes = Arc::clone(&self.routes);
        register_on_scrape(registry, vec![Box::new(shown)], move || {
            for (counter, sum) in counters.iter().zip(routes.sums()) {
                counter.inc_by(sum.saturating_sub(counter.get()));
            }
        })
    }

    fn show_hot(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let shown = GaugeVec::new(
            Opts::new(
                "router_hot_vnode_statements_per_second",
                "the ten vnodes that statements with a key ask for most, by a sample of them",
            ),
            &["shard_id", "vnode"],
        )?;
        let hot = Arc::clone(&self.hot);
        let gauge = shown.clone();
        register_on_scrape(registry, vec![Box::new(shown)], move || hot.show(&gauge))
    }

    /// A statement goes to a shard. On the path of every query.
    pub fn routed(&self, snapshot: &Snapshot, target: Target) {
        self.decided(Decision::Sent(route_of(target)));
        if let Target::Shard {
            token: Some(token), ..
        } = target
        {
            self.hot.see(snapshot, token);
        }
    }

    /// A statement is done in this way.
    pub fn decided(&self, decision: Decision) {
        self.routes.raise(decision.number());
    }

    /// The router itself answered with an error.
    pub fn failed(&self, error: &Error) {
        // Shards may say anything, of which each would be a label; theirs are counted by shard.
        if !matches!(error, Error::Shard { .. }) {
            let reason = routes::reason(error);
            self.refusals.with_label_values(&[reason]).inc();
            self.errors.with_label_values(&[error.sqlstate()]).inc();
        }
    }

    /// The router refused a statement.
    pub fn refused(&self, refusal: &Refusal) {
        let reason = routes::reason_of_refusal(refusal);
        self.refusals.with_label_values(&[reason]).inc();
        self.errors.with_label_values(&[refusal.sqlstate]).inc();
    }

    /// What the last probes of all shards said. Nothing is shown of those that have left.
    pub fn health<'a>(&self, findings: impl Iterator<Item = (&'a ShardId, bool)>) {
        let mut present = BTreeSet::new();
        for (shard, healthy) in findings {
            let gauge = self.health.with_label_values(&[shard.as_str()]);
            gauge.set(i64::from(healthy));
            present.insert(shard.clone());
        }
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in probed.difference(&present) {
            // It was there a round ago.
            drop(self.health.remove_label_values(&[gone.as_str()]));
        }
        *probed = present;
    }

    /// The topology that is served from now on.
    pub fn epoch(&self, epoch: Epoch) {
        self.catalog_version
            .set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
    }

    /// How many clients of PostgreSQL may be connected.
    pub fn client_limit(&self, limit: u32) {
        self.max_clients
            .with_label_values(&["pgwire"])
            .set(i64::from(limit));
    }

    /// A client of this front.
    #[must_use]
    pub fn connected(&self, front: &str) -> Connected {
        let gauge = self.clients.with_label_values(&[front]);
        gauge.inc();
        Connected(gauge)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
