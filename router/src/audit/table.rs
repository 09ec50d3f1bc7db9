//! Pure: events that are alike are counted together, and there are never more than a bound of them,
//! whoever may make them happen.
//!
//! What happens for the first time is due at once. What happens again is counted and due after the
//! repeat interval; until then its place is taken. So the places bound what can be made to be
//! written, too: by whoever guesses passwords, or by applications that log in for each statement.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use platform::rates;
use tokio::time::Instant;
use topology::records::{Occasion, RouterEvent};

/// Refusals that are told apart within a repeat interval.
pub(super) const MAX_REFUSALS: usize = 128;

/// Logins that are, by user and address.
pub(super) const MAX_LOGINS: usize = 512;

/// Refusals of one address, or of one /64 of IPv6, that are: whoever tries many users from there
/// takes no more places.
pub(super) const MAX_OF_ADDRESS: usize = 16;

/// What stands for events that have no place of their own.
const SEVERAL: &str = "several";
const UNLISTED: &str = "events_not_listed";

/// The events of one occasion.
#[derive(Debug)]
struct Place {
    /// What is not told yet, where there is some.
    pending: Option<Pending>,
    /// When it was told last.
    told_at: Option<Instant>,
    /// Whom a refusal is counted for.
    network: Option<IpAddr>,
}

#[derive(Debug)]
struct Pending {
    request_id: Option<String>,
    count: u64,
    first_at: SystemTime,
    last_at: SystemTime,
}

/// Events by occasion.
#[derive(Debug)]
pub(super) struct Table {
    router: String,
    repeat_interval: Duration,
    places: HashMap<Occasion, Place>,
}

impl Table {
    pub(super) fn new(router: &str, repeat_interval: Duration) -> Self {
        Self {
            router: router.to_owned(),
            repeat_interval,
            places: HashMap::new(),
        }
    }

    /// Counts an event that happens now; whether it is told with what it is about.
    pub(super) fn note(
        &mut self,
        occasion: Occasion,
        request_id: Option<&str>,
        (now, at): (Instant, SystemTime),
    ) -> bool {
        let occasion = self.placed(occasion, now);
        let is_listed = occasion.action != UNLISTED;
        let network = network_of(&occasion);
        let place = self.places.entry(occasion).or_insert_with(|| Place {
            pending: None,
            told_at: None,
            network,
        });
        let pending = place.pending.get_or_insert_with(|| Pending {
            request_id: request_id.map(str::to_owned),
            count: 0,
            first_at: at,
            last_at: at,
        });
        pending.count = pending.count.saturating_add(1);
        pending.last_at = at;
        is_listed
    }

    /// What is due, at most so many events, those that wait for longest first; with `is_last` what
    /// is not due yet, too.
    pub(super) fn take(&mut self, most: usize, now: Instant, is_last: bool) -> Vec<RouterEvent> {
        self.forget(now);
        let interval = self.repeat_interval;
        let is_due = |place: &Place| {
            let told_at = place.told_at.filter(|_| !is_last);
            told_at.is_none_or(|at| now.duration_since(at) >= interval)
        };
        let mut due: Vec<_> = self
            .places
            .iter_mut()
            .filter(|(_, place)| place.pending.is_some() && is_due(place))
            .collect();
        due.sort_by_key(|(_, place)| place.pending.as_ref().map(|pending| pending.first_at));
        let taken = due.into_iter().take(most);
        let taken = taken.filter_map(|(occasion, place)| {
            let pending = place.pending.take()?;
            place.told_at = Some(now);
            Some(RouterEvent {
                occasion: occasion.clone(),
                request_id: pending.request_id,
                count: pending.count,
                first_at: pending.first_at,
                last_at: pending.last_at,
            })
        });
        taken.collect()
    }

    /// The occasion itself where it has a place or there is one, else what stands for it.
    fn placed(&mut self, occasion: Occasion, now: Instant) -> Occasion {
        if self.places.contains_key(&occasion) {
            return occasion;
        }
        let refused = occasion.refused;
        if self.count(refused) >= most(refused) {
            self.forget(now);
        }
        let mut occasion = occasion;
        if let Some(network) = network_of(&occasion) {
            let places = self.places.values();
            let of_network = places.filter(|place| place.network == Some(network));
            if of_network.count() >= MAX_OF_ADDRESS {
                occasion = of_several(occasion, network);
                if self.places.contains_key(&occasion) {
                    return occasion;
                }
            }
        }
        if self.count(refused) < most(refused) {
            return occasion;
        }
        Occasion {
            surface: None,
            actor: "anonymous".to_owned(),
            from: None,
            action: UNLISTED.to_owned(),
            target: self.router.clone(),
            refused,
            reason: Some(format!(
                "more than are told apart in {:?}",
                self.repeat_interval
            )),
        }
    }

    fn count(&self, refused: bool) -> usize {
        let places = self.places.keys();
        places
            .filter(|occasion| occasion.refused == refused)
            .count()
    }

    /// Gives up the places of what was told a while ago and has not happened again.
    fn forget(&mut self, now: Instant) {
        let interval = self.repeat_interval;
        self.places.retain(|_, place| {
            let is_over = |at: Instant| now.duration_since(at) >= interval;
            place.pending.is_some() || !place.told_at.is_some_and(is_over)
        });
    }
}

fn most(refused: bool) -> usize {
    if refused { MAX_REFUSALS } else { MAX_LOGINS }
}

/// Whom a refusal is counted for; nobody who has shown who it is, or stands for others already.
fn network_of(occasion: &Occasion) -> Option<IpAddr> {
    let address = occasion.from.as_deref().filter(|_| occasion.refused)?;
    Some(rates::network(address.parse().ok()?))
}

/// What stands for the further refusals of an address.
fn of_several(occasion: Occasion, network: IpAddr) -> Occasion {
    let from = match network {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{address}/64"),
    };
    Occasion {
        from: Some(from),
        actor: "anonymous".to_owned(),
        target: SEVERAL.to_owned(),
        reason: Some(SEVERAL.to_owned()),
        ..occasion
    }
}

#[cfg(test)]
mod tests;
