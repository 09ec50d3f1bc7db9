//! A throw-away Prometheus that reads the programs under test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::port::Port;
use crate::process::{Custody, Process};
use crate::{Cluster, http as client, wait};

/// Whether Debian's package is installed.
#[must_use]
pub fn is_installed() -> bool {
    let runs = |name| Command::new(name).arg("--version").output().is_ok();
    runs("prometheus") && runs("promtool")
}

/// A Prometheus server; ends and is removed with its value.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    port: Port,
    _folder: Arc<Folder>,
}

impl Prometheus {
    /// Starts a server that reads all programs of a cluster every half second, and judges by
    /// `rules`, the text of a rule file, as often.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn watching(cluster: &Cluster, rules: &str) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let place = folder.fresh("prometheus");
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join("rules.yml"), rules)?;
        let address = |url: String| url.replace("http://", "").replace("/metrics", "");
        let managers = cluster.managers.iter().map(|it| it.0.metrics_url());
        let routers = cluster.routers.iter().map(|it| it.program.metrics_url());
        let job = |name: &str, targets: Vec<String>| json!({ "job_name": name, "static_configs": [{ "targets": targets }] });
        // YAML is a superset of JSON.
        let config = json!({
            "global": { "scrape_interval": "500ms", "evaluation_interval": "500ms" },
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                job("manager", managers.map(address).collect()),
                job("router", routers.map(address).collect()),
            ],
        });
        let file = place.join("prometheus.yml");
        std::fs::write(&file, config.to_string())?;
        Self::start(file, place, folder).await
    }

    async fn start(file: PathBuf, place: PathBuf, folder: Arc<Folder>) -> anyhow::Result<Self> {
        let port = Port::take()?;
        let address = format!("127.0.0.1:{}", port.number());
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                place.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let log = place.with_extension("log");
        let mut process = Process::start(command, Custody::SELF, &log)?;
        let url = format!("http://{address}/-/ready");
        process
            .ready(wait::START, || async {
                let answer = client::get(&url).await?;
                anyhow::ensure!(answer.status == 200, "it answers {}", answer.status);
                Ok(())
            })
            .await?;
        Ok(Self {
            _process: process,
            port,
            _folder: folder,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/api/v1{path}", self.port.number())
    }

    /// What an expression comes to now.
    ///
    /// # Errors
    /// When Prometheus refuses it.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Value>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let url = self.url(&format!("/query?time={now}&query={}", escaped(expression)));
        let answer = client::send(Method::GET, &url, None).await?;
        let answer = answer.expect(200).with_context(|| expression.to_owned())?;
        let result = answer["data"]["result"].as_array().cloned();
        result.with_context(|| format!("{expression} gives {answer}"))
    }

    /// The alerts that fire.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn firing(&self) -> anyhow::Result<Vec<Value>> {
        let answer = client::get(&self.url("/alerts")).await?.expect(200)?;
        let alerts = answer["data"]["alerts"].as_array().cloned();
        let alerts = alerts.context("alerts are a list")?.into_iter();
        Ok(alerts.filter(|alert| alert["state"] == "firing").collect())
    }

    /// Waits until an alert fires whose labels hold all of these, and gives it.
    ///
    /// # Errors
    /// When it does not within `deadline`.
    pub async fn fires(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        deadline: Duration,
    ) -> anyhow::Result<Value> {
        wait::until(&format!("the alert {name}"), deadline, async || {
            let firing = self.firing().await?;
            let is_it = |alert: &&Value| {
                let is = |label: &str, value: &str| alert["labels"][label] == json!(value);
                is("alertname", name) && labels.iter().all(|(label, value)| is(label, value))
            };
            let found = firing.iter().find(is_it).cloned();
            found.with_context(|| format!("only these fire: {firing:?}"))
        })
        .await
    }
}

/// As a part of a query string.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
