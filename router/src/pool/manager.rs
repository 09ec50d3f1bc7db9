//! bb8's view of a backend: how one is made and whether one may be kept.

use std::sync::Arc;

use tokio::sync::watch;
use topology::Endpoint;

use super::backend::Backend;
use super::connect::{ConnectError, Login};
use super::heir::Heirs;
use super::roster::Roster;
use super::succession::Succession;

/// Makes backends of one server and remembers why the last attempt failed.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    login: Arc<Login>,
    failure: Arc<watch::Sender<ConnectError>>,
    roster: Roster,
}

impl Connector {
    /// Makes backends of the server that takes writes.
    pub(super) fn of_primary(
        endpoint: &Endpoint,
        succession: &Succession,
        config: &super::Config,
    ) -> Self {
        let heirs = Heirs::new(endpoint, succession.lineage.clone(), true);
        let keeps = succession.has_heirs() || succession.lineage.is_some();
        Self {
            roster: Roster::new(keeps),
            ..Self::new(heirs, config)
        }
    }

    /// Makes backends of any server, on which transactions only read.
    pub(super) fn read_only(endpoint: &Endpoint, config: &super::Config) -> Self {
        let mut connector = Self::new(Heirs::new(endpoint, None, false), config);
        Arc::make_mut(&mut connector.login).read_only = true;
        connector
    }

    fn new(heirs: Heirs, config: &super::Config) -> Self {
        let login = Login {
            heirs: Arc::new(heirs),
            credentials: config.credentials.clone(),
            dialer: config.dialer.clone(),
            timeout: config.connect_timeout,
            max_prepared_statements: config.max_prepared_statements,
            read_only: false,
            presence: config.presence.clone(),
        };
        Self {
            login: Arc::new(login),
            failure: Arc::new(watch::Sender::new(ConnectError::Never)),
            roster: Roster::default(),
        }
    }

    /// The backends that live.
    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Tells each failed attempt from now on.
    pub(super) fn failures(&self) -> watch::Receiver<ConnectError> {
        self.failure.subscribe()
    }
}

impl bb8::ManageConnection for Connector {
    // In a box: it changes hands with every loan.
    type Connection = Box<Backend>;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Box<Backend>, ConnectError> {
        let _login = self.roster.login();
        let generation = self.roster.generation();
        let mut backend = self.login.run().await.inspect_err(|error| {
            let endpoint = self.login.address();
            tracing::warn!(endpoint, %error, "shard refused a connection");
            self.failure.send_replace(error.clone());
        })?;
        backend.place = Some(self.roster.enter(&backend, generation));
        Ok(Box::new(backend))
    }

    async fn is_valid(&self, _backend: &mut Box<Backend>) -> Result<(), ConnectError> {
        Ok(())
    }

    fn has_broken(&self, backend: &mut Box<Backend>) -> bool {
        // Called when a loan ends.
        backend.end_loan();
        !backend.reusable || backend.is_outdated()
    }
}
