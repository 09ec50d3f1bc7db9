//! What routers hand to the leader for the audit log: one record a run of a router, which both of
//! them change only as they have read it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::codec;

/// Where on a router something was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Surface {
    /// The Postgres port.
    Postgres,
    /// The admin console, on the same port.
    Console,
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
}

/// What is told apart: events that agree in all of this are one, and counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Occasion {
    /// Where; none for what stands for events of several places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surface: Option<Surface>,
    /// Who has proven to be who they are, or `anonymous`.
    pub actor: String,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What was asked for.
    pub action: String,
    /// On what, or as whom.
    pub target: String,
    /// Whether it was refused.
    pub refused: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One event, or several that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterEvent {
    /// What happened.
    #[serde(flatten)]
    pub occasion: Occasion,
    /// The id of the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How often.
    pub count: u64,
    /// When first, by the router's clock.
    #[serde(with = "codec::rfc3339")]
    pub first_at: SystemTime,
    /// When last.
    #[serde(with = "codec::rfc3339")]
    pub last_at: SystemTime,
}

impl RouterEvent {
    /// Counts another event of the same occasion in.
    pub fn absorb(&mut self, other: Self) {
        if other.first_at < self.first_at {
            self.first_at = other.first_at;
            self.request_id = other.request_id;
        }
        self.count = self.count.saturating_add(other.count);
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// What one run of a router has handed over and the leader has not taken yet. It stays when all of
/// it was taken: then it says what was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditInbox {
    /// `host:port` of the router's Postgres front.
    pub router: String,
    /// The number of the last hand-over that is in it, or was taken out of it; the router counts
    /// them from 1.
    pub number: u64,
    /// When that was.
    #[serde(with = "codec::rfc3339")]
    pub at: SystemTime,
    /// What is to be taken.
    pub events: Vec<RouterEvent>,
}

impl AuditInbox {
    /// Most events that are in it. A record of so many is far below what etcd takes.
    pub const MAX_EVENTS: usize = 200;

    /// Most events of one hand-over, and most that are taken at once: each is an operation of a
    /// transaction.
    pub const MAX_AT_ONCE: usize = 100;

    /// Adds events; those of an occasion that is there already are counted in.
    pub fn add(&mut self, events: Vec<RouterEvent>) {
        for event in events {
            let mut present = self.events.iter_mut();
            match present.find(|present| present.occasion == event.occasion) {
                Some(present) => present.absorb(event),
                None => self.events.push(event),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::records::{decode, encode};

    fn event(target: &str, second: u64, count: u64) -> RouterEvent {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        RouterEvent {
            occasion: Occasion {
                surface: Some(Surface::Postgres),
                actor: "anonymous".to_owned(),
                from: Some("10.0.0.7".to_owned()),
                action: "pg_login".to_owned(),
                target: target.to_owned(),
                refused: true,
                reason: Some("wrong password".to_owned()),
            },
            request_id: Some(format!("request-{second}")),
            count,
            first_at: at,
            last_at: at,
        }
    }

    #[test]
    fn events_of_one_occasion_are_counted_and_others_are_added() {
        let mut inbox = AuditInbox {
            router: "router-a:6432".to_owned(),
            number: 1,
            at: SystemTime::UNIX_EPOCH,
            events: vec![event("user:a", 5, 2)],
        };
        inbox.add(vec![event("user:a", 3, 1), event("user:b", 4, 1)]);
        inbox.add(vec![event("user:a", 9, u64::MAX)]);
        let [first, second] = inbox.events.as_slice() else {
            panic!("two events: {inbox:?}");
        };
        assert_eq!(first.count, u64::MAX);
        assert_eq!(first.request_id.as_deref(), Some("request-3"));
        assert_eq!(first.first_at, event("", 3, 0).first_at);
        assert_eq!(first.last_at, event("", 9, 0).last_at);
        assert_eq!(second.occasion.target, "user:b");
    }

    #[test]
    fn it_is_read_back_from_what_is_stored() {
        let inbox = AuditInbox {
            router: "router-a:6432".to_owned(),
            number: 3,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(7),
            events: vec![event("user:a", 5, 2)],
        };
        let stored = encode(&inbox);
        let text = std::str::from_utf8(&stored).unwrap();
        assert!(text.contains(r#""surface":"postgres""#), "{text}");
        assert!(
            text.contains(r#""first_at":"1970-01-01T00:00:05.000Z""#),
            "{text}"
        );
        assert_eq!(decode::<AuditInbox>("k", &stored).unwrap(), inbox);
    }
}
