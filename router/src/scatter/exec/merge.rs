//! The rows of all shards as one stream: in the order in which they come, or merged by keys.

use std::cmp::Ordering;

use bytes::{BufMut as _, Bytes, BytesMut};
use wire::backend::{CommandComplete, DataRow, tag};

use super::Failure;
use super::leases::{Leases, for_clients};
use crate::exec::conversation::Message;
use crate::route::Refusal;
use crate::scatter::order::{Kind, Value};
use crate::scatter::plan::Order;

/// One key that rows are merged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) order: Order,
}

/// The merge of all members' rows.
#[derive(Debug)]
pub(super) struct Merge {
    keys: Vec<Key>,
    /// How many columns are the client's; the keys are behind them.
    columns: usize,
    /// Whether each member may have more rows.
    open: Vec<bool>,
    heads: Vec<Option<Head>>,
    /// Whose rows come next where any may.
    turn: usize,
    /// Set for COPY.
    copying: Option<CopyParts>,
    /// Rows that the members' commands have told of.
    completed: u64,
}

/// What of a COPY must come once only.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "two are what was asked for, two what has come of it"
)]
struct CopyParts {
    binary: bool,
    header: bool,
    /// Whether a member's first message has come.
    begun: Vec<bool>,
    /// Whether the header has been handed out, and the trailer.
    headed: bool,
    trailed: bool,
}

/// The signature, flags and length of the extension of COPY in binary form.
const COPY_HEADER_BYTES: usize = 19;

/// What ends COPY in binary form.
const COPY_TRAILER: [u8; 2] = [0xff, 0xff];

#[derive(Debug)]
struct Head {
    row: Bytes,
    keys: Vec<Value>,
}

impl Merge {
    pub(super) fn new(keys: Vec<Key>, columns: usize) -> Self {
        Self {
            keys,
            columns,
            open: Vec::new(),
            heads: Vec::new(),
            turn: 0,
            copying: None,
            completed: 0,
        }
    }

    /// The messages of a COPY.
    pub(super) fn copying(header: bool, binary: bool) -> Self {
        Self {
            copying: Some(CopyParts {
                binary,
                header,
                begun: Vec::new(),
                headed: false,
                trailed: false,
            }),
            ..Self::new(Vec::new(), 0)
        }
    }

    /// Rows that the members' commands have told of.
    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    /// The next row. Cancel-safe.
    pub(super) async fn next(&mut self, leases: &mut Leases) -> Result<Option<Bytes>, Failure> {
        if self.open.is_empty() {
            self.open = vec![true; leases.len()];
            self.heads = std::iter::repeat_with(|| None).take(leases.len()).collect();
        }
        if self.copying.is_some() {
            self.copied(leases).await
        } else if self.keys.is_empty() {
            self.any(leases).await
        } else {
            self.smallest(leases).await
        }
    }

    /// Whichever row is there. One member's are taken as long as they have arrived.
    async fn any(&mut self, leases: &mut Leases) -> Result<Option<Bytes>, Failure> {
        loop {
            let members = self.open.len();
            for step in 0..members {
                let at = (self.turn + step) % members;
                while self.open.get(at) == Some(&true) {
                    let Some(message) = leases.buffered(at)? else {
                        break;
                    };
                    if let Some(row) = self.take(at, message)? {
                        self.turn = at;
                        return Ok(Some(row));
                    }
                }
            }
            if !self.open.contains(&true) {
                return Ok(None);
            }
            let (at, message) = leases.receive_any(&self.open).await?;
            if let Some(row) = self.take(at, message)? {
                self.turn = at;
                return Ok(Some(row));
            }
        }
    }

    /// What comes next of a COPY: the first member's header, all rows, the trailer.
    async fn copied(&mut self, leases: &mut Leases) -> Result<Option<Bytes>, Failure> {
        let waits_for_header = |it: &CopyParts| (it.header || it.binary) && !it.headed;
        while self.copying.as_ref().is_some_and(waits_for_header)
            && self.open.first() == Some(&true)
        {
            let message = leases.receive(0).await?;
            if let Some(data) = self.take(0, message)? {
                return Ok(Some(data));
            }
        }
        if let Some(data) = self.any(leases).await? {
            return Ok(Some(data));
        }
        match &mut self.copying {
            Some(copying) if copying.binary && !copying.trailed => {
                copying.trailed = true;
                Ok(Some(copy_data(&COPY_TRAILER)?))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// A message of a COPY, as far as it is handed on.
    fn copy_data(&mut self, at: usize, message: Message) -> Result<Option<Bytes>, Failure> {
        let Some(copying) = &mut self.copying else {
            return Ok(Some(message.into_bytes()));
        };
        copying.begun.resize(self.open.len(), false);
        let Some(begun) = copying.begun.get_mut(at) else {
            return Ok(None);
        };
        let is_first = !std::mem::replace(begun, true);
        if copying.header && is_first {
            copying.headed |= at == 0;
            return Ok((at == 0).then(|| message.into_bytes()));
        }
        if !copying.binary {
            return Ok(Some(message.into_bytes()));
        }
        let mut body = message.body();
        let mut kept = BytesMut::new();
        if is_first {
            let header = body.get(..COPY_HEADER_BYTES).ok_or_else(malformed)?;
            if at == 0 {
                kept.extend_from_slice(header);
                copying.headed = true;
            }
            body = body.get(COPY_HEADER_BYTES..).unwrap_or_default();
        }
        if body != COPY_TRAILER {
            kept.extend_from_slice(body);
        }
        if kept.is_empty() {
            return Ok(None);
        }
        copy_data(&kept).map(Some)
    }

    /// The row that is first in the order.
    async fn smallest(&mut self, leases: &mut Leases) -> Result<Option<Bytes>, Failure> {
        for at in 0..self.open.len() {
            while self.open.get(at) == Some(&true)
                && self.heads.get(at).is_some_and(Option::is_none)
            {
                let message = leases.receive(at).await?;
                if let Some(row) = self.take(at, message)? {
                    let head = self.head(row)?;
                    if let Some(place) = self.heads.get_mut(at) {
                        *place = Some(head);
                    }
                }
            }
        }
        let mut first: Option<(usize, &Head)> = None;
        for (at, head) in self.heads.iter().enumerate() {
            let Some(head) = head else { continue };
            let is_first = first.is_none_or(|(_, known)| self.compare(head, known).is_lt());
            if is_first {
                first = Some((at, head));
            }
        }
        let Some((at, _)) = first else {
            return Ok(None);
        };
        let Some(head) = self.heads.get_mut(at).and_then(Option::take) else {
            return Ok(None);
        };
        self.check(leases, at, &head)?;
        let row = self.visible(&head.row)?;
        Ok(Some(row))
    }

    /// Sees to it that a shard's next row, where it has arrived, is not before the last one: were
    /// its order another than ours, the merge would be no order at all.
    fn check(&mut self, leases: &mut Leases, at: usize, last: &Head) -> Result<(), Failure> {
        while self.open.get(at) == Some(&true) {
            let Some(message) = leases.buffered(at)? else {
                return Ok(());
            };
            let Some(row) = self.take(at, message)? else {
                continue;
            };
            let head = self.head(row)?;
            if self.compare(&head, last).is_lt() {
                return Err(out_of_order().into());
            }
            if let Some(place) = self.heads.get_mut(at) {
                *place = Some(head);
            }
            return Ok(());
        }
        Ok(())
    }

    fn compare(&self, one: &Head, other: &Head) -> Ordering {
        let values = one.keys.iter().zip(&other.keys);
        let mut compared = self
            .keys
            .iter()
            .zip(values)
            .map(|(key, (one, other))| one.compare(other, key.order));
        compared.find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The row that a message is; none for what is said between rows.
    fn take(&mut self, at: usize, message: Message) -> Result<Option<Bytes>, Failure> {
        match message.tag() {
            tag::DATA_ROW => Ok(Some(message.into_bytes())),
            tag::COPY_DATA => self.copy_data(at, message),
            tag::COMMAND_COMPLETE => {
                let complete = CommandComplete::decode(message.body()).ok();
                self.completed += complete.and_then(CommandComplete::rows).unwrap_or(0);
                Ok(None)
            }
            tag::ERROR_RESPONSE => Err(for_clients(message)),
            tag::READY_FOR_QUERY => {
                if let Some(open) = self.open.get_mut(at) {
                    *open = false;
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn head(&self, row: Bytes) -> Result<Head, Failure> {
        let body = row.slice(wire::frame::HEADER_BYTES.min(row.len())..);
        let decoded = DataRow::decode(&body).map_err(|_| malformed())?;
        let mut keys = Vec::with_capacity(self.keys.len());
        let values = decoded.values.iter().skip(self.columns);
        for (key, value) in self.keys.iter().zip(values) {
            let value = value.map(|value| body.slice_ref(value));
            keys.push(Value::read(key.kind, value).ok_or_else(malformed)?);
        }
        if keys.len() != self.keys.len() {
            return Err(malformed().into());
        }
        Ok(Head { row, keys })
    }

    /// A row without its keys.
    fn visible(&self, row: &Bytes) -> Result<Bytes, Failure> {
        let body = row.get(wire::frame::HEADER_BYTES..).unwrap_or_default();
        let decoded = DataRow::decode(body).map_err(|_| malformed())?;
        let shown = decoded.values.iter().take(self.columns);
        let bytes: usize = shown.map(|value| 4 + value.map_or(0, <[u8]>::len)).sum();
        let values = body.get(2..2 + bytes).ok_or_else(malformed)?;
        let length = u32::try_from(4 + 2 + bytes).map_err(|_| malformed())?;
        let count = u16::try_from(self.columns).map_err(|_| malformed())?;
        let mut out = BytesMut::with_capacity(bytes + 7);
        out.put_u8(tag::DATA_ROW);
        out.put_u32(length);
        out.put_u16(count);
        out.put_slice(values);
        Ok(out.freeze())
    }
}

fn copy_data(data: &[u8]) -> Result<Bytes, Failure> {
    let mut out = BytesMut::with_capacity(data.len() + 5);
    wire::frontend::encode::copy_data(&mut out, data)?;
    Ok(out.freeze())
}

fn malformed() -> Refusal {
    Refusal {
        sqlstate: "XX000",
        message: "a shard sent a row that can't be read".to_owned(),
        hint: None,
    }
}

fn out_of_order() -> Refusal {
    Refusal {
        sqlstate: "XX000",
        message: "a shard's rows came in another order than the router knows".to_owned(),
        hint: Some("order texts by COLLATE \"C\"".to_owned()),
    }
}
