//! Views after a change of the schema: what the shards have of them is what is registered.
//!
//! It is asked once the change is made for good, and registered under a lock that all routers take
//! on one shard: whoever comes last has seen all changes before, so that the topology ends with what
//! the shards have, in whatever order routers got there.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use proto::manager::v1::{CreateTableRequest, DeleteTableRequest};
use tokio::time::Instant;
use topology::{Epoch, Placement, Snapshot, TableName};
use wire::quote::{literal, qualified};

use super::participant::{Participant, Row};
use super::{Failure, Participants, as_sql, caught_up};
use crate::core::Core;
use crate::error::Error;
use crate::pool::Pool;
use crate::pool::settings::Settings;
use crate::query::Ddl;
use crate::route::{self, Refusal};

/// The advisory lock under which views are registered.
const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(7304, 1)";

/// Who looks at a view holds locks on its tables. It gives way to whoever changes them before
/// PostgreSQL looks for a deadlock, which might end the change.
const GIVES_WAY: &str = "SET LOCAL lock_timeout = '300ms'";

/// Under these, constants are written so that they are read alike under any settings, and each name
/// of a table with its schema.
const PLAIN: &str = "SET LOCAL search_path = ''; SET LOCAL DateStyle = 'ISO, YMD'; \
    SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1; \
    SET LOCAL bytea_output = 'hex'; SET LOCAL quote_all_identifiers = off";

/// Most bytes of the definitions of all views of a shard.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Longest definition that is registered.
const MAX_DEFINITION_BYTES: usize = 64 << 10;

/// How long it is tried while others change the schema.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long the other routers may take: longer than one that is gone is believed to be there.
const PEERS_LIMIT: Duration = Duration::from_secs(20);

/// Between two looks at what others do.
const RECHECK: Duration = Duration::from_millis(10);

/// What a change makes of views.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Views {
    /// Those that it makes, as SQL; all that are registered may be others besides.
    made: Vec<String>,
    /// Whether they must be there and fit to be registered.
    strict: bool,
}

impl Views {
    /// What changes make of them; none when they stay as they are.
    pub(super) fn of<'a>(
        mut ddls: impl Iterator<Item = &'a Ddl> + Clone,
        snapshot: &Snapshot,
    ) -> Option<Self> {
        let made = ddls
            .clone()
            .flat_map(|ddl| &ddl.views)
            .map(as_sql)
            .collect();
        let may_change = ddls.any(|ddl| route::may_change_views(ddl, snapshot));
        may_change.then_some(Self {
            made,
            strict: false,
        })
    }

    /// One that exists is to be registered.
    #[must_use]
    pub fn existing(name: &str) -> Self {
        Self {
            made: vec![name.to_owned()],
            strict: true,
        }
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.made.extend(other.made.iter().cloned());
        self
    }
}

/// What shards have of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// Its query.
    Query(String),
    /// It is not to be registered, for this reason.
    Unfit(String),
}

/// Registers what the shards have of the views that were made and of those that are registered, and
/// returns once all routers read them so.
///
/// # Errors
/// [`Failure`]: the shards are as they are, and what is registered may differ from it.
pub async fn settle(core: &Core, settings: &Settings, views: &Views) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let settled = loop {
        match settle_once(core, settings, views).await {
            // A view was dropped while it was looked at, or is being changed.
            Err(Failure::Shard(_)) if Instant::now() < deadline => {}
            settled => break settled,
        }
        tokio::time::sleep(RECHECK).await;
    };
    settled.map_err(|failure| {
        if views.strict {
            return failure;
        }
        let why = failure.into_error();
        Failure::from(Refusal {
            sqlstate: "55000",
            message: format!("the schema is changed, but its views are not registered: {why}"),
            hint: Some("SELECT sharding.view('view') registers what the shards have".to_owned()),
        })
    })
}

async fn settle_once(core: &Core, settings: &Settings, views: &Views) -> Result<(), Failure> {
    let serving = core.view.load();
    let pools: Vec<&Pool> = serving.active().map(|(_, pool)| pool).collect();
    let grace = core.config.sharding.connect_timeout;
    let mut all = Participants::borrow_all(&pools, settings, grace).await?;
    let outcome = register(core, &mut all, views).await;
    all.roll_back().await;
    let (newest, replaced) = outcome?;
    if let Some(epoch) = newest {
        caught_up(core, epoch).await?;
    }
    match replaced {
        Some(epoch) => peers_caught_up(core, epoch).await,
        None => Ok(()),
    }
}

/// Gives the epoch in which all is registered, and that from which on no router may read an earlier
/// definition.
async fn register(
    core: &Core,
    all: &mut Participants,
    views: &Views,
) -> Result<(Option<Epoch>, Option<Epoch>), Failure> {
    all.begin().await?;
    let Some(first) = all.members.first_mut() else {
        return Err(Error::NoShard.into());
    };
    first.rows(LOCK).await?;
    let made = resolve(&mut all.members, &views.made).await?;
    if views.strict && made.is_empty() {
        return Err(no_view(views).into());
    }
    // As they are stored: what this router follows may be a moment behind whoever had the lock.
    let tables = core.managers.tables().await.map_err(Error::Managers)?;
    let mut known: BTreeMap<&TableName, Option<&str>> = BTreeMap::new();
    known.extend(made.iter().map(|name| (name, None)));
    for table in &tables {
        match &table.placement {
            Placement::View { definition } => {
                known.insert(&table.name, Some(definition));
            }
            // What is dropped stays registered, and its name is not a view's.
            Placement::Sharded { .. } | Placement::Reference | Placement::Unsharded { .. } => {
                if known.remove(&table.name).is_some() && views.strict {
                    return Err(is_a_table(&table.name).into());
                }
            }
        }
    }
    let found = inspect(&mut all.members, known.keys().copied()).await?;
    let (mut newest, mut replaced) = (None, None);
    for (name, registered) in known {
        let found = found.get(name);
        if let (true, Some(Found::Unfit(reason))) = (views.strict, found)
            && made.contains(name)
        {
            return Err(unfit(name, reason).into());
        }
        let query = match found {
            Some(Found::Query(query)) => Some(query),
            Some(Found::Unfit(_)) | None => None,
        };
        let epoch = match (registered, query) {
            (Some(known), Some(query)) if known == query => continue,
            (None, None) => continue,
            (_, Some(query)) => core.managers.create_table(registering(name, query)).await,
            (Some(_), None) => core.managers.delete_table(forgetting(name)).await,
        };
        let epoch = Some(epoch.map_err(Error::Managers)?);
        newest = newest.max(epoch);
        replaced = replaced.max(epoch.filter(|_| registered.is_some()));
    }
    Ok((newest, replaced))
}

/// The names of relations that any shard has, by the search path in force.
async fn resolve(members: &mut [Participant], names: &[String]) -> Result<Vec<TableName>, Failure> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let question = format!(
        "SELECT n.nspname, c.relname FROM pg_catalog.unnest(ARRAY[{}]) AS wanted(name) \
         JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(wanted.name) \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'v'",
        names.join(", ")
    );
    let mut found = Vec::new();
    for rows in join_all(members.iter_mut().map(|one| one.rows(&question))).await {
        found.extend(rows?.iter().filter_map(name_of));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// What the shards that have them have of views. One that lacks a view does not matter: no router
/// reads a view by its name.
async fn inspect(
    members: &mut [Participant],
    names: impl Iterator<Item = &TableName>,
) -> Result<BTreeMap<TableName, Found>, Failure> {
    let names = names.map(|name| format!("({}, {})", literal(name.schema()), literal(name.name())));
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    for preamble in [GIVES_WAY, PLAIN] {
        for done in join_all(members.iter_mut().map(|one| one.rows(preamble))).await {
            done?;
        }
    }
    let question = question(&names.join(", "));
    // The first shard alone, as whoever changes a table asks it alone at first: so neither holds a
    // lock on one shard that the other one waits for on another.
    let Some((first, others)) = members.split_first_mut() else {
        return Err(Error::NoShard.into());
    };
    let mut answers = vec![first.all_rows(&question, MAX_ANSWER_BYTES).await?];
    let asked = others
        .iter_mut()
        .map(|one| one.all_rows(&question, MAX_ANSWER_BYTES));
    for rows in join_all(asked).await {
        answers.push(rows?);
    }
    let mut all = BTreeMap::new();
    for rows in answers {
        for row in rows {
            let (Some(name), Some(found)) = (name_of(&row), found_of(&row)) else {
                continue;
            };
            match all.get_mut(&name) {
                None => {
                    all.insert(name, found);
                }
                Some(known) if *known == found => {}
                Some(known) => {
                    let reason = "it is not the same on all shards: see \"shardctl schema diff\"";
                    *known = Found::Unfit(reason.to_owned());
                }
            }
        }
    }
    Ok(all)
}

/// Asks for views by schema and name: the query, and whether rows of its tables depend on who reads.
fn question(names: &str) -> String {
    format!(
        "SELECT n.nspname, c.relname, \
           pg_catalog.left(pg_catalog.pg_get_viewdef(c.oid), {MAX_DEFINITION_BYTES} + 2), \
           (NOT EXISTS (SELECT FROM pg_catalog.unnest(c.reloptions) o \
              WHERE pg_catalog.lower(o) IN ('security_invoker=true', 'security_invoker=on', \
                'security_invoker=yes', 'security_invoker=1')) \
            AND EXISTS (WITH RECURSIVE beneath(rel) AS (SELECT c.oid UNION \
                SELECT d.refobjid FROM beneath b JOIN pg_catalog.pg_rewrite r ON r.ev_class = b.rel \
                JOIN pg_catalog.pg_depend d ON d.objid = r.oid \
                  AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
                  AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass) \
              SELECT FROM beneath b JOIN pg_catalog.pg_class t ON t.oid = b.rel \
              WHERE t.relrowsecurity)) \
         FROM (VALUES {names}) AS wanted(nsp, rel) \
         JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.nsp \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.rel \
         WHERE c.relkind = 'v'"
    )
}

fn name_of(row: &Row) -> Option<TableName> {
    let text = |at: usize| row.get(at)?.as_deref();
    TableName::try_from_parts(text(0)?, text(1)?).ok()
}

fn found_of(row: &Row) -> Option<Found> {
    let text = |at: usize| row.get(at)?.as_deref();
    let query = text(2)?.trim().trim_end_matches(';').trim_end();
    if text(3)? == "t" {
        let reason = "a table of it has row security, which the view passes by as its owner: create \
                      it WITH (security_invoker = true)";
        return Some(Found::Unfit(reason.to_owned()));
    }
    if query.len() > MAX_DEFINITION_BYTES {
        let reason = format!("its query is longer than {MAX_DEFINITION_BYTES} bytes");
        return Some(Found::Unfit(reason));
    }
    Some(Found::Query(query.to_owned()))
}

/// Waits until no router begins a statement by an older topology.
async fn peers_caught_up(core: &Core, epoch: Epoch) -> Result<(), Failure> {
    let deadline = Instant::now() + PEERS_LIMIT;
    while !core
        .managers
        .routers_have(epoch)
        .await
        .map_err(Error::Managers)?
    {
        if Instant::now() > deadline {
            return Err(Error::Timeout(PEERS_LIMIT).into());
        }
        tokio::time::sleep(RECHECK).await;
    }
    Ok(())
}

fn registering(name: &TableName, query: &str) -> CreateTableRequest {
    CreateTableRequest {
        name: qualified(name.schema(), name.name()),
        kind: "view".to_owned(),
        definition: query.to_owned(),
        ..CreateTableRequest::default()
    }
}

fn forgetting(name: &TableName) -> DeleteTableRequest {
    DeleteTableRequest {
        name: qualified(name.schema(), name.name()),
    }
}

fn no_view(views: &Views) -> Refusal {
    Refusal {
        sqlstate: "42P01",
        message: format!("no shard has a view {}", views.made.join(", ")),
        hint: Some("create it through the router first".to_owned()),
    }
}

fn is_a_table(name: &TableName) -> Refusal {
    Refusal {
        sqlstate: "42710",
        message: format!("\"{name}\" is registered as a table"),
        hint: Some(format!(
            "drop it and forget it first: SELECT sharding.forget_table('{name}')"
        )),
    }
}

fn unfit(name: &TableName, reason: &str) -> Refusal {
    Refusal::unsupported(format!("view \"{name}\" can't be registered: {reason}"))
}
