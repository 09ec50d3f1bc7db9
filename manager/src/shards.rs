//! The manager's own look at the shards: does a table exist, has it rows, how many, and does the
//! server answer. It only reads; every question has a time limit here and on the server.

use std::sync::Arc;
use std::time::Duration;

use platform::telemetry::error_chain;
use platform::{Kind, Secret, TaskGroup};
use tokio::time::timeout;
use tokio_postgres::Client;
use topology::{Shard, ShardId, TableName};

use self::tls::Tls;
use crate::identifier;

pub mod health;
pub mod metrics;
mod primary;
pub mod rows;
pub mod server;
pub mod sizes;
pub mod tls;

/// How shards are reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// The user for all of them.
    pub user: String,
    /// Its password.
    pub password: Option<Secret>,
    /// In clear or under TLS.
    pub tls: Tls,
    /// Connecting, login included.
    pub connect_timeout: Duration,
    /// One question.
    pub statement_timeout: Duration,
}

/// Why a shard gave no answer. The texts are for clients: they hold no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or no login.
    #[error("shard {shard} at {endpoint} is not reachable")]
    Unreachable {
        /// The shard.
        shard: ShardId,
        /// Its primary.
        endpoint: String,
        /// What PostgreSQL or the network says.
        source: tokio_postgres::Error,
    },
    /// The server that answers is not the one that takes the shard's writes.
    #[error("{endpoint} is not the primary of shard {shard}: {reason}")]
    NotPrimary {
        /// The shard.
        shard: ShardId,
        /// The server.
        endpoint: String,
        /// What it is.
        reason: String,
    },
    /// A replica is made the primary.
    #[error("shard {shard} is being promoted")]
    Promoting {
        /// The shard.
        shard: ShardId,
    },
    /// A limit passed.
    #[error("shard {shard} did not answer within {limit:?}")]
    Timeout {
        /// The shard.
        shard: ShardId,
        /// The limit.
        limit: Duration,
    },
    /// A question about no table was refused, or the connection broke.
    #[error("shard {shard} did not answer a question about {what}")]
    Asked {
        /// The shard.
        shard: ShardId,
        /// What it was about.
        what: &'static str,
        /// What PostgreSQL or the network says.
        source: tokio_postgres::Error,
    },
    /// The question was refused, or the connection broke.
    #[error("shard {shard} did not answer a question about table {table}")]
    Refused {
        /// The shard.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// What PostgreSQL or the network says.
        source: tokio_postgres::Error,
    },
}

impl Error {
    /// The kind, which REST and gRPC answer by.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. }
            | Self::NotPrimary { .. }
            | Self::Promoting { .. }
            | Self::Asked { .. }
            | Self::Refused { .. } => Kind::Unavailable,
            Self::Timeout { .. } => Kind::Timeout,
        }
    }

    /// The error with its reason, as an operator needs it.
    #[must_use]
    pub fn full_text(&self) -> String {
        error_chain(self)
    }
}

/// Opens sessions on shards.
#[derive(Debug, Clone)]
pub struct Shards {
    config: Arc<Config>,
    tasks: TaskGroup,
}

impl Shards {
    /// Sessions run their connections in `tasks`.
    #[must_use]
    pub fn new(config: Config, tasks: TaskGroup) -> Self {
        let config = Arc::new(config);
        Self { config, tasks }
    }

    /// Logs in to a shard's primary.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn connect(&self, shard: &Shard) -> Result<Session, Error> {
        Ok(Session {
            shard: shard.id.clone(),
            client: self.login(shard, self.reading()).await?,
            limit: self.config.statement_timeout,
        })
    }

    /// As [`Self::connect`], for questions of one's own.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn connect_client(&self, shard: &Shard) -> Result<Client, Error> {
        Ok(self.connect(shard).await?.client)
    }

    /// How shards are reached.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A session that only reads.
    fn reading(&self) -> tokio_postgres::Config {
        let limit = self.config.statement_timeout.as_millis();
        let options = format!("-c default_transaction_read_only=on -c statement_timeout={limit}");
        let mut settings = tokio_postgres::Config::new();
        settings
            .application_name("sharding-manager")
            .options(options);
        settings
    }
}

/// A login to a shard; ends when it is dropped.
#[derive(Debug)]
pub struct Session {
    shard: ShardId,
    client: Client,
    limit: Duration,
}

impl Session {
    /// Whether the shard has a table of this name.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn exists(&self, table: &TableName) -> Result<bool, Error> {
        let name = identifier::quoted(table);
        let sql = "SELECT to_regclass($1::text) IS NOT NULL";
        self.answer(table, self.client.query_one(sql, &[&name]))
            .await
    }

    /// Whether a table that exists has rows.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn has_rows(&self, table: &TableName) -> Result<bool, Error> {
        let name = identifier::quoted(table);
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {name})");
        self.answer(table, self.client.query_one(&sql, &[])).await
    }

    /// How many rows a table that exists has.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn count(&self, table: &TableName) -> Result<u64, Error> {
        let name = identifier::quoted(table);
        let sql = format!("SELECT count(*) FROM {name}");
        let rows: i64 = self.answer(table, self.client.query_one(&sql, &[])).await?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    async fn answer<T>(
        &self,
        table: &TableName,
        question: impl Future<Output = Result<tokio_postgres::Row, tokio_postgres::Error>>,
    ) -> Result<T, Error>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let answer = timeout(self.limit, question).await;
        let answer = answer.map_err(|_| Error::Timeout {
            shard: self.shard.clone(),
            limit: self.limit,
        })?;
        answer
            .and_then(|row| row.try_get(0))
            .map_err(|source| Error::Refused {
                shard: self.shard.clone(),
                table: table.clone(),
                source,
            })
    }

    /// Whether the server answers at all.
    ///
    /// # Errors
    /// What PostgreSQL or the network says.
    pub async fn ping(&self) -> Result<(), Error> {
        let ping = timeout(self.limit, self.client.simple_query("")).await;
        // A session that breaks between login and this counts as not reachable within the limit.
        match ping {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Timeout {
                shard: self.shard.clone(),
                limit: self.limit,
            }),
        }
    }
}
