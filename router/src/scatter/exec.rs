//! Runs planned queries: borrows a backend of each shard, asks all of them at once, and hands out
//! rows as they are wanted.
//!
//! Nothing is read ahead of what is asked for beyond the socket's buffers, so that a slow client
//! slows the shards down and memory does not grow with the result.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use wire::Format;
use wire::backend::encode;

use crate::core::Core;
use crate::error::Error;
use crate::exec::error_of;
use crate::hold;
use crate::metrics::Decision;
use crate::moving;
use crate::pool::metrics::Route;
use crate::query::TableRef;
use crate::route::{Parameter, Parameters, Refusal};
use crate::scatter::plan::around::Copying;
use crate::scatter::plan::{by_outputs, either};
use crate::view::Serving;

mod ask;
pub(crate) mod exact;
mod explain;
mod leases;
mod lent;
mod merge;
mod partial;
mod work;

pub use explain::explain;
pub use leases::Leases;
pub use lent::Returns;

use merge::Merge;
use work::Work;

/// Most bytes of rows that are kept for who reads them little by little.
const MAX_KEPT_BYTES: usize = 64 << 20;

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

impl Parameters for Arguments {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let index = usize::from(index);
        let (format, value) = self.values.get(index)?;
        Some(Parameter {
            value: value.as_deref(),
            binary: *format == Format::Binary,
            type_oid: self.types.get(index).copied().unwrap_or(0),
        })
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
    /// Rows that were read before they are wanted.
    kept: VecDeque<Bytes>,
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
    core.metrics.decided(Decision::Sent(Route::Scatter));
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
            kept: VecDeque::new(),
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
    leases.guard().await?;
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
        around: None,
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
        let other = by_outputs(request.text, request.data, snapshot)?;
        if other == work.program {
            return outcome;
        }
        leases.recover().await?;
        work.program = other;
    }
}

/// What a query hands out, as a RowDescription.
///
/// # Errors
/// It is none, or cannot be asked of several shards.
pub async fn describe(
    serving: &Serving,
    leases: &mut Leases,
    request: Request<'_>,
) -> Result<Bytes, Failure> {
    let snapshot = (&*serving.snapshot, request.search_path);
    let program = either(request.text, request.data, snapshot)?;
    let types = &request.arguments.types;
    let described = ask::describe(leases, &program.original, types).await?;
    let columns = described.columns.iter().enumerate();
    let columns: Vec<_> = columns
        .map(|(at, column)| column.as_wire(request.arguments.result(at)))
        .collect();
    let mut out = BytesMut::new();
    encode::row_description(&mut out, &columns)?;
    Ok(out.freeze())
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
        self.ended || !self.kept.is_empty() || self.leases.has_buffered()
    }

    /// The next row as a DataRow; none when there are no more, and then all backends have been
    /// given back. Cancel-safe.
    ///
    /// # Errors
    /// The rows so far are not the whole answer, and there are no more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(row) = self.kept.pop_front() {
            self.returned += 1;
            return Ok(Some(row));
        }
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

    /// Reads the rest into memory, so that its backends are free; they have been given back then.
    ///
    /// # Errors
    /// There is too much of it, or as [`Self::next`].
    pub async fn keep(&mut self) -> Result<(), Failure> {
        let mut bytes = 0;
        while !self.ended {
            let row = match self.advance().await {
                Ok(Some(row)) if bytes <= MAX_KEPT_BYTES => row,
                Ok(Some(_)) => {
                    self.stop().await;
                    return Err(too_much_to_keep().into());
                }
                Ok(None) => {
                    self.ended = true;
                    self.leases.wind_down().await;
                    return Ok(());
                }
                Err(failure) => {
                    self.stop().await;
                    return Err(failure);
                }
            };
            bytes += row.len();
            // By itself it holds no more than it is long.
            self.kept.push_back(Bytes::copy_from_slice(&row));
        }
        Ok(())
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

fn too_much_to_keep() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "the rows of a query over several shards that are read little by little within a \
             transaction have more than {MAX_KEPT_BYTES} bytes"
        ),
        hint: Some("read them at once, or before the transaction does anything else".to_owned()),
    }
}
