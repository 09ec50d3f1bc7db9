//! A walsender session on a shard: replication slots, and the stream of changes that one gives.

use topology::Shard;
use wire::backend::tag;

use super::link::{Error, Fault, Link, Rows};
use super::lsn::Lsn;
use super::session;
use crate::shards::Config;
use wire::quote::ident as quoted;

pub mod stream;

pub use stream::{Event, Stream, XLogData};

/// How long a walsender waits for a word of ours. Appliers may be busy with one batch for minutes;
/// a manager that is gone is noticed by TCP, and the next leader ends its sessions.
const SENDER_TIMEOUT: &str = " -c wal_sender_timeout=300s";

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The same for all servers that come from one initdb.
    pub system_id: String,
    /// Grows when a standby is promoted.
    pub timeline: u32,
    /// The end of the log.
    pub flushed: Lsn,
}

/// Whether a slot's creation exports the snapshot at its consistent point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotExport {
    /// Under a name that lives until the next command of the connection.
    Export,
    /// It does not.
    Nothing,
}

/// A slot that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The changes of exactly the transactions that commit after it are in the slot's stream.
    pub consistent_point: Lsn,
    /// The snapshot that sees exactly the transactions that committed before.
    pub snapshot: Option<String>,
}

/// A session of the replication protocol, on the shard's database.
#[derive(Debug)]
pub struct ReplicationConnection {
    link: Link,
}

impl ReplicationConnection {
    /// Logs in.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn connect(
        config: &Config,
        shard: &Shard,
        application_name: &str,
    ) -> Result<Self, Error> {
        let options = session::options() + SENDER_TIMEOUT;
        let parameters = [
            ("replication", "database"),
            ("application_name", application_name),
            ("options", options.as_str()),
        ];
        let link = Link::connect(config, shard, &parameters).await?;
        Ok(Self { link })
    }

    /// Asks which server this is, and how far its log goes.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn identify_system(&mut self) -> Result<System, Error> {
        let what = "ask which server it is";
        let rows = self.link.query(what, "IDENTIFY_SYSTEM").await?;
        let system = || {
            Some(System {
                system_id: field(&rows, 0)?.to_owned(),
                timeline: field(&rows, 1)?.parse().ok()?,
                flushed: field(&rows, 2)?.parse().ok()?,
            })
        };
        system().ok_or_else(|| self.unreadable(what))
    }

    /// Creates a slot. It waits for every transaction that writes at this time to end. An exported
    /// snapshot is gone with the next command of this connection.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn create_slot(&mut self, name: &str, export: SnapshotExport) -> Result<Slot, Error> {
        self.create(name, "", export).await
    }

    /// Creates a slot that is gone with this connection, with an exported snapshot.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn create_temporary_slot(&mut self, name: &str) -> Result<Slot, Error> {
        self.create(name, "TEMPORARY ", SnapshotExport::Export)
            .await
    }

    async fn create(
        &mut self,
        name: &str,
        lifetime: &str,
        export: SnapshotExport,
    ) -> Result<Slot, Error> {
        // Newer servers have another form of these options too, and keep this one.
        let export = match export {
            SnapshotExport::Export => "EXPORT_SNAPSHOT",
            SnapshotExport::Nothing => "NOEXPORT_SNAPSHOT",
        };
        let slot = quoted(name);
        let sql = format!("CREATE_REPLICATION_SLOT {slot} {lifetime}LOGICAL pgoutput {export}");
        let what = "create a replication slot";
        let rows = self.link.query(what, &sql).await?;
        let point = field(&rows, 1).and_then(|text| text.parse().ok());
        Ok(Slot {
            consistent_point: point.ok_or_else(|| self.unreadable(what))?,
            snapshot: field(&rows, 2).map(str::to_owned),
        })
    }

    /// Drops a slot, once nobody reads it; one that is not there is fine.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn drop_slot(&mut self, name: &str) -> Result<(), Error> {
        const UNDEFINED_OBJECT: &str = "42704";
        let sql = format!("DROP_REPLICATION_SLOT {} WAIT", quoted(name));
        match self.link.query("drop a replication slot", &sql).await {
            Ok(_) => Ok(()),
            Err(error) if error.fault.has_code(UNDEFINED_OBJECT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Streams the changes of a publication's tables, whole transactions in the order of their
    /// commits, from those that commit after `start` on. The slot knows how far it was confirmed
    /// and never goes back before that.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn start(
        mut self,
        slot: &str,
        start: Lsn,
        publication: &str,
    ) -> Result<Stream, Error> {
        let publication = quoted(publication).replace('\'', "''");
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {start} (proto_version '1', \
             publication_names '{publication}', messages 'true')",
            quoted(slot)
        );
        let what = "start replication";
        let announced = tag::COPY_BOTH_RESPONSE;
        self.link.begin_copy(what, &sql, announced).await?;
        Ok(Stream::new(self.link))
    }

    fn unreadable(&self, what: &'static str) -> Error {
        let fault = Fault::Protocol("an answer of another shape than documented".to_owned());
        self.link.error(what, fault)
    }
}

fn field(rows: &Rows, index: usize) -> Option<&str> {
    rows.first()?.get(index)?.as_deref()
}
