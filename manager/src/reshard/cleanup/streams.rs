//! Ends a leg's streams on a shard for good: slots, origins and its publication.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;
use topology::Term;

use crate::reshard::guard::install::pass_ddl_triggers;
use crate::reshard::ids::LegId;
use crate::reshard::session::{Error, Session, application_name};

/// How long what uses a slot or an origin may take to end.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// What was there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Replication slots.
    pub slots: Vec<String>,
    /// Replication origins.
    pub origins: Vec<String>,
    /// Publications.
    pub publications: Vec<String>,
}

/// Drops all of a leg's streams on a shard. What still uses a slot or an origin is ended.
///
/// # Errors
/// When something stays in use; what PostgreSQL or the network says.
pub async fn drop_streams(
    session: &mut Session,
    term: Term,
    leg: &LegId,
) -> Result<Dropped, Error> {
    let exact = format!("vg_{}", leg.tag());
    let slots = names(
        session,
        &exact,
        "SELECT slot_name::text FROM pg_catalog.pg_replication_slots \
         WHERE database = pg_catalog.current_database() \
           AND (slot_name = $1::text OR pg_catalog.starts_with(slot_name, $1 || '_'))",
    );
    let slots = slots.await?;
    for slot in &slots {
        drop_one(session, term, leg, Object::Slot, slot).await?;
    }
    let origins = names(
        session,
        &exact,
        "SELECT roname FROM pg_catalog.pg_replication_origin \
         WHERE pg_catalog.starts_with(roname, $1 || '_')",
    );
    let origins = origins.await?;
    for origin in &origins {
        drop_one(session, term, leg, Object::Origin, origin).await?;
    }
    let publications = names(
        session,
        &exact,
        "SELECT pubname::text FROM pg_catalog.pg_publication \
         WHERE pubname = $1::text OR pg_catalog.starts_with(pubname::text, $1 || '_')",
    );
    let publications = publications.await?;
    for publication in &publications {
        let work = session.begin(term).await?;
        pass_ddl_triggers(&work, &leg.tag()).await?;
        let text = format!(
            "DROP PUBLICATION IF EXISTS {}",
            wire::quote::ident(publication)
        );
        work.run("drop a publication", &text).await?;
        work.commit("drop a publication").await?;
    }
    Ok(Dropped {
        slots,
        origins,
        publications,
    })
}

async fn names(session: &Session, exact: &str, question: &str) -> Result<Vec<String>, Error> {
    let rows = session.query(question, &[&exact]).await;
    let rows = rows.map_err(|e| session.error("look for streams", e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[derive(Debug, Clone, Copy)]
enum Object {
    Slot,
    Origin,
}

/// Drops a slot or an origin, and ends what uses it until that is done.
async fn drop_one(
    session: &mut Session,
    term: Term,
    leg: &LegId,
    object: Object,
    name: &str,
) -> Result<(), Error> {
    let (what, drop, users) = match object {
        Object::Slot => (
            "drop a replication slot",
            "SELECT pg_catalog.pg_drop_replication_slot(slot_name) \
             FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text",
            "SELECT pg_catalog.pg_terminate_backend(active_pid) \
             FROM pg_catalog.pg_replication_slots \
             WHERE slot_name = $1::text AND active_pid IS NOT NULL AND $2::text IS NOT NULL",
        ),
        Object::Origin => (
            "drop a replication origin",
            "SELECT pg_catalog.pg_replication_origin_drop(roname) \
             FROM pg_catalog.pg_replication_origin WHERE roname = $1",
            // Nothing says who uses an origin: it is one of the leg's own sessions.
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE $1::text IS NOT NULL AND pg_catalog.starts_with(application_name, $2) \
               AND pid <> pg_catalog.pg_backend_pid()",
        ),
    };
    let start = Instant::now();
    loop {
        let work = session.begin(term).await?;
        let dropped = work.query(drop, &[&name]).await;
        let error = match dropped {
            Ok(_) => return work.commit(what).await,
            Err(error) => work.error(what, error),
        };
        std::mem::drop(work);
        let Error::Statement { source, .. } = &error else {
            return Err(error);
        };
        if source.code() != Some(&SqlState::OBJECT_IN_USE) || start.elapsed() > LIMIT {
            return Err(error);
        }
        let prefix = application_name(leg, "");
        let ended = session.query(users, &[&name, &prefix]).await;
        ended.map_err(|e| session.error("end what uses a stream", e))?;
        sleep(PAUSE).await;
    }
}
