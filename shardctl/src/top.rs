//! Pure: what happened between two readings of the programs' metrics.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::doctor::Heard;
use crate::metrics::Samples;

const LATENCY: &str = "shard_query_duration_seconds_bucket";

/// The metrics of all programs, by their addresses.
pub type Reading = Vec<(String, Heard<Samples>)>;

/// Statements of an interval. Latencies are in milliseconds, of the bucket that they fell in.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Load {
    pub queries_per_second: f64,
    pub errors_per_second: f64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub in_use: f64,
    pub waiting: f64,
}

/// One router.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Router {
    /// Of its metrics.
    pub address: String,
    pub epoch: Option<f64>,
    pub clients: f64,
    pub held: f64,
    #[serde(flatten)]
    pub load: Load,
}

/// One shard, as all routers together use it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shard {
    pub shard_id: String,
    /// Whether every router reaches it.
    pub is_healthy: bool,
    pub max_connections: f64,
    #[serde(flatten)]
    pub load: Load,
}

/// A job that runs, as its leader shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Job {
    pub id: String,
    pub status: String,
    pub progress: f64,
    pub rows_per_second: f64,
    pub lag_seconds: f64,
}

/// What is shown at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Top {
    pub seconds: f64,
    pub routers: Vec<Router>,
    pub shards: Vec<Shard>,
    pub jobs: Vec<Job>,
    /// Programs that could not be read, and why.
    pub unread: BTreeMap<String, String>,
}

/// Puts two readings together that are `seconds` apart.
#[must_use]
pub fn between(before: &Reading, after: &Reading, seconds: f64) -> Top {
    let mut top = Top {
        seconds,
        routers: Vec::new(),
        shards: Vec::new(),
        jobs: Vec::new(),
        unread: BTreeMap::new(),
    };
    let mut pairs = Vec::new();
    for (address, samples) in after {
        match samples {
            Err(error) => {
                top.unread.insert(address.clone(), error.clone());
            }
            Ok(now) => {
                let then = before.iter().find(|(it, _)| it == address);
                let then = then.and_then(|(_, samples)| samples.as_ref().ok());
                pairs.push((address, then, now));
            }
        }
    }
    pairs.retain(|(_, _, now)| {
        top.jobs.extend(jobs(now));
        now.sum("router_build_info").is_some()
    });
    for (address, then, now) in &pairs {
        top.routers.push(Router {
            address: (*address).clone(),
            epoch: now.sum("catalog_version"),
            clients: now.sum("router_client_connections").unwrap_or_default(),
            held: now.sum("router_hold_waiting").unwrap_or_default(),
            load: load(&[(*then, *now)], None, seconds),
        });
    }
    let pairs: Vec<_> = pairs.iter().map(|(_, then, now)| (*then, *now)).collect();
    let ids: BTreeSet<&str> = pairs
        .iter()
        .flat_map(|(_, now)| now.of("shard_health_status"))
        .map(|sample| sample.label("shard_id"))
        .collect();
    for id in ids {
        let of = ("shard_id", id);
        let sum = |name: &str| pairs.iter().filter_map(|(_, now)| now.with(name, of)).sum();
        let mut health = pairs
            .iter()
            .filter_map(|(_, now)| now.with("shard_health_status", of));
        top.shards.push(Shard {
            shard_id: id.to_owned(),
            is_healthy: health.all(|health| health > 0.0),
            max_connections: sum("shard_connections_max"),
            load: load(&pairs, Some(id), seconds),
        });
    }
    top
}

fn load(pairs: &[(Option<&Samples>, &Samples)], shard: Option<&str>, seconds: f64) -> Load {
    let of = |samples: &Samples, name: &str, (label, value): (&str, &str)| -> f64 {
        let all = samples.of(name).filter(|sample| {
            (label.is_empty() || sample.label(label) == value)
                && shard.is_none_or(|id| sample.label("shard_id") == id)
        });
        all.map(|sample| sample.value).sum()
    };
    let grown = |name: &str, label: (&str, &str)| -> f64 {
        let grown = pairs.iter().map(|(then, now)| {
            let now = of(now, name, label);
            let then = then.map_or(now, |then| of(then, name, label));
            // A program that was started anew counts from 0.
            if now < then { now } else { now - then }
        });
        grown.sum::<f64>() / seconds
    };
    let now = |name: &str| pairs.iter().map(|(_, now)| of(now, name, ("", ""))).sum();
    let buckets = buckets(pairs, shard);
    Load {
        queries_per_second: grown("shard_queries_total", ("", "")),
        errors_per_second: grown("shard_queries_total", ("status", "error")),
        p50_ms: quantile(&buckets, 0.5),
        p99_ms: quantile(&buckets, 0.99),
        in_use: now("shard_connections_active"),
        waiting: now("shard_connections_waiting"),
    }
}

/// Upper bounds in seconds, with how many answers of the interval took no longer.
fn buckets(pairs: &[(Option<&Samples>, &Samples)], shard: Option<&str>) -> Vec<(f64, f64)> {
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    let mut add = |samples: &Samples, sign: f64| {
        for sample in samples.of(LATENCY) {
            if shard.is_none_or(|id| sample.label("shard_id") == id) {
                *all.entry(sample.label("le").to_owned()).or_default() += sign * sample.value;
            }
        }
    };
    for (then, now) in pairs {
        if let Some(then) = then {
            add(now, 1.0);
            add(then, -1.0);
        }
    }
    let parsed = all.into_iter().filter_map(|(le, count)| {
        let bound = if le == "+Inf" {
            f64::INFINITY
        } else {
            le.parse().ok()?
        };
        Some((bound, count))
    });
    let mut buckets: Vec<(f64, f64)> = parsed.collect();
    buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
    buckets
}

/// The quantile in milliseconds, within its bucket by proportion, as Prometheus tells it; nothing
/// where nothing was answered.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let (_, all) = buckets.last().filter(|(_, all)| *all > 0.0)?;
    let rank = part * all;
    let mut below = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank {
            if bound.is_infinite() {
                return Some(below.0 * 1000.0);
            }
            let inside = (count - below.1).max(f64::MIN_POSITIVE);
            let place = below.0 + (bound - below.0) * (rank - below.1) / inside;
            return Some(place * 1000.0);
        }
        below = (*bound, *count);
    }
    None
}

fn jobs(samples: &Samples) -> Vec<Job> {
    let all = samples.of("reshard_job_progress");
    let job = |sample: &crate::metrics::Sample| {
        let id = sample.label("job_id").to_owned();
        let of = |name| samples.with(name, ("job_id", &id)).unwrap_or_default();
        let mut statuses = samples.of("reshard_job_status");
        let status = statuses.find(|it| it.label("job_id") == id && it.value > 0.0);
        Job {
            status: status.map_or("-", |it| it.label("status")).to_owned(),
            progress: sample.value,
            rows_per_second: of("reshard_job_rows_per_second"),
            lag_seconds: of("reshard_job_lag_seconds"),
            id,
        }
    };
    all.map(job).collect()
}

#[cfg(test)]
mod tests;
