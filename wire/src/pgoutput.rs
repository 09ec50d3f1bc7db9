//! What the output plugin `pgoutput` says in a replication stream, protocol version 1: whole
//! transactions in the order of their commits, as borrowed views.
//!
//! A message that names a relation is of use only to those who kept the last [`Relation`] message
//! of that id.

mod relation;
mod transaction;
mod tuple;

pub use relation::{Column, Columns, Relation, ReplicaIdentity, TypeName};
pub use transaction::{Begin, Commit, LogicalMessage, Origin};
pub use tuple::{OldTuple, Tuple, Value, Values};

use crate::read::Reader;
use crate::{DecodeError, Oids, Reason};

/// Any message of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction begins.
    Begin(Begin),
    /// It ends.
    Commit(Commit),
    /// It came from elsewhere; follows [`Message::Begin`].
    Origin(Origin<'a>),
    /// What the next changes of this relation look like.
    Relation(Relation<'a>),
    /// The name of a type that is not built in.
    Type(TypeName<'a>),
    /// A new row.
    Insert {
        /// Its relation.
        relation: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// A changed row.
    Update {
        /// Its relation.
        relation: u32,
        /// What identified it before, if that changed or was all of it.
        old: Option<OldTuple<'a>>,
        /// The row.
        new: Tuple<'a>,
    },
    /// A row that is gone.
    Delete {
        /// Its relation.
        relation: u32,
        /// What identified it.
        old: OldTuple<'a>,
    },
    /// Relations that were emptied.
    Truncate {
        /// CASCADE is 1, RESTART IDENTITY is 2.
        options: u8,
        /// The relations.
        relations: Oids<'a>,
    },
    /// Something that was written to the log for those who read it.
    Logical(LogicalMessage<'a>),
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// An unknown tag or a malformed body.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("pgoutput", bytes);
        let tag = reader.u8("tag")?;
        let body = reader.rest();
        match tag {
            b'B' => Begin::decode(body).map(Self::Begin),
            b'C' => Commit::decode(body).map(Self::Commit),
            b'O' => Origin::decode(body).map(Self::Origin),
            b'R' => Relation::decode(body).map(Self::Relation),
            b'Y' => TypeName::decode(body).map(Self::Type),
            b'I' => insert(body),
            b'U' => update(body),
            b'D' => delete(body),
            b'T' => truncate(body),
            b'M' => LogicalMessage::decode(body).map(Self::Logical),
            tag => Err(reader.error(Reason::UnknownTag { tag })),
        }
    }
}

fn insert(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut reader = Reader::new("Insert", body);
    let relation = reader.u32("relation")?;
    let new = tuple::new(&mut reader)?;
    reader.end()?;
    Ok(Message::Insert { relation, new })
}

fn update(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut reader = Reader::new("Update", body);
    let relation = reader.u32("relation")?;
    let old = match reader.rest().first() {
        Some(b'K' | b'O') => Some(tuple::old(&mut reader)?),
        Some(_) | None => None,
    };
    let new = tuple::new(&mut reader)?;
    reader.end()?;
    Ok(Message::Update { relation, old, new })
}

fn delete(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut reader = Reader::new("Delete", body);
    let relation = reader.u32("relation")?;
    let old = tuple::old(&mut reader)?;
    reader.end()?;
    Ok(Message::Delete { relation, old })
}

fn truncate(body: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut reader = Reader::new("Truncate", body);
    let count = reader.u32("relation count")?;
    let options = reader.u8("options")?;
    // More than the body can hold is refused where its bytes are taken.
    let bytes = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .saturating_mul(4);
    let relations = Oids::new(reader.bytes(bytes, "relations")?);
    reader.end()?;
    Ok(Message::Truncate { options, relations })
}

#[cfg(test)]
mod tests;
