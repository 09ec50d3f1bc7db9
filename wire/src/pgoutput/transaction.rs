//! Where transactions begin and end, where they came from, and what was said in them.

use crate::read::Reader;
use crate::{DecodeError, Reason, Text};

/// The beginning of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record begins.
    pub commit_lsn: u64,
    /// When it was committed: microseconds since 2000.
    pub committed_at: i64,
    /// Its id.
    pub xid: u32,
}

impl Begin {
    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Begin", body);
        let begin = Self {
            commit_lsn: u64::from_be_bytes(reader.array("commit position")?),
            committed_at: i64::from_be_bytes(reader.array("commit time")?),
            xid: reader.u32("transaction id")?,
        };
        reader.end()?;
        Ok(begin)
    }
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record begins.
    pub commit_lsn: u64,
    /// Where its commit record ends: what has all up to here has this transaction.
    pub end_lsn: u64,
    /// When it was committed: microseconds since 2000.
    pub committed_at: i64,
}

impl Commit {
    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Commit", body);
        let flags = reader.u8("flags")?;
        if flags != 0 {
            return Err(reader.error(Reason::UnknownValue {
                field: "flags",
                value: i32::from(flags),
            }));
        }
        let commit = Self {
            commit_lsn: u64::from_be_bytes(reader.array("commit position")?),
            end_lsn: u64::from_be_bytes(reader.array("end position")?),
            committed_at: i64::from_be_bytes(reader.array("commit time")?),
        };
        reader.end()?;
        Ok(commit)
    }
}

/// Where a transaction was first committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its position there.
    pub lsn: u64,
    /// The name of the replication origin under which it was applied.
    pub name: Text<'a>,
}

impl<'a> Origin<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Origin", body);
        let origin = Self {
            lsn: u64::from_be_bytes(reader.array("position")?),
            name: reader.text("name")?,
        };
        reader.end()?;
        Ok(origin)
    }
}

/// What `pg_logical_emit_message` wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// Whether it is part of a transaction; else it stands between them.
    pub transactional: bool,
    /// Where it was written.
    pub lsn: u64,
    /// Whom it is for.
    pub prefix: Text<'a>,
    /// What it says.
    pub content: &'a [u8],
}

impl<'a> LogicalMessage<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Message", body);
        let transactional = match reader.u8("flags")? {
            0 => false,
            1 => true,
            flags => {
                return Err(reader.error(Reason::UnknownValue {
                    field: "flags",
                    value: i32::from(flags),
                }));
            }
        };
        let lsn = u64::from_be_bytes(reader.array("position")?);
        let prefix = reader.text("prefix")?;
        let length = reader.i32("content length")?;
        let Ok(count) = usize::try_from(length) else {
            let field = "content";
            return Err(reader.error(Reason::NegativeLength { field, length }));
        };
        let content = reader.bytes(count, "content")?;
        reader.end()?;
        Ok(Self {
            transactional,
            lsn,
            prefix,
            content,
        })
    }
}
