//! One shard, as recovery talks to it.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use topology::decision::{Global, TABLE};
use topology::{Endpoint, Shard, ShardId, Term};

use super::plan::{Decision, Found, Resolution};
use crate::reshard::guard::{self, term};
use crate::reshard::session::{self, Session, Sessions};

/// Most decisions that are looked at in a round.
const MAX_DECISIONS: i64 = 20_000;

/// How long a lock may be waited for: that of a decision which is being made.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '3s'";

/// Why a shard was not looked at, or a transaction stays as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Session(#[from] session::Error),
    #[error(transparent)]
    Guard(#[from] guard::Error),
    #[error("anchor {anchor} is not a shard that answers")]
    NoAnchor { anchor: ShardId },
    #[error("no answer within {limit:?}")]
    Late { limit: Duration },
}

/// A shard that is ready for transactions on several shards.
#[derive(Debug)]
pub(super) struct Known {
    session: Session,
    endpoint: Endpoint,
    term: Term,
}

impl Known {
    /// Opens a session and makes the shard ready.
    pub(super) async fn open(sessions: &Sessions, shard: &Shard, at: Term) -> Result<Self, Error> {
        let mut session = sessions.open_for(shard, "recovery").await?;
        term::raise(&mut session, at).await?;
        Ok(Self {
            session,
            endpoint: shard.primary_endpoint.clone(),
            term: at,
        })
    }

    /// Whether it still is a session on this shard, of this term.
    pub(super) fn is_of(&self, shard: &Shard, term: Term) -> bool {
        !self.session.is_closed() && self.endpoint == shard.primary_endpoint && self.term == term
    }

    /// The keys of transactions that were committed by this shard.
    pub(super) async fn committed(&self) -> Result<Vec<String>, Error> {
        let sql = format!("SELECT gid FROM {TABLE} WHERE committed LIMIT $1");
        let rows = self.session.query(&sql, &[&MAX_DECISIONS]).await;
        let rows = rows.map_err(|e| self.session.error("read decisions", e))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The transactions of routers that are prepared in this shard's database.
    pub(super) async fn prepared(&self) -> Result<Vec<Found>, Error> {
        let sql = "SELECT gid, extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::float8 \
                   FROM pg_catalog.pg_prepared_xacts \
                   WHERE database = pg_catalog.current_database() AND starts_with(gid, 'vg:')";
        let rows = self.session.query(sql, &[]).await;
        let rows = rows.map_err(|e| self.session.error("list prepared transactions", e))?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let name: String = row.get(0);
            let Some((global, shard)) = Global::of_prepared(&name) else {
                continue;
            };
            if shard != *self.session.shard() {
                continue;
            }
            let age = row.get::<_, f64>(1).max(0.0);
            found.push(Found {
                shard,
                name,
                global,
                age: Duration::try_from_secs_f64(age).unwrap_or_default(),
            });
        }
        Ok(found)
    }

    /// What was decided here about a transaction.
    pub(super) async fn decision(&self, key: &str) -> Result<Option<Decision>, Error> {
        let sql = format!("SELECT committed FROM {TABLE} WHERE gid = $1");
        let row = self.session.query_opt(&sql, &[&key]).await;
        let row = row.map_err(|e| self.session.error("read a decision", e))?;
        Ok(row.map(|row| of_row(&row)))
    }

    /// Decides that a transaction is aborted, unless it is decided already; what is decided now.
    pub(super) async fn abort(&mut self, term: Term, key: &str) -> Result<Decision, Error> {
        let work = self.session.begin(term).await?;
        work.run("limit a wait", LOCK_TIMEOUT).await?;
        // A router that commits at this moment is waited for; then its row is there.
        let sql = format!(
            "INSERT INTO {TABLE} (gid, committed) VALUES ($1, false) ON CONFLICT DO NOTHING"
        );
        let inserted = work.execute(&sql, &[&key]).await;
        inserted.map_err(|e| work.error("decide to abort", e))?;
        let sql = format!("SELECT committed FROM {TABLE} WHERE gid = $1");
        let row = work.query_one(&sql, &[&key]).await;
        let decision = of_row(&row.map_err(|e| work.error("read a decision", e))?);
        work.commit("decide to abort").await?;
        Ok(decision)
    }

    /// Ends what is prepared here; false when somebody else has. It runs outside of a transaction,
    /// as PostgreSQL asks, and thus without the term: it only does what the row says, which no
    /// leader can take back.
    pub(super) async fn carry_out(
        &self,
        name: &str,
        resolution: Resolution,
    ) -> Result<bool, Error> {
        let verb = match resolution {
            Resolution::Commit => "COMMIT",
            Resolution::RollBack => "ROLLBACK",
        };
        let sql = format!("{verb} PREPARED {}", wire::quote::literal(name));
        match self.session.batch_execute(&sql).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(false),
            Err(error) => Err(self
                .session
                .error("end a prepared transaction", error)
                .into()),
        }
    }

    /// Forgets commits that are done everywhere, and aborts that nobody can contradict any more:
    /// the transaction that would commit has begun before the abort was written. `open` are the
    /// keys of what is still prepared somewhere.
    pub(super) async fn forget(
        &mut self,
        term: Term,
        over: &[&str],
        open: &[&str],
    ) -> Result<(), Error> {
        let aborts = format!(
            "SELECT EXISTS (SELECT FROM {TABLE} WHERE NOT committed \
             AND decided_at < pg_catalog.clock_timestamp() - interval '60 s')"
        );
        let row = self.session.query_one(&aborts, &[]).await;
        let has_aborts: bool = row
            .map_err(|e| self.session.error("look for old decisions", e))?
            .get(0);
        if over.is_empty() && !has_aborts {
            return Ok(());
        }
        let work = self.session.begin(term).await?;
        work.run("limit a wait", LOCK_TIMEOUT).await?;
        let sql = format!("DELETE FROM {TABLE} WHERE committed AND gid = ANY ($1)");
        let deleted = work.execute(&sql, &[&over]).await;
        deleted.map_err(|e| work.error("forget decisions", e))?;
        let sql = format!(
            "DELETE FROM {TABLE} d WHERE NOT d.committed AND NOT d.gid = ANY ($1) \
             AND d.decided_at < pg_catalog.clock_timestamp() - interval '60 s' \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a \
               WHERE a.datname = pg_catalog.current_database() \
               AND a.backend_type = 'client backend' AND a.pid <> pg_catalog.pg_backend_pid() \
               AND (a.state IS NULL OR a.xact_start < d.decided_at))"
        );
        let deleted = work.execute(&sql, &[&open]).await;
        deleted.map_err(|e| work.error("forget decisions", e))?;
        work.commit("forget decisions").await?;
        Ok(())
    }
}

fn of_row(row: &tokio_postgres::Row) -> Decision {
    if row.get(0) {
        Decision::Committed
    } else {
        Decision::Aborted
    }
}
