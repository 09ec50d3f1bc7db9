//! A control write: one transaction of the store, with the leader's term, the head that was seen,
//! the changed records, the next head and the audit entry (I2). A write of a user is the same
//! without the topology's head.
//!
//! A write that lost a race is decided anew on what the store holds then. One whose answer was
//! lost is sent again as it was: its conditions let it happen only once, and its audit entry tells
//! whether it did. Only what stays unknown to the end is reported as unknown.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use platform::Kind;
use platform::backoff::Backoff;
use platform::telemetry::error_chain;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use topology::records::{DecodeError, Head, decode, encode};
use topology::snapshot::InvalidTopology;
use topology::store::{self, Committed, Compare, Entry, Event, Op, Outcome, Revision, Store, Txn};
use topology::watch::{LoadError, Loaded, load};
use topology::{Epoch, Snapshot, Term, keys};

use crate::audit::{self, Author, Position};
use crate::control::{self, Command, NewShard, Rejection};
use crate::error::Code;

mod access;
mod idempotency;
mod inbox;
mod note;
mod reshard;
mod user;

#[cfg(test)]
mod tests;

pub use access::AccessRequest;
pub use idempotency::Key;
pub use note::Note;
pub use reshard::{Applied, ReshardWrite};
pub use user::UserRequest;

/// How often a write is decided anew after another one was faster.
const MAX_ATTEMPTS: u32 = 5;

/// How long a write may take with all attempts; below the time-out of a request, so that its
/// caller hears what became of it.
const BUDGET: Duration = Duration::from_secs(20);

/// A change to be made.
#[derive(Debug, Clone)]
pub struct Request {
    /// The term in which the writer leads.
    pub term: Term,
    /// The change.
    pub command: Command,
    /// Who asks for it.
    pub author: Author,
    /// Makes a repeated request find the first one; only for creating a shard.
    pub idempotency_key: Option<Key>,
}

/// A change that was made, now or by an earlier request with the same idempotency key.
#[derive(Debug, Clone)]
pub struct Written {
    /// The topology with it.
    pub snapshot: Arc<Snapshot>,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topology does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The topology cannot be read.
    #[error("the topology is not readable")]
    Load(#[from] LoadError),
    /// What there is does not allow it.
    #[error(transparent)]
    Access(#[from] control::access::Rejection),
    /// The stored topology, or what the change would make of it, breaks an invariant.
    #[error("the change would break the topology")]
    Invalid(#[from] InvalidTopology),
    /// It cannot be audited.
    #[error("the audit log is not readable")]
    Audit(#[from] audit::ReadError),
    /// The store did not take the write.
    #[error("the store did not take the change, nothing was written")]
    Store(#[source] store::Error),
    /// A record beside the topology cannot be read.
    #[error("a stored record is not readable")]
    Record(#[from] DecodeError),
    /// Another manager leads.
    #[error("leadership was lost at term {term}, nothing was written")]
    Deposed {
        /// The term that is over.
        term: Term,
    },
    /// Other writes were faster each time.
    #[error("other changes were faster {attempts} times, nothing was written")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// An idempotency key belongs to another request.
    #[error("idempotency key {key:?} was used for another request")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The store did not say, however often it was asked.
    #[error("the store gave no answer: it is not known whether the change was made")]
    OutcomeUnknown(#[source] store::Error),
}

impl Error {
    /// What sort of error this is to a client.
    #[must_use]
    pub fn code(&self) -> Code {
        let kind = match self {
            Self::Rejected(rejection) => return rejection.code(),
            Self::Access(rejection) => return rejection.code(),
            Self::Load(LoadError::Store(_))
            | Self::Audit(audit::ReadError::Store(_) | audit::ReadError::Restless)
            | Self::Store(_)
            | Self::Deposed { .. } => Kind::Unavailable,
            Self::Load(LoadError::Entry(_) | LoadError::NoHead)
            | Self::Audit(audit::ReadError::Entry(_) | audit::ReadError::Broken(_))
            | Self::Invalid(_)
            | Self::Record(_) => Kind::Internal,
            Self::Contended { .. } | Self::KeyReused { .. } => Kind::Conflict,
            Self::OutcomeUnknown(_) => Kind::OutcomeUnknown,
        };
        Code::Kind(kind)
    }
}

/// Writes to the store as the leader.
#[derive(Debug)]
pub struct Writer {
    store: Arc<dyn Store>,
    audit_file: Option<audit::File>,
    /// Held by a write, so that those of one leader do not lose races against each other.
    turn: Mutex<()>,
    /// What the store held after the last write, unless somebody else has written since.
    known: std::sync::Mutex<Option<Known>>,
}

/// The topology and the audit log's position as a write found or left them. It may be out of date:
/// then the conditions of a write that is decided on it do not hold.
#[derive(Debug)]
struct Known {
    loaded: Loaded,
    position: Position,
    /// Whether the write that is decided on it makes an epoch.
    writes_head: bool,
}

impl Known {
    /// The same after a write that was decided on it and is now applied.
    fn written_at(mut self, entry: &audit::Entry, revision: Revision) -> Self {
        self.position = self.position.written_at(entry, revision);
        if std::mem::take(&mut self.writes_head) {
            self.loaded.head_mod_revision = revision;
        }
        self.loaded.revision = revision;
        self
    }
}

/// A transaction with what it says in the audit log.
#[derive(Debug)]
struct Draft {
    txn: Txn,
    /// What it adds before its last entry.
    earlier: Vec<audit::Entry>,
    /// Its last entry, by which it is known again.
    entry: audit::Entry,
    /// What there is once it is applied.
    known: Option<Known>,
}

impl Draft {
    /// A transaction after which all is read anew.
    fn new(txn: Txn, entry: audit::Entry) -> Self {
        Self {
            txn,
            earlier: Vec::new(),
            entry,
            known: None,
        }
    }

    /// The same with several entries; none without any.
    fn of_several(txn: Txn, mut entries: Vec<audit::Entry>) -> Option<Self> {
        let entry = entries.pop()?;
        Some(Self {
            earlier: entries,
            ..Self::new(txn, entry)
        })
    }
}

/// What an attempt to write comes to.
enum Attempt<T> {
    /// The change was made by an earlier request.
    Done(T),
    /// The transaction to be sent, and what there is once it is applied.
    Send(Box<Draft>, T),
}

/// What became of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Applied(Revision),
    Deposed,
    Overtaken,
}

impl Writer {
    /// A writer to a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, audit_file: Option<audit::File>) -> Self {
        Self {
            store,
            audit_file,
            turn: Mutex::new(()),
            known: std::sync::Mutex::new(None),
        }
    }

    /// Makes a change. Not cancel-safe: dropped midway, the change may have been made.
    ///
    /// # Errors
    /// Nothing was written, but for [`Error::OutcomeUnknown`].
    pub async fn write(&self, request: &Request) -> Result<Written, Error> {
        let attempt = || self.attempt(request);
        let (snapshot, _) = self.until_settled(request.term, attempt).await?;
        Ok(Written { snapshot })
    }

    /// Decides and sends until a transaction is applied, or cannot be. The revision is that of the
    /// transaction, 0 where none was needed.
    async fn until_settled<T, F>(
        &self,
        term: Term,
        attempt: impl Fn() -> F,
    ) -> Result<(T, Revision), Error>
    where
        F: Future<Output = Result<Attempt<T>, Error>>,
    {
        let _turn = self.turn.lock().await;
        let deadline = Instant::now() + BUDGET;
        let mut attempts = 0;
        while attempts < MAX_ATTEMPTS && Instant::now() < deadline {
            attempts += 1;
            let (mut draft, made) = match attempt().await? {
                Attempt::Done(made) => return Ok((made, Revision(0))),
                Attempt::Send(draft, made) => (draft, made),
            };
            match self.settle(&draft, deadline).await? {
                Settled::Applied(revision) => {
                    let known = draft.known.take();
                    self.keep(known.map(|known| known.written_at(&draft.entry, revision)));
                    for entry in draft.earlier.iter().chain([&draft.entry]) {
                        self.applied(entry).await;
                    }
                    return Ok((made, revision));
                }
                Settled::Deposed => return Err(Error::Deposed { term }),
                Settled::Overtaken => tracing::info!(attempts, "control write overtaken"),
            }
        }
        Err(Error::Contended { attempts })
    }

    /// Keeps what is known after a write.
    fn keep(&self, known: Option<Known>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn is_known(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.is_some()
    }

    async fn epoch(&self) -> Result<Epoch, Error> {
        let found = self.store.read(keys::HEAD).await.map_err(Error::Store)?;
        let Some(entry) = found else {
            return Ok(Epoch(0));
        };
        Ok(decode::<Head>(keys::HEAD, &entry.value)?.epoch)
    }

    /// What the store holds: known from the last write, or read.
    async fn know(&self) -> Result<Known, Error> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(known) = known {
            return Ok(known);
        }
        let store = self.store.as_ref();
        let loading = async { Ok::<_, Error>(load(store).await?) };
        let finding = async { Ok(Position::of(store).await?) };
        let (loaded, position) = tokio::try_join!(loading, finding)?;
        Ok(Known {
            loaded,
            position,
            writes_head: false,
        })
    }

    async fn applied(&self, entry: &audit::Entry) {
        tracing::info!(
            epoch = %entry.epoch, term = %entry.term, action = entry.action,
            target = entry.target, actor = entry.actor, result = entry.result.as_str(),
            "control write done"
        );
        if let Some(file) = &self.audit_file {
            file.append(entry).await;
        }
    }

    async fn attempt(&self, request: &Request) -> Result<Attempt<Arc<Snapshot>>, Error> {
        let loaded = load(self.store.as_ref()).await?;
        if self.is_repeated(request).await? {
            return Ok(Attempt::Done(Arc::new(loaded.snapshot()?)));
        }
        let (draft, snapshot) = self.draft(loaded, request).await?;
        Ok(Attempt::Send(Box::new(draft), Arc::new(snapshot)))
    }

    /// Whether the same request was made before, under its idempotency key.
    async fn is_repeated(&self, request: &Request) -> Result<bool, Error> {
        let Some((key, shard)) = idempotent(request) else {
            return Ok(false);
        };
        let found = self.store.read(&key.stored()).await;
        let Some(entry) = found.map_err(Error::Store)? else {
            return Ok(false);
        };
        let record: idempotency::Record = decode(&entry.key, &entry.value)?;
        if record.shard == *shard {
            Ok(true)
        } else {
            let key = key.as_str().to_owned();
            Err(Error::KeyReused { key })
        }
    }

    async fn draft(
        &self,
        mut loaded: Loaded,
        request: &Request,
    ) -> Result<(Draft, Snapshot), Error> {
        let now = SystemTime::now();
        let present = loaded.snapshot()?;
        let change = control::decide(&present, &request.command, now)?;
        let position = Position::of(self.store.as_ref()).await?;
        let (epoch, term) = (present.epoch().next(), request.term);
        let entry = audit::Entry {
            action: change.action.to_owned(),
            target: change.target,
            detail: change.detail,
            changes: self.changes(&change.ops).await?,
            ..blank_entry((term, &request.author), (epoch, position), now)
        };
        let snapshot = after(&mut loaded.parts, epoch, &change.ops)?;
        let mut compares = vec![
            leads(term),
            Compare::ModRevision(keys::HEAD.to_owned(), loaded.head_mod_revision),
            position.unchanged(),
        ];
        let mut ops = change.ops;
        ops.push(Op::put(keys::HEAD, encode(&Head { epoch, term })));
        ops.extend(position.added(&entry));
        if let Some((key, shard)) = idempotent(request) {
            let lease = self.store.grant(idempotency::TTL).await;
            let lease = lease.map_err(Error::Store)?;
            let shard = shard.clone();
            let record = encode(&idempotency::Record { shard, epoch });
            compares.push(Compare::CreateRevision(key.stored(), Revision(0)));
            ops.push(Op::put_leased(key.stored(), record, lease));
        }
        let txn = Txn { compares, ops };
        Ok((Draft::new(txn, entry), snapshot))
    }

    /// What becomes of the records that are written. They are as they were when the topology was
    /// read, or else the conditions of the write do not hold.
    async fn changes(&self, ops: &[Op]) -> Result<Vec<audit::Change>, Error> {
        let mut changes = Vec::with_capacity(ops.len());
        for op in ops {
            let found = self.store.read(op.key()).await.map_err(Error::Store)?;
            let before = found.as_ref().map(|entry| entry.value.as_ref());
            changes.push(change_of(op, before));
        }
        Ok(changes)
    }

    /// Sends a draft until it is known what became of it.
    async fn settle(&self, draft: &Draft, deadline: Instant) -> Result<Settled, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let mut unknown: Option<store::Error> = None;
        loop {
            let answer = match self.store.commit(draft.txn.clone()).await {
                Ok(Committed::Applied(revision)) => Ok(Settled::Applied(revision)),
                Ok(Committed::Refused) => self.why_refused(draft).await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(settled) => return Ok(settled),
                Err(error) => error,
            };
            tracing::warn!(
                error = error_chain(&error),
                epoch = %draft.entry.epoch,
                "control write not answered"
            );
            match (error.outcome(), unknown.take()) {
                // No earlier attempt is in doubt, and this one was not applied.
                (Outcome::NotApplied, None) => return Err(Error::Store(error)),
                (Outcome::NotApplied, Some(earlier)) => unknown = Some(earlier),
                (Outcome::MaybeApplied, _) => unknown = Some(error),
            }
            if let Some(error) = unknown.take_if(|_| Instant::now() >= deadline) {
                return Err(Error::OutcomeUnknown(error));
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Why the conditions of a draft do not hold. This is final, even while an earlier sending of
    /// it may still be under way: neither a term nor a head's revision ever comes back.
    async fn why_refused(&self, draft: &Draft) -> Result<Settled, store::Error> {
        let found = self.store.read(&keys::audit(draft.entry.sequence)).await?;
        let is_ours = |entry: &Entry| {
            let written: Result<audit::Entry, _> = decode(&entry.key, &entry.value);
            written.is_ok_and(|written| written.id == draft.entry.id)
        };
        if let Some(entry) = found.filter(is_ours) {
            return Ok(Settled::Applied(entry.mod_revision));
        }
        let leader = self.store.read(keys::LEADER).await?;
        let term = leader.map_or(0, |entry| entry.create_revision.0);
        if term == draft.entry.term.0 {
            Ok(Settled::Overtaken)
        } else {
            Ok(Settled::Deposed)
        }
    }
}

/// The key under which a request may be repeated, with what it asks for.
fn idempotent(request: &Request) -> Option<(&Key, &NewShard)> {
    let key = request.idempotency_key.as_ref()?;
    match &request.command {
        Command::CreateShard(shard) => Some((key, shard)),
        Command::JoinShard(_)
        | Command::DeleteShard { .. }
        | Command::CreateGroup { .. }
        | Command::CreateTable { .. }
        | Command::DeleteTable { .. }
        | Command::BeginPromotion { .. }
        | Command::EndPromotion { .. }
        | Command::FollowPrimary { .. } => None,
    }
}

fn change_of(op: &Op, before: Option<&[u8]>) -> audit::Change {
    let after = match op {
        Op::Put { value, .. } => Some(value.as_ref()),
        Op::Delete { .. } => None,
    };
    audit::Change::of(op.key(), before, after)
}

/// An entry that does not say yet what was done.
fn blank_entry(
    (term, author): (Term, &Author),
    (epoch, position): (Epoch, Position),
    now: SystemTime,
) -> audit::Entry {
    audit::Entry {
        id: uuid::Uuid::now_v7().to_string(),
        sequence: position.next(),
        epoch,
        term,
        at: humantime::format_rfc3339_millis(now).to_string(),
        actor: author.actor.clone(),
        request_id: author.request_id.clone(),
        from: author.from.clone(),
        action: String::new(),
        target: String::new(),
        result: audit::Verdict::Done,
        detail: serde_json::Value::Null,
        changes: Vec::new(),
        previous: Some(position.hash()),
    }
}

/// That the leader of this term leads still: without it nothing is written.
pub(crate) fn leads(term: Term) -> Compare {
    Compare::CreateRevision(keys::LEADER.to_owned(), Revision(term.0))
}

/// The topology with a change, so that nothing is written that could not be read.
pub(crate) fn after(
    parts: &mut topology::Parts,
    epoch: Epoch,
    ops: &[Op],
) -> Result<Snapshot, Error> {
    for op in ops {
        let event = match op {
            Op::Put { key, value, .. } => Event::Put(Entry {
                key: key.clone(),
                value: value.clone(),
                create_revision: Revision(0),
                mod_revision: Revision(0),
            }),
            Op::Delete { key } => Event::Delete { key: key.clone() },
        };
        parts.apply(&event).map_err(LoadError::Entry)?;
    }
    Ok(Snapshot::try_new(epoch, parts.clone())?)
}
