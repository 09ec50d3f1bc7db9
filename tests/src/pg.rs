//! Clients of anything that speaks PostgreSQL's protocol, router and shard alike: psql and
//! tokio-postgres.

use std::net::Ipv4Addr;
use std::process::{Output, Stdio};

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio_postgres::{Client, Config, NoTls};

use crate::authority::{Access, text};

/// Where to connect, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A loopback address, unless the server is in a network of its own.
    pub host: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// Its password, unless the server trusts.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// What is trusted and shown under TLS; none connects in clear, or as libpq likes.
    pub access: Option<Access>,
}

impl Address {
    /// Connects with tokio-postgres, in clear.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn client(&self) -> anyhow::Result<Client> {
        anyhow::ensure!(self.access.is_none(), "only psql is used under TLS");
        let mut config = Config::new();
        config
            .host(self.host.to_string())
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database);
        config.connect_timeout(std::time::Duration::from_secs(10));
        if let Some(password) = &self.password {
            config.password(password);
        }
        let (client, connection) = config.connect(NoTls).await?;
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with its client or its server; the harness has no shutdown to wait for"
        )]
        let _driver = tokio::spawn(connection);
        Ok(client)
    }

    /// Runs SQL with psql and returns its output: rows as `a|b`, no headings.
    ///
    /// # Errors
    /// When psql ends with an error; its own text is in it.
    pub async fn psql(&self, sql: &str) -> anyhow::Result<String> {
        let output = self.psql_output(sql).await?;
        let text = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "psql: {}", errors.trim_end());
        Ok(text)
    }

    /// Runs SQL with psql, whatever comes of it. SQLSTATEs are shown.
    ///
    /// # Errors
    /// When psql cannot be started.
    pub async fn psql_output(&self, sql: &str) -> anyhow::Result<Output> {
        let mut command = self.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        command
            .args(["-v", "VERBOSITY=verbose", "-c", sql])
            .stdin(Stdio::null());
        command.output().await.context("run psql")
    }

    /// Runs a script with psql from its standard input, statement by statement, and stops at the
    /// first error.
    ///
    /// # Errors
    /// When psql ends with an error.
    pub async fn psql_script(&self, script: &str) -> anyhow::Result<String> {
        let mut command = self.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("run psql")?;
        let mut input = child.stdin.take().context("the input is a pipe")?;
        let write = async {
            // psql that stops at an error does not read the rest.
            let written = input.write_all(script.as_bytes()).await;
            drop(input);
            written
        };
        let (_, output) = tokio::join!(write, child.wait_with_output());
        let output = output?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "psql: {}", errors.trim_end());
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// A program that finds this address in its environment.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.environment()).kill_on_drop(true);
        command
    }

    /// The variables that libpq's programs and drivers read.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PGHOST", self.host.to_string()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGDATABASE", self.database.clone()),
            ("PGCONNECT_TIMEOUT", "10".to_owned()),
        ];
        if let Some(password) = &self.password {
            variables.push(("PGPASSWORD", password.clone()));
        }
        if let Some(access) = &self.access {
            variables.push(("PGSSLMODE", "verify-full".to_owned()));
            variables.push(("PGSSLROOTCERT", text(&access.root)));
            if let Some(identity) = &access.identity {
                variables.push(("PGSSLCERT", text(&identity.certificate)));
                variables.push(("PGSSLKEY", text(&identity.key)));
            }
        }
        variables
    }
}
