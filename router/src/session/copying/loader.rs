//! One shard's part of a COPY FROM STDIN.

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use topology::{ShardId, ShardIndex};
use wire::backend::{CommandComplete, tag};
use wire::frontend::encode;

use crate::error::Error;
use crate::exec::conversation::{self, Message};
use crate::moving;
use crate::pool::Lease;
use crate::session::attach::Stopped;
use crate::session::several::Lent;

/// Longest message of a shard that is taken.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// How much of what it says is read at once.
const READ_BYTES: usize = 16 << 10;

/// How much waits for a shard before it is sent.
const FULL_BYTES: usize = 64 << 10;

/// A backend that copies.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) shard: ShardId,
    pub(super) index: ShardIndex,
    /// None once it is lost.
    pub(super) lease: Option<Lease>,
    /// Whether it was told to copy.
    pub(super) started: bool,
    /// Whether it was given a row.
    pub(super) has_rows: bool,
    /// How many rows it has taken.
    pub(super) count: u64,
    /// Its error, as a client reads it.
    pub(super) error: Option<Bytes>,
    /// Copy data that waits.
    data: BytesMut,
    /// Whether it owes an answer.
    owes: bool,
}

impl Loader {
    pub(super) fn new(lent: Lent) -> Self {
        Self {
            shard: lent.shard,
            index: lent.index,
            lease: Some(lent.lease),
            started: false,
            has_rows: false,
            count: 0,
            error: None,
            data: BytesMut::new(),
            owes: false,
        }
    }

    /// Tells it to copy.
    pub(super) async fn start(&mut self, sql: &str, head: &[u8]) -> Result<(), Stopped> {
        let mut out = BytesMut::new();
        encode::query(&mut out, sql.as_bytes())?;
        self.started = true;
        self.owes = true;
        self.data.extend_from_slice(head);
        self.send(out).await
    }

    /// Waits until it takes data; gives its CopyInResponse.
    pub(super) async fn begun(&mut self) -> Result<Bytes, Stopped> {
        loop {
            let message = self.receive().await?;
            if message.tag() == tag::COPY_IN_RESPONSE {
                return Ok(message.into_bytes());
            }
            self.note(message)?;
            if !self.owes {
                return Err(self.refused());
            }
        }
    }

    pub(super) fn add(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
    }

    pub(super) fn add_row(&mut self, row: &[u8]) {
        self.has_rows = true;
        self.add(row);
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.data.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.data.len() >= FULL_BYTES
    }

    /// Sends what waits, and looks whether it has refused anything.
    pub(super) async fn push(&mut self) -> Result<(), Stopped> {
        if !self.started || self.data.is_empty() {
            return Ok(());
        }
        let data = std::mem::take(&mut self.data);
        let mut out = BytesMut::with_capacity(data.len() + 8);
        encode::copy_data(&mut out, &data)?;
        self.send(out).await?;
        while let Some(message) = self.said()? {
            self.note(message)?;
        }
        match self.error {
            Some(_) => Err(Stopped::Answered),
            None => Ok(()),
        }
    }

    /// Ends its copy, or has it give it up for a reason, and reads its answer.
    pub(super) async fn end(&mut self, reason: Option<&str>) -> Result<(), Stopped> {
        if !self.started || !self.owes {
            return match self.error {
                Some(_) => Err(self.refused()),
                None => Ok(()),
            };
        }
        let mut out = BytesMut::new();
        match reason {
            None => encode::copy_done(&mut out),
            Some(reason) => encode::copy_fail(&mut out, reason)?,
        }
        self.send(out).await?;
        while self.owes {
            let message = self.receive().await?;
            self.note(message)?;
        }
        match self.error {
            Some(_) => Err(self.refused()),
            None => Ok(()),
        }
    }

    /// Its error is there to be read.
    fn refused(&self) -> Stopped {
        Stopped::Answered
    }

    fn note(&mut self, message: Message) -> Result<(), Stopped> {
        match message.tag() {
            tag::READY_FOR_QUERY => self.owes = false,
            tag::ERROR_RESPONSE => {
                self.error = Some(match moving::said(message.body()) {
                    Some(said) => said.error().frame(),
                    None => message.into_bytes(),
                });
            }
            tag::COMMAND_COMPLETE => {
                let complete = CommandComplete::decode(message.body());
                let complete = complete.map_err(|_| self.lost())?;
                self.count = complete.rows().unwrap_or(0);
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes; reads what the shard says meanwhile, so that neither waits for the other.
    async fn send(&mut self, mut out: BytesMut) -> Result<(), Stopped> {
        let lost = self.lost();
        let Some(lease) = &mut self.lease else {
            return Err(lost.into());
        };
        while !out.is_empty() {
            let backend = &mut **lease;
            backend.inbound.reserve(READ_BYTES);
            let moved = backend.stream.transfer(&mut out, &mut backend.inbound);
            let Ok(moved) = moved.await else {
                self.lease = None;
                return Err(lost.into());
            };
            backend.traffic.count(moved);
            if matches!(moved, crate::stream::Moved::In(0)) {
                self.lease = None;
                return Err(lost.into());
            }
        }
        Ok(())
    }

    /// What it has said so far.
    fn said(&mut self) -> Result<Option<Message>, Stopped> {
        let lost = self.lost();
        let Some(lease) = &mut self.lease else {
            return Err(lost.into());
        };
        match conversation::receive(lease, MAX_MESSAGE_BYTES).now_or_never() {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message)),
            Some(Err(_)) => {
                self.lease = None;
                Err(lost.into())
            }
        }
    }

    async fn receive(&mut self) -> Result<Message, Stopped> {
        let lost = self.lost();
        let Some(lease) = &mut self.lease else {
            return Err(lost.into());
        };
        match conversation::receive(lease, MAX_MESSAGE_BYTES).await {
            Ok(message) => Ok(message),
            Err(_) => {
                self.lease = None;
                Err(lost.into())
            }
        }
    }

    fn lost(&self) -> Error {
        Error::BackendLost {
            shard: self.shard.clone(),
        }
    }
}
