//! Clients that have connected and not logged in yet: how many of them there may be, and who has to
//! leave when there are more. Whoever connects and says nothing, or says it slowly, keeps nobody
//! else out. What a login is, and how long it may take, is decided elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::rates;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the log says that clients were sent away.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Where they wait; clones are the same place.
#[derive(Debug, Clone)]
pub struct Lobby(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    next: u64,
    /// Of each network, those that wait, the oldest first.
    of: HashMap<IpAddr, BTreeMap<u64, CancellationToken>>,
    sent_away: u64,
    said_at: Option<Instant>,
}

/// A client in the lobby; it leaves with its value.
#[derive(Debug)]
pub struct Visit {
    lobby: Lobby,
    network: IpAddr,
    number: u64,
    over: CancellationToken,
}

impl Lobby {
    /// Room for so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            most: most.max(1),
            waiting: Mutex::default(),
        }))
    }

    /// Lets somebody in. Where there is no room, whoever has waited longest has to leave, of the
    /// network that most of them come from: those who do log in are not there for long.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Visit {
        let network = rates::network(address);
        let over = CancellationToken::new();
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.count >= self.0.most {
            waiting.send_one_away();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.count += 1;
        let company = waiting.of.entry(network).or_default();
        company.insert(number, over.clone());
        drop(waiting);
        Visit {
            lobby: self.clone(),
            network,
            number,
            over,
        }
    }
}

impl Waiting {
    fn send_one_away(&mut self) {
        let company = self.of.iter().max_by_key(|(_, company)| company.len());
        let Some(network) = company.map(|(network, _)| *network) else {
            return;
        };
        if let Some(over) = self.remove(network, None) {
            over.cancel();
            self.sent_away += 1;
        }
        let is_due = |at: Instant| at.elapsed() >= SAID_AGAIN_AFTER;
        if self.said_at.is_none_or(is_due) {
            let count = std::mem::take(&mut self.sent_away);
            tracing::warn!(
                %network,
                count,
                "too many clients have connected and not logged in: the oldest are sent away"
            );
            self.said_at = Some(Instant::now());
        }
    }

    /// Removes one of a network, by its number or else the oldest.
    fn remove(&mut self, network: IpAddr, number: Option<u64>) -> Option<CancellationToken> {
        let company = self.of.get_mut(&network)?;
        let over = match number {
            Some(number) => company.remove(&number),
            None => company.pop_first().map(|(_, over)| over),
        };
        if company.is_empty() {
            self.of.remove(&network);
        }
        if over.is_some() {
            self.count -= 1;
        }
        over
    }
}

impl Visit {
    /// Waits until the client has to leave.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let waiting = &self.lobby.0.waiting;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever was sent away is gone already.
        waiting.remove(self.network, Some(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_over(visit: &Visit) -> bool {
        visit.over.is_cancelled()
    }

    #[tokio::test]
    async fn whoever_has_waited_longest_leaves_of_those_that_are_most() {
        let lobby = Lobby::new(4);
        let alone = lobby.enter(address("10.0.0.1"));
        let many: Vec<Visit> = (0..3).map(|_| lobby.enter(address("10.0.0.2"))).collect();
        assert!(!many.iter().any(is_over));
        let next = lobby.enter(address("10.0.0.3"));
        let over: Vec<bool> = many.iter().map(is_over).collect();
        assert_eq!(over, [true, false, false]);
        many[0].over().await;
        assert!(!is_over(&alone) && !is_over(&next));
        drop(many);
        let more: Vec<Visit> = (0..2).map(|_| lobby.enter(address("10.0.0.4"))).collect();
        assert!(!more.iter().any(is_over) && !is_over(&alone));
    }

    #[test]
    fn nothing_is_left_behind() {
        let lobby = Lobby::new(2);
        let visits: Vec<Visit> = (0..50)
            .map(|number| lobby.enter(address(&format!("10.0.0.{}", number % 7))))
            .collect();
        assert_eq!(visits.iter().filter(|visit| !is_over(visit)).count(), 2);
        drop(visits);
        let waiting = lobby.0.waiting.lock().unwrap();
        assert_eq!(waiting.count, 0);
        assert!(waiting.of.is_empty());
    }
}
