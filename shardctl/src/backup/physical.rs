//! A shard's data folder by `pg_basebackup`, and its log from before that up to the point by
//! `pg_receivewal`. Put back, the server recovers up to the restore point that has the backup's
//! name.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::psql::Psql;
use super::server::{LIMIT, Server};
use super::{Error, until};

/// The data folder, in a shard's folder.
pub(super) const BASE: &str = "base";

/// The log, in a shard's folder.
pub(super) const WAL: &str = "wal";

/// How long the log may take to come.
const WAL_LIMIT: Duration = Duration::from_secs(120);

/// Between two looks for it.
const POLL: Duration = Duration::from_millis(20);

/// A copy that is being made: its log still comes in.
#[derive(Debug)]
pub(super) struct Physical {
    folder: PathBuf,
    /// Ends when it is dropped.
    receiver: Child,
    /// Holds a slot for as long as it lives, so that no checkpoint removes what is still to come.
    _slot: Psql,
}

impl Physical {
    pub(super) async fn begin(server: &Server, folder: &Path) -> Result<Self, Error> {
        let wal = folder.join(WAL);
        std::fs::create_dir_all(&wal).map_err(Error::file("create", &wal))?;
        let mut slot = Psql::open(server)?;
        let sql = "SELECT pg_create_physical_replication_slot(\
                   'shardctl_' || pg_backend_pid(), true, true)";
        slot.ask("hold its log back", sql, LIMIT).await?;
        let mut command = server.command("pg_receivewal");
        command
            .arg("--no-loop")
            .arg("--directory")
            .arg(&wal)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let receiver = command.spawn().map_err(|source| Error::Program {
            program: "pg_receivewal".to_owned(),
            source,
        })?;
        let mut copy = Self {
            folder: folder.to_owned(),
            receiver,
            _slot: slot,
        };
        // It has begun with the segment that is being written: all that the copy needs is later.
        copy.wait(server, "receive its log", |names| !names.is_empty())
            .await?;
        let mut command = server.command("pg_basebackup");
        command
            .args(["--format=plain", "--checkpoint=fast", "--wal-method=none"])
            .arg("--pgdata")
            .arg(folder.join(BASE));
        server.run("copy its data folder", command).await?;
        Ok(copy)
    }

    /// Waits until the log has come up to a position.
    pub(super) async fn finish(&mut self, server: &Server, lsn: &str) -> Result<(), Error> {
        let mut session = Psql::open(server)?;
        let sql = format!("SELECT pg_walfile_name('{lsn}')");
        let answer = session
            .ask("name a segment of its log", &sql, LIMIT)
            .await?;
        let wanted = answer.first().cloned().unwrap_or_default();
        let switch = "SELECT pg_switch_wal()";
        session
            .ask("begin another segment of its log", switch, LIMIT)
            .await?;
        self.wait(server, "receive its log", |names| names.contains(&wanted))
            .await?;
        let _ended = self.receiver.kill().await;
        // What has come of the next segment is not needed, and not whole.
        for name in self.names()? {
            if name.ends_with(".partial") {
                let path = self.folder.join(WAL).join(name);
                std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let wal = self.folder.join(WAL);
        let listed = std::fs::read_dir(&wal).map_err(Error::file("read", &wal))?;
        let names = listed
            .flatten()
            .map(|it| it.file_name().to_string_lossy().into_owned());
        Ok(names.collect())
    }

    async fn wait(
        &mut self,
        server: &Server,
        what: &'static str,
        is_there: impl Fn(&[String]) -> bool,
    ) -> Result<(), Error> {
        let deadline = until(WAL_LIMIT);
        loop {
            if is_there(&self.names()?) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.receiver.try_wait() {
                let mut said = String::new();
                if let Some(errors) = &mut self.receiver.stderr {
                    let _read = errors.read_to_string(&mut said).await;
                }
                return Err(Error::Shard {
                    shard: server.shard.clone(),
                    what,
                    reason: format!("pg_receivewal ended with {status}: {}", said.trim()),
                });
            }
            if Instant::now() >= deadline {
                return Err(Error::Late {
                    shard: server.shard.clone(),
                    what,
                    limit: WAL_LIMIT,
                });
            }
            sleep(POLL).await;
        }
    }
}

/// Makes a data folder whose server recovers up to the point when it is started.
pub(super) fn put_back(shard: &Path, name: &str, into: &Path) -> Result<(), Error> {
    let is_taken = std::fs::read_dir(into).is_ok_and(|mut it| it.next().is_some());
    if is_taken {
        return Err(Error::NotFresh {
            place: into.display().to_string(),
            found: "it holds files".to_owned(),
        });
    }
    let wal = into.join("restore_wal");
    copy_folder(&shard.join(BASE), into)?;
    copy_folder(&shard.join(WAL), &wal)?;
    private(into)?;
    let wal = std::path::absolute(&wal).map_err(Error::file("find", &wal))?;
    let wal = wal.display().to_string().replace('\'', "''");
    let text = format!(
        "\n# By shardctl restore: recovery ends at the point of the backup.\n\
         restore_command = 'cp \"{wal}/%f\" \"%p\"'\n\
         recovery_target_name = '{name}'\n\
         recovery_target_action = 'promote'\n"
    );
    let settings = into.join("postgresql.auto.conf");
    let mut all = std::fs::read_to_string(&settings).unwrap_or_default();
    all.push_str(&text);
    std::fs::write(&settings, all).map_err(Error::file("write", &settings))?;
    let signal = into.join("recovery.signal");
    std::fs::write(&signal, "").map_err(Error::file("write", &signal))
}

/// PostgreSQL refuses a data folder that others may read.
fn private(folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder, mode).map_err(Error::file("protect", folder))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to).map_err(Error::file("create", to))?;
    private(to)?;
    let listed = std::fs::read_dir(from).map_err(Error::file("read", from))?;
    for entry in listed {
        let entry = entry.map_err(Error::file("read", from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::file("read", &path))?;
        if kind.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(Error::file("copy", &path))?;
        }
    }
    Ok(())
}
