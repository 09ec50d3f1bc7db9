//! Metrics: a registry with what every process reports, and its text form.
//!
//! Each module registers its own metrics; nothing here knows their names.

mod memory_limit;
mod on_scrape;
pub mod requests;

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, Opts, Registry, TextEncoder};

use crate::telemetry::error_chain;

pub use on_scrape::register_on_scrape;

/// The buckets of latency histograms, in seconds: 50 us (a routed point read's own cost) to 10 s
/// (beyond any default time-out).
pub const LATENCY_BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// A registry that holds the process's own figures and `<service>_build_info`.
#[must_use]
pub fn new_registry(service: &str) -> Registry {
    let registry = Registry::new();
    let name: String = service
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let options = Opts::new(
        format!("{name}_build_info"),
        "Always 1; the labels say what runs",
    )
    .const_label("version", env!("CARGO_PKG_VERSION"));
    let build_info = IntGauge::with_opts(options).expect("a service's name begins with a letter");
    build_info.set(1);
    registry
        .register(Box::new(build_info))
        .expect("a new registry holds no such name");
    registry
        .register(Box::new(ProcessCollector::for_self()))
        .expect("a new registry holds no process figures");
    memory_limit::register(&registry).expect("a new registry holds no limit of memory");
    registry
}

/// All metrics in Prometheus's text form. A family that cannot be written is left out and logged,
/// so that it does not hide the others.
#[must_use]
pub fn encode(registry: &Registry) -> String {
    let (encoder, mut text) = (TextEncoder::new(), String::new());
    for family in registry.gather() {
        let before = text.len();
        if let Err(error) = encoder.encode_utf8(std::slice::from_ref(&family), &mut text) {
            text.truncate(before);
            let name = family.name();
            tracing::warn!(
                metric = name,
                error = error_chain(&error),
                "metric not written"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_reports_the_process_and_the_build() {
        let text = encode(&new_registry("router"));
        assert!(text.contains("# TYPE router_build_info gauge"), "{text}");
        let version = env!("CARGO_PKG_VERSION");
        assert!(
            text.contains(&format!("router_build_info{{version=\"{version}\"}} 1")),
            "{text}"
        );
        assert!(text.contains("process_open_fds"), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
        assert!(text.contains("process_memory_limit_bytes"), "{text}");
    }

    #[test]
    fn a_service_name_with_a_dash_still_makes_a_valid_metric() {
        assert!(encode(&new_registry("shard-ctl")).contains("shard_ctl_build_info"));
    }

    #[test]
    fn latency_buckets_rise_from_50_microseconds_to_10_seconds() {
        assert!(LATENCY_BUCKETS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((LATENCY_BUCKETS[0], LATENCY_BUCKETS[15]), (0.000_05, 10.0));
    }
}
