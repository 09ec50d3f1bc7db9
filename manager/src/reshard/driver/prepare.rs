//! From a plan to mirrors that hold all rows of one moment.

use std::sync::Arc;

use platform::telemetry::error_chain;
use topology::{Epoch, Placement, Shard, Snapshot, TableName, numbers};

use super::Trouble;
use super::hands::Hands;
use crate::control::moves::sharded_tables;
use crate::reshard::copy::governor::govern;
use crate::reshard::copy::{self, Attempt, Order, Rates, Throttle, copy_leg};
use crate::reshard::flow::{MovedTable, Ranges};
use crate::reshard::guard::install::{self, Initial};
use crate::reshard::guard::{Patience, fence, term};
use crate::reshard::preflight::{self, Finding, Inquiry, Severity};
use crate::reshard::schema::{self, Creation, Pair};
use crate::reshard::session::application_name;
use crate::reshard::snapshot::SnapshotHolder;
use crate::reshard::{cleanup, flow};

impl Hands {
    /// Ends what earlier leaders left running for this leg, then raises the term.
    pub(super) async fn raise_term(&mut self) -> Result<(), Trouble> {
        self.ready.clear();
        if let Some(streams) = self.streams.take() {
            streams.stop().await;
        }
        for id in self.everywhere() {
            let shard = self.shard(&id)?;
            let sessions = &self.context.sessions;
            sessions.end_others(&shard, &self.leg.id).await?;
            let mut session = self.session(&id, "term").await?;
            term::raise(&mut session, self.term).await?;
            // One that an earlier leader opened between the two can do nothing any more, but may
            // hold what is needed here.
            sessions.end_others(&shard, &self.leg.id).await?;
        }
        Ok(())
    }

    pub(super) async fn preflight(&mut self) -> Result<(), Trouble> {
        let snapshot = self.context.topology.snapshot();
        self.leg.tables = moved_tables(&snapshot);
        let reference = reference_tables(&snapshot);
        let mut refusals = Vec::new();
        for owner in self.owners() {
            let source = self.shard(&owner)?;
            let flows = self.flows();
            let flows = flows.iter().filter(|flow| flow.from == owner);
            let targets: Result<Vec<_>, Trouble> = flows
                .map(|flow| Ok((self.shard(&flow.to)?, flow.ranges.bounds())))
                .collect();
            let targets = targets?;
            let inquiry = Inquiry {
                leg: &self.leg.id,
                source: &source,
                targets: targets.iter().map(|(s, b)| (s, b.clone())).collect(),
                tables: &self.leg.tables,
                reference: &reference,
            };
            let findings = preflight::check(&self.context.sessions, &inquiry).await?;
            for finding in findings {
                match finding.severity {
                    Severity::Refuses => refusals.push(text_of(&finding)),
                    Severity::Notes => {
                        tracing::info!(leg = %self.leg.id, finding = text_of(&finding), "preflight");
                    }
                }
            }
        }
        if refusals.is_empty() {
            Ok(())
        } else {
            Err(Trouble::lasting(refusals.join("; ")))
        }
    }

    /// Makes the mirrors' tables and the guards. All of it may have been done before.
    pub(super) async fn prepare(&mut self) -> Result<(), Trouble> {
        let snapshot = self.context.topology.snapshot();
        let epoch = Epoch(snapshot.epoch().0.max(1));
        self.leg.tables = moved_tables(&snapshot);
        let reference = reference_tables(&snapshot);
        let mut names = table_names(&self.leg.tables);
        names.extend(reference.iter().cloned());
        for flow in self.flows() {
            let (source, target) = (self.shard(&flow.from)?, self.shard(&flow.to)?);
            let (source, target) = (&source, &target);
            let pair = Pair { source, target };
            let numbers = [source, target];
            let numbers = numbers::of(self.context.store.as_ref(), &numbers).await;
            let numbers = numbers.map_err(|error| numberless(&error))?;
            let numbers = match numbers.as_slice() {
                [from, to] => (*from, *to),
                _ => return Err(Trouble::lasting("two shards have no two numbers")),
            };
            self.creation(pair).create(&names, numbers).await?;
            let mut from = self.writer(&flow.from, "schema").await?;
            let mut to = self.writer(&flow.to, "schema").await?;
            for table in &reference {
                schema::copy_reference(&mut from, &mut to, self.term, table).await?;
            }
            let guarded = self.guarded(&flow.to);
            let initial = Initial::Closed(epoch);
            let patience = Patience::default();
            install::install(&mut to, self.term, &guarded, initial, patience).await?;
        }
        for owner in self.owners() {
            let mut session = self.session(&owner, "guard").await?;
            let guarded = self.guarded(&owner);
            let patience = Patience::default();
            install::install(&mut session, self.term, &guarded, Initial::Open, patience).await?;
            // A leg that was prepared by an earlier leader may have been closed in the meantime.
            let leg = &self.leg.id;
            fence::open(&mut session, self.term, leg).await?;
            self.leg.schema_hash = Some(fence::schema_hash(&session, &guarded).await?);
        }
        Ok(())
    }

    /// Undoes a copy that came to nothing, unless it can go on.
    pub(super) async fn discard(&mut self) -> Result<(), Trouble> {
        self.resumed = self.resumable().await?;
        if self.resumed.is_some() {
            return Ok(());
        }
        self.release_copy().await?;
        for owner in self.owners() {
            let mut session = self.session(&owner, "discard").await?;
            cleanup::drop_streams(&mut session, self.term, &self.leg.id).await?;
        }
        for mirror in self.mirrors() {
            // What a session of an earlier try was told to commit is there before, or never.
            let shard = self.shard(&mirror)?;
            self.context
                .sessions
                .end_others(&shard, &self.leg.id)
                .await?;
            let mut session = self.writer(&mirror, "discard").await?;
            cleanup::drop_streams(&mut session, self.term, &self.leg.id).await?;
            let guarded = self.guarded(&mirror);
            let throttle = cleanup::Throttle::default();
            cleanup::remove_rows(&mut session, self.term, &guarded, throttle, &|_| {}).await?;
        }
        Ok(())
    }

    /// Copies what one snapshot of the owner shows, and builds what was put off until then.
    pub(super) async fn copy(&mut self) -> Result<(), Trouble> {
        let throttle = Arc::new(Throttle::new(Rates {
            rows: self.options.throttle.rows_per_second,
            bytes: self.options.throttle.bytes_per_second,
        }));
        let mut watched = Vec::new();
        for id in self.everywhere() {
            watched.push(self.session(&id, "governor").await?);
        }
        let limits = self.context.settings.copy_limits;
        let governed = govern(Arc::clone(&throttle), watched, limits);
        let copying = self.copy_rows(throttle);
        tokio::select! {
            copied = copying => copied?,
            never = governed => match never {},
        }
        self.complete().await
    }

    async fn copy_rows(&self, throttle: Arc<Throttle>) -> Result<(), Trouble> {
        for owner in self.owners() {
            self.publish(&owner).await?;
            let shard = self.shard(&owner)?;
            let (attempt, snapshot, _holder) = match &self.resumed {
                Some(running) => {
                    self.tell_managers(running).await?;
                    let attempt = Attempt {
                        id: running.attempt.clone(),
                        is_resumed: true,
                    };
                    (attempt, running.snapshot.clone(), None)
                }
                None => {
                    let (attempt, holder) = self.take_snapshot(&shard).await?;
                    (attempt, holder.snapshot().to_owned(), Some(holder))
                }
            };
            let flows = self.flows();
            let flows = flows.iter().filter(|flow| flow.from == owner);
            let targets: Result<Vec<_>, Trouble> = flows
                .map(|flow| {
                    let (shard, bounds) = (self.shard(&flow.to)?, flow.ranges.bounds());
                    Ok(copy::Target { shard, bounds })
                })
                .collect();
            let order = Order {
                config: self.context.sessions.config().clone(),
                leg: self.leg.id.clone(),
                term: self.term,
                owner: shard,
                snapshot,
                targets: targets?,
                tables: self.leg.tables.clone(),
                workers: self.context.settings.copy_workers,
                attempt,
            };
            let progress = Arc::clone(&self.progress);
            let copied =
                copy_leg(order, &self.context.tasks, progress, Arc::clone(&throttle)).await?;
            tracing::info!(leg = %self.leg.id, rows = copied.rows, bytes = copied.bytes,
                kept = copied.kept, seconds = copied.elapsed.as_secs_f64(), "rows copied");
        }
        Ok(())
    }

    /// Makes the slot, whose snapshot is copied, and has the other managers keep that.
    async fn take_snapshot(&self, shard: &Shard) -> Result<(Attempt, SnapshotHolder), Trouble> {
        let config = self.context.sessions.config();
        let name = application_name(&self.leg.id, "snapshot");
        let holder = SnapshotHolder::create(config, shard, &name, &self.leg.id.slot()).await?;
        let attempt = Attempt::begin();
        if let Err(trouble) = self.announce(shard, &holder, &attempt).await {
            // It only means that nobody else can go on with it.
            tracing::warn!(leg = %self.leg.id, error = trouble.text, "snapshot not announced");
        }
        Ok((attempt, holder))
    }

    /// Makes of the mirrors' tables, which have all rows now, what the owners' are.
    async fn complete(&self) -> Result<(), Trouble> {
        for flow in self.flows() {
            let (source, target) = (self.shard(&flow.from)?, self.shard(&flow.to)?);
            let (source, target) = (&source, &target);
            self.creation(Pair { source, target }).finish().await?;
            let mut from = self.session(&flow.from, "schema").await?;
            let mut to = self.session(&flow.to, "schema").await?;
            let names = table_names(&self.leg.tables);
            schema::differences(&mut from, &mut to, &names).await?;
            // So that the new indexes are guarded, too.
            let (guarded, patience) = (self.guarded(&flow.to), Patience::default());
            let epoch = Epoch(self.context.topology.snapshot().epoch().0.max(1));
            let initial = Initial::Closed(epoch);
            install::install(&mut to, self.term, &guarded, initial, patience).await?;
        }
        Ok(())
    }

    fn creation<'a>(&'a self, pair: Pair<'a>) -> Creation<'a> {
        Creation {
            sessions: &self.context.sessions,
            tools: &self.context.tools,
            leg: &self.leg.id,
            term: self.term,
            pair,
        }
    }

    /// That what moves is still what the leg was prepared for.
    pub(super) fn still_fits(&self) -> Result<(), Trouble> {
        let snapshot = self.context.topology.snapshot();
        let moved = self.leg.tables.iter().map(|table| table.name.clone());
        if sharded_tables(&snapshot) != moved.collect() {
            let text = "the sharded tables are no longer those that the job moves";
            return Err(Trouble::lasting(text));
        }
        for flow in self.flows() {
            let owner = snapshot.index_of(&flow.from);
            let vnodes = snapshot.ring().vnodes();
            let is_there = |token| {
                let found = vnodes.binary_search_by_key(&token, |vnode| vnode.token);
                let vnode = found.ok().and_then(|at| vnodes.get(at));
                vnode.is_some_and(|vnode| Some(vnode.owner) == owner)
            };
            if let Some(token) = flow.vnodes.iter().find(|token| !is_there(**token)) {
                let text = format!("vnode {token} does not belong to shard {}", flow.from);
                return Err(Trouble::lasting(text));
            }
        }
        Ok(())
    }

    /// The ranges of all flows.
    pub(super) fn ranges(&self) -> Ranges {
        let ranges = self.leg.flows.iter().map(|flow: &flow::Flow| &flow.ranges);
        Ranges::new(ranges.flat_map(Ranges::iter).copied().collect())
    }
}

/// The sharded tables, with what their keys are.
fn moved_tables(snapshot: &Snapshot) -> Vec<MovedTable> {
    let of = |table: &topology::Table| match &table.placement {
        Placement::Sharded { group, shard_key } => Some(MovedTable {
            name: table.name.clone(),
            key_column: shard_key.clone(),
            key_type: snapshot.group(group)?.key_type,
        }),
        Placement::Reference | Placement::Unsharded { .. } | Placement::View { .. } => None,
    };
    let mut tables: Vec<_> = snapshot.tables().filter_map(of).collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

fn reference_tables(snapshot: &Snapshot) -> Vec<TableName> {
    let of = |table: &topology::Table| match table.placement {
        Placement::Reference => Some(table.name.clone()),
        Placement::Sharded { .. } | Placement::Unsharded { .. } | Placement::View { .. } => None,
    };
    let mut tables: Vec<_> = snapshot.tables().filter_map(of).collect();
    tables.sort();
    tables
}

pub(super) fn table_names(tables: &[MovedTable]) -> Vec<TableName> {
    tables.iter().map(|table| table.name.clone()).collect()
}

fn text_of(finding: &Finding) -> String {
    let table = finding.table.as_ref();
    let table = table.map_or_else(String::new, |table| format!(", table {table}"));
    let Finding {
        shard,
        problem,
        remedy,
        ..
    } = finding;
    format!("shard {shard}{table}: {problem} ({remedy})")
}

/// A shard has no number, by which its sequences would differ from the others'.
fn numberless(error: &numbers::Error) -> Trouble {
    match error {
        numbers::Error::Store(_) | numbers::Error::Busy => Trouble::passing(error_chain(error)),
        numbers::Error::Unreadable(_) | numbers::Error::Exhausted => {
            Trouble::lasting(error_chain(error))
        }
    }
}
