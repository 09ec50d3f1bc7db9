//! Metrics that are worked out when they are asked for, so that nobody keeps them up to date in
//! between.

use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, Registry};

struct OnScrape<F> {
    collectors: Vec<Box<dyn Collector>>,
    /// Two scrapes at a time would see each other's half.
    refresh: Mutex<F>,
}

/// Registers metrics that `refresh` brings up to date before each scrape. It runs on whichever
/// thread answers, one at a time, and must not wait.
///
/// # Errors
/// When a name is taken.
pub fn register_on_scrape(
    registry: &Registry,
    collectors: Vec<Box<dyn Collector>>,
    refresh: impl FnMut() + Send + 'static,
) -> Result<(), Error> {
    registry.register(Box::new(OnScrape {
        collectors,
        refresh: Mutex::new(refresh),
    }))
}

impl<F: FnMut() + Send> Collector for OnScrape<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors.iter().flat_map(|it| it.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut refresh = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        refresh();
        self.collectors.iter().flat_map(|it| it.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntGauge;

    use super::*;

    #[test]
    fn a_scrape_sees_what_was_worked_out_for_it() {
        let (registry, gauge) = (
            Registry::new(),
            IntGauge::new("scrapes", "so many").unwrap(),
        );
        let counted = gauge.clone();
        register_on_scrape(&registry, vec![Box::new(gauge)], move || counted.inc()).unwrap();
        let first = super::super::encode(&registry);
        let second = super::super::encode(&registry);
        assert!(first.contains("scrapes 1"), "{first}");
        assert!(second.contains("scrapes 2"), "{second}");
    }
}
