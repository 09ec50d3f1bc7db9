//! Sorts the messages of a stream: keeps what relations look like, computes the token of each
//! row's key, drops what is not in the leg's ranges and what the leg itself has written, and gives
//! the rest to the lanes, transaction by transaction.

use std::collections::HashMap;
use std::sync::Arc;

use topology::{Key, ShardId, Token, hash};
use wire::pgoutput::{LogicalMessage, Message, OldTuple, Relation, Tuple, Value};

use crate::reshard::apply::Error;
use crate::reshard::apply::chunk::{Chunk, End, Untold};
use crate::reshard::apply::queue::{BATCH_BYTES, BATCH_ROWS};
use crate::reshard::flow::{Bounds, MovedTable};
use crate::reshard::lsn::Lsn;
use crate::reshard::shape::{Shape, UniqueColumns};

/// The prefix of the messages that say that a leg's owner is fenced; the content is the leg's tag
/// and the epoch.
pub use crate::reshard::guard::sql::MARKER as FENCE_PREFIX;
/// The prefix of the messages that measure the lag; the content is the leg's tag and a number.
pub const HEARTBEAT_PREFIX: &str = "vg-hb";

/// What takes the sorted changes.
pub trait Outlet {
    /// Changes for a lane; the chunk is empty afterwards.
    ///
    /// # Errors
    /// [`Untold::TooLarge`].
    fn put(&self, lane: usize, chunk: &mut Chunk) -> Result<(), Untold>;
    /// A lane has all before this epoch's marker since it was opened.
    fn drained(&self, lane: usize, epoch: u64);
    /// All transactions that commit before this place were put.
    fn advance(&self, to: Lsn);
    /// A heartbeat is in the stream before this place.
    fn heartbeat(&self, number: u64, before: Lsn);
}

/// What a lane is for.
#[derive(Debug, Clone)]
pub struct Route {
    /// The tokens of its mirror.
    pub bounds: Bounds,
    /// What its mirror has already.
    pub start: Lsn,
}

/// What a stream is sorted by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The shard that it comes from.
    pub owner: ShardId,
    /// The leg's tag.
    pub tag: String,
    /// What the names of the leg's own origins begin with.
    pub own_origins: String,
    /// The leg's tables.
    pub tables: Vec<MovedTable>,
    /// Their unique columns.
    pub unique: Vec<UniqueColumns>,
}

/// The shapes of tables, by their place among the leg's; they outlive connections.
pub type Shapes = HashMap<usize, Arc<Shape>>;

#[derive(Debug)]
struct Lane {
    route: Route,
    chunk: Chunk,
    /// Whether a part of the present transaction was put.
    is_parted: bool,
}

/// A relation of the stream.
#[derive(Debug)]
enum Announced {
    /// One of the leg's tables.
    Known(Arc<Shape>),
    /// None of them.
    Unknown(String),
}

#[derive(Debug, Clone, Copy)]
struct Transaction {
    commit: Lsn,
    at: i64,
    is_own: bool,
    fence: Option<u64>,
    heartbeat: Option<u64>,
}

/// Sorts one stream.
#[derive(Debug)]
pub struct Sorter {
    rules: Rules,
    shapes: Shapes,
    relations: HashMap<u32, Announced>,
    lanes: Vec<Lane>,
    transaction: Option<Transaction>,
}

impl Sorter {
    /// A sorter at the beginning of a stream.
    #[must_use]
    pub fn new(rules: Rules, shapes: Shapes, routes: Vec<Route>) -> Self {
        let lane = |route| Lane {
            route,
            chunk: Chunk::default(),
            is_parted: false,
        };
        Self {
            rules,
            shapes,
            relations: HashMap::new(),
            lanes: routes.into_iter().map(lane).collect(),
            transaction: None,
        }
    }

    /// What the tables look like, for the next stream.
    #[must_use]
    pub fn into_shapes(self) -> Shapes {
        self.shapes
    }

    /// The server has read its log up to here.
    pub fn keepalive(&self, wal_end: Lsn, outlet: &impl Outlet) {
        if self.transaction.is_none() {
            outlet.advance(wal_end);
        }
    }

    /// Sorts a message.
    ///
    /// # Errors
    /// What cannot be followed.
    pub fn message(&mut self, bytes: &[u8], outlet: &impl Outlet) -> Result<(), Error> {
        let message = Message::decode(bytes).map_err(|source| Error::Message {
            shard: self.rules.owner.clone(),
            source,
        })?;
        match message {
            Message::Begin(begin) => {
                if self.transaction.is_some() {
                    return Err(self.broken("a transaction begins within another"));
                }
                self.transaction = Some(Transaction {
                    commit: Lsn(begin.commit_lsn),
                    at: begin.committed_at,
                    is_own: false,
                    fence: None,
                    heartbeat: None,
                });
                Ok(())
            }
            Message::Origin(origin) => {
                let own = self.rules.own_origins.as_bytes();
                let is_own = origin.name.as_bytes().starts_with(own);
                if let Some(transaction) = &mut self.transaction {
                    transaction.is_own = is_own;
                }
                Ok(())
            }
            Message::Commit(commit) => self.commit(Lsn(commit.end_lsn), outlet),
            Message::Relation(relation) => self.relation(&relation),
            // Values are text, whatever their types.
            Message::Type(_) => Ok(()),
            Message::Insert { relation, new } => self.change(relation, Change::Insert(new), outlet),
            Message::Update { relation, old, new } => {
                self.change(relation, Change::Update(old, new), outlet)
            }
            Message::Delete { relation, old } => {
                self.change(relation, Change::Delete(old.tuple()), outlet)
            }
            Message::Truncate { relations, .. } => self.truncate(relations.iter()),
            Message::Logical(message) => {
                self.logical(&message, outlet);
                Ok(())
            }
        }
    }

    fn relation(&mut self, relation: &Relation<'_>) -> Result<(), Error> {
        let schema = match relation.schema.as_bytes() {
            b"" => b"pg_catalog".as_slice(),
            schema => schema,
        };
        let is_it = |moved: &MovedTable| {
            moved.name.schema().as_bytes() == schema
                && moved.name.name().as_bytes() == relation.name.as_bytes()
        };
        let table = self.rules.tables.iter().position(is_it);
        let known = table.and_then(|at| {
            let moved = self.rules.tables.get(at)?;
            Some((at, moved, self.rules.unique.get(at)?))
        });
        let Some((table, moved, unique)) = known else {
            // A partition is announced also where its changes are told as its root's.
            let schema = String::from_utf8_lossy(schema);
            let name = format!("{schema}.{}", relation.name.to_lossy());
            self.relations.insert(relation.id, Announced::Unknown(name));
            return Ok(());
        };
        let shape = Shape::new(relation, table, moved, unique).map_err(|source| Error::Unfit {
            shard: self.rules.owner.clone(),
            table: moved.name.clone(),
            source,
        })?;
        let before = self.shapes.get(&table);
        if let Some(what) = before.and_then(|before| shape.difference(before)) {
            return Err(Error::SchemaChanged {
                shard: self.rules.owner.clone(),
                table: moved.name.clone(),
                what,
            });
        }
        let shape = self.shapes.entry(table).or_insert_with(|| Arc::new(shape));
        let shape = Announced::Known(Arc::clone(shape));
        self.relations.insert(relation.id, shape);
        Ok(())
    }

    fn change(
        &mut self,
        relation: u32,
        change: Change<'_>,
        outlet: &impl Outlet,
    ) -> Result<(), Error> {
        let Some(transaction) = self.transaction else {
            return Err(self.broken("a change outside of a transaction"));
        };
        if transaction.is_own {
            return Ok(());
        }
        let shape = match self.relations.get(&relation) {
            Some(Announced::Known(shape)) => Arc::clone(shape),
            Some(Announced::Unknown(name)) => {
                return Err(Error::UnknownTable {
                    shard: self.rules.owner.clone(),
                    table: name.clone(),
                });
            }
            None => return Err(self.broken("a change of a relation that was not announced")),
        };
        let written = match change {
            Change::Insert(new) => {
                let lane = self.lane_of(&shape, new, None)?;
                self.write(lane, &transaction, outlet, |chunk| {
                    chunk.insert(&shape, None, new)
                })
            }
            Change::Delete(old) => {
                let lane = self.lane_of(&shape, old, None)?;
                self.write(lane, &transaction, outlet, |chunk| {
                    chunk.delete(&shape, old)
                })
            }
            Change::Update(told, new) => {
                let old = told.map(OldTuple::tuple);
                let is = self.lane_of(&shape, new, old)?;
                let was = match old {
                    Some(old) => self.lane_of(&shape, old, None)?,
                    None => is,
                };
                if was == is {
                    self.write(is, &transaction, outlet, |chunk| {
                        chunk.update(&shape, old, new)
                    })
                } else {
                    // Its key changed, and with it the shard that it belongs to.
                    let left = match old {
                        Some(old) => {
                            self.write(was, &transaction, outlet, |chunk| chunk.delete(&shape, old))
                        }
                        None => Ok(()),
                    };
                    left.and_then(|()| {
                        self.write(is, &transaction, outlet, |chunk| {
                            chunk.insert(&shape, told, new)
                        })
                    })
                }
            }
        };
        written.map_err(|source| Error::Row {
            shard: self.rules.owner.clone(),
            table: shape.name.clone(),
            source,
        })
    }

    /// Adds a change to a lane's chunk, and gives that away when it is large.
    fn write(
        &mut self,
        lane: Option<usize>,
        transaction: &Transaction,
        outlet: &impl Outlet,
        change: impl FnOnce(&mut Chunk) -> Result<(), Untold>,
    ) -> Result<(), Untold> {
        let Some((at, lane)) = lane.and_then(|at| Some((at, self.lanes.get_mut(at)?))) else {
            return Ok(());
        };
        // It ended before what the mirror has.
        if transaction.commit < lane.route.start {
            return Ok(());
        }
        change(&mut lane.chunk)?;
        let rows = lane.chunk.rows().len();
        if rows < BATCH_ROWS && lane.chunk.bytes() < BATCH_BYTES {
            return Ok(());
        }
        lane.is_parted = true;
        lane.chunk.is_complete = false;
        lane.chunk.last.commit = transaction.commit;
        outlet.put(at, &mut lane.chunk)
    }

    /// The lane that a row belongs to, if it belongs to the leg. What `tuple` does not tell did
    /// not change since `before`.
    fn lane_of(
        &self,
        shape: &Shape,
        tuple: Tuple<'_>,
        before: Option<Tuple<'_>>,
    ) -> Result<Option<usize>, Error> {
        let unchanged = tuple.get(shape.key) == Some(Value::Unchanged);
        let bytes = told(shape, tuple).or_else(|| told(shape, before.filter(|_| unchanged)?));
        let bytes = bytes.ok_or_else(|| Error::Row {
            shard: self.rules.owner.clone(),
            table: shape.name.clone(),
            source: Untold::Key,
        })?;
        let token = self.token(shape, bytes)?;
        let mut routes = self.lanes.iter();
        Ok(routes.position(|lane| lane.route.bounds.contains(token)))
    }

    fn token(&self, shape: &Shape, bytes: &[u8]) -> Result<Token, Error> {
        let Some(moved) = self.rules.tables.get(shape.table) else {
            return Err(self.broken("a table that is not known"));
        };
        let key = Key::from_text(moved.key_type, bytes).map_err(|source| Error::Key {
            shard: self.rules.owner.clone(),
            table: shape.name.clone(),
            source,
        })?;
        Ok(hash::token_of(&key))
    }

    fn commit(&mut self, end: Lsn, outlet: &impl Outlet) -> Result<(), Error> {
        let Some(transaction) = self.transaction.take() else {
            return Err(self.broken("a transaction ends that did not begin"));
        };
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let is_past = transaction.commit < lane.route.start;
            match transaction.fence {
                Some(epoch) if is_past => outlet.drained(at, epoch),
                Some(_) | None => {}
            }
            let is_for_it = lane.is_parted || !lane.chunk.is_empty() || transaction.fence.is_some();
            if is_past || !is_for_it {
                continue;
            }
            lane.is_parted = false;
            lane.chunk.last = End {
                commit: transaction.commit,
                end,
                at: transaction.at,
            };
            lane.chunk.safe = end;
            lane.chunk.transactions = 1;
            lane.chunk.is_complete = true;
            lane.chunk.fence = transaction.fence;
            let put = outlet.put(at, &mut lane.chunk);
            put.map_err(|_| Error::Rules {
                shard: self.rules.owner.clone(),
                what: "a transaction is too large to be counted",
            })?;
        }
        outlet.advance(end);
        if let Some(number) = transaction.heartbeat {
            outlet.heartbeat(number, end);
        }
        Ok(())
    }

    fn truncate(&self, mut relations: impl Iterator<Item = u32>) -> Result<(), Error> {
        if self
            .transaction
            .is_some_and(|transaction| transaction.is_own)
        {
            return Ok(());
        }
        let announced = relations.next().and_then(|id| self.relations.get(&id));
        Err(Error::Truncated {
            shard: self.rules.owner.clone(),
            table: match announced {
                Some(Announced::Known(shape)) => shape.name.to_string(),
                Some(Announced::Unknown(name)) => name.clone(),
                None => "?".to_owned(),
            },
        })
    }

    fn logical(&mut self, message: &LogicalMessage<'_>, outlet: &impl Outlet) {
        let content = std::str::from_utf8(message.content).unwrap_or_default();
        let own = content.strip_prefix(self.rules.tag.as_str());
        let number = own.and_then(|rest| rest.strip_prefix(' ')?.parse().ok());
        match &mut self.transaction {
            Some(transaction) if message.prefix == FENCE_PREFIX => {
                transaction.fence = number.or(transaction.fence);
            }
            Some(transaction) if message.prefix == HEARTBEAT_PREFIX => {
                transaction.heartbeat = number.or(transaction.heartbeat);
            }
            Some(_) => {}
            None => outlet.advance(Lsn(message.lsn)),
        }
    }

    fn broken(&self, what: &'static str) -> Error {
        Error::Rules {
            shard: self.rules.owner.clone(),
            what,
        }
    }
}

/// The text of a row's key.
fn told<'a>(shape: &Shape, tuple: Tuple<'a>) -> Option<&'a [u8]> {
    match tuple.get(shape.key) {
        Some(Value::Text(bytes)) => Some(bytes),
        Some(Value::Null | Value::Unchanged | Value::Binary(_)) | None => None,
    }
}

#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Insert(Tuple<'a>),
    Update(Option<OldTuple<'a>>, Tuple<'a>),
    Delete(Tuple<'a>),
}

#[cfg(test)]
mod tests;
