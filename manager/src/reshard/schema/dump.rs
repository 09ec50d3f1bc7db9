//! Runs `pg_dump` for the definition of a schema, and takes its output apart.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use platform::tls::client::{ClientConfig, Mode};
use tokio::process::Command;
use tokio::time::timeout;
use topology::{Endpoint, Shard};

use super::Error;
use crate::reshard::ids::LegId;
use crate::reshard::session::application_name;
use crate::shards;

/// Where Debian and others keep the programs of each version.
const FOLDER: &str = "/usr/lib/postgresql";
/// How long a dump may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The most that a dump may be.
const MAX_BYTES: usize = 64 << 20;
/// The most of its complaints that is told.
const MAX_REASON: usize = 2000;

/// Part of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Types, functions and tables.
    PreData,
    /// Keys, indexes and triggers.
    PostData,
}

/// PostgreSQL's own tools, and how they log in.
#[derive(Debug, Clone)]
pub struct Tools {
    shards: shards::Config,
    tls: ClientConfig,
}

impl Tools {
    /// Tools that log in as the manager does.
    #[must_use]
    pub fn new(shards: shards::Config, tls: ClientConfig) -> Self {
        Self { shards, tls }
    }

    /// A section of a shard's schema as SQL, without what is ours. `tables` are patterns; without
    /// them it is the whole database.
    pub(super) async fn dump(
        &self,
        (shard, leg): (&Shard, &LegId),
        major: u32,
        section: Section,
        tables: &[String],
    ) -> Result<String, Error> {
        let program = find(major).await.ok_or(Error::NoTool { major })?;
        let mut command = self.command(&program, shard, leg);
        command.args([
            "--schema-only",
            "--exclude-schema=vg",
            "--no-publications",
            "--no-subscriptions",
            "--no-tablespaces",
            "--lock-wait-timeout=10s",
        ]);
        command.arg(match section {
            Section::PreData => "--section=pre-data",
            Section::PostData => "--section=post-data",
        });
        for table in tables {
            command.arg(format!("--table={table}"));
        }
        let output = timeout(LIMIT, command.output()).await;
        let output = output
            .map_err(|_| Error::Timeout {
                shard: shard.id.clone(),
                limit: LIMIT,
            })?
            .map_err(|source| Error::Run {
                shard: shard.id.clone(),
                source,
            })?;
        let refused = |reason: &str| Error::Dump {
            shard: shard.id.clone(),
            reason: reason.trim().chars().take(MAX_REASON).collect(),
        };
        if !output.status.success() {
            return Err(refused(&String::from_utf8_lossy(&output.stderr)));
        }
        if output.stdout.len() > MAX_BYTES {
            return Err(refused(
                "the definition of the schema is larger than 64 MiB",
            ));
        }
        let text = String::from_utf8(output.stdout);
        let text = text.map_err(|_| refused("its output is not UTF-8"))?;
        Ok(without_ours(&text))
    }

    /// Credentials go by the environment, which other users of the host cannot read.
    fn command(&self, program: &Path, shard: &Shard, leg: &LegId) -> Command {
        let endpoint = &shard.primary_endpoint;
        let servers = endpoint.servers();
        let each = |of: fn(&Endpoint) -> String| -> String {
            let all: Vec<String> = servers.iter().map(of).collect();
            all.join(",")
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("PGHOST", each(|server| server.host().to_owned()))
            .env("PGPORT", each(|server| server.port().to_string()))
            .env("PGDATABASE", endpoint.database())
            .env("PGUSER", &self.shards.user)
            .env("PGAPPNAME", application_name(leg, "pg_dump"))
            .env("PGCLIENTENCODING", "UTF8")
            .env("PGPASSFILE", "/dev/null")
            .env(
                "PGCONNECT_TIMEOUT",
                self.shards.connect_timeout.as_secs().max(2).to_string(),
            )
            .env("PGSSLMODE", sslmode(self.tls.mode));
        if endpoint.is_list() {
            command.env("PGTARGETSESSIONATTRS", "read-write");
        }
        if let Some(password) = &self.shards.password {
            command.env("PGPASSWORD", password.expose());
        }
        if let Some(path) = &self.tls.root_cert_path {
            command.env("PGSSLROOTCERT", path);
        }
        if let Some(identity) = &self.tls.identity {
            command.env("PGSSLCERT", &identity.cert_path);
            command.env("PGSSLKEY", &identity.key_path);
        }
        command.arg("--no-password");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

fn sslmode(mode: Mode) -> &'static str {
    match mode {
        Mode::Disable => "disable",
        Mode::Prefer => "prefer",
        Mode::Require => "require",
        Mode::VerifyCa => "verify-ca",
        Mode::VerifyFull => "verify-full",
    }
}

/// The program of a version: where versions lie side by side, or on the path.
async fn find(major: u32) -> Option<PathBuf> {
    let known = Path::new(FOLDER).join(major.to_string()).join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(known).chain(std::env::split_paths(&path));
    for program in folders.map(|folder| folder.join("pg_dump")) {
        let mut version = Command::new(&program);
        version
            .arg("--version")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let Ok(Ok(output)) = timeout(Duration::from_secs(10), version.output()).await else {
            continue;
        };
        if version_of(&String::from_utf8_lossy(&output.stdout)) == Some(major) {
            return Some(program);
        }
    }
    None
}

/// The major version in `pg_dump (PostgreSQL) 15.14 (Debian 15.14-0)`.
fn version_of(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("(PostgreSQL) ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A dump without psql's own commands and without triggers of ours: each object of a dump has a
/// head that names it.
fn without_ours(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut is_ours = false;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let head = lines.peek().copied().unwrap_or_default();
        if line.trim_end() == "--" && head.starts_with("-- ") {
            // The closing line of a head is followed by an empty one.
            is_ours = (is_ours && !head.starts_with("-- Name: ")) || names_ours(head);
        }
        let is_command = line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
        if !is_ours && !is_command {
            kept.push_str(line);
        }
    }
    kept
}

fn names_ours(head: &str) -> bool {
    let Some((name, rest)) = head
        .strip_prefix("-- Name: ")
        .and_then(|head| head.split_once("; Type: "))
    else {
        return false;
    };
    (rest.starts_with("TRIGGER;") && name.contains(" ~vg_"))
        || (rest.starts_with("EVENT TRIGGER;") && name.starts_with("vg_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_program_says() {
        let text = "pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n";
        assert_eq!(version_of(text), Some(15));
        assert_eq!(version_of("pg_dump (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(version_of("sh: not found"), None);
    }

    #[test]
    fn our_triggers_are_left_out_and_nothing_else() {
        let text = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET a = 1;\n\
            --\n-- Name: t_pkey; Type: CONSTRAINT; Schema: public; Owner: p\n--\n\nALTER 1;\n\n\n\
            --\n-- Name: t ~vg_guard_x_0; Type: TRIGGER; Schema: public; Owner: p\n--\n\n\
            CREATE TRIGGER;\nALTER TABLE ENABLE ALWAYS;\n\n\n\
            --\n-- Name: vg_ddl_x; Type: EVENT TRIGGER; Schema: -; Owner: p\n--\n\nCREATE EVENT;\n\n\n\
            --\n-- Name: t mine; Type: TRIGGER; Schema: public; Owner: p\n--\n\nCREATE MINE;\n\n\n\
            --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n";
        let kept = without_ours(text);
        for (word, is_kept) in [
            ("SET a", true),
            ("ALTER 1", true),
            ("CREATE TRIGGER", false),
            ("ALWAYS", false),
            ("CREATE EVENT", false),
            ("CREATE MINE", true),
            ("restrict", false),
        ] {
            assert_eq!(kept.contains(word), is_kept, "{word}: {kept}");
        }
    }
}
