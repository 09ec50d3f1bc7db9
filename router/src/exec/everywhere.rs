//! One statement on every shard: schema changes, and the upkeep of tables.
//!
//! What may run in a transaction runs inside one on each shard, and all of them commit once all
//! have succeeded. The commits are not one: a shard that goes away between the first and the last
//! of them is named in the error. What may not is in `in_turn`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use topology::{Epoch, ShardIndex, Snapshot};
use wire::frame::HEADER_BYTES;
use wire::quote;

use crate::core::Core;
use crate::error::Error;
use crate::exec::cancel;
use crate::exec::exchange::error_of;
use crate::metrics::Decision;
use crate::pool::Pool;
use crate::pool::metrics::Route;
use crate::pool::settings::Settings;
use crate::query::{self, Class, Ddl, Manner, Placing, Registration, Statement, TableRef};
use crate::route::{self, Refusal};
use crate::view::Serving;

mod in_turn;
mod objects;
mod participant;
mod references;
mod register;
mod sequences;
mod servers;
mod views;
mod within;

use participant::Participant;
pub use register::caught_up;
pub use views::{Views, settle};
pub use within::{run_on, within};

/// Most bytes of an answer that are kept; further notices are dropped.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Why the statement is on no shard, or not on all.
#[derive(Debug)]
pub enum Failure {
    /// A shard refused it: its ErrorResponse as it came. No shard has it.
    Shard(Bytes),
    /// The router's own words.
    Own(Error),
}

impl Failure {
    /// The router's words for it.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Shard(frame) => told(&frame),
            Self::Own(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Own(refusal.into())
    }
}

/// A shard's ErrorResponse as an error of the router's.
#[must_use]
pub fn told(frame: &[u8]) -> Error {
    error_of(frame.get(HEADER_BYTES..).unwrap_or_default())
}

/// What is to be done on every shard.
#[derive(Debug, Clone)]
pub struct Change {
    /// One statement, or several that may stand in a transaction block together.
    sql: String,
    manner: Manner,
    /// Whether it touches no table but those that it makes.
    about_new_tables: bool,
    /// Tables that are registered before anything is committed.
    registrations: Vec<Registration>,
    /// Tables, as SQL, that may have got foreign keys.
    referring: Vec<String>,
    /// Indexes and sequences, as SQL, that it alters or drops.
    objects: Vec<String>,
    /// The shard that has alone what it is about; none where that is all of them.
    home: Option<ShardIndex>,
    /// What becomes of views; none where they stay as they are.
    views: Option<Views>,
}

impl Change {
    /// The registration of a table that exists.
    #[must_use]
    pub fn registering(registration: Registration) -> Self {
        Self {
            sql: String::new(),
            manner: Manner::Together,
            about_new_tables: false,
            registrations: vec![registration],
            referring: Vec::new(),
            objects: Vec::new(),
            home: None,
            views: None,
        }
    }

    /// The change that `statements`, which are all of `sql`, make together.
    ///
    /// # Errors
    /// The [`Refusal`] when one of several can't be done together with the others.
    pub fn of(
        statements: &[Statement],
        sql: &str,
        setting: &route::Setting<'_>,
    ) -> Result<Self, Refusal> {
        let ddls = statements.iter().filter_map(ddl_of);
        let apart = ddls.clone().find(|ddl| ddl.manner != Manner::Together);
        if let (Some(ddl), true) = (apart, statements.len() > 1) {
            let message = format!(
                "{} cannot be combined with other statements in one query string",
                ddl.tag
            );
            return Err(Refusal::unsupported(message).hint("send it as a query of its own"));
        }
        let mut registrations = Vec::new();
        for statement in statements {
            registrations.extend(route::registration(statement, setting)?);
        }
        Ok(Self {
            sql: sql.to_owned(),
            manner: apart.map_or(Manner::Together, |ddl| ddl.manner.clone()),
            about_new_tables: are_about_new_tables(ddls.clone()),
            registrations,
            referring: ddls.clone().flat_map(referring).collect(),
            // Where one of several statements belongs, the others may not.
            objects: ddls
                .clone()
                .filter(|_| statements.len() == 1)
                .flat_map(|ddl| ddl.objects.iter().map(as_sql))
                .collect(),
            home: home_of(ddls.clone(), setting)?,
            views: Views::of(ddls, setting.snapshot),
        })
    }

    /// What becomes of views, once it is made for good.
    #[must_use]
    pub fn views(&self) -> Option<&Views> {
        self.views.as_ref()
    }

    /// Whether what it makes is on more than one shard, so that sequences must not give the same
    /// values.
    fn is_on_several(&self) -> bool {
        let is_at_home = |it: &Registration| matches!(it.placing, Placing::Unsharded { .. });
        let all_at_home =
            !self.registrations.is_empty() && self.registrations.iter().all(is_at_home);
        !self.sql.is_empty() && !all_at_home && self.home.is_none()
    }
}

/// The shard that has alone what changes are about.
fn home_of<'a>(
    ddls: impl Iterator<Item = &'a Ddl>,
    setting: &route::Setting<'_>,
) -> Result<Option<ShardIndex>, Refusal> {
    let mut all: Option<Option<ShardIndex>> = None;
    for ddl in ddls {
        let home = route::home_of(ddl, setting.snapshot, setting.search_path)?;
        if all.is_some_and(|known| known != home) {
            return Err(on_one_and_others());
        }
        all = Some(home);
    }
    Ok(all.flatten())
}

fn on_one_and_others() -> Refusal {
    let message = "tables of one shard and what is on others in one query string";
    Refusal::unsupported(message).hint("send each statement by itself")
}

/// A table's name as SQL.
fn as_sql(table: &TableRef) -> String {
    match &table.schema {
        Some(schema) => quote::qualified(schema, &table.name),
        None => quote::ident(&table.name),
    }
}

/// Whether changes touch only tables that they make.
fn are_about_new_tables<'a>(ddls: impl Iterator<Item = &'a Ddl> + Clone) -> bool {
    let changes = ddls.clone().flat_map(|ddl| &ddl.changes);
    let made: Vec<&TableRef> = changes
        .filter(|change| matches!(change, query::Change::Create { .. }))
        .map(query::Change::table)
        .collect();
    let is_made = |change: &query::Change| {
        matches!(change, query::Change::Mention(_)) || made.contains(&change.table())
    };
    let mut ddls = ddls;
    ddls.all(|ddl| !ddl.changes.is_empty() && ddl.changes.iter().all(is_made))
}

/// The tables that a change may give foreign keys to.
fn referring(ddl: &Ddl) -> Vec<String> {
    let mentions = |change: &query::Change| matches!(change, query::Change::Mention(_));
    let may = matches!(ddl.tag, "CREATE TABLE" | "ALTER TABLE") && !ddl.temporary;
    if !may || !ddl.changes.iter().any(mentions) {
        return Vec::new();
    }
    let refers = |change: &&query::Change| {
        matches!(
            change,
            query::Change::Create { .. } | query::Change::Alter(_)
        )
    };
    let tables = ddl.changes.iter().filter(refers).map(query::Change::table);
    tables.map(as_sql).collect()
}

fn ddl_of(statement: &Statement) -> Option<&Ddl> {
    match &statement.class {
        Class::Ddl(ddl) => Some(ddl),
        _ => None,
    }
}

/// Makes a change on every active shard of `serving` under `settings`, and gives one answer to it
/// without its ReadyForQuery.
///
/// # Errors
/// [`Failure`]; unless it holds [`Error::PartlyApplied`] or [`Error::OutcomeUnknown`], or the
/// change is one that shards make in turn, no shard has the statement's effect.
///
/// Not cancel-safe: dropped while it commits, some shards may have the effect and others not.
pub async fn run(
    core: &Core,
    serving: &Serving,
    settings: &Settings,
    change: &Change,
) -> Result<Bytes, Failure> {
    run_within(core, serving, settings, change, None).await
}

/// As [`run`], giving up when the shards have not run the statement within `limit`.
///
/// # Errors
/// As [`run`], and [`Error::Timeout`].
pub async fn run_within(
    core: &Core,
    serving: &Serving,
    settings: &Settings,
    change: &Change,
    limit: Option<Duration>,
) -> Result<Bytes, Failure> {
    let grace = core.config.sharding.connect_timeout;
    let mut pools: Vec<&Pool> = serving.active().map(|(_, pool)| pool).collect();
    if pools.is_empty() {
        return Err(Error::NoShard.into());
    }
    core.metrics.decided(Decision::Sent(Route::Everywhere));
    let change = objects::settled(change.clone(), serving, settings, grace).await?;
    let change = &at_home(&change, &mut pools)?;
    if let Some(index) = change.home {
        pools = serving.primary(index).into_iter().collect();
    }
    let _forgetting = core.schema.forgetting();
    let terms = in_turn::Terms { limit, grace };
    match &change.manner {
        Manner::InTurn => in_turn::run(&pools, settings, &change.sql, terms).await,
        Manner::IndexInTurn(index) => {
            in_turn::create_index(&pools, settings, (&change.sql, index), terms).await
        }
        Manner::Together | Manner::OncePerServer => {
            let place = (core, &*serving.snapshot);
            together(place, &pools, settings, change, terms).await
        }
    }
}

/// The change with the homes of the tables that are to be on one shard; what makes such tables is
/// for that shard alone.
fn at_home(change: &Change, pools: &mut Vec<&Pool>) -> Result<Change, Refusal> {
    let mut change = change.clone();
    let mut homes = Vec::new();
    for registration in &mut change.registrations {
        let active = pools.iter().map(|pool| pool.shard().clone());
        let Some(home) = register::home_of(registration, active)? else {
            continue;
        };
        registration.placing = Placing::Unsharded {
            shard: Some(home.to_string()),
        };
        homes.push(home);
    }
    let Some(home) = homes.first().filter(|_| !change.sql.is_empty()) else {
        return Ok(change);
    };
    let all_there = homes.len() == change.registrations.len() && homes.iter().all(|it| it == home);
    if !all_there || !change.about_new_tables {
        return Err(on_one_and_others());
    }
    pools.retain(|pool| pool.shard() == home);
    Ok(change)
}

/// All or nothing, but for what can happen between the commits.
async fn together(
    (core, snapshot): (&Core, &Snapshot),
    pools: &[&Pool],
    settings: &Settings,
    change: &Change,
    terms: in_turn::Terms,
) -> Result<Bytes, Failure> {
    let in_turn::Terms { limit, grace } = terms;
    let mut all = Participants::borrow_all(pools, settings, grace).await?;
    let prepared = async {
        let answer = all.prepare(change).await?;
        if change.is_on_several() {
            sequences::spread(core, snapshot, &mut all.members).await?;
        }
        let epoch = all.register(core, snapshot, change).await?;
        Ok((answer, epoch))
    };
    let prepared = match limit {
        None => prepared.await,
        Some(limit) => match tokio::time::timeout(limit, prepared).await {
            Ok(prepared) => prepared,
            Err(_) => {
                all.cancel().await;
                return Err(Error::Timeout(limit).into());
            }
        },
    };
    match prepared {
        Ok((answer, epoch)) => {
            all.commit().await?;
            if let Some(epoch) = epoch {
                caught_up(core, epoch).await?;
            }
            if let Some(views) = &change.views {
                settle(core, settings, views).await?;
            }
            Ok(answer)
        }
        Err(failure) => {
            all.roll_back().await;
            Err(failure)
        }
    }
}

/// The backends that take part, in the order of their shards' ids.
struct Participants {
    members: Vec<Participant>,
    settings: Arc<Settings>,
    /// How long a shard may take over what it can do at once.
    grace: Duration,
}

impl Participants {
    /// Borrows in the order of the shards, so that two of these never wait for each other.
    async fn borrow_all(
        pools: &[&Pool],
        settings: &Settings,
        grace: Duration,
    ) -> Result<Self, Error> {
        let mut members = Vec::with_capacity(pools.len());
        for pool in pools {
            members.push(Participant::borrow(pool).await?);
        }
        Ok(Self {
            members,
            settings: Arc::new(settings.clone()),
            grace,
        })
    }

    /// Begins a transaction on all.
    async fn begin(&mut self) -> Result<(), Failure> {
        let settings = Arc::clone(&self.settings);
        let begun = self.members.iter_mut().map(|one| one.begin(&settings));
        for outcome in join_all(begun).await {
            outcome?;
        }
        Ok(())
    }

    /// Runs the statement on all, inside open transactions. The first shard goes ahead alone:
    /// where two such statements want the same locks, the first shard lets one of them through,
    /// and they cannot each hold the lock that the other one waits for.
    async fn prepare(&mut self, change: &Change) -> Result<Bytes, Failure> {
        self.begin().await?;
        if change.manner == Manner::OncePerServer {
            self.keep_one_of_each_server().await?;
        }
        self.run(&change.sql).await
    }

    /// Runs the statement on all, within their transactions.
    async fn run(&mut self, sql: &str) -> Result<Bytes, Failure> {
        if sql.is_empty() {
            return Ok(Bytes::new());
        }
        let Some((first, others)) = self.members.split_first_mut() else {
            return Err(Error::NoShard.into());
        };
        let answer = first.run(sql).await?;
        for outcome in join_all(others.iter_mut().map(|one| one.run(sql))).await {
            outcome?;
        }
        Ok(answer)
    }

    /// Registers the tables that the change has made, and gives the epoch from which on they are.
    async fn register(
        &mut self,
        core: &Core,
        snapshot: &Snapshot,
        change: &Change,
    ) -> Result<Option<Epoch>, Failure> {
        let mut fitting = Vec::with_capacity(change.registrations.len());
        for wanted in &change.registrations {
            fitting.push(register::look(&mut self.members, wanted, snapshot).await?);
        }
        let mut referring = change.referring.clone();
        referring.extend(change.registrations.iter().map(|it| it.table.clone()));
        if let Some(first) = self.members.first_mut() {
            let made: Vec<_> = fitting.iter().map(register::Fitting::place).collect();
            references::check(first, &referring, &made, snapshot).await?;
        }
        let mut newest = None;
        for table in fitting {
            newest = newest.max(register::register(core, table).await?);
        }
        Ok(newest)
    }

    /// Lets go of all but the first database of each server.
    async fn keep_one_of_each_server(&mut self) -> Result<(), Failure> {
        let asked = join_all(self.members.iter_mut().map(servers::identity)).await;
        let identities = asked.into_iter().collect::<Result<Vec<_>, _>>()?;
        let is_first = servers::firsts(&identities);
        let mut firsts = Vec::with_capacity(self.members.len());
        for (mut member, is_first) in self.members.drain(..).zip(is_first) {
            if is_first {
                firsts.push(member);
            } else {
                member.roll_back(self.grace).await;
            }
        }
        self.members = firsts;
        Ok(())
    }

    async fn commit(mut self) -> Result<(), Failure> {
        let committed = self.members.iter_mut().map(Participant::commit);
        let outcomes = join_all(committed).await;
        let (mut applied, mut missing, mut refused) = (false, Vec::new(), None);
        let (mut unknown, mut shards) = (false, Vec::new());
        for (member, outcome) in self.members.iter().zip(outcomes) {
            shards.push(member.shard.clone());
            match outcome {
                Ok(()) => applied = true,
                Err(Failure::Shard(error)) => {
                    missing.push(member.shard.clone());
                    refused.get_or_insert(error);
                }
                Err(Failure::Own(_)) => {
                    missing.push(member.shard.clone());
                    unknown = true;
                }
            }
        }
        match (missing.pop(), refused) {
            (None, _) => Ok(()),
            // Every shard refused its commit.
            (Some(_), Some(error)) if !applied && !unknown => Err(Failure::Shard(error)),
            (Some(shard), _) if shards.len() == 1 => Err(Error::OutcomeUnknown { shard }.into()),
            (Some(last), _) => {
                missing.push(last);
                Err(Error::PartlyApplied { missing }.into())
            }
        }
    }

    /// Ends the transactions of those that are still there. What can't be rolled back by word is
    /// closed, which rolls it back too.
    async fn roll_back(mut self) {
        let grace = self.grace;
        join_all(self.members.iter_mut().map(|one| one.roll_back(grace))).await;
    }

    /// Stops what the shards are running; the backends are closed.
    async fn cancel(self) {
        let leases = self.members.into_iter().filter_map(|one| one.lease);
        join_all(leases.map(|lease| cancel::stop(lease, self.grace))).await;
    }
}
