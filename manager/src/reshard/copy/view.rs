//! Sessions that see a shard as it is in an exported snapshot, and the rows that they read.

use topology::{Shard, TableName, Token};
use wire::Header;
use wire::backend::tag;
use wire::frame::HEADER_BYTES;
use wire::limits::MAX_MESSAGE_BYTES;

use super::Error;
use super::scan::Scanner;
use crate::reshard::ids::LegId;
use crate::reshard::link::{Fault, Link, refused};
use crate::reshard::session::{self, application_name};
use crate::shards::Config;

/// Row security must not hide rows in silence.
const OPTIONS: &str = " -c row_security=off -c default_transaction_read_only=on";

const READ: &str = "read rows";

/// What is seen, and for which leg.
#[derive(Debug, Clone, Copy)]
pub(in crate::reshard) struct View<'a> {
    pub(in crate::reshard) config: &'a Config,
    pub(in crate::reshard) leg: &'a LegId,
    pub(in crate::reshard) shard: &'a Shard,
    pub(in crate::reshard) snapshot: &'a str,
}

impl View<'_> {
    /// A session in a transaction that sees it.
    pub(in crate::reshard) async fn open(&self, purpose: &'static str) -> Result<Link, Error> {
        let mut link = connect(self.config, self.shard, self.leg, purpose).await?;
        import(&mut link, self.snapshot).await?;
        Ok(link)
    }
}

/// Begins a transaction that sees a snapshot.
pub(in crate::reshard) async fn import(link: &mut Link, snapshot: &str) -> Result<(), Error> {
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
        snapshot.replace('\'', "''")
    );
    match link.query("import a snapshot", &sql).await {
        Ok(_) => Ok(()),
        Err(error) if error.fault.ends_session() => Err(error.into()),
        Err(error) => Err(Error::SnapshotGone(error)),
    }
}

/// A session that only reads.
pub(in crate::reshard) async fn connect(
    config: &Config,
    shard: &Shard,
    leg: &LegId,
    purpose: &'static str,
) -> Result<Link, Error> {
    connect_as(config, shard, &application_name(leg, purpose)).await
}

/// The same under any name.
pub(in crate::reshard) async fn connect_as(
    config: &Config,
    shard: &Shard,
    name: &str,
) -> Result<Link, Error> {
    let options = session::options() + OPTIONS;
    let parameters = [("application_name", name), ("options", options.as_str())];
    Ok(Link::connect(config, shard, &parameters).await?)
}

/// What was taken of a session's buffer.
#[derive(Debug, Clone, Copy)]
pub(in crate::reshard) struct Taken {
    /// Bytes.
    pub(in crate::reshard) bytes: usize,
    /// Whether the statement has ended.
    pub(in crate::reshard) is_done: bool,
}

/// Gives each row of a running COPY that has arrived.
pub(in crate::reshard) fn take_rows(
    source: &mut Link,
    table: &TableName,
    scanner: &mut Scanner,
    found: &mut impl FnMut(&[u8], Token) -> Result<(), Error>,
) -> Result<Taken, Error> {
    let mut taken = Taken {
        bytes: 0,
        is_done: false,
    };
    let malformed = |source: &Link, error| Error::Rows {
        shard: source.shard().clone(),
        table: table.clone(),
        source: error,
    };
    let mut rest = source.arrived();
    while !taken.is_done {
        let header = Header::parse(rest, MAX_MESSAGE_BYTES);
        let header = header.map_err(|error| source.error(READ, error.into()))?;
        let frame = header.and_then(|header| rest.split_at_checked(header.frame_bytes()));
        let Some((frame, after)) = frame else {
            break;
        };
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        match frame.first().copied().unwrap_or_default() {
            tag::COPY_DATA => {
                let mut outcome = Ok(());
                let fed = scanner.feed(body, &mut |row, token| {
                    if outcome.is_ok() {
                        outcome = found(row, token);
                    }
                });
                fed.map_err(|error| malformed(source, error))?;
                outcome?;
            }
            tag::COPY_DONE | tag::COMMAND_COMPLETE | tag::NOTICE_RESPONSE => {}
            tag::READY_FOR_QUERY => {
                taken.is_done = true;
                scanner.end().map_err(|error| malformed(source, error))?;
            }
            tag::ERROR_RESPONSE => {
                let fault = refused(body).unwrap_or_else(|fault| fault);
                return Err(source.error(READ, fault).into());
            }
            tag => return Err(source.error(READ, Fault::unexpected(tag)).into()),
        }
        taken.bytes += frame.len();
        rest = after;
    }
    source.pass(taken.bytes);
    Ok(taken)
}
