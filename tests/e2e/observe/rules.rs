//! The alerts' rules by Prometheus's own tool, and their pages.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Trial;
use tests::prometheus;

use super::expression;
use super::shown::file;
use crate::suite::{Outcome, Suite, Unavailable, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        rules_pass_their_own_tests_and_have_pages,
        metrics_are_told_from_functions_labels_and_words,
    )
    .into()
}

/// The expressions of a rule file, of one line or folded.
pub(super) fn expressions(rules: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_folded = false;
    for line in rules.lines().map(str::trim) {
        if let Some(expression) = line.strip_prefix("expr:") {
            is_folded = expression.trim() == ">-";
            found.push(if is_folded {
                String::new()
            } else {
                expression.trim().to_owned()
            });
        } else if line.starts_with("for:") {
            is_folded = false;
        } else if let (true, Some(last)) = (is_folded, found.last_mut()) {
            last.push(' ');
            last.push_str(line);
        }
    }
    found
}

async fn rules_pass_their_own_tests_and_have_pages() -> Outcome {
    let folder = file("configs/prometheus")?;
    let rules = std::fs::read_to_string(folder.join("alerts.yml"))?;
    let (mut alerts, mut pages) = (Vec::new(), 0);
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push(name.to_owned());
        }
        if let Some(page) = line.strip_prefix("runbook: ") {
            let text = std::fs::read_to_string(file(page)?)?;
            let alert = alerts.last().map_or("", String::as_str);
            anyhow::ensure!(
                text.starts_with(&format!("# {alert}\n")),
                "{page} is not {alert}'s"
            );
            pages += 1;
        }
    }
    anyhow::ensure!(
        pages == alerts.len(),
        "{pages} pages of {} alerts",
        alerts.len()
    );
    let tests = std::fs::read_to_string(folder.join("alerts.test.yml"))?;
    for alert in &alerts {
        anyhow::ensure!(
            tests.contains(&format!("alertname: {alert}")),
            "{alert} has no test"
        );
    }
    if !prometheus::is_installed() {
        return Err(Unavailable::Missing("prometheus".to_owned()).into());
    }
    promtool(&folder, &["check", "config", "prometheus.yml"])?;
    promtool(&folder, &["check", "rules", "alerts.yml"])?;
    promtool(&folder, &["test", "rules", "alerts.test.yml"])
}

fn promtool(folder: &Path, arguments: &[&str]) -> Outcome {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "promtool {arguments:?}: {said}");
    Ok(())
}

async fn metrics_are_told_from_functions_labels_and_words() -> Outcome {
    let found = expression::metrics(
        "histogram_quantile(0.99, sum by (le, job) (rate(a_bucket{x=\"b\"}[5m]))) > 1e3 and \
         on(y) b offset 1m or vector(0)",
    );
    same!(found, ["a_bucket", "b"]);
    Ok(())
}
