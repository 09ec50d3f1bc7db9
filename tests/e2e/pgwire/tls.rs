//! TLS between clients and the router: psql, psycopg, direct negotiation, client certificates.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::authority::{Authority, Identity};
use tests::cluster::Plan;
use tests::pg::Address;
use tests::program::ROUTER_USER;
use tests::{Cluster, Router, wait};

use crate::suite::{Outcome, Suite, alone};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        clients_are_served_under_tls,
        a_certificate_is_as_good_as_a_password,
    )
    .into()
}

/// A client with a connection string of its own.
struct Client {
    address: Address,
    variables: Vec<(&'static str, String)>,
}

impl Client {
    fn new(router: &Router, mode: &str, root: Option<&Path>, me: Option<&Identity>) -> Self {
        let mut variables = vec![("PGSSLMODE", mode.to_owned())];
        let files = [
            ("PGSSLROOTCERT", root),
            ("PGSSLCERT", me.map(|me| me.certificate.as_path())),
            ("PGSSLKEY", me.map(|me| me.key.as_path())),
        ];
        for (name, path) in files {
            variables.extend(path.map(|path| (name, path.to_string_lossy().into_owned())));
        }
        Self {
            address: router.address(),
            variables,
        }
    }

    fn user(mut self, name: &str, password: Option<&str>) -> Self {
        name.clone_into(&mut self.address.user);
        self.address.password = password.map(str::to_owned);
        self
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.address.command(program);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await?)
    }

    /// What psql says of its connection and a statement, or of a refusal.
    async fn psql(&self) -> anyhow::Result<String> {
        let arguments = ["-X", "-A", "-t", "-c", "\\conninfo", "-c", "SELECT 6 * 7"];
        let output = self.run("psql", &arguments).await?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8(said)?)
    }

    async fn python(&self, script: &str) -> Outcome {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("e2e/clients")
            .join(script);
        let path = path.to_string_lossy();
        let output = self.run("/usr/bin/python3", &["-B", &path]).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{script}: {errors}");
        Ok(())
    }

    async fn is_served(&self) -> Outcome {
        let said = self.psql().await?;
        let served = said.contains("SSL connection") && is_answered(&said);
        anyhow::ensure!(served, "{:?}: {said}", self.variables);
        Ok(())
    }

    async fn is_refused(&self, reason: &str) -> Outcome {
        let said = self.psql().await?;
        let refused = said.contains(reason) && !is_answered(&said);
        anyhow::ensure!(refused, "{:?}: {said}", self.variables);
        Ok(())
    }
}

/// Whether the statement's row is among what psql said; a port may have its digits too.
fn is_answered(said: &str) -> bool {
    said.lines().any(|line| line == "42")
}

async fn cluster() -> anyhow::Result<Cluster> {
    Cluster::start(Plan {
        shards: 1,
        routers: 0,
        ..Plan::default()
    })
    .await
}

/// A router whose HTTP front is under TLS too, so that it is asked by its metrics.
async fn router(cluster: &Cluster, config: &Value) -> anyhow::Result<Router> {
    let mut router = Router::prepare(&cluster.etcd.endpoint(), config)?;
    router.program.launch()?;
    wait::until("the router's metrics", wait::START, async || {
        router.program.metrics().await
    })
    .await?;
    router.program.has_seen(1).await?;
    Ok(router)
}

async fn clients_are_served_under_tls() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let cluster = cluster().await?;
    let (name, password) = ROUTER_USER;
    let users = json!([{ "name": name, "password": password }]);
    let mut config = json!({
        "security": authority.router(false)?,
        "pgwire": { "auth": { "method": "scram-sha-256", "users": users } },
    });
    let (root, wrong) = (authority.root(), other.root());
    let strict = router(&cluster, &config).await?;
    let alice = |mode, root: Option<&Path>| {
        Client::new(&strict, mode, root, None).user(name, Some(password))
    };
    for client in [
        alice("prefer", None),
        alice("require", None),
        alice("verify-ca", Some(&root)),
        alice("verify-full", Some(&root)),
    ] {
        client.is_served().await?;
    }
    alice("verify-full", Some(&wrong))
        .is_refused("certificate verify failed")
        .await?;
    alice("disable", None)
        .is_refused("takes encrypted connections only")
        .await?;
    Client::new(&strict, "require", None, None)
        .user(name, Some("wrong"))
        .is_refused("password authentication failed")
        .await?;
    alice("verify-full", Some(&root))
        .python("tls_psycopg.py")
        .await?;
    config["pgwire"]["require_tls"] = json!(false);
    let lenient = router(&cluster, &config).await?;
    let both = |mode| Client::new(&lenient, mode, None, None).user(name, Some(password));
    both("require").is_served().await?;
    let said = both("disable").psql().await?;
    anyhow::ensure!(said.contains("42\n") && !said.contains("SSL"), "{said}");
    Ok(())
}

async fn a_certificate_is_as_good_as_a_password() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let cluster = cluster().await?;
    let config = json!({
        "security": authority.router(true)?,
        "pgwire": { "auth": { "method": "cert" }, "require_tls": false },
    });
    let router = router(&cluster, &config).await?;
    let (alice, stranger) = (authority.issue("alice")?, other.issue("alice")?);
    let root = authority.root();
    let with = |me: Option<&Identity>| Client::new(&router, "verify-full", Some(&root), me);
    with(Some(&alice)).user("alice", None).is_served().await?;
    with(Some(&alice))
        .user("bob", None)
        .is_refused("certificate authentication failed for user \"bob\"")
        .await?;
    // Both are refused by the handshake; libpq shows an alert, or a connection that is gone.
    for me in [None, Some(&stranger)] {
        let said = with(me).user("alice", None).psql().await?;
        anyhow::ensure!(!is_answered(&said), "{said}");
    }
    Client::new(&router, "disable", None, None)
        .user("alice", None)
        .is_refused("connection requires a valid client certificate")
        .await?;
    with(Some(&alice))
        .user("alice", None)
        .python("tls_direct.py")
        .await
}
