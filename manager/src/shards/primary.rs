//! Logs in to the server that takes a shard's writes: the one at its address, or the one of several
//! that is not in recovery; never one from before the last promotion.

use std::time::Duration;

use platform::telemetry::error_chain;
use tokio::time::timeout;
use tokio_postgres::Client;
use topology::{Endpoint, Shard, ShardId};

use super::{Error, Shards};

/// A frozen server must not hold up whoever could go on with another one.
const KEEPALIVE: Duration = Duration::from_secs(5);

impl Shards {
    /// Logs in to a shard's primary; `settings` say what the session is, this who and where.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn login(
        &self,
        shard: &Shard,
        settings: tokio_postgres::Config,
    ) -> Result<Client, Error> {
        if shard.promotion.is_some() {
            let shard = shard.id.clone();
            return Err(Error::Promoting { shard });
        }
        let servers = shard.primary_endpoint.servers();
        let is_sure = servers.len() == 1 && shard.lineage.is_none();
        let mut last = Error::NotPrimary {
            shard: shard.id.clone(),
            endpoint: shard.primary_endpoint.to_string(),
            reason: "it names no server".to_owned(),
        };
        for server in &servers {
            let found = self.login_at(&shard.id, server, settings.clone()).await;
            let checked = match found {
                Ok(client) if !is_sure => self.check(shard, server, &client).await.map(|()| client),
                found => found,
            };
            match checked {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether the server of a connection is the shard's primary.
    async fn check(&self, shard: &Shard, server: &Endpoint, client: &Client) -> Result<(), Error> {
        let seen = self.ask_server(&shard.id, client).await?;
        let refused = |reason: String| Error::NotPrimary {
            shard: shard.id.clone(),
            endpoint: server.to_string(),
            reason,
        };
        if !seen.is_primary {
            return Err(refused("it is a replica".to_owned()));
        }
        match &shard.lineage {
            Some(known) if !known.is_succeeded_by(&seen.lineage) => Err(refused(format!(
                "it is {}, and the shard's primary was {known} already",
                seen.lineage
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Logs in to one server, whatever it is.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn login_at(
        &self,
        shard: &ShardId,
        server: &Endpoint,
        mut settings: tokio_postgres::Config,
    ) -> Result<Client, Error> {
        let config = self.config();
        settings
            .host(server.host())
            .port(server.port())
            .dbname(server.database())
            .user(&config.user)
            .keepalives_idle(KEEPALIVE)
            .ssl_mode(config.tls.mode());
        if let Some(password) = &config.password {
            settings.password(password.expose());
        }
        let limit = config.connect_timeout;
        let connected = timeout(limit, settings.connect(config.tls.clone())).await;
        let (client, connection) = connected
            .map_err(|_| Error::Timeout {
                shard: shard.clone(),
                limit,
            })?
            .map_err(|source| Error::Unreachable {
                shard: shard.clone(),
                endpoint: server.to_string(),
                source,
            })?;
        let id = shard.clone();
        let driver = async move {
            // Whoever asks a question learns that the connection is gone; this is for the log.
            if let Err(error) = connection.await {
                tracing::debug!(shard = %id, error = error_chain(&error), "shard session ended");
            }
        };
        drop(self.tasks.spawn("shard session", driver));
        Ok(client)
    }
}
