//! The rows of a query on their way to their shards, page by page.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use topology::{ShardId, ShardIndex};
use wire::backend::{DataRow, encode};
use wire::frame::HEADER_BYTES;
use wire::frontend::{TargetKind, encode as ask};

use super::batch::{Batch, Own};
use super::{Asked, Deadline, Program};
use crate::barrier::Leave;
use crate::error::Error;
use crate::exec::cancel;
use crate::exec::collect::{self, Collected};
use crate::moving;
use crate::pool::{CancelTarget, Lease};
use crate::route::{self, Refusal};
use crate::scatter::exec::Answer;
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::session::client::ClientError;
use crate::session::several::Lent;
use crate::view::Serving;

/// Most rows of a page, and about how many bytes; the first page is small, since nothing is known of
/// its rows.
const PAGE_ROWS: usize = 10_000;
const FIRST_ROWS: usize = 100;
const PAGE_BYTES: usize = 4 << 20;

/// Most bytes of a page, of all rows that have to be inserted at once, and of a row.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// Most bytes of rows that RETURNING hands out.
const MAX_RETURNED_BYTES: usize = 32 << 20;

/// The portal that rows are read from on one shard.
const PORTAL: &[u8] = b"router: rows for several shards";

/// Where rows come from.
#[derive(Debug)]
pub(super) enum Rows {
    /// A portal on a shard; whether the query may write there.
    One {
        shard: ShardIndex,
        writes: bool,
        /// Whether there is a portal.
        open: bool,
        /// How many rows are asked for next.
        next: usize,
    },
    /// All shards.
    All(Box<Answer>),
}

impl Rows {
    pub(super) fn of_one(shard: ShardIndex, writes: bool) -> Self {
        Self::One {
            shard,
            writes,
            open: false,
            next: FIRST_ROWS,
        }
    }

    pub(super) fn of_all(answer: Answer) -> Self {
        Self::All(Box::new(answer))
    }

    /// The shard that gives them, if it is one.
    pub(super) fn shard(&self) -> Option<ShardIndex> {
        match self {
            Self::One { shard, .. } => Some(*shard),
            Self::All(_) => None,
        }
    }
}

/// A backend that rows are inserted on.
#[derive(Debug)]
struct Member {
    shard: ShardId,
    index: ShardIndex,
    /// None while it is asked something, or once it is lost.
    lease: Option<Lease>,
    cancel: Arc<CancelTarget>,
    batch: Batch,
}

/// A statement that is under way.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    program: &'a Program,
    asked: Asked<'a>,
    members: Vec<Member>,
    rows: Rows,
    deadline: Deadline,
    /// Rows that have come, in all.
    came: usize,
    /// Rows that were inserted or changed.
    count: u64,
    /// What RETURNING has handed out, with the places of the rows.
    returned: Vec<(usize, Bytes)>,
    returned_bytes: usize,
}

/// Some rows.
#[derive(Debug, Default)]
struct Page {
    rows: Vec<Bytes>,
    bytes: usize,
    /// Whether there are no more.
    last: bool,
}

impl Session {
    /// Takes all rows to their shards.
    pub(super) async fn move_rows(
        &mut self,
        serving: &Serving,
        pages: &mut Pages<'_>,
    ) -> Result<(), Stopped> {
        if let Rows::One {
            shard,
            writes: true,
            ..
        } = pages.rows
        {
            let own = pages.member(shard)?.shard.clone();
            self.may_write_lent(serving, &own).await?;
        }
        loop {
            let page = self.next_page(serving, pages).await?;
            let last = page.last;
            pages.sort(page, serving)?;
            if !pages.program.at_once || last {
                self.insert_page(serving, pages).await?;
            } else if pages.waiting_bytes() > MAX_PAGE_BYTES {
                return Err(too_much_at_once().into());
            }
            if last {
                return self.close_rows(serving, pages).await;
            }
        }
    }

    /// Closes the portal: another statement of the transaction may have one of its own.
    async fn close_rows(
        &mut self,
        serving: &Serving,
        pages: &mut Pages<'_>,
    ) -> Result<(), Stopped> {
        let Rows::One { shard, .. } = pages.rows else {
            return Ok(());
        };
        let leave = self.leave_by(&serving.snapshot)?;
        let mut out = BytesMut::new();
        ask::close(&mut out, TargetKind::Portal, PORTAL)?;
        ask::sync(&mut out);
        let member = pages.member(shard)?;
        member.ask(out, leave, MAX_RETURNED_BYTES).await?;
        Ok(())
    }

    async fn next_page(
        &mut self,
        serving: &Serving,
        pages: &mut Pages<'_>,
    ) -> Result<Page, Stopped> {
        let deadline = pages.deadline;
        let leave = match pages.rows {
            Rows::One { .. } => Some(self.leave_by(&serving.snapshot)?),
            Rows::All(_) => None,
        };
        let page = self.attend(deadline, pages.fetch(leave)).await?;
        match page {
            Fetched::Page(page) => Ok(page),
            Fetched::Said(said) => Err(self.told_of(serving, said)),
            Fetched::Failed(failure) => Err(self.fail_scatter(failure)),
        }
    }

    async fn insert_page(
        &mut self,
        serving: &Serving,
        pages: &mut Pages<'_>,
    ) -> Result<(), Stopped> {
        let filled = pages.members.iter().filter(|one| !one.batch.is_empty());
        let filled: Vec<ShardId> = filled.map(|one| one.shard.clone()).collect();
        let mut leaves = Vec::with_capacity(filled.len());
        for shard in &filled {
            self.may_write_lent(serving, shard).await?;
            leaves.push(self.leave_by(&serving.snapshot)?);
        }
        let deadline = pages.deadline;
        let answers = self.attend(deadline, pages.insert(leaves)).await?;
        for (places, said) in answers {
            if said.error.is_some() {
                return Err(self.told_of(serving, said));
            }
            pages.take(&places, said)?;
        }
        Ok(())
    }

    /// Waits for shards, unless the client has had enough of it or the time is up: then the work is
    /// dropped, and what it uses is lost.
    async fn attend<T>(
        &mut self,
        deadline: Deadline,
        work: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, Stopped> {
        let late = async {
            match deadline {
                None => std::future::pending().await,
                Some((at, limit)) => {
                    tokio::time::sleep_until(at).await;
                    limit
                }
            }
        };
        let mut wait = self.cancel.waits();
        tokio::select! {
            biased;
            done = work => done,
            gone = self.client.gone() => Err(Stopped::Ended(ClientError::Io(gone).into())),
            () = wait.cancelled() => Err(Error::Cancelled.into()),
            limit = late => Err(Error::Timeout(limit).into()),
        }
    }

    /// What becomes of a shard's error.
    fn told_of(&mut self, serving: &Serving, said: Collected) -> Stopped {
        if let Some(guarded) = &said.guarded
            && self.is_implicit()
            && guarded.is_passing()
        {
            self.routed = serving.snapshot.epoch();
            let code = guarded.code();
            return Error::Moving(moving::Error::Moved { code }).into();
        }
        self.client
            .outbound
            .extend_from_slice(&said.error.unwrap_or_default());
        Stopped::Answered
    }
}

/// What came of asking for rows.
enum Fetched {
    Page(Page),
    /// The shard has refused.
    Said(Collected),
    Failed(crate::scatter::exec::Failure),
}

impl<'a> Pages<'a> {
    pub(super) fn new(
        (program, asked): (&'a Program, Asked<'a>),
        lent: Vec<Lent>,
        rows: Rows,
        deadline: Deadline,
    ) -> Self {
        let member = |lent: Lent| Member {
            shard: lent.shard,
            index: lent.index,
            cancel: Arc::clone(&lent.lease.cancel),
            lease: Some(lent.lease),
            batch: Batch::new(program.width),
        };
        Self {
            program,
            asked,
            members: lent.into_iter().map(member).collect(),
            rows,
            deadline,
            came: 0,
            count: 0,
            returned: Vec::new(),
            returned_bytes: 0,
        }
    }

    fn member(&mut self, index: ShardIndex) -> Result<&mut Member, Error> {
        let mut members = self.members.iter_mut();
        members.find(|one| one.index == index).ok_or(Error::NoShard)
    }

    async fn fetch(&mut self, leave: Option<Leave>) -> Result<Fetched, Stopped> {
        match (&mut self.rows, leave) {
            (Rows::All(answer), _) => {
                let mut page = Page::default();
                while page.rows.len() < PAGE_ROWS && page.bytes < PAGE_BYTES {
                    match answer.next().await {
                        Ok(Some(row)) => {
                            page.bytes += row.len();
                            page.rows.push(row);
                        }
                        Ok(None) => {
                            page.last = true;
                            break;
                        }
                        Err(failure) => return Ok(Fetched::Failed(failure)),
                    }
                }
                Ok(Fetched::Page(page))
            }
            (Rows::One { .. }, Some(leave)) => self.fetch_of_one(leave).await,
            (Rows::One { .. }, None) => Err(Error::NoShard.into()),
        }
    }

    async fn fetch_of_one(&mut self, leave: Leave) -> Result<Fetched, Stopped> {
        let (program, values) = (self.program, &self.asked.arguments.values);
        let Rows::One {
            shard, open, next, ..
        } = &mut self.rows
        else {
            return Err(Error::NoShard.into());
        };
        let mut out = BytesMut::new();
        if !std::mem::replace(open, true) {
            let formats: Vec<_> = values.iter().map(|(format, _)| *format).collect();
            let values: Vec<_> = values.iter().map(|(_, value)| value.as_deref()).collect();
            ask::parse(&mut out, b"", program.query.as_bytes(), &program.types)?;
            ask::bind(&mut out, PORTAL, b"", &formats, &values, &[])?;
        }
        let wanted = *next;
        ask::execute(&mut out, PORTAL, i32::try_from(wanted).unwrap_or(i32::MAX))?;
        ask::sync(&mut out);
        let shard = *shard;
        let said = self.member(shard)?.ask(out, leave, MAX_PAGE_BYTES).await?;
        if said.error.is_some() {
            return Ok(Fetched::Said(said));
        }
        let page = Page {
            bytes: said.bytes(),
            // It says what it has done once it has no more rows.
            last: !said.tag.is_empty(),
            rows: said.rows,
        };
        if let Rows::One { next, .. } = &mut self.rows {
            *next = after(wanted, &page);
        }
        Ok(Fetched::Page(page))
    }

    /// Adds rows to what waits for their shards.
    fn sort(&mut self, page: Page, serving: &Serving) -> Result<(), Stopped> {
        let key = &self.asked.into.key;
        for frame in page.rows {
            let body = frame.get(HEADER_BYTES..).unwrap_or_default();
            let row = DataRow::decode(body).map_err(|_| malformed())?;
            let value = row.values.iter().nth(self.program.key).flatten();
            let owner = route::owner_of_copied(key, value, false, &serving.snapshot)?;
            let member = self.members.iter_mut().find(|one| one.index == owner);
            let member = member.ok_or(Error::Moving(moving::Error::Outdated))?;
            let added = member.batch.add(&row, self.came);
            added.ok_or_else(malformed)?;
            self.came += 1;
        }
        Ok(())
    }

    fn waiting_bytes(&self) -> usize {
        self.members.iter().map(|one| one.batch.bytes()).sum()
    }

    /// Inserts what waits: on all shards side by side, unless it updates rows that are there.
    async fn insert(
        &mut self,
        leaves: Vec<Leave>,
    ) -> Result<Vec<(Vec<usize>, Collected)>, Stopped> {
        let own = Own {
            types: &self.program.types,
            values: &self.asked.arguments.values,
            results: &self.asked.arguments.results,
        };
        let sql = &self.program.insert;
        let filled = self.members.iter_mut().filter(|it| !it.batch.is_empty());
        let asked = filled.zip(leaves).map(async |(member, leave)| {
            let (message, places) = member.batch.message(sql, own)?;
            let said = member.ask(message, leave, MAX_RETURNED_BYTES).await?;
            Ok::<_, Stopped>((places, said))
        });
        if !self.program.at_once {
            return join_all(asked).await.into_iter().collect();
        }
        // What updates rows takes the shards in one order, so that two do not wait crosswise.
        let mut answers = Vec::new();
        for one in asked {
            let (places, said) = one.await?;
            let has_failed = said.error.is_some();
            answers.push((places, said));
            if has_failed {
                break;
            }
        }
        Ok(answers)
    }

    /// Counts what a shard has inserted, and keeps what it hands out.
    fn take(&mut self, places: &[usize], said: Collected) -> Result<(), Refusal> {
        let tag = String::from_utf8_lossy(&said.tag);
        let number = tag.rsplit_once(' ').and_then(|(_, it)| it.parse().ok());
        self.count += number.unwrap_or(0_u64);
        self.returned_bytes += said.bytes();
        if self.returned_bytes > MAX_RETURNED_BYTES {
            return Err(too_much_returned());
        }
        // Where rows are missing, which ones is not known; they come after those of pages before.
        let each = said.rows.len() == places.len();
        let last = places.last().copied().unwrap_or_default();
        for (at, row) in said.rows.into_iter().enumerate() {
            let place = places.get(at).copied().filter(|_| each);
            self.returned.push((place.unwrap_or(last), row));
        }
        Ok(())
    }

    /// Ends what is still under way; gives the backends that are not lost.
    pub(super) async fn end(&mut self, grace: Duration) -> Vec<(ShardId, Lease)> {
        if let Rows::All(answer) = &mut self.rows {
            answer.stop().await;
        }
        let lost = self.members.iter().filter(|one| one.lease.is_none());
        join_all(lost.map(|one| cancel::send(&one.cancel, grace))).await;
        let back = self.members.iter_mut();
        back.filter_map(|one| Some((one.shard.clone(), one.lease.take()?)))
            .collect()
    }

    /// The answer.
    pub(super) fn answer(self, headed: bool) -> Result<Bytes, Stopped> {
        let mut out = BytesMut::new();
        if headed {
            let heading = self.program.heading.as_ref();
            out.extend_from_slice(heading.map(|it| &**it).unwrap_or_default());
        }
        let mut returned = self.returned;
        returned.sort_by_key(|(place, _)| *place);
        for (_, row) in returned {
            out.extend_from_slice(&row);
        }
        encode::command_complete(&mut out, &format!("INSERT 0 {}", self.count));
        Ok(out.freeze())
    }
}

impl Member {
    /// Asks, and keeps the backend only if it answers: dropped in the middle, it is closed.
    async fn ask(
        &mut self,
        message: BytesMut,
        leave: Leave,
        max_bytes: usize,
    ) -> Result<Collected, Stopped> {
        let lost = Error::BackendLost {
            shard: self.shard.clone(),
        };
        let mut lease = self.lease.take().ok_or_else(|| lost.clone())?;
        match collect::exchange(&mut lease, message, leave, max_bytes).await {
            Ok(said) => {
                self.lease = Some(lease);
                Ok(said)
            }
            Err(collect::Error::TooMuch) => Err(too_long().into()),
            Err(collect::Error::Lost | collect::Error::Late(_)) => Err(lost.into()),
        }
    }
}

/// How many rows are asked for after a page.
fn after(wanted: usize, page: &Page) -> usize {
    let rows = page.rows.len().max(1);
    let row = page.bytes.div_ceil(rows).max(1);
    (PAGE_BYTES / row)
        .min(wanted.saturating_mul(10))
        .clamp(1, PAGE_ROWS)
}

fn malformed() -> Refusal {
    Refusal {
        sqlstate: "XX000",
        message: "a shard sent a row that can't be read".to_owned(),
        hint: None,
    }
}

fn too_long() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "an INSERT of a query's rows for several shards meets rows of more than \
             {MAX_PAGE_BYTES} bytes"
        ),
        hint: Some("insert fewer or shorter rows at a time, or COPY them".to_owned()),
    }
}

fn too_much_at_once() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "ON CONFLICT DO UPDATE of a query's rows for several shards takes them all at once, and \
             they have more than {MAX_PAGE_BYTES} bytes"
        ),
        hint: Some("insert fewer rows at a time".to_owned()),
    }
}

fn too_much_returned() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "an INSERT for several shards returns more than {MAX_RETURNED_BYTES} bytes of rows"
        ),
        hint: Some("leave RETURNING out, or insert fewer rows at a time".to_owned()),
    }
}
