//! One attempt at a query: what each shard is asked, and what becomes of the answers.

use bytes::{Bytes, BytesMut};
use wire::Format;
use wire::backend::{RowDescription, encode};
use wire::quote::ident;

use super::ask::{self, Described, Question};
use super::leases::{self, Leases};
use super::merge::{Key, Merge};
use super::partial::{self, Partial};
use super::{Arguments, Failure, Source};
use crate::core::Core;
use crate::error::Error;
use crate::moving;
use crate::route::Refusal;
use crate::scatter::own;
use crate::scatter::plan::around::Copying;
use crate::scatter::plan::sql::{Hole, Sql};
use crate::scatter::plan::{Bound, Finish, Order, Output, Program};
use crate::view::Serving;

/// One attempt at a query.
pub(super) struct Work<'a> {
    pub(super) core: &'a Core,
    pub(super) serving: &'a Serving,
    pub(super) copying: Option<&'a Copying>,
    pub(super) arguments: Arguments,
    pub(super) program: Program,
    pub(super) described: Described,
    /// What is made of its rows before the client gets them.
    pub(super) around: Option<Around>,
}

/// Queries around the one whose rows the shards give.
#[derive(Debug)]
pub(super) struct Around {
    /// Each with the names of the columns that it is given, from the inside out.
    levels: Vec<(Sql, Vec<String>)>,
    /// What the outermost one hands out.
    shown: Described,
}

impl Around {
    /// The text of all of them over the rows of a query.
    fn of(&self, innermost: String) -> String {
        let mut text = innermost;
        for (outer, columns) in &self.levels {
            let columns: Vec<String> = columns.iter().map(|name| ident(name)).collect();
            let columns = columns.join(", ");
            text = outer.fill(|_| format!("(SELECT * FROM ({text}) AS q({columns}))"));
        }
        text
    }
}

impl Work<'_> {
    pub(super) async fn run(&self, leases: &mut Leases) -> Result<(Bytes, Source), Failure> {
        match &self.program.finish {
            Finish::Rows {
                order,
                limit,
                offset,
            } => {
                let limit = self.bound(leases, limit, "LIMIT", "2201W").await?;
                let offset = self.bound(leases, offset, "OFFSET", "2201X").await?;
                let offset = offset.unwrap_or(0);
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
            Finish::Around { inner, outer } => self.nested(leases, inner, outer).await,
        }
    }

    /// A query over what another one makes of the shards' rows.
    async fn nested(
        &self,
        leases: &mut Leases,
        inner: &Program,
        outer: &Sql,
    ) -> Result<(Bytes, Source), Failure> {
        let types = &self.described.parameters;
        let mut described = ask::describe(leases, &inner.original, types).await?;
        described.parameters.clone_from(types);
        let columns = described.columns.iter().map(|column| column.name.clone());
        let columns: Vec<String> = columns.collect();
        if columns.is_empty() {
            return Err(unsupported("a sub-query without columns").into());
        }
        let mut levels = vec![(outer.clone(), columns)];
        levels.extend(self.around.iter().flat_map(|it| it.levels.clone()));
        let work = Work {
            core: self.core,
            serving: self.serving,
            copying: self.copying,
            arguments: self.arguments.clone(),
            program: inner.clone(),
            described,
            around: Some(Around {
                levels,
                shown: self.shown().clone(),
            }),
        };
        Box::pin(work.run(leases)).await
    }

    /// What the client is handed.
    fn shown(&self) -> &Described {
        self.around
            .as_ref()
            .map_or(&self.described, |around| &around.shown)
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
    async fn bound(
        &self,
        leases: &mut Leases,
        bound: &Bound,
        word: &str,
        sqlstate: &'static str,
    ) -> Result<Option<u64>, Failure> {
        let number = match bound {
            Bound::Open => return Ok(None),
            Bound::Number(number) => *number,
            Bound::Computed(text) => {
                let types = &self.described.parameters;
                let number = ask::integer(leases, text, types, &self.arguments).await?;
                let Some(number) = number else {
                    return Ok(None);
                };
                number
            }
            Bound::Parameter(index) => {
                let index = usize::from(*index);
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
        let copies_some =
            self.copying.is_some() && (!order.is_empty() || wanted.is_some() || offset > 0);
        if copies_some || self.around.is_some() {
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
                if column.type_oid == RECORD {
                    return Err(order_by_rows().into());
                }
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
        let whole = |source: &str| {
            let sql = partial::fill(last, source, &types, &names);
            match &self.around {
                Some(around) => around.of(sql),
                None => sql,
            }
        };
        let shown = &self.shown().columns;
        if let Some(copying) = self.copying {
            let sql = whole(&rows.literal_source(&names));
            // What a heading calls the columns.
            let columns: Vec<String> = shown.iter().map(|column| ident(&column.name)).collect();
            let sql = format!("SELECT * FROM ({sql}) AS q({})", columns.join(", "));
            let question = Question::new(&copying.of(&sql), &[], &[], &[])?;
            let heading = ask::begin_last(leases, question).await?;
            return Ok((heading, Source::Last(0)));
        }
        let sql = whole(&rows.source(own, &names));
        let mut arguments = self.arguments.clone();
        let mut types = self.described.parameters.clone();
        for values in rows.into_arrays() {
            types.push(partial::TEXT_ARRAY);
            arguments.values.push((Format::Text, Some(values)));
        }
        let columns = shown.len();
        let formats: Vec<Format> = (0..columns).map(|at| self.arguments.result(at)).collect();
        let question = Question::new(&sql, &types, &arguments.values, &formats)?;
        let begun = ask::begin_last(leases, question).await;
        let heading = begun.map_err(without_keys)?;
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
        let whole = around(self.text(&|_| own::all(), wanted, widened));
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
                Err(Failure::Shard(error)) if ask::says(&error, own::MOVING) => {
                    leases.recover_one(at).await?;
                    let Some(shard) = leases.shard(at) else {
                        return Err(Error::NoShard.into());
                    };
                    let bounds = own::bounds(snapshot, shard);
                    let own = |key: &str| {
                        own::ranges(key, self.program.key_type, &bounds, snapshot.epoch())
                    };
                    let text = around(self.text(&own, wanted, widened));
                    let question = Question::new(&text, types, values, formats)?;
                    let held = leave()?;
                    leases.send(at, question.bytes.clone()).await?;
                    drop(held);
                    match ask::begun(leases, at).await {
                        // The last guard was dropped while its fence was read.
                        Err(Failure::Shard(error)) if is_of_dropped_guard(&error) => {
                            return Err(Error::from(moving::Error::Outdated).into());
                        }
                        begun => begun,
                    }
                }
                begun => begun,
            };
            let begun = match begun {
                Err(Failure::Shard(error)) if ask::says(&error, own::NEWER) => {
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
        for column in &self.shown().columns {
            let is_same = coming
                .next()
                .is_some_and(|it| it.type_oid == column.type_oid);
            if !is_same {
                return Err(unsupported("a result of these types").into());
            }
        }
        let formats = self.shown().columns.iter().enumerate();
        let columns: Vec<_> = formats
            .map(|(at, column)| column.as_wire(self.arguments.result(at)))
            .collect();
        let mut out = BytesMut::new();
        encode::row_description(&mut out, &columns)?;
        Ok(out.freeze())
    }
}

/// Whether an error comes of guards that were dropped between the look at them and their use.
fn is_of_dropped_guard(error: &Bytes) -> bool {
    let words = [
        "could not open relation with OID",
        "function vg.token_",
        "schema \"vg\" does not exist",
    ];
    words.iter().any(|words| ask::says(error, words))
}

impl Program {
    pub(super) fn finish_is_rows(&self) -> bool {
        matches!(self.finish, Finish::Rows { .. })
    }
}

fn unsupported(what: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!("{what} is not supported over several shards"),
        hint: None,
    }
}

/// The type of a row that no type was made for.
const RECORD: u32 = 2249;

fn order_by_rows() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "ORDER BY a row of columns is not supported over several shards".to_owned(),
        hint: Some("order by the columns themselves: ORDER BY a, b".to_owned()),
    }
}

fn differing() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "the shards' columns differ in their types".to_owned(),
        hint: Some("compare the tables' definitions on the shards".to_owned()),
    }
}

/// The client's query was found to be one, but the rows of several shards have no primary key that
/// decides the columns beside it.
fn without_keys(failure: Failure) -> Failure {
    match failure {
        Failure::Shard(error) if ask::is_of_grouping(&error) => {
            unsupported("this aggregate beside columns that are not grouped by").into()
        }
        other => other,
    }
}

fn no_parameter(index: usize) -> Refusal {
    Refusal {
        sqlstate: "42P02",
        message: format!("there is no parameter ${}", index + 1),
        hint: None,
    }
}
