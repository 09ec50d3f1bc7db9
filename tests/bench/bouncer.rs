//! PgBouncer in front of one server, as Debian's newer release has it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use tests::folder::Folder;
use tests::pg::Address;
use tests::port::Port;
use tests::process::{Custody, Process, Signal};
use tests::program::target_folder;
use tests::{Postgres, wait};

use crate::subject::BACKENDS;

/// A running PgBouncer.
#[derive(Debug)]
pub(crate) struct Bouncer {
    process: Process,
    port: Port,
    database: String,
}

impl Bouncer {
    pub(crate) async fn start(server: &Postgres) -> anyhow::Result<Self> {
        let port = Port::take()?;
        let file = Folder::shared()?.fresh("pgbouncer").with_extension("ini");
        let address = server.address();
        let text = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server} user={user}\n\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {BACKENDS}\n\
             max_prepared_statements = 1000\n\
             max_client_conn = 5000\nserver_reset_query_always = 0\nlog_connections = 0\n\
             log_disconnections = 0\nlog_stats = 0\nignore_startup_parameters = extra_float_digits\n",
            database = address.database,
            server = address.port,
            user = address.user,
            port = port.number(),
        );
        std::fs::write(&file, text)?;
        let mut command = Command::new(program()?);
        command.arg(&file);
        // It refuses to run as root, as PostgreSQL does.
        let custody = Custody {
            user: tests::postgres::custody().user,
            farewell: Signal::Term,
        };
        let process = Process::start(command, custody, &file.with_extension("log"))?;
        let mut bouncer = Self {
            process,
            port,
            database: address.database,
        };
        let address = bouncer.address();
        let asked = bouncer.process.ready(wait::START, || async {
            address.client().await?.simple_query("SELECT 1").await?;
            Ok(())
        });
        asked.await?;
        Ok(bouncer)
    }

    pub(crate) fn address(&self) -> Address {
        Address {
            host: std::net::Ipv4Addr::LOCALHOST,
            port: self.port.number(),
            user: tests::postgres::USER.to_owned(),
            password: None,
            database: self.database.clone(),
            access: None,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Where the program is, which `scripts/tools.sh bench` fetches.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let program = target_folder()?.join("tools/pgbouncer/pgbouncer");
    let found = Some(program).filter(|program| program.exists());
    found.context("PgBouncer is not there: run `make bench` or `scripts/tools.sh bench`")
}
