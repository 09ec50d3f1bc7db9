//! Runs one statement of an API request: routes it, borrows a backend, and gives its rows.
//!
//! Parameters travel as text, so that the shard reads them as it would read them from psql. Most
//! need no knowledge of their types, and then the whole request is one round trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use platform::TaskGroup;
use tokio::time::Instant;
use topology::{Consistency, Epoch, Snapshot};
use wire::backend::{CommandComplete, parameter_description, tag};
use wire::frame::Frame;
use wire::frontend::{TargetKind, encode};
use wire::limits::MAX_PARAMETERS;

use crate::cache::DEFAULT_SEARCH_PATH;
use crate::core::Core;
use crate::error::Error;
use crate::exec::exchange::{Exchange, Terms};
use crate::exec::param::{Param, Unrouted};
use crate::exec::rows::{Column, Rows, Summary, count, read_columns};
use crate::exec::{admission, columns, everywhere, hinted};
use crate::hold;
use crate::metrics::{Decision, route_of};
use crate::moving;
use crate::pool::settings::Settings;
use crate::pool::{self, Pool};
use crate::query::{Class, Statement, SyntaxError};
use crate::replica::{self, Permit};
use crate::route::{self, Plan, Refusal, Rights, Target};
use crate::scatter;
use crate::scatter::exec::{self as scatter_exec, Arguments, Failure, Late, Leases, Values};
use crate::view::Serving;

/// One statement as an API was given it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// SQL with parameters as $1, $2, ...
    pub sql: String,
    /// The parameters, in order.
    pub params: Vec<Param>,
    /// The key that the statement works on, in its text form; read as the key type of the
    /// statement's tables, or of the group where the statement names no sharded table.
    pub shard_key: Option<String>,
    /// The table group; none is the default group.
    pub group: Option<String>,
    /// How long the shard may take in all.
    pub timeout: Option<Duration>,
    /// How fresh a read must be.
    pub consistency: Consistency,
    /// What its sender may do.
    pub rights: Rights,
}

impl Request {
    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        let params: usize = self.params.iter().map(Param::bytes).sum();
        let key = self.shard_key.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.sql.len() + key + params
    }
}

/// Runs requests. Shared by the fronts that do not speak the Postgres protocol.
#[derive(Debug)]
pub struct Executor {
    core: Arc<Core>,
    tasks: TaskGroup,
    settings: Arc<Settings>,
    /// Those of whoever may only read.
    reading: Arc<Settings>,
    /// Which shard is tried first for what any shard can answer.
    turn: AtomicUsize,
}

impl Executor {
    /// An executor whose unfinished business, such as stopping abandoned statements, belongs to
    /// `tasks`.
    #[must_use]
    pub fn new(core: Arc<Core>, tasks: TaskGroup) -> Self {
        Self {
            core,
            tasks,
            settings: Arc::new(output_settings()),
            reading: Arc::new(reading_settings()),
            turn: AtomicUsize::new(0),
        }
    }

    /// The parts that are shared with the other fronts.
    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn settings_of(&self, request: &Request) -> &Arc<Settings> {
        if request.rights.may_write {
            &self.settings
        } else {
            &self.reading
        }
    }

    /// Begins a statement and gives its rows.
    ///
    /// Dropped before the end, the future or the rows stop the statement on its shard.
    ///
    /// # Errors
    /// Nothing has happened, unless the error's kind is `OutcomeUnknown`.
    pub async fn execute(&self, request: Request) -> Result<Rows, Error> {
        let begun = self.begin_in_turn(request).await;
        begun.inspect_err(|error| count(&self.core, error))
    }

    /// Waits while the statement's keys are being moved; then it is routed anew.
    async fn begin_in_turn(&self, request: Request) -> Result<Rows, Error> {
        if request.params.len() > MAX_PARAMETERS {
            return Err(too_many(request.params.len()).into());
        }
        self.core.view.begun().await;
        let mut since = None;
        loop {
            let serving = self.core.view.load();
            let routed = serving.snapshot.epoch();
            let begun = match self.with_columns(&serving, &request).await? {
                Some(named) => self.begin(serving, &named).await,
                None => self.begin(serving, &request).await,
            };
            let error = match begun {
                Err(error) => error,
                Ok(rows) => return Ok(rows),
            };
            let since = *since.get_or_insert_with(Instant::now);
            match error {
                Error::Hold(hold::Error::Held(held)) => {
                    let waited = self.core.holding.wait(&held, request.bytes(), since);
                    waited.await?;
                }
                // The topology that sent it there is not in force any more.
                Error::Pool(pool::Error::Retired { .. })
                    if since.elapsed() < self.core.config.sharding.failover_wait => {}
                Error::Moving(error) if error.may_be_repeated() => {
                    let waited = self.core.moving.wait(routed, request.bytes(), since);
                    waited.await?;
                }
                error => return Err(error),
            }
        }
    }

    /// The request with the columns of each INSERT that leaves them out; none when none does.
    async fn with_columns(
        &self,
        serving: &Serving,
        request: &Request,
    ) -> Result<Option<Request>, Error> {
        let planned = self.core.cache.plan(&request.sql, &serving.snapshot);
        let planned = planned.map_err(|error| not_sql(&error))?;
        let plans = planned.plans(&serving.snapshot);
        if let Some(sql) = route::with_views(&request.sql, &plans.plans) {
            let viewed = Request {
                sql,
                ..request.clone()
            };
            let named = Box::pin(self.with_columns(serving, &viewed)).await?;
            return Ok(Some(named.unwrap_or(viewed)));
        }
        let named = columns::name(&self.core, serving, &request.sql, &plans.plans).await?;
        Ok(named.map(|sql| Request {
            sql,
            ..request.clone()
        }))
    }

    async fn begin(&self, serving: Arc<Serving>, request: &Request) -> Result<Rows, Error> {
        let snapshot = &serving.snapshot;
        let planned = self.core.cache.plan(&request.sql, snapshot);
        let planned = planned.map_err(|error| not_sql(&error))?;
        let statement = admission::only_statement(&planned.analysis)?;
        request
            .rights
            .check(statement, (snapshot, &DEFAULT_SEARCH_PATH))?;
        // So may a function that it calls.
        let writes = admission::may_write(&statement.class) || !statement.functions.is_empty();
        let plans = planned.plans(snapshot);
        let plan = plans.plans.first().ok_or(Error::NoShard)?;
        let params = Unrouted::new(&request.params);
        if let Plan::Bound(_) = plan {
            return Err(of_a_connection().into());
        }
        let planned = (statement, plan);
        if let Some(answer) = hinted::explanation(request, planned, &params, snapshot) {
            return Ok(Rows::explaining(Arc::clone(&self.core), &answer, snapshot));
        }
        let target = match plan {
            // Its comments say what the new table is registered as.
            Plan::Everywhere if statement.hints.registers() => Target::Everywhere,
            _ => match hinted::target(request, planned, &params, snapshot) {
                Ok(target) => target,
                Err(Error::Refused(refusal)) => {
                    return Box::pin(self.scatter(&serving, request, planned, refusal)).await;
                }
                Err(error) => return Err(error),
            },
        };
        let terms = Terms {
            tasks: self.tasks.clone(),
            writes: writes || plan_writes(plan),
            route: route_of(target),
            limit: request
                .timeout
                .unwrap_or(self.core.config.http.write_timeout),
            grace: self.core.config.sharding.connect_timeout,
            slow: self.core.config.observability.slow_query,
        };
        let asked = replica::asked_for(&statement.hints).unwrap_or(request.consistency);
        let permit = Permit::of(statement, plan, asked);
        if let Some(exchange) = self.borrow_replica(&serving, target, permit, &terms).await {
            self.core.metrics.decided(Decision::Replica);
            return self.run(exchange, request, None).await;
        }
        let routed = Some(snapshot.epoch());
        if target != Target::Everywhere {
            self.core.metrics.routed(snapshot, target);
        }
        let exchange = match target {
            Target::Everywhere => {
                let change = self.change(statement, request, snapshot)?;
                takes_no_parameters(request)?;
                return self.run_everywhere(serving, change, terms.limit).await;
            }
            Target::Shard { index, token } => {
                let checked = self.core.holding.check(snapshot, token);
                checked.map_err(hold::Error::Held)?;
                let pool = serving.primary(index).ok_or(Error::NoShard)?;
                self.borrow(pool, terms).await?
            }
            Target::Any | Target::Catalog => self.borrow_any(&serving, target, &terms).await?,
        };
        self.run(exchange, request, routed).await
    }

    /// What a schema change is to do on the shards.
    fn change(
        &self,
        statement: &Statement,
        request: &Request,
        snapshot: &Snapshot,
    ) -> Result<everywhere::Change, Refusal> {
        let setting = route::Setting {
            snapshot,
            search_path: &DEFAULT_SEARCH_PATH,
            new_tables: self.core.config.sharding.new_tables,
        };
        let only = std::slice::from_ref(statement);
        everywhere::Change::of(only, &request.sql, &setting)
    }

    /// Asks all shards, where one by itself can't answer.
    async fn scatter(
        &self,
        serving: &Serving,
        request: &Request,
        (statement, plan): (&Statement, &Plan),
        refusal: Refusal,
    ) -> Result<Rows, Error> {
        let hinted = request.shard_key.is_some() || !statement.hints.is_empty();
        let data = match &statement.class {
            Class::Select(_) => scatter::candidate((statement, hinted), plan, &refusal),
            _ => None,
        };
        let Some(data) = data else {
            return Err(refusal.into());
        };
        scatter_exec::check_holds(&self.core, serving)?;
        let limit = request
            .timeout
            .unwrap_or(self.core.config.http.write_timeout);
        let values = |types: &[u32]| values_of(&request.params, types);
        let wanted = scatter_exec::Request {
            text: statement.text(&request.sql),
            data,
            search_path: &DEFAULT_SEARCH_PATH,
            arguments: &Arguments::default(),
            until: Some((Instant::now() + limit, limit)),
            copying: None,
            late: Some(Late(&values)),
        };
        let grace = self.core.config.sharding.connect_timeout;
        let borrow = async |pool: &Pool| pool.checkout().await.map_err(Error::Pool);
        let pools = serving.active();
        let answer = async {
            let leases = Leases::borrow(pools, self.settings_of(request), grace, borrow).await?;
            scatter_exec::begin(&self.core, serving, leases, wanted).await
        };
        let answer = answer.await.map_err(Failure::into_error);
        let answer = answer.map_err(|error| match error {
            Error::Refused(mut own) if own.hint.is_none() && own.sqlstate == refusal.sqlstate => {
                own.hint.clone_from(&refusal.hint);
                own.into()
            }
            error => error,
        })?;
        Ok(Rows::scattered(Arc::clone(&self.core), Box::new(answer)))
    }

    async fn borrow(&self, pool: &Pool, terms: Terms) -> Result<Box<Exchange>, Error> {
        let lease = pool.checkout().await.map_err(Error::Pool)?;
        let exchange = Exchange::new(lease, pool.shard().clone(), terms);
        Ok(Box::new(exchange))
    }

    /// Borrows from a replica, where there is a permit and one that is fit.
    async fn borrow_replica(
        &self,
        serving: &Serving,
        target: Target,
        permit: Option<Permit>,
        terms: &Terms,
    ) -> Option<Box<Exchange>> {
        let (permit, metrics) = (permit?, &self.core.replicas);
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let borrowed = serving.borrow_replica(target, permit, first, metrics);
        let (lease, shard) = borrowed.await?;
        Some(Box::new(Exchange::new(lease, shard, terms.clone())))
    }

    /// Borrows from whichever shard has a backend, beginning with another one each time.
    async fn borrow_any(
        &self,
        serving: &Serving,
        target: Target,
        terms: &Terms,
    ) -> Result<Box<Exchange>, Error> {
        let (shards, pools): (Vec<_>, Vec<&Pool>) = serving.active().unzip();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = serving.beginning(target, shards, turn) % pools.len().max(1);
        let (before, after) = pools.split_at(first);
        let mut last = Error::NoShard;
        for pool in after.iter().chain(before) {
            match self.borrow(pool, terms.clone()).await {
                Ok(exchange) => return Ok(exchange),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Runs a statement that was `routed` by a topology's keys, if it was.
    async fn run(
        &self,
        mut exchange: Box<Exchange>,
        request: &Request,
        routed: Option<Epoch>,
    ) -> Result<Rows, Error> {
        let settings = self.settings_of(request);
        let mut out = BytesMut::new();
        let establishing = exchange.establish(settings, &mut out)?;
        let sql = exchange.commented(&request.sql);
        encode::parse(&mut out, b"", sql.as_bytes(), &[]).map_err(|error| unspeakable(&error))?;
        encode::describe(&mut out, TargetKind::Statement, b"")
            .map_err(|error| unspeakable(&error))?;
        let at_once = !request.params.iter().any(Param::needs_type);
        if at_once {
            bind(&mut out, &request.params, &[])?;
        } else {
            encode::flush(&mut out);
        }
        self.send(&mut exchange, (out, at_once), routed).await?;
        if establishing {
            exchange.established(settings).await?;
        }
        let described = describe(&mut exchange, at_once).await?;
        if !at_once {
            let mut out = BytesMut::new();
            if let Err(error) = bind(&mut out, &request.params, &described.parameter_types) {
                exchange.withdraw().await;
                return Err(error);
            }
            self.send(&mut exchange, (out, true), routed).await?;
        }
        if exchange.writes() {
            // What is refused now can be run again, which it can't be once the answer has begun.
            let begun = exchange.begun().await;
            begun.inspect_err(|error| self.note_refusal(error))?;
        }
        let core = Arc::clone(&self.core);
        Ok(Rows::streaming(core, exchange, described.columns))
    }

    /// Sends messages; those that execute something only if the topology is still the one that it
    /// was routed by.
    async fn send(
        &self,
        exchange: &mut Exchange,
        (out, executes): (BytesMut, bool),
        routed: Option<Epoch>,
    ) -> Result<(), Error> {
        let (true, Some(routed)) = (executes, routed) else {
            return exchange.send(out, executes).await;
        };
        let Some(leave) = self.core.view.leave(routed) else {
            exchange.withdraw().await;
            return Err(moving::Error::Outdated.into());
        };
        let sent = exchange.send(out, executes).await;
        drop(leave);
        sent
    }

    /// Counts what a guard has said, of a statement that is run again.
    fn note_refusal(&self, error: &Error) {
        if let Error::Moving(moving::Error::Moved { code }) = error {
            self.core.moving.refused(code, true);
        }
    }

    /// Runs in a task of its own: a client that goes away must not leave a schema change on some
    /// of the shards.
    async fn run_everywhere(
        &self,
        serving: Arc<Serving>,
        change: everywhere::Change,
        limit: Duration,
    ) -> Result<Rows, Error> {
        let (core, settings) = (Arc::clone(&self.core), Arc::clone(&self.settings));
        let change = async move {
            everywhere::run_within(&core, &serving, &settings, &change, Some(limit)).await
        };
        let ended = self.tasks.spawn("schema change", change).await;
        let answer = match ended {
            Ok(Ok(answer)) => answer,
            Ok(Err(everywhere::Failure::Own(error))) => return Err(error),
            Ok(Err(everywhere::Failure::Shard(frame))) => {
                return Err(everywhere::told(&frame));
            }
            Err(_) => return Err(Error::ShuttingDown),
        };
        Ok(Rows::everywhere(
            Arc::clone(&self.core),
            summary_of(&answer),
        ))
    }
}

/// The text forms that the APIs promise, and who is asking, whatever the servers' own settings are. What values mean
/// on the way in (time zone, order of day and month) stays the servers'.
fn output_settings() -> Settings {
    let mut settings = Settings::default();
    settings.insert_value("application_name", "sharding-router");
    settings.insert_value("DateStyle", "ISO");
    settings.insert_value("IntervalStyle", "iso_8601");
    settings.insert_value("bytea_output", "hex");
    settings.insert_value("extra_float_digits", "1");
    settings
}

/// The same, in which PostgreSQL refuses what changes anything.
fn reading_settings() -> Settings {
    let mut settings = output_settings();
    settings.insert_value("default_transaction_read_only", "on");
    settings
}

/// Parameters as texts of these types.
fn values_of(params: &[Param], types: &[u32]) -> Result<Values, Refusal> {
    let mut values = Values::with_capacity(params.len());
    for (index, param) in params.iter().enumerate() {
        let type_oid = types.get(index).copied().unwrap_or(0);
        let text = param.to_text(type_oid);
        let text = text.map_err(|invalid| invalid.refusal(index))?;
        let bytes = text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        values.push((wire::Format::Text, bytes));
    }
    Ok(values)
}

fn of_a_connection() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message:
            "the statement leaves something with a connection, and a request has none to itself"
                .to_owned(),
        hint: Some("send it in a session of the Postgres front".to_owned()),
    }
}

fn plan_writes(plan: &Plan) -> bool {
    match plan {
        Plan::Key { writes, .. } | Plan::Any { writes } | Plan::NeedsHint { writes, .. } => *writes,
        Plan::Bound(_) | Plan::Everywhere | Plan::NeedsColumns { .. } | Plan::NeedsViews { .. } => {
            true
        }
        Plan::Catalog | Plan::Home(_) | Plan::Refused(_) => false,
    }
}

struct Described {
    parameter_types: Vec<u32>,
    columns: Vec<Column>,
}

/// Reads the answers to Parse and Describe.
async fn describe(exchange: &mut Exchange, synced: bool) -> Result<Described, Error> {
    let mut parameter_types = Vec::new();
    loop {
        let message = exchange.receive().await?;
        let columns = match message.tag() {
            tag::PARSE_COMPLETE | tag::NOTICE_RESPONSE => continue,
            tag::PARAMETER_DESCRIPTION => {
                let Ok(types) = parameter_description(message.body()) else {
                    return Err(exchange.surprise(&message));
                };
                parameter_types = types.iter().collect();
                continue;
            }
            tag::NO_DATA => Some(Vec::new()),
            tag::ROW_DESCRIPTION => read_columns(&message),
            tag::ERROR_RESPONSE => return Err(exchange.fail_with(&message, !synced).await),
            _ => None,
        };
        let Some(columns) = columns else {
            return Err(exchange.surprise(&message));
        };
        return Ok(Described {
            parameter_types,
            columns,
        });
    }
}

/// Appends Bind, Execute and Sync. Without types, all values must be of those that need none.
fn bind(out: &mut BytesMut, params: &[Param], types: &[u32]) -> Result<(), Error> {
    let mut values = Vec::with_capacity(params.len());
    for (index, param) in params.iter().enumerate() {
        let type_oid = types.get(index).copied().unwrap_or(0);
        let text = param.to_text(type_oid);
        values.push(text.map_err(|invalid| Error::Refused(invalid.refusal(index)))?);
    }
    let values: Vec<Option<&[u8]>> = values
        .iter()
        .map(|value| value.as_ref().map(|text| text.as_bytes()))
        .collect();
    encode::bind(out, b"", b"", &[], &values, &[]).map_err(|error| unspeakable(&error))?;
    encode::execute(out, b"", 0).map_err(|error| unspeakable(&error))?;
    encode::sync(out);
    Ok(())
}

/// The summary of an answer that was kept as frames.
fn summary_of(mut frames: &[u8]) -> Summary {
    let mut summary = Summary::default();
    while let Ok(Some(frame)) = Frame::parse(frames, usize::MAX) {
        if frame.tag() == tag::COMMAND_COMPLETE
            && let Ok(complete) = CommandComplete::decode(frame.body())
        {
            summary.command_tag = complete.tag.to_lossy().into_owned();
            summary.row_count = complete.rows().unwrap_or(0);
        }
        frames = frames.get(frame.bytes().len()..).unwrap_or_default();
    }
    summary
}

fn not_sql(error: &SyntaxError) -> Refusal {
    Refusal {
        sqlstate: error.sqlstate(),
        message: error.to_string(),
        hint: None,
    }
}

fn takes_no_parameters(request: &Request) -> Result<(), Refusal> {
    if request.params.is_empty() {
        return Ok(());
    }
    let message = "a statement that runs on every shard takes no parameters";
    Err(Refusal::unsupported(message).hint("write the values into the statement"))
}

fn too_many(count: usize) -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!("{count} parameters are more than the limit of {MAX_PARAMETERS}"),
        hint: None,
    }
}

fn unspeakable(error: &wire::EncodeError) -> Error {
    Error::Protocol(error.to_string())
}
