//! Which of an address's servers is the primary: asked at each login, where it matters.

use std::sync::atomic::{AtomicUsize, Ordering};

use topology::{Endpoint, Lineage};

use super::connect::ConnectError;

/// What a server is asked where its timeline matters. In recovery there is none to be asked for.
pub(super) const QUESTION: &str = ";SELECT system_identifier::text FROM \
pg_catalog.pg_control_system();SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE \
('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))\
::bit(32)::int4 END";

/// Chooses among the servers of a primary's address.
#[derive(Debug)]
pub(super) struct Heirs {
    servers: Vec<Endpoint>,
    /// The one that answered last as a primary.
    first: AtomicUsize,
    /// What the primary is at the least.
    known: Option<Lineage>,
    /// Whether a primary is wanted, and not any server.
    wants_primary: bool,
}

impl Heirs {
    pub(super) fn new(endpoint: &Endpoint, known: Option<Lineage>, wants_primary: bool) -> Self {
        Self {
            servers: endpoint.servers(),
            first: AtomicUsize::new(0),
            known,
            wants_primary,
        }
    }

    /// The servers with their places, the one that was the primary first.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let first = self.first.load(Ordering::Relaxed);
        let (before, after) = self.servers.split_at(first.min(self.servers.len()));
        let after = (first..).zip(after);
        after.chain((0..).zip(before))
    }

    /// This one is the primary.
    pub(super) fn found(&self, place: usize) {
        self.first.store(place, Ordering::Relaxed);
    }

    /// Whether the timeline is to be asked for.
    pub(super) fn asks(&self) -> bool {
        self.wants_primary && self.known.is_some()
    }

    /// Whether a server that says, at login, that it is in recovery is wanted.
    pub(super) fn admits_standby(
        &self,
        server: &Endpoint,
        standby: bool,
    ) -> Result<(), ConnectError> {
        if standby && self.wants_primary {
            return Err(ConnectError::NotPrimary(format!("{server} is a replica")));
        }
        Ok(())
    }

    /// Judges the answers to [`QUESTION`].
    pub(super) fn admit(
        &self,
        server: &Endpoint,
        answer: &[Option<String>],
    ) -> Result<(), ConnectError> {
        let Some(known) = self.known.as_ref().filter(|_| self.wants_primary) else {
            return Ok(());
        };
        let [Some(system), timeline] = answer else {
            return Err(ConnectError::Protocol(
                "the shard does not say which server it is".to_owned(),
            ));
        };
        let timeline = timeline.as_ref().and_then(|text| text.parse().ok());
        let Some(timeline) = timeline else {
            return Err(ConnectError::NotPrimary(format!("{server} is a replica")));
        };
        let found = Lineage {
            system: system.clone(),
            timeline,
        };
        if known.is_succeeded_by(&found) {
            return Ok(());
        }
        Err(ConnectError::NotPrimary(format!(
            "{server} is {found}, and the shard's primary was {known} already"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heirs(known: Option<Lineage>) -> Heirs {
        let text = "postgres://a:1,b:2,c:3/app?target_session_attrs=read-write";
        Heirs::new(&Endpoint::try_new(text).unwrap(), known, true)
    }

    #[test]
    fn the_server_that_was_the_primary_is_asked_first() {
        let heirs = heirs(None);
        let hosts = |heirs: &Heirs| -> Vec<String> {
            let turn = heirs.in_turn();
            turn.map(|(_, server)| server.host().to_owned()).collect()
        };
        assert_eq!(hosts(&heirs), ["a", "b", "c"]);
        let (place, _) = heirs.in_turn().nth(1).unwrap();
        heirs.found(place);
        assert_eq!(hosts(&heirs), ["b", "c", "a"]);
        assert_eq!(heirs.in_turn().nth(2).unwrap().0, 0);
    }

    #[test]
    fn a_primary_of_before_a_promotion_is_not_used() {
        let lineage = |timeline| Lineage {
            system: "7".to_owned(),
            timeline,
        };
        let heirs = heirs(Some(lineage(3)));
        let server = Endpoint::try_new("postgres://a:1/app").unwrap();
        let told = |system: &str, timeline: Option<&str>| {
            let answer = [Some(system.to_owned()), timeline.map(ToOwned::to_owned)];
            heirs.admit(&server, &answer)
        };
        told("7", Some("3")).unwrap();
        told("7", Some("4")).unwrap();
        for (system, timeline) in [("7", Some("2")), ("8", Some("3")), ("7", None)] {
            let refused = told(system, timeline);
            assert!(
                matches!(refused, Err(ConnectError::NotPrimary(_))),
                "{refused:?}"
            );
        }
        assert!(heirs.admits_standby(&server, true).is_err());
        heirs.admits_standby(&server, false).unwrap();
    }
}
