//! What the areas share: one runtime, one cluster for all tests that leave it as it is, and the
//! making of trials.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::{Completion, Failed, Trial};
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::program::ROUTER_USER;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// No test waits longer, whatever hangs.
const PATIENCE: Duration = Duration::from_secs(150);
/// The same for those that are only run when asked for.
const LONG_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// What a test comes to.
pub(crate) type Outcome = anyhow::Result<()>;

/// The error of a test that needs what is not here; it is reported as ignored, with the reason.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// A program that scripts/tools.sh installs: under CI the test has failed.
    Missing(String),
    /// Something newer than Debian has.
    TooOld(String),
    /// What the kernel does not let this user do.
    Forbidden(String),
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "not installed: {what}"),
            Self::TooOld(what) => write!(f, "not in this version: {what}"),
            Self::Forbidden(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Unavailable {}

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// The tests' common ground.
#[derive(Debug)]
pub(crate) struct Suite {
    runtime: Runtime,
    shared: Mutex<Shared>,
}

/// Started by the first test that wants it; a start that went wrong is not tried again.
type Shared = Arc<OnceCell<Result<Arc<Cluster>, String>>>;

impl Suite {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let runtime = Runtime::new().context("start the runtime")?;
        Ok(Self {
            runtime,
            shared: Mutex::default(),
        })
    }

    /// A test that leaves the shared cluster as it found it, but for tables of its own.
    pub(crate) fn shared<F>(self: &Arc<Self>, area: &str, name: &str, test: F) -> Trial
    where
        F: for<'a> FnOnce(&'a Cluster) -> Running<'a> + Send + 'static,
    {
        let suite = Arc::clone(self);
        Trial::ignorable_test(full_name(area, name), move || {
            suite.run(async {
                let cell = Arc::clone(&suite.lock());
                let started =
                    cell.get_or_init(async || start().await.map_err(|e| format!("{e:#}")));
                let cluster = started.await.clone().map_err(anyhow::Error::msg);
                test(&*cluster.context("the shared cluster did not start")?).await
            })
        })
    }

    /// A test that starts whatever it needs.
    pub(crate) fn alone<F>(self: &Arc<Self>, area: &str, name: &str, test: F) -> Trial
    where
        F: FnOnce() -> Running<'static> + Send + 'static,
    {
        let suite = Arc::clone(self);
        Trial::ignorable_test(full_name(area, name), move || suite.run(test()))
    }

    /// As [`Self::alone`], for a test of many minutes: only run when asked for by `--ignored`.
    pub(crate) fn long<F>(self: &Arc<Self>, area: &str, name: &str, test: F) -> Trial
    where
        F: FnOnce() -> Running<'static> + Send + 'static,
    {
        let suite = Arc::clone(self);
        let run = move || suite.run_within(LONG_PATIENCE, test());
        Trial::ignorable_test(full_name(area, name), run).with_ignored_flag(true)
    }

    fn run(&self, test: impl Future<Output = Outcome>) -> Result<Completion, Failed> {
        self.run_within(PATIENCE, test)
    }

    fn run_within(
        &self,
        patience: Duration,
        test: impl Future<Output = Outcome>,
    ) -> Result<Completion, Failed> {
        let outcome = self
            .runtime
            .block_on(async { timeout(patience, test).await });
        let outcome = outcome
            .with_context(|| format!("no end within {patience:?}"))
            .flatten();
        let Err(error) = outcome else {
            return Ok(Completion::Completed);
        };
        let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        match error.downcast_ref::<Unavailable>() {
            Some(reason @ (Unavailable::TooOld(_) | Unavailable::Forbidden(_))) => {
                Ok(Completion::ignored_with(reason))
            }
            Some(reason @ Unavailable::Missing(_)) if !is_ci => {
                Ok(Completion::ignored_with(reason))
            }
            Some(Unavailable::Missing(_)) | None => Err(Failed::from(format!("{error:#}"))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the shared cluster.
    pub(crate) fn end(&self) {
        let _context = self.runtime.enter();
        drop(std::mem::take(&mut *self.lock()));
    }
}

fn full_name(area: &str, name: &str) -> String {
    format!("{}::{name}", area.trim_start_matches("e2e::"))
}

/// Two shards, one server that is not registered, two managers, and two routers: the first trusts
/// its clients, the second asks them for SCRAM-SHA-256.
async fn start() -> anyhow::Result<Arc<Cluster>> {
    let mut cluster = Cluster::start(Plan {
        spares: 1,
        managers: 2,
        ..Plan::default()
    })
    .await?;
    let (name, password) = ROUTER_USER;
    let users = json!([{ "name": name, "password": password }]);
    let auth = json!({ "pgwire": { "auth": { "method": "scram-sha-256", "users": users } } });
    cluster.add_router(&auth).await?;
    Ok(Arc::new(cluster))
}

/// Trials on the shared cluster from functions `async fn(&Cluster) -> Outcome`.
macro_rules! shared {
    ($suite:ident: $($name:ident),+ $(,)?) => {
        [$($suite.shared(module_path!(), stringify!($name), |cluster| Box::pin($name(cluster)))),+]
    };
}

/// Trials without a cluster from functions `async fn() -> Outcome`.
macro_rules! alone {
    ($suite:ident: $($name:ident),+ $(,)?) => {
        [$($suite.alone(module_path!(), stringify!($name), || Box::pin($name()))),+]
    };
}

/// As `alone`, for tests of many minutes.
macro_rules! long {
    ($suite:ident: $($name:ident),+ $(,)?) => {
        [$($suite.long(module_path!(), stringify!($name), || Box::pin($name()))),+]
    };
}

pub(crate) use {alone, long, shared};

/// Fails, with both values, unless they are equal.
macro_rules! same {
    ($left:expr, $right:expr $(,)?) => {
        $crate::suite::same!($left, $right, "{}", stringify!($left))
    };
    ($left:expr, $right:expr, $($what:tt)+) => {
        match (&$left, &$right) {
            (left, right) => anyhow::ensure!(
                *left == *right,
                "{}\n  is:        {left:?}\n  should be: {right:?}",
                format!($($what)+)
            ),
        }
    };
}

pub(crate) use same;

/// Prints what was measured.
macro_rules! told {
    ($($what:tt)+) => {
        drop(std::io::Write::write_fmt(
            &mut std::io::stdout(),
            format_args!("{}\n", format_args!($($what)+)),
        ))
    };
}

pub(crate) use told;
