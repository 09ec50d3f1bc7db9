//! RELOAD: reads the configuration again and applies what can change while the router runs.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use platform::telemetry;
use platform::tls::Acceptor;
use platform::tls::renewal::Renewable as _;

use super::settings::{self, Setting};
use crate::auth::Users;
use crate::config::Config;
use crate::route::Refusal;

/// What can be read again, and where from.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    tls: Option<Acceptor>,
    logging: telemetry::Handle,
    /// What was read last.
    latest: ArcSwap<Config>,
}

impl Reload {
    /// Reads `path` again when told; `config` is what it held at the start.
    #[must_use]
    pub fn new(
        path: PathBuf,
        config: Config,
        tls: Option<Acceptor>,
        logging: telemetry::Handle,
    ) -> Self {
        Self {
            path,
            tls,
            logging,
            latest: ArcSwap::from_pointee(config),
        }
    }

    /// The configuration that was read last. Of it, only what can change is in force.
    #[must_use]
    pub fn latest(&self) -> Arc<Config> {
        self.latest.load_full()
    }

    /// Reads everything again, and gives notices about what changed. Sessions that have logged in
    /// go on as they are.
    ///
    /// # Errors
    /// When something cannot be used; then users stay as they were.
    pub async fn run(&self, running: &Config, users: &Arc<Users>) -> Result<Vec<String>, Refusal> {
        let env = std::env::vars().collect();
        let config = Config::load(&self.path, &env).map_err(|violations| unusable(&violations))?;
        telemetry::check_level(&config.observability.log_level).map_err(|e| unusable(&e))?;
        let named = config.pgwire.users.clone();
        // Passwords are hashed slowly, on purpose.
        let deriving = Arc::clone(users);
        let derived = tokio::task::spawn_blocking(move || deriving.derive(named)).await;
        let derived = derived.map_err(|error| unusable(&error))?;
        let derived = derived.map_err(|reason| unusable(&reason))?;
        if let Some(tls) = &self.tls {
            tls.renew()
                .map_err(|error| unusable(&telemetry::error_chain(&error)))?;
        }
        self.logging
            .set_level(&config.observability.log_level)
            .map_err(|error| unusable(&error))?;
        users.configure(derived);
        let notices = notices(
            &settings::list(running),
            &settings::list(&self.latest()),
            &settings::list(&config),
        );
        self.latest.store(Arc::new(config));
        tracing::info!(?notices, "configuration reloaded");
        Ok(notices)
    }
}

/// What changed since the last reading, and what differs from what runs and needs a restart.
fn notices(running: &[Setting], latest: &[Setting], read: &[Setting]) -> Vec<String> {
    let differs = |from: &[Setting], setting: &Setting| {
        let before = from.iter().find(|known| known.key == setting.key);
        before.is_none_or(|before| before.value != setting.value)
    };
    let mut notices = Vec::new();
    for setting in read {
        let key = setting.key;
        if setting.changeable && differs(latest, setting) {
            notices.push(format!("{key} is now {}", setting.value));
        } else if !setting.changeable && differs(running, setting) {
            notices.push(format!("{key} = {} takes a restart", setting.value));
        }
    }
    let gone = running
        .iter()
        .filter(|setting| read.iter().all(|read| read.key != setting.key));
    notices.extend(gone.map(|setting| format!("{} takes a restart", setting.key)));
    notices
}

fn unusable(reason: &dyn std::fmt::Display) -> Refusal {
    Refusal {
        sqlstate: "F0000",
        message: format!("the configuration cannot be used: {reason}"),
        hint: Some("nothing was changed but, if they could be read, certificates".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_takes_a_restart_is_said_until_it_is_restarted() {
        let env = BTreeMap::from([("JWT_SECRET".to_owned(), "-".repeat(32))]);
        let list = |text| settings::list(&Config::parse(text, &env).unwrap());
        let running = list("{}");
        let read = list(
            r#"{"sharding": {"max_connections": 7}, "observability": {"log_level": "debug"}}"#,
        );
        let first = notices(&running, &running, &read);
        assert_eq!(
            first,
            [
                "sharding.max_connections = 7 takes a restart",
                "observability.log_level is now debug"
            ]
        );
        assert_eq!(notices(&running, &read, &read), first[..1]);
    }
}
