//! Finds what legs have left on a shard that no live job knows, and removes it.

use std::collections::{BTreeMap, BTreeSet};

use topology::Term;

use super::drop_streams;
use crate::reshard::guard::install::uninstall;
use crate::reshard::guard::{Error, Patience};
use crate::reshard::ids::LegId;
use crate::reshard::session::Session;

/// What sort of thing an orphan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A replication slot, which keeps the log from being removed.
    Slot,
    /// A replication origin.
    Origin,
    /// A publication.
    Publication,
    /// A trigger of a guard, which costs every write.
    Trigger,
    /// An event trigger, which refuses changes of the schema.
    EventTrigger,
    /// A function of a guard.
    Function,
    /// A fence.
    Fence,
    /// An entry in our list of legs.
    Leg,
}

/// Something on a shard that belongs to no live leg.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Orphan {
    /// The leg that made it.
    pub leg: LegId,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// All names of ours with the tags that are in them. Origins belong to the whole server, and
/// another database of it may be another deployment's shard: only those of legs that were on this
/// shard are ours.
const NAMES: &str = "\
    SELECT 0 AS kind, slot_name::text AS name, pg_catalog.substring(slot_name, '^vg_([a-z0-9]{12}_[0-9]+)') AS tag \
    FROM pg_catalog.pg_replication_slots WHERE database = pg_catalog.current_database() \
    UNION ALL SELECT 1, roname, tag FROM pg_catalog.pg_replication_origin JOIN vg.leg \
      ON pg_catalog.starts_with(roname, 'vg_' || tag || '_') \
    UNION ALL SELECT 2, pubname, pg_catalog.substring(pubname, '^vg_([a-z0-9]{12}_[0-9]+)') \
    FROM pg_catalog.pg_publication \
    UNION ALL SELECT 3, tgname, pg_catalog.substring(tgname, '^~vg_[a-z]+_([a-z0-9]{12}_[0-9]+)$') \
    FROM pg_catalog.pg_trigger WHERE tgparentid = 0 \
    UNION ALL SELECT 4, evtname, pg_catalog.substring(evtname, '^vg_[a-z]+_([a-z0-9]{12}_[0-9]+)$') \
    FROM pg_catalog.pg_event_trigger \
    UNION ALL SELECT 5, proname, pg_catalog.substring(proname, '^[a-z]+_([a-z0-9]{12}_[0-9]+)') \
    FROM pg_catalog.pg_proc WHERE pronamespace = 'vg'::pg_catalog.regnamespace \
    UNION ALL SELECT 6, relname, pg_catalog.substring(relname, '^fence_([a-z0-9]{12}_[0-9]+)$') \
    FROM pg_catalog.pg_class WHERE relnamespace = 'vg'::pg_catalog.regnamespace \
    UNION ALL SELECT 7, tag, tag FROM vg.leg";

/// Lists what belongs to none of the live tags. The shard must have had a term.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn orphans(session: &Session, live: &BTreeSet<String>) -> Result<Vec<Orphan>, Error> {
    let question = format!("SELECT kind, name, tag FROM ({NAMES}) n WHERE tag IS NOT NULL");
    let rows = session.query(&question, &[]).await;
    let rows = rows.map_err(|e| session.error("look for orphans", e))?;
    let mut found = BTreeSet::new();
    for row in rows {
        let tag: &str = row.get(2);
        let kind = match row.get::<_, i32>(0) {
            0 => Kind::Slot,
            1 => Kind::Origin,
            2 => Kind::Publication,
            3 => Kind::Trigger,
            4 => Kind::EventTrigger,
            5 => Kind::Function,
            6 => Kind::Fence,
            _ => Kind::Leg,
        };
        // A tag that is none was not given by us.
        let Some(leg) = LegId::of_tag(tag).filter(|_| !live.contains(tag)) else {
            continue;
        };
        let name = row.get(1);
        found.insert(Orphan { leg, kind, name });
    }
    Ok(found.into_iter().collect())
}

/// Removes orphans and all else that their legs have left; slots first, since they do most harm.
///
/// # Errors
/// [`Error`] names what stays in use.
pub async fn remove_orphans(
    session: &mut Session,
    term: Term,
    orphans: &[Orphan],
    patience: Patience,
) -> Result<(), Error> {
    let mut legs: BTreeMap<&LegId, Vec<&Orphan>> = BTreeMap::new();
    for orphan in orphans {
        legs.entry(&orphan.leg).or_default().push(orphan);
    }
    for leg in legs.keys() {
        drop_streams(session, term, leg).await?;
    }
    for (leg, orphans) in legs {
        uninstall(session, term, leg, patience).await?;
        let shard = session.shard();
        tracing::warn!(%shard, %leg, count = orphans.len(), "removed what a dead job had left");
    }
    Ok(())
}
