//! Backends that several sessions use one behind the other (docs/decisions/0020).
//!
//! A session that asks something short may open a lane on its backend. Until it has read its
//! answer, others of its thread put their own short reads behind it: their bytes are written
//! together, and the backend answers in the order in which they stand. Whoever is first in the line
//! has the lease, reads its own answer and hands the lease on.
//!
//! Nobody waits long for a stranger: when the first in the line takes too long, all behind it are
//! sent away, to be run on a backend of their own. They only read, so that it does no harm when the
//! backend has run some of them already; what it says of them is never read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::sync::oneshot;
use topology::Epoch;

use super::backend::Held;
use super::lease::Lease;
use super::settings::Settings;
use crate::threads;

mod line;
pub(super) mod pace;
mod watch;

pub use watch::watch;

use line::{Line, Mark};
use pace::Pace;
use watch::Watched;

/// Lanes of one pool on one thread. What finds no room in them has backends of its own, so that
/// a server with many cores has all of them at work.
const MOST: usize = 4;

/// Longest request that may stand in a lane.
pub const MAX_REQUEST_BYTES: usize = 4 << 10;

/// Requests after which a lane ends, so that its backend is looked at: it may be too old.
const MOST_JOINED: u32 = 1024;

/// The same while others wait for a backend of their own.
const MOST_JOINED_IN_A_CROWD: u32 = 64;

/// A request that may stand in a lane.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is to be written, in two parts: one simple query, or a batch up to its Sync.
    pub bytes: [&'a [u8]; 2],
    /// By which topology it was routed.
    pub routed: Epoch,
    /// The settings that it needs.
    pub settings: &'a Arc<Settings>,
    /// The prepared statement that the backend must hold.
    pub statement: Option<u64>,
    /// How long it takes, as a rule.
    pub pace: &'a Pace,
}

/// A place in a line: resolves to the session's turn. When it is sent away instead, its request
/// has to be routed anew.
pub type Place<L = Lease> = oneshot::Receiver<Turn<L>>;

/// The first place in the line.
#[derive(Debug)]
pub struct Turn<L = Lease> {
    /// The backend.
    pub lease: L,
    /// The right to it.
    pub baton: Baton<L>,
    /// The session's own request, where it has not been written yet.
    pub unsent: BytesMut,
}

/// The first in the line: sends away whoever stands behind it if it is dropped.
#[derive(Debug)]
pub struct Baton<L = Lease>(Option<Arc<Lane<L>>>);

/// The lanes of a pool.
#[derive(Debug)]
pub(super) struct Lanes<L = Lease> {
    /// By thread.
    boards: Box<[Mutex<Board<L>>]>,
}

/// The lanes of a thread.
type Board<L> = Vec<Arc<Lane<L>>>;

/// One lane.
#[derive(Debug)]
struct Lane<L> {
    settings: Arc<Settings>,
    held: Arc<Held>,
    state: Mutex<State<L>>,
}

#[derive(Debug)]
struct State<L> {
    line: Line<oneshot::Sender<Turn<L>>>,
    /// The task of the first in the line, while it waits for the backend.
    first: Option<Waker>,
    /// How far the line was when it was looked at last.
    seen: Option<Mark>,
}

impl<L> Default for Lanes<L> {
    fn default() -> Self {
        Self {
            boards: (0..threads::numbers()).map(|_| Mutex::default()).collect(),
        }
    }
}

impl<L: Send + 'static> Lanes<L> {
    /// A place in the shortest line that a request may join; none when there is none.
    pub(super) fn join(&self, request: &Request<'_>, is_crowded: bool) -> Option<Place<L>> {
        let [first, second] = request.bytes;
        if first.len() + second.len() > MAX_REQUEST_BYTES {
            return None;
        }
        let most = request.pace.most_in_line(is_crowded)?;
        let joined = match is_crowded {
            true => MOST_JOINED_IN_A_CROWD,
            false => MOST_JOINED,
        };
        let mut shortest: Option<(usize, &Arc<Lane<L>>)> = None;
        let board = self.board()?;
        for lane in board.iter() {
            let state = lane.state();
            let length = state.line.len();
            let has_room = state.line.is_open() && length < most && state.line.joined() < joined;
            drop(state);
            let is_shorter = shortest.is_none_or(|(known, _)| length < known);
            if has_room && is_shorter && lane.suits(request) {
                shortest = Some((length, lane));
            }
        }
        shortest.and_then(|(_, lane)| lane.join(request))
    }

    /// A lane on a backend that is about to be asked something short; none when there are enough.
    pub(super) fn open(&self, settings: &Arc<Settings>, held: &Arc<Held>) -> Option<Baton<L>> {
        let mut board = self.board()?;
        board.retain(|lane| lane.state().line.is_open());
        if board.len() >= MOST {
            return None;
        }
        let lane = Arc::new(Lane {
            settings: Arc::clone(settings),
            held: Arc::clone(held),
            state: Mutex::new(State {
                line: Line::default(),
                first: None,
                seen: None,
            }),
        });
        let watched: Weak<Lane<L>> = Arc::downgrade(&lane);
        watch::add(watched);
        board.push(Arc::clone(&lane));
        Some(Baton(Some(lane)))
    }

    /// The lanes of the present thread.
    fn board(&self) -> Option<MutexGuard<'_, Board<L>>> {
        let board = self.boards.get(threads::present())?;
        Some(board.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<L> Lane<L> {
    fn suits(&self, request: &Request<'_>) -> bool {
        let same =
            Arc::ptr_eq(&self.settings, request.settings) || *self.settings == **request.settings;
        same && request.statement.is_none_or(|id| self.held.holds(id))
    }

    fn join(&self, request: &Request<'_>) -> Option<Place<L>> {
        let (tell, place) = oneshot::channel();
        let mut state = self.state();
        if !state.line.is_open() {
            return None;
        }
        state.line.join(tell, request.bytes, request.routed);
        let first = state.first.take();
        drop(state);
        if let Some(first) = first {
            first.wake();
        }
        Some(place)
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Send> Watched for Lane<L> {
    fn look(&self) -> bool {
        let mut state = self.state();
        if state
            .seen
            .is_some_and(|seen| state.line.is_slow_since(seen))
        {
            state.line.scatter();
        }
        state.seen = Some(state.line.mark());
        state.line.is_open()
    }
}

impl<L> Baton<L> {
    /// Moves what others have asked meanwhile to `out`, if `leave` lets it be written; sends those
    /// away whom it does not.
    pub fn load<E>(&self, out: &mut BytesMut, leave: impl FnOnce(Epoch) -> Option<E>) -> Option<E> {
        self.0.as_ref()?.state().line.load(out, leave)
    }

    /// Ready once others have asked something that is not written yet. Cancel-safe.
    pub fn poll_joined(&self, context: &Context<'_>) -> Poll<()> {
        let Some(lane) = &self.0 else {
            return Poll::Pending;
        };
        let mut state = lane.state();
        if state.line.has_unsent() {
            return Poll::Ready(());
        }
        let is_known = state.first.as_ref();
        if !is_known.is_some_and(|known| known.will_wake(context.waker())) {
            state.first = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Hands the lease to the next in the line. With nobody there the lane is over, and the lease
    /// is given back unless the backend has still to answer somebody who was sent away.
    pub fn pass(mut self, mut lease: L) -> Option<L> {
        let lane = self.0.take()?;
        loop {
            let mut state = lane.state();
            state.first = None;
            let Some((tell, unsent)) = state.line.next() else {
                let is_clean = state.line.close();
                return is_clean.then_some(lease);
            };
            drop(state);
            let is_unsent = !unsent.is_empty();
            let baton = Self(Some(Arc::clone(&lane)));
            let turn = Turn {
                lease,
                baton,
                unsent,
            };
            match tell.send(turn) {
                Ok(()) => return None,
                // That session is gone, and has asked nothing.
                Err(mut turn) if is_unsent => {
                    turn.baton.0 = None;
                    lease = turn.lease;
                }
                // Nobody reads its answer.
                Err(_) => return None,
            }
        }
    }
}

impl<L> Drop for Baton<L> {
    fn drop(&mut self) {
        if let Some(lane) = &self.0 {
            lane.state().line.scatter();
        }
    }
}

#[cfg(test)]
mod tests;
