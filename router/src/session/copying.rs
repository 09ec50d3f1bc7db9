//! COPY FROM STDIN into a table whose rows are on several shards: each row goes to the shard of its
//! key, or to every shard where all have the same rows. One load is one transaction.
//!
//! Memory is bounded by a row and by what waits for each shard: a shard that takes its rows slowly
//! slows the client down.

use bytes::{Bytes, BytesMut};
use topology::{ShardId, ShardIndex};
use wire::frame::{HEADER_BYTES, Header};
use wire::frontend::tag;
use wire::limits::MAX_MESSAGE_BYTES;
use wire::quote::literal;

use super::attach::Stopped;
use super::client::ClientError;
use super::copy::{Fed, MAX_WAITING_BYTES};
use super::several::Split;
use super::state::Transaction;
use super::{Ended, Session};
use crate::copying::{CsvMarker, Field, Format, Options, Piece, Splitter, with_columns};
use crate::error::Error;
use crate::pool::Lease;
use crate::query::{Class, Statement};
use crate::route::{self, CopiedInto, Refusal, Target};
use crate::view::Serving;

mod loader;

use loader::Loader;

/// Where rows go.
#[derive(Debug)]
enum Sorting {
    /// Each to the shard of its key.
    ByKey(Box<Splitter>, Box<route::CopiedKey>, Format),
    /// All to every shard.
    Alike,
}

/// What has come of the client's data.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    More,
    Done,
    /// The client gives it up, and says why.
    Failed(String),
}

/// A load that is under way.
#[derive(Debug)]
struct Load {
    loaders: Vec<Loader>,
    sorting: Sorting,
    /// What each shard reads before its first row.
    head: BytesMut,
}

impl Session {
    /// What a COPY FROM STDIN goes into, where that has rows on several shards.
    pub(super) fn copied_into(
        &self,
        statement: &Statement,
        serving: &Serving,
    ) -> Option<CopiedInto> {
        let Class::Copy(copy) = &statement.class else {
            return None;
        };
        if self.hints(statement).is_some() {
            return None;
        }
        let schemas = self.schemas();
        let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
        route::copied_into(copy, &serving.snapshot, &schemas)
    }

    /// Answers a simple query that is such a COPY.
    pub(super) async fn copy_in_query(
        &mut self,
        serving: &Serving,
        into: &CopiedInto,
        sql: &str,
    ) -> Result<Bytes, Stopped> {
        let begun = self.transaction == Transaction::Idle;
        let ran = self.copy_in(serving, into, sql).await;
        self.conclude(begun, ran).await
    }

    /// Runs the COPY within the transaction, which is begun if none is open; gives the answer.
    pub(super) async fn copy_in(
        &mut self,
        serving: &Serving,
        into: &CopiedInto,
        sql: &str,
    ) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        crate::scatter::exec::check_holds(&self.front.core, serving)?;
        let mut shards: Vec<ShardIndex> = serving.active().map(|(index, _)| index).collect();
        let (sql, mut sorting) = match into {
            CopiedInto::Sharded { key, columns } => {
                self.gather(serving, &shards, false).await?;
                self.by_key(serving, key, columns, sql).await?
            }
            CopiedInto::Reference(copies) => {
                super::several::check_text(sql, &copies.table)?;
                let split = Split::bare(serving);
                shards = self.ready_copies(serving, &split, copies).await?;
                self.gather(serving, &shards, true).await?;
                (sql.to_owned(), Sorting::Alike)
            }
        };
        let lent = self.lend(serving, &shards).await?;
        if let Sorting::ByKey(splitter, ..) = &mut sorting {
            let versions = lent.iter().map(|one| one.lease.status("server_version"));
            splitter.tell_csv_marker(CsvMarker::of(versions.map(Option::unwrap_or_default)));
        }
        let mut load = Load {
            loaders: lent.into_iter().map(Loader::new).collect(),
            sorting,
            head: BytesMut::new(),
        };
        let loaded = self.load(serving, &mut load, &sql).await;
        let failed = loaded.is_err();
        let back: Vec<(ShardId, Lease)> = load
            .loaders
            .into_iter()
            .filter_map(|loader| Some((loader.shard, loader.lease?)))
            .collect();
        self.reclaim(back, failed).await?;
        loaded
    }

    /// The COPY with its columns named, and how its rows are sorted.
    async fn by_key(
        &mut self,
        serving: &Serving,
        key: &route::CopiedKey,
        columns: &[String],
        sql: &str,
    ) -> Result<(String, Sorting), Stopped> {
        let options = Options::read(sql, &key.column.column)?;
        let (columns, sql) = if columns.is_empty() {
            let found = self.columns_of(serving, key).await?;
            let sql = with_columns(sql, &found)?;
            (found, sql)
        } else {
            (columns.to_vec(), sql.to_owned())
        };
        let place = columns.iter().position(|name| *name == key.column.column);
        let place = place.ok_or_else(|| route::no_copied_key(&key.column))?;
        let format = options.format;
        let splitter = Box::new(Splitter::new(options, place));
        Ok((sql, Sorting::ByKey(splitter, Box::new(key.clone()), format)))
    }

    /// The columns that a COPY of the table gives when it names none, as this transaction sees them.
    async fn columns_of(
        &mut self,
        serving: &Serving,
        key: &route::CopiedKey,
    ) -> Result<Vec<String>, Stopped> {
        let sql = format!(
            "SELECT a.attname FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {} AND a.attnum > 0 AND NOT a.attisdropped \
             AND a.attgenerated = '' ORDER BY a.attnum",
            literal(key.table.schema()),
            literal(key.table.name())
        );
        let split = Split::bare(serving);
        let first = serving.active().next().ok_or(Error::NoShard)?.0;
        let target = Target::Shard {
            index: first,
            token: None,
        };
        let answer = self.look(serving, &split, target, &sql).await?;
        let names: Vec<String> = answer.first_values().collect();
        if names.is_empty() {
            return Err(Refusal {
                sqlstate: "42P01",
                message: format!("relation \"{}\" does not exist", key.column.table),
                hint: None,
            }
            .into());
        }
        Ok(names)
    }

    /// Takes the client's data to the shards; gives the answer.
    async fn load(
        &mut self,
        serving: &Serving,
        load: &mut Load,
        sql: &str,
    ) -> Result<Bytes, Stopped> {
        let ran = self.feed(serving, load, sql).await;
        match ran {
            Ok(()) => load.finish().await,
            Err(Stopped::Ended(ended)) => {
                // The backends are closed, and with them the transaction ends.
                load.loaders.iter_mut().for_each(|it| it.lease = None);
                Err(Stopped::Ended(ended))
            }
            Err(stopped) => {
                load.give_up("another shard refused its rows").await;
                Err(stopped)
            }
        }
        .map_err(|stopped| self.told_by_shard(load, stopped))
    }

    /// A shard's own error goes to the client as it is.
    fn told_by_shard(&mut self, load: &mut Load, stopped: Stopped) -> Stopped {
        let Stopped::Answered = stopped else {
            return stopped;
        };
        let frame = load.loaders.iter_mut().find_map(|it| it.error.take());
        match frame {
            Some(frame) => {
                self.client.outbound.extend_from_slice(&frame);
                Stopped::Answered
            }
            None => Error::NoShard.into(),
        }
    }

    async fn feed(&mut self, serving: &Serving, load: &mut Load, sql: &str) -> Result<(), Stopped> {
        let starts = match load.sorting {
            Sorting::ByKey(..) => 1,
            Sorting::Alike => load.loaders.len(),
        };
        for at in 0..starts {
            self.start(serving, load, at, sql).await?;
        }
        let mut heading = None;
        for loader in load.loaders.iter_mut().take(starts) {
            heading = Some(loader.begun().await?);
        }
        self.client
            .outbound
            .extend_from_slice(&heading.ok_or(Error::NoShard)?);
        self.client.flush_now().await.map_err(Ended::from)?;
        let mut data = BytesMut::new();
        loop {
            let came = self.take(load, &mut data).await?;
            self.sort(serving, load, sql, came == Came::Done).await?;
            load.push(came == Came::More).await?;
            match came {
                Came::More => {}
                Came::Done => return Ok(()),
                Came::Failed(reason) => {
                    load.give_up(&reason).await;
                    return Err(Stopped::Answered);
                }
            }
        }
    }

    /// Has a shard begin to copy, by leave of the topology that its rows were sorted by.
    async fn start(
        &mut self,
        serving: &Serving,
        load: &mut Load,
        at: usize,
        sql: &str,
    ) -> Result<(), Stopped> {
        let leave = self.front.core.view.leave(serving.snapshot.epoch());
        let leave = leave.ok_or_else(keys_were_moved)?;
        let loader = load.loaders.get_mut(at).ok_or(Error::NoShard)?;
        loader.start(sql, &load.head).await?;
        drop(leave);
        Ok(())
    }

    /// Takes what has come of the client, or waits for it.
    async fn take(&mut self, load: &mut Load, data: &mut BytesMut) -> Result<Came, Stopped> {
        loop {
            let protocol = |text| Stopped::Ended(ClientError::Protocol(text).into());
            let fed = self.client.take_copy(data).map_err(protocol)?;
            let full = data.len() >= MAX_WAITING_BYTES;
            let came = load.unpack(data);
            match (fed, came) {
                (_, came @ (Came::Done | Came::Failed(_))) => return Ok(came),
                (Fed::Left, _) => {
                    let gone = std::io::ErrorKind::ConnectionAborted;
                    return Err(Ended::from(std::io::Error::from(gone)).into());
                }
                (Fed::More | Fed::Ended, Came::More) if full || load.has_rows() => {
                    return Ok(Came::More);
                }
                (Fed::More | Fed::Ended, Came::More) => {}
            }
            let mut wait = self.cancel.waits();
            tokio::select! {
                biased;
                () = wait.cancelled() => return Err(Error::Cancelled.into()),
                read = self.client.read_more() => read.map_err(Ended::from)?,
            }
        }
    }

    /// Hands rows that are whole to their shards.
    async fn sort(
        &mut self,
        serving: &Serving,
        load: &mut Load,
        sql: &str,
        last: bool,
    ) -> Result<(), Stopped> {
        loop {
            let Sorting::ByKey(splitter, key, format) = &mut load.sorting else {
                return Ok(());
            };
            let (row, field) = match splitter.next(last)? {
                None | Some(Piece::End) => return Ok(()),
                Some(Piece::Head(head)) => {
                    load.head.extend_from_slice(&head);
                    if let Some(first) = load.loaders.first_mut() {
                        first.add(&head);
                    }
                    continue;
                }
                Some(Piece::Row(row, field)) => (row, field),
            };
            let value = match &field {
                Field::Value(value) => Some(&**value),
                Field::Null => None,
                Field::Missing => {
                    // Whichever shard it is refuses it.
                    if let Some(first) = load.loaders.first_mut() {
                        first.add(&row);
                    }
                    continue;
                }
            };
            let binary = *format == Format::Binary;
            let owner = route::owner_of_copied(key, value, binary, &serving.snapshot)?;
            let found = load.loaders.iter().position(|it| it.index == owner);
            let at = found.ok_or_else(keys_were_moved)?;
            if load.is_first_row_of(at) {
                let own = load.loaders.get(at).map(|loader| loader.shard.clone());
                self.may_write_lent(serving, &own.ok_or(Error::NoShard)?)
                    .await?;
                if !load.is_started(at) {
                    self.start(serving, load, at, sql).await?;
                }
            }
            if let Some(loader) = load.loaders.get_mut(at) {
                loader.add_row(&row);
            }
        }
    }
}

impl Load {
    /// Sorts out the messages of the client that have come.
    fn unpack(&mut self, data: &mut BytesMut) -> Came {
        while let Ok(Some(header)) = Header::parse(data, MAX_MESSAGE_BYTES) {
            let frame = data.split_to(header.frame_bytes().min(data.len()));
            let body = frame.get(HEADER_BYTES..).unwrap_or_default();
            match header.tag {
                tag::COPY_DATA => match &mut self.sorting {
                    Sorting::ByKey(splitter, ..) => splitter.push(body),
                    Sorting::Alike => self.loaders.iter_mut().for_each(|it| it.add(body)),
                },
                tag::COPY_DONE => return Came::Done,
                _ => {
                    let reason = body.split(|byte| *byte == 0).next().unwrap_or_default();
                    return Came::Failed(String::from_utf8_lossy(reason).into_owned());
                }
            }
        }
        Came::More
    }

    fn has_rows(&self) -> bool {
        match &self.sorting {
            Sorting::ByKey(splitter, ..) => splitter.has_data(),
            Sorting::Alike => self.loaders.iter().any(Loader::has_waiting),
        }
    }

    fn is_first_row_of(&self, at: usize) -> bool {
        self.loaders.get(at).is_some_and(|loader| !loader.has_rows)
    }

    fn is_started(&self, at: usize) -> bool {
        self.loaders.get(at).is_some_and(|loader| loader.started)
    }

    /// Sends what waits, or only what is much.
    async fn push(&mut self, much: bool) -> Result<(), Stopped> {
        if much && self.loaders.iter().all(|loader| !loader.is_full()) {
            return Ok(());
        }
        let pushed = self.loaders.iter_mut().map(Loader::push);
        for outcome in futures_util::future::join_all(pushed).await {
            outcome?;
        }
        Ok(())
    }

    /// Ends the copy on all shards; gives the answer.
    async fn finish(&mut self) -> Result<Bytes, Stopped> {
        let ended = self.loaders.iter_mut().map(|it| it.end(None));
        for outcome in futures_util::future::join_all(ended).await {
            outcome?;
        }
        let counts = || self.loaders.iter().map(|loader| loader.count);
        let count = match &self.sorting {
            Sorting::ByKey(..) => counts().sum(),
            Sorting::Alike => {
                let first = counts().next().unwrap_or(0);
                if counts().any(|count| count != first) {
                    return Err(differ().into());
                }
                first
            }
        };
        Ok(super::local::complete(&format!("COPY {count}")))
    }

    /// Has all shards give it up.
    async fn give_up(&mut self, reason: &str) {
        let ended = self.loaders.iter_mut().map(|it| it.end(Some(reason)));
        // What they say to it is that they have given it up.
        let _said = futures_util::future::join_all(ended).await;
    }
}

fn keys_were_moved() -> Refusal {
    Refusal {
        sqlstate: "40001",
        message: "keys were moved to another shard while rows were copied".to_owned(),
        hint: Some("copy them again".to_owned()),
    }
}

fn differ() -> Refusal {
    Refusal {
        sqlstate: "XX001",
        message: "the shards' copies of the reference table took different numbers of rows"
            .to_owned(),
        hint: Some("compare the table on the shards".to_owned()),
    }
}
