//! Calls of the functions of schema `sharding`, which the router answers: tables are registered and
//! forgotten here.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use proto::manager::v1::DeleteTableRequest;
use wire::Format;
use wire::backend::encode;

use super::attach::Stopped;
use super::client::Frame;
use super::extended::Portal;
use super::naming::Named;
use super::state::Transaction;
use super::{Session, answers, control};
use crate::error::Error;
use crate::exec::everywhere;
use crate::ids::Unavailable;
use crate::query::{self, Class, MAX_IDS, Registration, ShardingCall};
use crate::route::Refusal;
use crate::view::Serving;

impl Session {
    /// The answer to a call, without its heading.
    pub(super) async fn run_sharding(
        &mut self,
        call: &ShardingCall,
        serving: &Serving,
    ) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        match call {
            ShardingCall::Register {
                function,
                registration,
            } => {
                self.must_be_outside(function)?;
                self.register(registration, serving).await?;
                answered(&registration.table)
            }
            ShardingCall::View(view) => {
                self.must_be_outside("view")?;
                let views = everywhere::Views::existing(view);
                let (core, settings) = (&self.front.core, self.settings.committed());
                let settled = everywhere::settle(core, settings, &views).await;
                settled.map_err(everywhere::Failure::into_error)?;
                answered(view)
            }
            ShardingCall::Forget(table) => {
                self.must_be_outside("forget_table")?;
                let core = &self.front.core;
                let message = DeleteTableRequest {
                    name: table.clone(),
                };
                let epoch = core.managers.delete_table(message).await;
                let epoch = epoch.map_err(Error::Managers)?;
                everywhere::caught_up(core, epoch).await?;
                answered(table)
            }
            ShardingCall::NextId => self.next_ids(1, Format::Text).await,
            ShardingCall::NextIds(count) => self.next_ids(*count, Format::Text).await,
            ShardingCall::Wrong(what) => Err(Refusal {
                sqlstate: "42883",
                message: (*what).to_owned(),
                hint: None,
            }
            .into()),
        }
    }

    /// The answer to a call for ids in the format that a Bind asks for; none for other calls.
    pub(super) async fn bound_ids(
        &mut self,
        class: &Class,
        format: Format,
    ) -> Result<Option<Portal>, Stopped> {
        let count = match class {
            Class::Sharding(ShardingCall::NextId) => 1,
            Class::Sharding(ShardingCall::NextIds(count)) => *count,
            _ => return Ok(None),
        };
        self.must_not_have_failed()?;
        let frames = self.next_ids(count, format).await?;
        let heading = answers::heading_in(class, format)?;
        Ok(Some(Portal::Answered(frames, heading)))
    }

    async fn next_ids(&self, count: u32, format: Format) -> Result<Bytes, Stopped> {
        let taken = self.front.core.ids.take(count).await;
        let ids = taken.map_err(no_ids)?;
        let mut out = BytesMut::new();
        for id in ids {
            let text = id.to_string();
            let value = match format {
                Format::Text => text.as_bytes(),
                Format::Binary => &id.to_be_bytes(),
            };
            encode::data_row(&mut out, &[Some(value)])?;
        }
        encode::command_complete(&mut out, &format!("SELECT {count}"));
        Ok(out.freeze())
    }

    /// Answers a Query whose INSERT asks for ids: they are written into it.
    pub(super) async fn run_with_ids(
        &mut self,
        sql: &str,
        places: &[Range<usize>],
        named: Named,
    ) -> Result<(), Stopped> {
        self.must_not_have_failed()?;
        let count = u32::try_from(places.len()).ok();
        let count = count.filter(|count| *count <= MAX_IDS);
        let count = count.ok_or_else(too_many_ids)?;
        let ids = self.front.core.ids.take(count).await;
        let ids = ids.map_err(no_ids)?;
        let text = query::with_ids(sql, places, ids.into_iter());
        let frame = Frame::query(&text)?;
        Box::pin(self.run_text(&frame, named)).await
    }

    async fn register(
        &self,
        registration: &Registration,
        serving: &Serving,
    ) -> Result<(), Stopped> {
        let change = everywhere::Change::registering(registration.clone());
        let core = &self.front.core;
        match everywhere::run(core, serving, self.settings.committed(), &change).await {
            Ok(_) => Ok(()),
            Err(everywhere::Failure::Own(error)) => Err(error.into()),
            Err(everywhere::Failure::Shard(frame)) => Err(everywhere::told(&frame).into()),
        }
    }

    /// What changes the topology is no part of a transaction, which could be rolled back.
    fn must_be_outside(&self, function: &str) -> Result<(), Refusal> {
        match &self.transaction {
            Transaction::Idle => Ok(()),
            Transaction::FailedPending(_) | Transaction::Failed => {
                Err(control::in_failed_transaction())
            }
            Transaction::Pending(_) | Transaction::Open => Err(Refusal {
                sqlstate: "25001",
                message: format!("sharding.{function} cannot run inside a transaction block"),
                hint: Some("run it outside of BEGIN and COMMIT".to_owned()),
            }),
        }
    }
}

fn no_ids(unavailable: Unavailable) -> Refusal {
    Refusal {
        sqlstate: "57P03",
        message: unavailable.to_string(),
        hint: Some("try again once the router reaches etcd".to_owned()),
    }
}

fn too_many_ids() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!("a statement cannot ask for more than {MAX_IDS} ids"),
        hint: Some("insert fewer rows at a time".to_owned()),
    }
}

/// One row of one text.
fn answered(text: &str) -> Result<Bytes, Stopped> {
    let mut out: BytesMut = answers::rows([text])?;
    encode::command_complete(&mut out, "SELECT 1");
    Ok(out.freeze())
}
