//! What a view of the topology says in the metrics.

use platform::metrics::register_on_scrape;
use prometheus::{Gauge, IntGauge, Registry};

use super::View;

/// Registers how near a view is to the store.
///
/// # Errors
/// When a name is taken.
pub fn register(view: &View, registry: &Registry) -> Result<(), prometheus::Error> {
    let connected = IntGauge::new(
        "topology_watch_connected",
        "1 while the topology is being followed in etcd, else 0",
    )?;
    let age = Gauge::new(
        "topology_watch_age_seconds",
        "Time since etcd last confirmed the topology that is served, which it does every few seconds",
    )?;
    let collectors: [Box<dyn prometheus::core::Collector>; 2] =
        [Box::new(connected.clone()), Box::new(age.clone())];
    let view = view.clone();
    register_on_scrape(registry, collectors.into(), move || {
        let freshness = view.freshness();
        connected.set(i64::from(freshness.connected));
        let never = f64::INFINITY;
        age.set(freshness.age.map_or(never, |age| age.as_secs_f64()));
    })
}
