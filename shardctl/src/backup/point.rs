//! The point of a backup: a moment on every shard such that each transaction on several shards is
//! there on all of them or on none.
//!
//! A transaction on several shards is committed by a row in the table of decisions of one of them,
//! its anchor (docs/decisions/0014). So, with that table locked on all shards at once, nothing is
//! decided, and what was decided before is committed on its anchor. Once all of that is committed
//! on the other shards too, which the lock does not hinder, the moments are taken: what is decided
//! is in all of them, what is not decided is in none. Then the locks go. Only the commit of
//! transactions on several shards waits meanwhile, for milliseconds.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use topology::decision::{Global, TABLE};

use super::manifest::ShardCopy;
use super::psql::Psql;
use super::server::{LIMIT, Server};
use super::{Error, until};
use crate::args::backup::Method;

/// How long the locks may be waited for, all together; a commit holds one for moments only.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// How long transactions may take that are decided: their router finishes them at once, a manager
/// within seconds where the router has died.
const FINISH_LIMIT: Duration = Duration::from_secs(20);

/// Between two looks at whether they have.
const POLL: Duration = Duration::from_millis(5);

/// A moment on each shard.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) at: SystemTime,
    /// For how long no transaction on several shards could be committed.
    pub(super) fence: Duration,
    /// In the order of the servers.
    pub(super) moments: Vec<Moment>,
}

/// A shard's moment.
#[derive(Debug)]
pub(super) struct Moment {
    /// The log up to there holds it.
    pub(super) lsn: String,
    /// The snapshot that a dump reads by.
    pub(super) snapshot: String,
    /// Holds the snapshot.
    session: Psql,
}

impl Point {
    /// What the manifest says of the shards.
    pub(super) fn copies(&self, servers: &[Server]) -> Vec<ShardCopy> {
        let both = servers.iter().zip(&self.moments);
        both.map(|(server, moment)| ShardCopy {
            id: server.shard.to_string(),
            endpoint: server.endpoint.to_string(),
            major: server.major,
            lsn: moment.lsn.clone(),
        })
        .collect()
    }

    /// Ends the snapshots; that they were there to the end is part of a good backup.
    pub(super) async fn end(&mut self) -> Result<(), Error> {
        for moment in &mut self.moments {
            moment
                .session
                .ask("hold the snapshot", "COMMIT", LIMIT)
                .await?;
        }
        Ok(())
    }
}

/// Finds a point; `name` is that of the restore points.
pub(super) async fn find(servers: &[Server], method: Method, name: &str) -> Result<Point, Error> {
    let mut fences = Vec::new();
    let mut sessions = Vec::new();
    let mut has_decisions = Vec::new();
    for server in servers {
        let mut fence = Psql::open(server)?;
        let sql = format!("SELECT to_regclass('{TABLE}') IS NOT NULL");
        let answer = fence.ask("look for decisions", &sql, LIMIT).await?;
        // A shard that no manager has made ready decides nothing.
        has_decisions.push(answer.first().is_some_and(|it| it == "t"));
        fences.push(fence);
        let mut session = Psql::open(server)?;
        session.ask("log in", "SELECT 1", LIMIT).await?;
        sessions.push(session);
    }
    let begun = Instant::now();
    lock(&mut fences, &has_decisions).await?;
    finished(servers, &mut fences, &has_decisions).await?;
    let mark = match method {
        Method::Dump => "pg_current_wal_lsn()".to_owned(),
        Method::Basebackup => format!("pg_create_restore_point('{name}')"),
    };
    let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot(), {mark}");
    for session in &mut sessions {
        session.send(&sql).await;
    }
    let mut moments = Vec::new();
    for (server, mut session) in servers.iter().zip(sessions) {
        let answer = session.answer("mark the point", LIMIT).await?;
        let line = answer.first().map(String::as_str).unwrap_or_default();
        let (snapshot, lsn) = line.split_once('|').ok_or_else(|| Error::Shard {
            shard: server.shard.clone(),
            what: "mark the point",
            reason: format!("it says {line:?}"),
        })?;
        moments.push(Moment {
            lsn: lsn.to_owned(),
            snapshot: snapshot.to_owned(),
            session,
        });
    }
    let at = SystemTime::now();
    for fence in &mut fences {
        fence.send("COMMIT").await;
    }
    for fence in &mut fences {
        fence.answer("end the fence", LIMIT).await?;
    }
    Ok(Point {
        at,
        fence: begun.elapsed(),
        moments,
    })
}

/// Locks the decisions on all shards. Writers of decisions wait for nothing that is locked here, so
/// that the order does not matter.
async fn lock(fences: &mut [Psql], has_decisions: &[bool]) -> Result<(), Error> {
    for (fence, has) in fences.iter_mut().zip(has_decisions) {
        let lock = if *has {
            format!("; LOCK TABLE {TABLE} IN SHARE MODE")
        } else {
            String::new()
        };
        let limit = LOCK_LIMIT.as_millis();
        fence
            .send(&format!("BEGIN; SET LOCAL lock_timeout = {limit}{lock}"))
            .await;
    }
    for fence in fences {
        fence.answer("lock the decisions", LOCK_LIMIT * 2).await?;
    }
    Ok(())
}

/// Waits until everything that is decided is committed on all of its shards.
async fn finished(
    servers: &[Server],
    fences: &mut [Psql],
    has_decisions: &[bool],
) -> Result<(), Error> {
    let deadline = until(FINISH_LIMIT);
    loop {
        for (fence, has) in fences.iter_mut().zip(has_decisions) {
            let decided = if *has {
                format!("SELECT 'decided', gid FROM {TABLE} WHERE committed UNION ALL ")
            } else {
                String::new()
            };
            let sql = format!(
                "{decided}SELECT 'prepared', gid FROM pg_catalog.pg_prepared_xacts \
                 WHERE database = pg_catalog.current_database()"
            );
            fence.send(&sql).await;
        }
        let mut answers = Vec::new();
        for fence in fences.iter_mut() {
            answers.push(fence.answer("list transactions", LIMIT).await?);
        }
        let Some((index, name)) = unfinished(&answers) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let server = servers.get(index).ok_or(Error::NoShards)?;
            return Err(Error::Unfinished {
                shard: server.shard.clone(),
                name,
                limit: FINISH_LIMIT,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A transaction that is decided somewhere and still prepared, with its shard's place.
fn unfinished(answers: &[Vec<String>]) -> Option<(usize, String)> {
    let lines = answers.iter().flatten();
    let decided: HashSet<&str> = lines
        .filter_map(|line| line.strip_prefix("decided|"))
        .collect();
    for (index, lines) in answers.iter().enumerate() {
        for name in lines
            .iter()
            .filter_map(|line| line.strip_prefix("prepared|"))
        {
            let global = Global::of_prepared(name).map(|(global, _)| global.to_string());
            if global.is_some_and(|key| decided.contains(key.as_str())) {
                return Some((index, name.to_owned()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_decided_and_still_prepared_is_waited_for() {
        let decided = "decided|vg:0000000000000001:7:shard-1".to_owned();
        let prepared = "prepared|vg:0000000000000001:7:shard-1:shard-2".to_owned();
        let undecided = "prepared|vg:0000000000000001:8:shard-1:shard-2".to_owned();
        let foreign = "prepared|another".to_owned();
        let answers = [vec![decided.clone()], vec![foreign, undecided, prepared]];
        let name = "vg:0000000000000001:7:shard-1:shard-2".to_owned();
        assert_eq!(unfinished(&answers), Some((1, name)));
        let answers = [
            vec![decided],
            vec!["prepared|vg:0000000000000001:8:shard-1:shard-2".to_owned()],
        ];
        assert_eq!(unfinished(&answers), None);
    }
}
