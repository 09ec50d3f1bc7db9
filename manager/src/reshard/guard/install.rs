//! Brings guards to a shard and takes them away again, one table at a time, without keeping
//! writers waiting for longer than one attempt at a lock lasts.

use platform::backoff::Backoff;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use topology::{Epoch, TableName, Term};

use super::{Error, Guarded, Patience, sql};
use crate::identifier;
use crate::reshard::ids::LegId;
use crate::reshard::session::{self, Session, Work};

/// How a fence that is not there yet begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// This shard owns the rows.
    Open,
    /// Another one does, as of this epoch.
    Closed(Epoch),
}

/// Installs what is missing of a leg's guard. A fence that is there already is closed where it
/// must be, but never opened: that is for [`super::fence::open`].
///
/// # Errors
/// [`Error`] names the table.
pub async fn install(
    session: &mut Session,
    term: Term,
    guarded: &Guarded,
    initial: Initial,
    patience: Patience,
) -> Result<(), Error> {
    create_fence(session, term, &guarded.leg, initial).await?;
    for (number, table) in guarded.tables.iter().enumerate() {
        let name = identifier::quoted(&table.name);
        let tree = tree(session, &name).await?;
        let [root, partitions @ ..] = tree.as_slice() else {
            return Err(Error::NoTable {
                shard: session.shard().clone(),
                table: table.name.clone(),
            });
        };
        let leg = &guarded.leg;
        let body = sql::guard_body(leg, table, &guarded.bounds);
        let function = sql::guard_function(leg, number);
        let mut text = sql::create_function(&function, "trigger", &body);
        let has = |relation: &Relation, name: &str| relation.triggers.iter().any(|t| t == name);
        let (guard, truncate) = (sql::guard_trigger(leg), sql::truncate_trigger(leg));
        if !has(root, &guard) {
            text += &sql::create_guard_trigger(leg, number, &root.name);
        }
        for relation in std::iter::once(root).chain(partitions) {
            text += &sql::enable_always(&guard, &relation.name);
            if !has(relation, &truncate) {
                text += &sql::create_truncate_trigger(leg, &relation.name);
            }
            text += &sql::enable_always(&truncate, &relation.name);
        }
        if !is_table_installed(session, guarded, number).await? {
            change(session, (term, leg), &table.name, &text, patience).await?;
        }
    }
    install_ddl_triggers(session, term, guarded).await
}

/// Whether all of a leg's guard is there and in force.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn is_installed(session: &Session, guarded: &Guarded) -> Result<bool, Error> {
    for number in 0..guarded.tables.len() {
        if !is_table_installed(session, guarded, number).await? {
            return Ok(false);
        }
    }
    Ok(super::fence::state(session, &guarded.leg).await?.is_some())
}

async fn is_table_installed(
    session: &Session,
    guarded: &Guarded,
    number: usize,
) -> Result<bool, Error> {
    let Some(table) = guarded.tables.get(number) else {
        return Ok(false);
    };
    let leg = &guarded.leg;
    let body = sql::guard_body(leg, table, &guarded.bounds);
    let names = vec![identifier::quoted(&table.name)];
    let question = "SELECT vg.unguarded($1::text::name, $3) IS NULL \
                    AND vg.unguarded($2::text::name, $3) IS NULL \
                    AND (SELECT prosrc FROM pg_catalog.pg_proc WHERE proname = $4::text \
                         AND pronamespace = 'vg'::pg_catalog.regnamespace) IS NOT DISTINCT FROM $5";
    let (guard, truncate) = (sql::guard_trigger(leg), sql::truncate_trigger(leg));
    let function = sql::guard_function(leg, number);
    let row = session
        .query_one(question, &[&guard, &truncate, &names, &function, &body])
        .await
        .map_err(|e| session.error("look at a guard", e))?;
    Ok(row.get(0))
}

async fn create_fence(
    session: &mut Session,
    term: Term,
    leg: &LegId,
    initial: Initial,
) -> Result<(), Error> {
    let state = super::fence::state(session, leg).await?;
    let closed_by = match initial {
        Initial::Open => None,
        Initial::Closed(epoch) => Some(epoch),
    };
    let text = match (state, closed_by) {
        (None, _) => sql::create_fence(leg, closed_by),
        (Some(Epoch(0)), Some(epoch)) => sql::lock_fence(leg) + &sql::set_fence(leg, epoch),
        (Some(_), _) => return Ok(()),
    };
    let work = session.begin(term).await?;
    work.run("create a fence", &text).await?;
    work.commit("create a fence").await?;
    Ok(())
}

/// A relation of a table's tree of partitions.
struct Relation {
    name: String,
    triggers: Vec<String>,
}

/// A table and its partitions with their triggers, the table first; empty if there is none.
async fn tree(session: &Session, table: &str) -> Result<Vec<Relation>, Error> {
    let question = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
           ARRAY(SELECT tgname::text FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid) \
         FROM vg.tree(pg_catalog.to_regclass($1)) WITH ORDINALITY AS t(oid, place) \
         JOIN pg_catalog.pg_class c ON c.oid = t.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY t.place";
    let rows = session.query(question, &[&table]).await;
    let rows = rows.map_err(|e| session.error("look at a table's partitions", e))?;
    let relation = |row: &tokio_postgres::Row| Relation {
        name: row.get(0),
        triggers: row.get(1),
    };
    Ok(rows.iter().map(relation).collect())
}

async fn install_ddl_triggers(
    session: &mut Session,
    term: Term,
    guarded: &Guarded,
) -> Result<(), Error> {
    if !is_superuser(session).await? {
        return Ok(());
    }
    let question = "WITH r AS (SELECT vg.tree(pg_catalog.to_regclass(n)) AS oid \
                               FROM pg_catalog.unnest($1::text[]) n) \
         SELECT oid FROM r WHERE oid IS NOT NULL UNION \
         SELECT indexrelid FROM pg_catalog.pg_index JOIN r ON indrelid = r.oid ORDER BY 1";
    let rows = session.query(question, &[&guarded.names()]).await;
    let rows = rows.map_err(|e| session.error("look at indexes", e))?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let tag = guarded.leg.tag();
    let question = "SELECT p.prosrc FROM pg_catalog.pg_event_trigger t \
         JOIN pg_catalog.pg_proc p ON p.oid = t.evtfoid \
         WHERE t.evtname = $1::text AND t.evtenabled = 'A'";
    let mut is_there = true;
    for (name, body) in sql::ddl_functions(guarded, &oids) {
        let row = session.query_opt(question, &[&format!("vg_{name}")]).await;
        let row = row.map_err(|e| session.error("look at event triggers", e))?;
        is_there &= row.is_some_and(|row| row.get::<_, String>(0) == body);
    }
    if is_there {
        return Ok(());
    }
    let text = sql::create_ddl_triggers(guarded, &oids);
    let work = session.begin(term).await?;
    pass_ddl_triggers(&work, &tag).await?;
    work.run("create event triggers", &text).await?;
    work.commit("create event triggers").await?;
    Ok(())
}

/// Removes all that a leg has left on a shard but its streams, in any state of it, whatever its
/// tables are now.
///
/// # Errors
/// [`Error`] names the table that stays locked.
pub async fn uninstall(
    session: &mut Session,
    term: Term,
    leg: &LegId,
    patience: Patience,
) -> Result<(), Error> {
    let tag = leg.tag();
    if is_superuser(session).await? {
        let work = session.begin(term).await?;
        work.run("drop event triggers", &sql::drop_ddl_triggers(leg))
            .await?;
        work.commit("drop event triggers").await?;
    }
    let question = "SELECT n.nspname::text, c.relname::text, t.tgname::text \
         FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE t.tgname = ANY ($1::text[]::name[]) AND t.tgparentid = 0 ORDER BY 1, 2, 3";
    let names = vec![sql::guard_trigger(leg), sql::truncate_trigger(leg)];
    let rows = session.query(question, &[&names]).await;
    let rows = rows.map_err(|e| session.error("look for guards", e))?;
    for row in rows {
        let (schema, name): (&str, &str) = (row.get(0), row.get(1));
        let Ok(table) = TableName::try_from_parts(schema, name) else {
            continue; // PostgreSQL has no such names.
        };
        let trigger = wire::quote::ident(row.get(2));
        let text = format!(
            "DROP TRIGGER IF EXISTS {trigger} ON {}",
            identifier::quoted(&table)
        );
        change(session, (term, leg), &table, &text, patience).await?;
    }
    let question = "SELECT pg_catalog.format('DROP FUNCTION vg.%I();', proname) \
         FROM pg_catalog.pg_proc WHERE pronamespace = 'vg'::pg_catalog.regnamespace \
         AND (starts_with(proname, $1) OR proname = ANY ($2::text[]::name[]))";
    let prefix = format!("guard_{tag}_");
    let exact = vec![format!("ddl_{tag}"), format!("drop_{tag}")];
    let rows = session.query(question, &[&prefix, &exact]).await;
    let rows = rows.map_err(|e| session.error("look for functions", e))?;
    // What a copy that was broken off has written down.
    let sql = "SELECT 'DELETE FROM vg.copied WHERE tag = ' || pg_catalog.quote_literal($1::text) \
         || ';' WHERE pg_catalog.to_regclass('vg.copied') IS NOT NULL";
    let progress = session.query_opt(sql, &[&tag]).await;
    let progress = progress.map_err(|e| session.error("look for progress", e))?;
    let mut text: String = rows
        .iter()
        .chain(&progress)
        .map(|row| row.get::<_, &str>(0))
        .collect();
    text += &format!(
        "DROP SEQUENCE IF EXISTS vg.{}; DELETE FROM vg.leg WHERE tag = '{tag}';",
        leg.fence()
    );
    let work = session.begin(term).await?;
    pass_ddl_triggers(&work, &tag).await?;
    work.run("drop a fence", &text).await?;
    work.commit("drop a fence").await?;
    Ok(())
}

/// Runs statements that lock one table, each time for a short while only, until they come through.
async fn change(
    session: &mut Session,
    (term, leg): (Term, &LegId),
    table: &TableName,
    text: &str,
    patience: Patience,
) -> Result<(), Error> {
    let start = Instant::now();
    // As long as it kept writers waiting it lets them go on, and then longer.
    let mut backoff = Backoff::new(patience.lock_timeout, patience.lock_timeout * 8);
    let timeout = patience.lock_timeout.as_millis().max(1);
    let text = format!("SET LOCAL lock_timeout = {timeout}; {text}");
    loop {
        let error = match attempt(session, term, leg, &text).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !is_lock(&error) {
            return Err(error.into());
        }
        let waited = start.elapsed();
        if waited >= patience.limit {
            return Err(Error::Busy {
                shard: session.shard().clone(),
                table: table.clone(),
                waited,
            });
        }
        tokio::time::sleep(patience.lock_timeout + backoff.next_delay()).await;
    }
}

async fn attempt(
    session: &mut Session,
    term: Term,
    leg: &LegId,
    text: &str,
) -> Result<(), session::Error> {
    let work = session.begin(term).await?;
    pass_ddl_triggers(&work, &leg.tag()).await?;
    work.run("install or remove a guard", text).await?;
    work.commit("install or remove a guard").await
}

fn is_lock(error: &session::Error) -> bool {
    let states = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    let session::Error::Statement { source, .. } = error else {
        return false;
    };
    source.code().is_some_and(|code| states.contains(code))
}

/// Lets the rest of a transaction through the event triggers of all legs, where the role may.
pub(in crate::reshard) async fn pass_ddl_triggers(
    work: &Work<'_>,
    tag: &str,
) -> Result<(), session::Error> {
    let text = format!(
        "SELECT pg_catalog.set_config('session_replication_role', 'replica', true), \
         pg_catalog.set_config('vg.apply', '{tag}', true) \
         WHERE pg_catalog.current_setting('is_superuser') = 'on'"
    );
    work.run("set the replication role", &text).await
}

async fn is_superuser(session: &Session) -> Result<bool, Error> {
    let question = "SELECT pg_catalog.current_setting('is_superuser') = 'on'";
    let row = session.query_one(question, &[]).await;
    let row = row.map_err(|e| session.error("ask for privileges", e))?;
    Ok(row.get(0))
}
