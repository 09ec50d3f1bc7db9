//! How many connections, or running requests, each address holds, so that none can keep all others
//! out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What is open, by the network that it comes from.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// Held by a connection or a request for as long as it is open.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    network: IpAddr,
}

impl Places {
    /// Places of which each network has so many.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            held: Mutex::default(),
        })
    }

    /// A place for one more; none when its network holds as many as it may.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = crate::rates::network(address);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(network).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Place {
            places: Arc::clone(self),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = &self.places.held;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.network) {
            *count -= 1;
            // No longer than the connections, of which there is a limit.
            if *count == 0 {
                held.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_leaves_nothing_behind() {
        let places = Places::new(2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = places.take(address("2001:db8::1")).unwrap();
        let two = places.take(address("2001:db8::2")).unwrap();
        assert!(places.take(address("2001:db8::3")).is_none(), "one network");
        assert!(places.take(address("10.0.0.1")).is_some());
        drop(one);
        assert!(places.take(address("2001:db8::3")).is_some());
        drop(two);
        assert!(places.held.lock().unwrap().is_empty());
    }
}
