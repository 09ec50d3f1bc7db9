//! Metrics, their page, dashboards and rules: what is named anywhere is there, and what is there is
//! on the page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::Value;
use tests::{Prometheus, prometheus, wait};

use super::expression;
use super::ground::Ground;
use crate::suite::{Outcome, Suite, Unavailable, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: metrics_are_on_their_page_and_dashboards_show_them).into()
}

/// A file of the repository.
pub(super) fn file(path: &str) -> anyhow::Result<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(tests.parent().context("tests is a member")?.join(path))
}

/// Labels by metric.
type Catalogue = BTreeMap<String, BTreeSet<String>>;

/// What a page's tables list, below the headings of a program or of both.
fn documented(page: &str, program: &str) -> Catalogue {
    let mut heading = String::new();
    let mut found = Catalogue::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.to_lowercase();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (Some(name), Some(labels)) = (cells.get(1), cells.get(3)) else {
            continue;
        };
        let is_of_it = heading == program || heading == "both programs";
        let Some(name) = name.strip_prefix('`').and_then(|it| it.strip_suffix('`')) else {
            continue;
        };
        if is_of_it {
            let labels = labels.split(',').map(|it| it.trim().trim_matches('`'));
            let labels = labels.filter(|it| !it.is_empty()).map(str::to_owned);
            found.insert(name.to_owned(), labels.collect());
        }
    }
    found
}

/// What a program shows.
fn shown(metrics: &str) -> Catalogue {
    let mut types = BTreeMap::new();
    let mut found = Catalogue::new();
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            types.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let base = name.strip_suffix(suffix)?;
            types
                .get(base)
                .is_some_and(|kind| kind == "histogram")
                .then_some(base)
        });
        let labels = found.entry(base.unwrap_or(name).to_owned()).or_default();
        let (_, inside) = line.split_once('{').unwrap_or_default();
        let inside = inside.rsplit_once('}').map_or("", |(inside, _)| inside);
        for piece in inside.split("\",") {
            let label = piece.split_once('=').map(|(label, _)| label.to_owned());
            labels.extend(label.filter(|label| label != "le"));
        }
    }
    found
}

async fn metrics_are_on_their_page_and_dashboards_show_them() -> Outcome {
    let ground = Ground::lively().await?;
    let page = std::fs::read_to_string(file("docs/metrics.md")?)?;
    // What is asked every few seconds is there after the first time.
    let (router, manager) = wait::until("all metrics", wait::SETTLE, async || {
        let router = ground.cluster.router(0)?.program.metrics().await?;
        let manager = ground.cluster.manager(0)?.0.metrics().await?;
        for (program, metrics) in [("router", &router), ("manager", &manager)] {
            shows_what_is_documented(program, metrics, &page)?;
        }
        Ok((router, manager))
    })
    .await?;
    rules_name_what_is_there(&format!("{router}{manager}"))?;
    if !prometheus::is_installed() {
        return Err(Unavailable::Missing("prometheus".to_owned()).into());
    }
    dashboards_show_something(&ground).await
}

/// A program shows what the page lists for it, and nothing else.
fn shows_what_is_documented(program: &str, metrics: &str, page: &str) -> anyhow::Result<()> {
    let (listed, shown) = (documented(page, program), shown(metrics));
    for (name, labels) in &shown {
        let on_page = listed.get(name);
        same!(
            on_page,
            Some(labels),
            "{name} of the {program} on docs/metrics.md"
        );
    }
    let missing: Vec<&String> = listed
        .keys()
        .filter(|it| !shown.contains_key(*it))
        .collect();
    anyhow::ensure!(
        missing.is_empty(),
        "the {program} does not show {missing:?}"
    );
    Ok(())
}

/// Every expression of the alerts names metrics that are there.
fn rules_name_what_is_there(metrics: &str) -> Outcome {
    let rules = std::fs::read_to_string(file("configs/prometheus/alerts.yml")?)?;
    let samples: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let expressions = super::rules::expressions(&rules);
    anyhow::ensure!(expressions.len() >= 10, "{expressions:?}");
    for expression in expressions {
        let named = expression::metrics(&expression);
        anyhow::ensure!(!named.is_empty(), "{expression} names no metric");
        // Prometheus's own, and one that is shown under TLS only.
        let elsewhere = ["up", "tls_certificate_expiry_seconds"];
        for name in named
            .iter()
            .filter(|name| !elsewhere.contains(&name.as_str()))
        {
            let is_there = samples.contains(name.as_str());
            anyhow::ensure!(is_there, "{name} is not shown: {expression}");
        }
    }
    Ok(())
}

/// Every expression of every dashboard has a value, as a real Prometheus works it out.
async fn dashboards_show_something(ground: &Ground) -> Outcome {
    let prometheus = Prometheus::watching(&ground.cluster, "groups: []").await?;
    let mut asked = 0;
    for entry in std::fs::read_dir(file("configs/grafana/dashboards")?)? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        for panel in dashboard["panels"].as_array().context("panels")? {
            for target in panel["targets"].as_array().context("targets")? {
                let expression = target["expr"].as_str().context("an expression")?;
                let expression = filled_in(expression);
                let what = format!("{}: {expression}", path.display());
                wait::until(&what, Duration::from_secs(30), async || {
                    let values = prometheus.query(&expression).await?;
                    anyhow::ensure!(!values.is_empty(), "it has no value");
                    Ok(())
                })
                .await?;
                asked += 1;
            }
        }
    }
    anyhow::ensure!(asked > 50, "only {asked} expressions");
    Ok(())
}

/// As Grafana fills an expression in when everything is chosen.
fn filled_in(expression: &str) -> String {
    let variables = ["$instance", "$shard", "$reshard"];
    let expression = expression
        .replace("$__rate_interval", "30s")
        .replace("$__range", "30s");
    variables
        .iter()
        .fold(expression, |text, variable| text.replace(variable, ".*"))
}
