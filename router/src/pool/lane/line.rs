//! Pure: who stands behind the first in a lane, and what of theirs is still to be written.

use std::collections::VecDeque;

use bytes::{Buf as _, BytesMut};
use topology::Epoch;

/// A line of those who wait for their turn; `T` tells them. Dropped, it sends them away.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Those behind the first, each with the length of its request.
    behind: VecDeque<(T, usize)>,
    /// How many of them, from the end, have asked what is not written yet.
    unsent: usize,
    /// What those have asked.
    outbound: BytesMut,
    /// The oldest topology by which that was routed.
    routed: Epoch,
    joined: u32,
    turns: u64,
    is_open: bool,
    /// Whether somebody was sent away whom the backend answers all the same.
    is_lost: bool,
}

/// How far a line was at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    turns: u64,
    joined: u32,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            behind: VecDeque::new(),
            unsent: 0,
            outbound: BytesMut::new(),
            routed: Epoch::default(),
            joined: 0,
            turns: 0,
            is_open: true,
            is_lost: false,
        }
    }
}

impl<T> Line<T> {
    /// Puts a request at the end.
    pub(super) fn join(&mut self, tell: T, request: [&[u8]; 2], routed: Epoch) {
        self.routed = match self.unsent {
            0 => routed,
            _ => self.routed.min(routed),
        };
        let [first, second] = request;
        self.outbound.extend_from_slice(first);
        self.outbound.extend_from_slice(second);
        self.behind.push_back((tell, first.len() + second.len()));
        self.unsent += 1;
        self.joined += 1;
    }

    /// How many there are, with the first.
    pub(super) fn len(&self) -> usize {
        self.behind.len() + 1
    }

    /// Whether anybody may join.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// How many have joined since it was opened.
    pub(super) fn joined(&self) -> u32 {
        self.joined
    }

    /// Whether something is to be written.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    /// How far it is.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            turns: self.turns,
            joined: self.joined,
        }
    }

    /// Whether, since then, the first has had no answer, or the next was there already.
    pub(super) fn is_slow_since(&self, mark: Mark) -> bool {
        let behind = u32::try_from(self.behind.len()).unwrap_or(u32::MAX);
        let has_waited = behind > 0 && self.joined - behind < mark.joined;
        self.turns == mark.turns || has_waited
    }

    /// Moves what is to be written to `out` by `leave`; without leave, whoever asked it is sent
    /// away.
    pub(super) fn load<L>(
        &mut self,
        out: &mut BytesMut,
        leave: impl FnOnce(Epoch) -> Option<L>,
    ) -> Option<L> {
        if self.unsent == 0 {
            return None;
        }
        let leave = leave(self.routed);
        match leave {
            Some(_) => out.extend_from_slice(&self.outbound),
            None => self.behind.truncate(self.behind.len() - self.unsent),
        }
        self.outbound.clear();
        self.unsent = 0;
        leave
    }

    /// Ends the turn of the first; gives the next, with its request if that was not written.
    pub(super) fn next(&mut self) -> Option<(T, BytesMut)> {
        let is_unsent = self.unsent > 0 && self.unsent == self.behind.len();
        let (tell, bytes) = self.behind.pop_front()?;
        self.turns += 1;
        let mut request = BytesMut::new();
        if is_unsent {
            self.unsent -= 1;
            request.extend_from_slice(self.outbound.get(..bytes).unwrap_or_default());
            self.outbound.advance(bytes);
        }
        Some((tell, request))
    }

    /// Sends everybody behind the first away, and lets nobody join any more.
    pub(super) fn scatter(&mut self) {
        self.is_lost |= self.behind.len() > self.unsent;
        self.is_open = false;
        self.behind.clear();
        self.outbound.clear();
        self.unsent = 0;
    }

    /// Lets nobody join any more, the last turn being over. False when there are answers to come
    /// that nobody reads.
    pub(super) fn close(&mut self) -> bool {
        self.is_open = false;
        !self.is_lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(line: &mut Line<u8>, who: u8, routed: u64) {
        line.join(who, [&[who; 2], &[who]], Epoch(routed));
    }

    fn load(line: &mut Line<u8>, epoch: u64) -> (Option<Epoch>, Vec<u8>) {
        let mut out = BytesMut::new();
        let leave = line.load(&mut out, |routed| (routed.0 >= epoch).then_some(routed));
        (leave, out.to_vec())
    }

    #[test]
    fn requests_are_written_together_and_turns_come_in_their_order() {
        let mut line = Line::default();
        assert_eq!(line.len(), 1);
        joined(&mut line, 1, 7);
        joined(&mut line, 2, 6);
        assert!(line.has_unsent());
        assert_eq!(load(&mut line, 5), (Some(Epoch(6)), vec![1, 1, 1, 2, 2, 2]));
        assert!(!line.has_unsent());
        // What was written before does not count for what comes.
        joined(&mut line, 3, 9);
        assert_eq!(line.len(), 4);
        assert_eq!(line.next(), Some((1, BytesMut::new())));
        assert_eq!(load(&mut line, 8), (Some(Epoch(9)), vec![3, 3, 3]));
        assert_eq!(line.next(), Some((2, BytesMut::new())));
        assert_eq!(line.next(), Some((3, BytesMut::new())));
        assert_eq!(line.next(), None);
        assert!(line.close() && !line.is_open());
    }

    #[test]
    fn whose_turn_comes_before_its_request_is_written_gets_it_back() {
        let mut line = Line::default();
        joined(&mut line, 1, 0);
        joined(&mut line, 2, 0);
        assert_eq!(line.next(), Some((1, BytesMut::from(&[1_u8; 3][..]))));
        assert_eq!(load(&mut line, 0), (Some(Epoch(0)), vec![2, 2, 2]));
        assert_eq!(line.next(), Some((2, BytesMut::new())));
    }

    #[test]
    fn what_was_routed_by_an_older_topology_is_not_written() {
        let mut line = Line::default();
        joined(&mut line, 1, 3);
        assert_eq!(load(&mut line, 3).0, Some(Epoch(3)));
        joined(&mut line, 2, 4);
        joined(&mut line, 3, 3);
        assert_eq!(load(&mut line, 4), (None, vec![]));
        // Those who were written before stay.
        assert_eq!(line.next(), Some((1, BytesMut::new())));
        assert_eq!(line.next(), None);
        assert!(line.close());
    }

    #[test]
    fn answers_to_those_who_were_sent_away_are_known_to_come() {
        let mut line = Line::default();
        joined(&mut line, 1, 0);
        line.scatter();
        assert!(!line.is_open() && line.close(), "nothing was written");
        let mut line = Line::default();
        joined(&mut line, 1, 0);
        assert!(load(&mut line, 0).0.is_some());
        joined(&mut line, 2, 0);
        line.scatter();
        assert_eq!((line.next(), line.has_unsent()), (None, false));
        assert!(!line.close());
    }

    #[test]
    fn a_line_is_slow_where_the_first_stays_or_somebody_waits_for_long() {
        let mut line = Line::default();
        let begin = line.mark();
        assert!(line.is_slow_since(begin), "the first is alone, and stays");
        for who in 1..=3 {
            joined(&mut line, who, 0);
        }
        let mark = line.mark();
        assert!(line.next().is_some());
        assert!(!line.is_slow_since(begin), "nobody was there yet");
        assert!(line.is_slow_since(mark), "two were there, and wait");
        assert!(line.next().is_some() && line.next().is_some());
        joined(&mut line, 4, 0);
        assert!(!line.is_slow_since(mark));
    }
}
