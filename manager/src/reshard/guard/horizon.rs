//! The horizon of a shard: the epoch that a router must know to be let in.

use topology::{Epoch, Term, presence};

use crate::reshard::session::{Error, Session};

/// From now on a shard lets only routers in that know this epoch.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn raise(session: &mut Session, term: Term, epoch: Epoch) -> Result<(), Error> {
    let work = session.begin(term).await?;
    let name = presence::HORIZON;
    let create = format!("CREATE SEQUENCE IF NOT EXISTS {name} MINVALUE 0 START 0");
    work.run("make the horizon", &create).await?;
    let raise = format!(
        "SELECT pg_catalog.setval('{name}', greatest({epoch}, \
           coalesce(pg_catalog.pg_sequence_last_value('{name}'::regclass), 0)))"
    );
    work.run("raise the horizon", &raise).await?;
    work.commit("raise the horizon").await
}
