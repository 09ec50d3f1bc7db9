//! Runs planned queries: borrows a backend of each shard, asks all of them at once, and hands out
//! rows as they are wanted.
//!
//! Nothing is read ahead of what is asked for beyond the socket's buffers, so that a slow client
//! slows the shards down and memory does not grow with the result.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use wire::Format;
use wire::backend::{RowDescription, encode};

use crate::core::Core;
use crate::error::Error;
use crate::exec::error_of;
use crate::hold;
use crate::moving;
use crate::query::TableRef;
use crate::route::Refusal;
use crate::scatter::plan::around::Copying;
use crate::scatter::plan::sql::{Hole, ident};
use crate::scatter::plan::{Bound, Finish, Names, Order, Output, Program, either, plan};
use crate::view::Serving;

mod ask;
mod leases;
mod merge;
mod partial;
#[cfg(test)]
mod tests;

pub use leases::Leases;

use ask::{Described, Question};
use merge::{Key, Merge};
use partial::Partial;

/// Why a query has no answer, or no more of it.
#[derive(Debug, Clone)]
pub enum Failure {
    /// A shard refused it: its ErrorResponse as it came.
    Shard(Bytes),
    /// The router's own words.
    Own(Error),
}

impl Failure {
    /// It for those who do not get a shard's bytes.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Own(error) => error,
            Self::Shard(frame) => {
                error_of(frame.get(wire::frame::HEADER_BYTES..).unwrap_or_default())
            }
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
        Self::Own(Error::Refused(refusal))
    }
}

impl From<wire::EncodeError> for Failure {
    fn from(error: wire::EncodeError) -> Self {
        Self::Own(Error::Protocol(error.to_string()))
    }
}

/// What is asked besides the text.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    /// The types that the client declared; 0 leaves one open.
    pub types: Vec<u32>,
    /// The values and their formats; none is NULL.
    pub values: Vec<(Format, Option<Bytes>)>,
    /// The formats of the result: none, one for all, or one for each column.
    pub results: Vec<Format>,
}

impl Arguments {
    /// The format of a result's column.
    fn result(&self, at: usize) -> Format {
        match self.results.as_slice() {
            [] => Format::Text,
            [all] => *all,
            each => each.get(at).copied().unwrap_or_default(),
        }
    }
}

/// A query that is being answered.
#[derive(Debug)]
pub struct Answer {
    leases: Leases,
    /// The heading: a RowDescription.
    heading: Bytes,
    source: Source,
    returned: u64,
    ended: bool,
    copies: bool,
}

#[derive(Debug)]
enum Source {
    /// Rows of all shards.
    Merged {
        merge: Box<Merge>,
        skip: u64,
        left: Option<u64>,
        few: bool,
    },
    /// Rows of the first shard, and how many there were in the end.
    Last(u64),
}

/// What an answer is made for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The text of the statement alone.
    pub text: &'a str,
    /// What it reads.
    pub data: &'a crate::query::Data,
    /// Where names without a schema are looked for.
    pub search_path: &'a [&'a str],
    /// Its parameters.
    pub arguments: &'a Arguments,
    /// Until when the shards may take.
    pub until: Option<(Instant, Duration)>,
    /// Set where the rows are copied.
    pub copying: Option<&'a Copying>,
    /// Gives the parameters' values once their types are known.
    pub late: Option<Late<'a>>,
}

/// Gives parameters of these types.
pub type Values = Vec<(Format, Option<Bytes>)>;

/// See [`Request::late`].
#[derive(Clone, Copy)]
pub struct Late<'a>(pub &'a (dyn Fn(&[u32]) -> Result<Values, Refusal> + Sync));

impl std::fmt::Debug for Late<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Late")
    }
}

/// Whether keys are being moved right now, so that a query over all shards has to wait.
///
/// # Errors
/// What to wait for.
pub fn check_holds(core: &Core, serving: &Serving) -> Result<(), Error> {
    let mut holds = serving.snapshot.holds().iter();
    let Some(range) = holds.find_map(|hold| hold.ranges.first()) else {
        return Ok(());
    };
    let checked = core.holding.check(&serving.snapshot, Some(range.last));
    checked.map_err(hold::Error::Held)?;
    // The hold's time is up, and nobody has said on which shard the keys are.
    Err(moving::Error::Outdated.into())
}

/// Begins to answer a query.
///
/// # Errors
/// [`Failure`]; nothing has happened. [`moving::Error::Outdated`] is for who can route it anew.
pub async fn begin(
    core: &Core,
    serving: &Serving,
    mut leases: Leases,
    request: Request<'_>,
) -> Result<Answer, Failure> {
    leases.until = request.until;
    let begun = begin_on(core, serving, &mut leases, request).await;
    match begun {
        Ok((heading, source)) => Ok(Answer {
            leases,
            heading,
            source,
            returned: 0,
            ended: false,
            copies: request.copying.is_some(),
        }),
        Err(failure) => {
            leases.wind_down().await;
            Err(failure)
        }
    }
}

async fn begin_on(
    core: &Core,
    serving: &Serving,
    leases: &mut Leases,
    request: Request<'_>,
) -> Result<(Bytes, Source), Failure> {
    let snapshot = (&*serving.snapshot, request.search_path);
    let program = either(request.text, request.data, snapshot)?;
    let described = ask::describe(leases, &program.original, &request.arguments.types).await?;
    let mut arguments = request.arguments.clone();
    if let Some(Late(values)) = request.late {
        arguments.values = values(&described.parameters)?;
    }
    let mut work = Work {
        core,
        serving,
        copying: request.copying,
        arguments,
        program,
        described,
    };
    loop {
        let outcome = work.run(leases).await;
        let Err(Failure::Shard(error)) = &outcome else {
            return outcome;
        };
        if !ask::is_unknown_column(error) || work.program.finish_is_rows() {
            return outcome;
        }
        // No table has a column of a name in GROUP BY: it is an output's.
        let other = plan(request.text, request.data, snapshot, Names::Outputs)?;
        if other == work.program {
            return outcome;
        }
        leases.settle().await?;
        work.program = other;
    }
}

/// The query that COPY of a table stands for.
///
/// # Errors
/// There is no such table, or it is not a plain one.
pub async fn table_query(
    leases: &mut Leases,
    table: &TableRef,
    columns: &[String],
) -> Result<String, Failure> {
    ask::table_query(leases, table, columns).await
}

/// What EXPLAIN says: the router's part, and each shard's plan. `prefix` is what stands before the
/// query.
///
/// # Errors
/// [`Failure`].
pub async fn explain(
    serving: &Serving,
    leases: &mut Leases,
    request: Request<'_>,
    prefix: &str,
) -> Result<Vec<String>, Failure> {
    leases.until = request.until;
    let explained = explain_on(serving, leases, request, prefix).await;
    leases.wind_down().await;
    explained
}

async fn explain_on(
    serving: &Serving,
    leases: &mut Leases,
    request: Request<'_>,
    prefix: &str,
) -> Result<Vec<String>, Failure> {
    let snapshot = (&*serving.snapshot, request.search_path);
    let program = either(request.text, request.data, snapshot)?;
    let described = ask::describe(leases, &program.original, &[]).await?;
    let mut lines = vec![format!("Scatter over {} shards", leases.len())];
    lines.extend(program.describe().iter().map(|line| format!("  {line}")));
    let wanted = match &program.finish {
        Finish::Rows {
            limit: Bound::Number(limit),
            offset,
            ..
        } => match offset {
            Bound::Number(offset) => limit.checked_add(*offset),
            Bound::Open => Some(*limit),
            Bound::Parameter(_) => None,
        },
        Finish::Rows { .. } | Finish::Distinct { .. } | Finish::Last { .. } => None,
    };
    let text = program.shards.fill(|hole| match hole {
        Hole::Own(_) => "true".to_owned(),
        Hole::Limit => wanted.map_or_else(|| "ALL".to_owned(), |it| it.to_string()),
        Hole::Output(at) => {
            let column = described.columns.get(at.wrapping_sub(1));
            column.map_or_else(|| "NULL".to_owned(), |column| ident(&column.name))
        }
        Hole::Partial | Hole::Type(_) | Hole::Average(..) | Hole::Widen(_) => String::new(),
    });
    let question = Question::new(&format!("{prefix}{text}"), &[], &[], &[])?;
    leases.send_all(&question.bytes).await?;
    for at in 0..leases.len() {
        let shard = leases
            .shard(at)
            .and_then(|index| serving.snapshot.shard(index));
        let shard = shard.map_or("none", |shard| shard.id.as_str());
        lines.push(format!("  Shard {shard}:"));
        let plan = ask::lines(leases, at).await?;
        lines.extend(plan.iter().map(|line| format!("    {line}")));
    }
    Ok(lines)
}

/// One attempt at a query.
struct Work<'a> {
    core: &'a Core,
    serving: &'a Serving,
    copying: Option<&'a Copying>,
    arguments: Arguments,
    program: Program,
    described: Described,
}

impl Work<'_> {
    async fn run(&self, leases: &mut Leases) -> Result<(Bytes, Source), Failure> {
        match &self.program.finish {
            Finish::Rows {
                order,
                limit,
                offset,
            } => {
                let limit = self.bound(*limit, "LIMIT", "2201W")?;
                let offset = self.bound(*offset, "OFFSET", "2201X")?.unwrap_or(0);
                self.rows(leases, order, limit, offset).await
            }
            Finish::Distinct { order, tail } => {
                let mut by = Vec::with_capacity(order.len());
                for (output, order) in order {
                    by.push(format!("p.c{} {}", self.output(output)?, order.sql()));
                }
                let outputs = partial::list(self.described.columns.len());
                let order = partial::order_by(&by);
                let last = format!(
                    "SELECT DISTINCT {outputs} FROM {} p{order}{tail}",
                    Hole::Partial
                );
                self.gather(leases, &last, &[], None).await
            }
            Finish::Last { sql, sums } => self.gather(leases, &sql.0, sums, None).await,
        }
    }

    fn output(&self, output: &Output) -> Result<usize, Refusal> {
        match output {
            Output::At(at) => Ok(*at),
            Output::Named(name) => {
                let columns = &self.described.columns;
                let found = columns.iter().position(|column| column.name == *name);
                found.ok_or_else(|| unsupported("ORDER BY an expression beside DISTINCT"))
            }
        }
    }

    /// The number that LIMIT or OFFSET is.
    fn bound(
        &self,
        bound: Bound,
        word: &str,
        sqlstate: &'static str,
    ) -> Result<Option<u64>, Failure> {
        let number = match bound {
            Bound::Open => return Ok(None),
            Bound::Number(number) => number,
            Bound::Parameter(index) => {
                let index = usize::from(index);
                let value = self.arguments.values.get(index);
                let (format, value) = value.ok_or_else(|| no_parameter(index))?;
                let Some(value) = value else {
                    return Ok(None);
                };
                let read = partial::read_integer(*format, value);
                read.ok_or_else(|| unsupported(&format!("this parameter as {word}")))?
            }
        };
        u64::try_from(number).map(Some).map_err(|_| {
            Failure::from(Refusal {
                sqlstate,
                message: format!("{word} must not be negative"),
                hint: None,
            })
        })
    }

    /// What a shard is asked; `widened` are the columns that sum up floats.
    fn text(&self, own: &dyn Fn(&str) -> String, limit: Option<u64>, widened: &[usize]) -> String {
        self.program.shards.fill(|hole| match hole {
            Hole::Own(leaf) => self
                .program
                .keys
                .get(leaf)
                .map_or_else(String::new, |key| own(key)),
            Hole::Limit => limit.map_or_else(|| "ALL".to_owned(), |limit| limit.to_string()),
            Hole::Output(at) => {
                let column = self.described.columns.get(at.wrapping_sub(1));
                column.map_or_else(|| "NULL".to_owned(), |column| ident(&column.name))
            }
            Hole::Widen(column) if widened.contains(&column) => "pg_catalog.float8".to_owned(),
            Hole::Widen(_) | Hole::Partial | Hole::Type(_) | Hole::Average(..) => String::new(),
        })
    }

    /// Rows as the shards give them.
    async fn rows(
        &self,
        leases: &mut Leases,
        order: &[Order],
        limit: Option<u64>,
        offset: u64,
    ) -> Result<(Bytes, Source), Failure> {
        let columns = self.described.columns.len();
        let wanted = limit.and_then(|limit| limit.checked_add(offset));
        let wanted = wanted.filter(|wanted| i64::try_from(*wanted).is_ok());
        let mut keys = Vec::with_capacity(order.len());
        if self.copying.is_some() && (!order.is_empty() || wanted.is_some() || offset > 0) {
            return self.sorted(leases, order, (limit, offset, wanted)).await;
        }
        if !order.is_empty() {
            let probe = self.text(&|_| "true".to_owned(), wanted, &[]);
            let types = &self.described.parameters;
            let parts = ask::describe(leases, &probe, types).await?;
            for (at, order) in (columns..).zip(order) {
                let column = parts
                    .columns
                    .get(at)
                    .ok_or_else(|| unsupported("this ORDER BY"))?;
                keys.push((column.type_oid, *order));
            }
            let kinds = ask::kinds(
                leases,
                &probe,
                &self.described,
                &self.arguments,
                (columns, &keys),
            );
            match kinds.await? {
                Some(kinds) => {
                    let known = kinds.into_iter().zip(order);
                    let keys: Vec<Key> = known
                        .map(|(kind, order)| Key {
                            kind,
                            order: *order,
                        })
                        .collect();
                    return self.merged(leases, keys, (limit, offset, wanted)).await;
                }
                // Only PostgreSQL knows the order.
                None => return self.sorted(leases, order, (limit, offset, wanted)).await,
            }
        }
        self.merged(leases, Vec::new(), (limit, offset, wanted))
            .await
    }

    async fn merged(
        &self,
        leases: &mut Leases,
        keys: Vec<Key>,
        (limit, offset, wanted): (Option<u64>, u64, Option<u64>),
    ) -> Result<(Bytes, Source), Failure> {
        if let Some(copying) = self.copying {
            let heading = self
                .begin_all(leases, (wanted, Some(copying)), &[], &[])
                .await?;
            let source = Source::Merged {
                merge: Box::new(Merge::copying(copying.header, copying.binary)),
                skip: 0,
                left: None,
                few: false,
            };
            return Ok((heading, source));
        }
        let columns = self.described.columns.len();
        let mut formats: Vec<Format> = (0..columns).map(|at| self.arguments.result(at)).collect();
        formats.extend(keys.iter().map(|_| Format::Binary));
        let heading = self
            .begin_all(leases, (wanted, None), &[], &formats)
            .await?;
        let heading = self.heading(&heading)?;
        let source = Source::Merged {
            merge: Box::new(Merge::new(keys, columns)),
            skip: offset,
            left: limit,
            few: wanted.is_some_and(|wanted| wanted <= leases::FEW_ROWS),
        };
        Ok((heading, source))
    }

    /// Rows in an order that only PostgreSQL knows: one shard sorts the rows of all.
    async fn sorted(
        &self,
        leases: &mut Leases,
        order: &[Order],
        (limit, offset, wanted): (Option<u64>, u64, Option<u64>),
    ) -> Result<(Bytes, Source), Failure> {
        let columns = self.described.columns.len();
        let by = (columns..).zip(order);
        let by: Vec<String> = by
            .map(|(at, order)| format!("p.c{at} {}", order.sql()))
            .collect();
        let mut last = format!(
            "SELECT {} FROM {} p{}",
            partial::list(columns),
            Hole::Partial,
            partial::order_by(&by)
        );
        if let Some(limit) = limit {
            last.push_str(&format!(" LIMIT {limit}"));
        }
        if offset > 0 {
            last.push_str(&format!(" OFFSET {offset}"));
        }
        self.gather(leases, &last, &[], wanted).await
    }

    /// A query over the rows of all shards.
    async fn gather(
        &self,
        leases: &mut Leases,
        last: &str,
        sums: &[usize],
        wanted: Option<u64>,
    ) -> Result<(Bytes, Source), Failure> {
        let mut widened = Vec::new();
        let types = &self.described.parameters;
        if !sums.is_empty() {
            let probe = self.text(&|_| "true".to_owned(), wanted, &[]);
            let parts = ask::describe(leases, &probe, types).await?;
            let is_real = |at: &usize| {
                let column = parts.columns.get(*at);
                column.is_some_and(|column| column.type_oid == partial::FLOAT4)
            };
            widened = sums.iter().copied().filter(is_real).collect();
        }
        let heading = self
            .begin_all(leases, (wanted, None), &widened, &[])
            .await?;
        let description = RowDescription::decode(heading.get(5..).unwrap_or_default());
        let description = description.map_err(|_| unsupported("this result"))?;
        let types: Vec<u32> = description
            .columns()
            .map(|column| column.type_oid)
            .collect();
        let mut rows = Partial::new(types.len());
        let mut all = Merge::new(Vec::new(), types.len());
        while let Some(row) = all.next(leases).await? {
            rows.add(&row)?;
        }
        leases.give_back_others();
        let probe = self.text(&|_| "true".to_owned(), wanted, &widened);
        let named = ask::names(leases, &probe, &self.described, &self.arguments, &types);
        let names = named.await?;
        let own = self.described.parameters.len();
        if let Some(copying) = self.copying {
            let sql = partial::fill(last, &rows.literal_source(&names), &types, &names);
            let question = Question::new(&copying.of(&sql), &[], &[], &[])?;
            let heading = ask::begin_last(leases, question).await?;
            return Ok((heading, Source::Last(0)));
        }
        let sql = partial::fill(last, &rows.source(own, &names), &types, &names);
        let mut arguments = self.arguments.clone();
        let mut types = self.described.parameters.clone();
        for values in rows.into_arrays() {
            types.push(partial::TEXT_ARRAY);
            arguments.values.push((Format::Text, Some(values)));
        }
        let columns = self.described.columns.len();
        let formats: Vec<Format> = (0..columns).map(|at| self.arguments.result(at)).collect();
        let question = Question::new(&sql, &types, &arguments.values, &formats)?;
        let heading = ask::begin_last(leases, question).await?;
        Ok((self.heading(&heading)?, Source::Last(0)))
    }

    /// Asks all shards, and waits until each has begun to answer; gives what they call their columns.
    async fn begin_all(
        &self,
        leases: &mut Leases,
        (wanted, copying): (Option<u64>, Option<&Copying>),
        widened: &[usize],
        formats: &[Format],
    ) -> Result<Bytes, Failure> {
        let snapshot = &self.serving.snapshot;
        let around = |text: String| match copying {
            Some(copying) => copying.of(&text),
            None => text,
        };
        let whole = around(self.text(&|_| super::own::all(), wanted, widened));
        let values = &self.arguments.values;
        let types = &self.described.parameters;
        let question = Question::new(&whole, types, values, formats)?;
        let leave = || {
            let leave = self.core.view.leave(snapshot.epoch());
            leave.ok_or(Failure::Own(moving::Error::Outdated.into()))
        };
        let held = leave()?;
        leases.send_all(&question.bytes).await?;
        drop(held);
        let mut heading: Option<Bytes> = None;
        for at in 0..leases.len() {
            let begun = match ask::begun(leases, at).await {
                Err(Failure::Shard(error)) if ask::says(&error, super::own::MOVING) => {
                    leases.settle_one(at).await?;
                    let Some(shard) = leases.shard(at) else {
                        return Err(Error::NoShard.into());
                    };
                    let bounds = super::own::bounds(snapshot, shard);
                    let own = |key: &str| {
                        super::own::ranges(key, self.program.key_type, &bounds, snapshot.epoch())
                    };
                    let text = around(self.text(&own, wanted, widened));
                    let question = Question::new(&text, types, values, formats)?;
                    let held = leave()?;
                    leases.send(at, question.bytes.clone()).await?;
                    drop(held);
                    ask::begun(leases, at).await
                }
                begun => begun,
            };
            let begun = match begun {
                Err(Failure::Shard(error)) if ask::says(&error, super::own::NEWER) => {
                    return Err(Error::from(moving::Error::Outdated).into());
                }
                begun => begun?,
            };
            match &heading {
                None => heading = Some(begun),
                Some(first) if ask::are_alike(first, &begun) => {}
                Some(_) => return Err(differing().into()),
            }
        }
        heading.ok_or_else(|| Error::NoShard.into())
    }

    /// The heading of the answer: what the client's own text is called by a shard, once the types
    /// that come are seen to be those.
    fn heading(&self, coming: &Bytes) -> Result<Bytes, Failure> {
        let description = RowDescription::decode(coming.get(5..).unwrap_or_default());
        let description = description.map_err(|_| unsupported("this result"))?;
        let mut coming = description.columns();
        for column in &self.described.columns {
            let is_same = coming
                .next()
                .is_some_and(|it| it.type_oid == column.type_oid);
            if !is_same {
                return Err(unsupported("a result of these types").into());
            }
        }
        let formats = self.described.columns.iter().enumerate();
        let columns: Vec<_> = formats
            .map(|(at, column)| column.as_wire(self.arguments.result(at)))
            .collect();
        let mut out = BytesMut::new();
        encode::row_description(&mut out, &columns)?;
        Ok(out.freeze())
    }
}

impl Program {
    fn finish_is_rows(&self) -> bool {
        matches!(self.finish, Finish::Rows { .. })
    }
}

impl Answer {
    /// The RowDescription.
    #[must_use]
    pub fn heading(&self) -> &Bytes {
        &self.heading
    }

    /// How many rows were handed out.
    #[must_use]
    pub fn returned(&self) -> u64 {
        self.returned
    }

    /// What follows the last row: the end of the copy, and the command's tag for so many rows.
    pub fn put_end(&self, out: &mut BytesMut, rows: u64) {
        if !self.copies {
            return encode::command_complete(out, &format!("SELECT {rows}"));
        }
        let copied = match &self.source {
            Source::Merged { merge, .. } => merge.completed(),
            Source::Last(completed) => *completed,
        };
        wire::frontend::encode::copy_done(out);
        encode::command_complete(out, &format!("COPY {copied}"));
    }

    /// Whether a row, or the end, is at hand.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        self.ended || self.leases.has_buffered()
    }

    /// The next row as a DataRow; none when there are no more, and then all backends have been
    /// given back. Cancel-safe.
    ///
    /// # Errors
    /// The rows so far are not the whole answer, and there are no more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let row = self.advance().await;
        match &row {
            Ok(Some(_)) => self.returned += 1,
            Ok(None) | Err(_) => {
                self.ended = true;
                self.leases.wind_down().await;
            }
        }
        row
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Failure> {
        match &mut self.source {
            Source::Last(completed) => ask::next_of_last(&mut self.leases, completed).await,
            Source::Merged {
                merge,
                skip,
                left,
                few,
            } => {
                if *left == Some(0) {
                    self.leases.patient = *few;
                    return Ok(None);
                }
                loop {
                    let Some(row) = merge.next(&mut self.leases).await? else {
                        return Ok(None);
                    };
                    if *skip > 0 {
                        *skip -= 1;
                        continue;
                    }
                    if let Some(left) = left {
                        *left -= 1;
                    }
                    return Ok(Some(row));
                }
            }
        }
    }

    /// Stops what the shards are doing.
    pub async fn stop(&mut self) {
        self.ended = true;
        self.leases.wind_down().await;
    }
}

fn unsupported(what: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!("{what} is not supported over several shards"),
        hint: None,
    }
}

fn differing() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "the shards' columns differ in their types".to_owned(),
        hint: Some("compare the tables' definitions on the shards".to_owned()),
    }
}

fn no_parameter(index: usize) -> Refusal {
    Refusal {
        sqlstate: "42P02",
        message: format!("there is no parameter ${}", index + 1),
        hint: None,
    }
}
