//! A client is a small program below `e2e/clients` that uses one driver as an application does and
//! prints what it sees. Its scenario runs through a router and against a PostgreSQL server that no
//! router stands before, on tables of the same columns: what it prints must be the same.
//!
//! What the router refuses, which the plain server does not, is a scenario of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tests::Cluster;
use tests::pg::Address;
use tests::program;
use tokio::process::Command;

use crate::suite::{Outcome, Unavailable, same};

/// What runs clients.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Language {
    /// Debian's own, or the one that `DRIVERS_PYTHON` names, for other versions of the drivers.
    Python,
    Node,
    Ruby,
    Php,
    /// Compiles its single file each time.
    Java,
}

/// A program and the driver that it cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) language: Language,
    /// Its folder below `e2e/clients`.
    pub(crate) name: &'static str,
    /// Modules that must be there: what `import`, `require` or `extension_loaded` is asked for.
    pub(crate) modules: &'static [&'static str],
    /// Arguments after the name of the scenario.
    pub(crate) arguments: &'static [&'static str],
}

/// Debian's package has it there.
const JDBC: &str = "/usr/share/java/postgresql.jar";

impl Client {
    /// What the scenario shows against the plain server it shows through the router.
    pub(crate) async fn sees_no_difference(&self, cluster: &Cluster) -> Outcome {
        self.check_available(&cluster.router(0)?.address()).await?;
        let direct = cluster
            .spares
            .first()
            .context("a server without a router")?;
        let expected = self.run(&direct.address(), "scenario").await?;
        let routed = self.run(&cluster.router(0)?.address(), "scenario").await?;
        let lines = routed.lines().zip(expected.lines()).enumerate();
        for (index, (routed, expected)) in lines {
            same!(routed, expected, "line {} of {}", index + 1, self.name);
        }
        same!(routed.lines().count(), expected.lines().count());
        Ok(())
    }

    /// What is refused has its SQLSTATE and leaves a usable session; here with a password.
    pub(crate) async fn is_refused(&self, cluster: &Cluster, expected: &[&str]) -> Outcome {
        let mut address = cluster.router(1)?.address();
        let (name, password) = program::ROUTER_USER;
        name.clone_into(&mut address.user);
        address.password = Some(password.to_owned());
        let shown = self.run(&address, "refused").await?;
        same!(shown.lines().collect::<Vec<_>>(), expected);
        Ok(())
    }

    /// Runs one scenario to its end and returns what it printed.
    pub(crate) async fn run(&self, address: &Address, scenario: &str) -> anyhow::Result<String> {
        let mut command = self.language.command(address)?;
        command.arg(folder(self.name).join(self.language.file()));
        command.arg(scenario).args(self.arguments);
        let output = command
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("run {}", self.name))?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = shown.lines().last().unwrap_or_default();
        anyhow::ensure!(
            output.status.success() && last.trim_end() == "end:",
            "{} {scenario} at port {}: after {last:?}: {errors}",
            self.name,
            address.port
        );
        Ok(shown)
    }

    /// Asks the language for the driver, without a server.
    pub(crate) async fn check_available(&self, address: &Address) -> Outcome {
        let mut command = self.language.command(address)?;
        let output = command
            .args(self.language.probe(self.modules))
            .stdin(Stdio::null())
            .output()
            .await;
        let reason = match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(_) => format!("{:?} without {}", self.language, self.modules.join(", ")),
            Err(error) => format!("{:?}: {error}", self.language),
        };
        Err(Unavailable(reason).into())
    }
}

impl Language {
    fn command(self, address: &Address) -> anyhow::Result<Command> {
        let python = std::env::var("DRIVERS_PYTHON");
        let program = match self {
            Self::Python => python.as_deref().unwrap_or("/usr/bin/python3"),
            Self::Node => "node",
            Self::Ruby => "/usr/bin/ruby",
            Self::Php => "php",
            Self::Java => "java",
        };
        let mut command = address.command(program);
        match self {
            Self::Python => {
                command.args(["-B", "-X", "utf8"]);
            }
            Self::Node => {
                command.env("NODE_PATH", modules_of_node()?);
            }
            Self::Ruby => {
                command.args(["-E", "UTF-8"]);
            }
            Self::Php => {}
            Self::Java => {
                // Small and quick to start; what it runs is over in a second.
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
                command.args(["-Dfile.encoding=UTF-8", "-cp", JDBC]);
            }
        }
        Ok(command)
    }

    fn file(self) -> &'static str {
        match self {
            Self::Python => "main.py",
            Self::Node => "main.js",
            Self::Ruby => "main.rb",
            Self::Php => "main.php",
            Self::Java => "Client.java",
        }
    }

    fn probe(self, modules: &[&str]) -> Vec<String> {
        let each = |wrap: fn(&&str) -> String| modules.iter().map(wrap).collect::<String>();
        let (option, code) = match self {
            Self::Python => ("-c", each(|module| format!("import {module}\n"))),
            Self::Node => ("-e", each(|module| format!("require('{module}');"))),
            Self::Ruby => ("-e", each(|module| format!("require '{module}';"))),
            Self::Php => (
                "-r",
                each(|module| format!("extension_loaded('{module}') || exit(1);")),
            ),
            // A compiler is needed to run a source file; its module is not in a mere runtime.
            Self::Java if Path::new(JDBC).exists() => {
                ("--describe-module", "jdk.compiler".to_owned())
            }
            Self::Java => ("--no-driver", String::new()),
        };
        vec![option.to_owned(), code]
    }
}

fn folder(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("e2e/clients")
        .join(client)
}

/// Where scripts/tools.sh installs what the lock file of the client names.
fn modules_of_node() -> anyhow::Result<PathBuf> {
    Ok(program::target_folder()?.join("tools/node/node_modules"))
}

/// A column of each type that drivers treat in a way of their own.
const ITEMS: &str = "k bigint PRIMARY KEY, v text, n numeric(12,3), j jsonb, a int[], \
    ts timestamptz, b bytea, u uuid, f boolean, d date, r double precision";

/// A table of each type of key, named after the client, behind the router and beside it.
pub(crate) async fn create_tables(cluster: &Cluster, prefix: &str) -> Outcome {
    for (name, columns, key_type) in [
        ("items", ITEMS, "bigint"),
        ("rows", "k bigint, v text", "bigint"),
        ("names", "k text PRIMARY KEY, v text", "text"),
        ("tokens", "k uuid PRIMARY KEY, v text", "uuid"),
    ] {
        create(
            cluster,
            &format!("{prefix}_{name}"),
            columns,
            ("k", key_type),
        )
        .await?;
    }
    Ok(())
}

/// A table behind the router and beside it.
pub(crate) async fn create(
    cluster: &Cluster,
    name: &str,
    columns: &str,
    key: (&str, &str),
) -> Outcome {
    cluster.create(name, columns, key).await?;
    everywhere_else(cluster, &format!("CREATE TABLE {name} ({columns})")).await
}

/// Runs SQL on the server without a router.
pub(crate) async fn everywhere_else(cluster: &Cluster, sql: &str) -> Outcome {
    let direct = cluster
        .spares
        .first()
        .context("a server without a router")?;
    direct.psql(sql).await.map(drop)
}
