//! EXPLAIN of what several shards do: a query over their rows, or a write of which each runs a part.
//!
//! With ANALYZE a write is run, and committed as the write itself would be.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use wire::Format;
use wire::backend::encode;

use super::attach::Stopped;
use super::prepared::Prepared;
use super::simple::syntax_refusal;
use super::state::Transaction;
use super::{Session, answers};
use crate::query::{Class, Data, Statement};
use crate::route::{Plan, Refusal};
use crate::scatter;
use crate::scatter::exec::{self, Arguments};
use crate::scatter::explained::Explained;
use crate::scatter::plan::around::Explaining;
use crate::view::Serving;

/// An EXPLAIN that was refused for one shard.
#[derive(Clone, Copy)]
pub(super) struct Explain<'a> {
    pub(super) statement: &'a Statement,
    pub(super) plan: &'a Plan,
    /// The text that it stands in.
    pub(super) sql: &'a str,
    pub(super) refusal: &'a Refusal,
    pub(super) arguments: &'a Arguments,
}

impl Explain<'_> {
    fn text(&self) -> &str {
        self.statement.text(self.sql)
    }
}

/// Whether a statement is an EXPLAIN of a query or a write.
pub(super) fn is_explain(class: &Class) -> bool {
    let Class::Explain { inner, .. } = class else {
        return false;
    };
    matches!(
        **inner,
        Class::Select(_) | Class::Insert(_) | Class::Update(_) | Class::Delete(_)
    )
}

/// The RowDescription of an EXPLAIN's answer.
pub(super) fn heading(text: &str, format: Format) -> Result<Bytes, Stopped> {
    let explaining = Explaining::read(text)?;
    Ok(answers::plan_heading(explaining.format.type_oid(), format)?)
}

impl Session {
    /// Answers a simple EXPLAIN, up to its ReadyForQuery.
    pub(super) async fn explain_simply(
        &mut self,
        serving: &Serving,
        explain: Explain<'_>,
    ) -> Result<Bytes, Stopped> {
        let heading = heading(explain.text(), Format::Text)?;
        let begun = self.transaction == Transaction::Idle;
        let is_write = scatter::query_of(&explain.statement.class).is_none();
        let ran = self.explain_several(serving, explain).await;
        let rows = match is_write {
            true => self.conclude(begun, ran).await?,
            // What it has read with has been given back.
            false => ran?,
        };
        Ok([heading, rows].concat().into())
    }

    /// The rows of an EXPLAIN and its end. A write goes on in the transaction, or begins one.
    pub(super) async fn explain_several(
        &mut self,
        serving: &Serving,
        explain: Explain<'_>,
    ) -> Result<Bytes, Stopped> {
        let explaining = Explaining::read(explain.text())?;
        let hinted = self.is_hinted(explain.statement);
        let asked = (explain.statement, hinted);
        let explained = match scatter::candidate(asked, explain.plan, explain.refusal) {
            Some(data) => {
                self.explain_query(serving, explain, data, &explaining)
                    .await?
            }
            None if hinted => return Err(explain.refusal.clone().into()),
            None => self.explain_write(serving, explain, &explaining).await?,
        };
        let rows = explained.rows(explaining.format).ok_or_else(|| {
            Refusal::unsupported("EXPLAIN of this statement over several shards gives text only")
                .hint("leave FORMAT out")
        })?;
        let mut out: BytesMut = answers::rows(rows.iter().map(String::as_str))?;
        encode::command_complete(&mut out, "EXPLAIN");
        Ok(out.freeze())
    }

    /// The router's part of a query, and each shard's plan.
    async fn explain_query(
        &mut self,
        serving: &Serving,
        explain: Explain<'_>,
        data: &Data,
        explaining: &Explaining,
    ) -> Result<Explained, Stopped> {
        let explained = async {
            let mut leases = self.lease_all(serving).await?;
            let schemas = self.schemas();
            let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
            let request = self.request((explain.text(), data, None), &schemas, explain.arguments);
            let explained = exec::explain(serving, &mut leases, request, &explaining.prefix).await;
            explained.map_err(|failure| self.fail_scatter(failure))
        };
        let explained = explained.await;
        self.end_lending(&explained).await?;
        explained
    }

    /// What each shard says of its part of a write.
    async fn explain_write(
        &mut self,
        serving: &Serving,
        explain: Explain<'_>,
        explaining: &Explaining,
    ) -> Result<Explained, Stopped> {
        let Class::Explain { analyze, .. } = explain.statement.class else {
            return Err(explain.refusal.clone().into());
        };
        let text = explaining.inner.as_str();
        let planned = self.front.core.cache.plan(text, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        let plans = self.plans(&planned, serving);
        let inner = planned.analysis.statements.first().zip(plans.plans.first());
        let (inner, plan) = inner.ok_or_else(|| explain.refusal.clone())?;
        let params = explain.arguments;
        let Err(refusal) = self.place(inner, plan, params, serving) else {
            return Err(explain.refusal.clone().into());
        };
        let split = self.split_of((inner, plan), (text, &refusal), params, serving)?;
        let Some(split) = split else {
            return Err(match self.pulled_into(inner, &refusal, serving) {
                Some(_) => not_of_rows_for_several().into(),
                None => refusal.into(),
            });
        };
        if split.is_of_copies() && analyze {
            return Err(Refusal::unsupported(
                "EXPLAIN ANALYZE of a write to a reference table is not supported: whether all \
                 shards wrote the same could not be told by its answer",
            )
            .hint("leave ANALYZE out, or run the write itself")
            .into());
        }
        let split = split.explained(&explaining.prefix, analyze).given(params);
        let shards = self.explain_parts(serving, &split).await?;
        let then = match analyze {
            true => "what they wrote is committed on all of them or on none",
            false => "nothing is written",
        };
        Ok(Explained {
            node: "Split Write",
            headline: format!("Write on {} shards", shards.len()),
            facts: vec![("Then", then.to_owned())],
            shards,
        })
    }

    /// Runs a portal of an EXPLAIN; gives its rows and its end.
    pub(super) async fn execute_explain(
        &mut self,
        prepared: &Arc<Prepared>,
        arguments: &Arguments,
    ) -> Result<Bytes, Stopped> {
        let serving = self.front.core.view.load();
        let (Some(planned), Some(statement)) = (&prepared.planned, prepared.statement()) else {
            return Err(crate::error::Error::NoShard.into());
        };
        let plans = self.plans(planned, &serving);
        let plan = plans.plans.first();
        let plan = plan.ok_or(crate::error::Error::NoShard)?;
        let Err(refusal) = self.place(statement, plan, arguments, &serving) else {
            return Err(crate::error::Error::NoShard.into());
        };
        let explain = Explain {
            statement,
            plan,
            sql: prepared.sql(),
            refusal: &refusal,
            arguments,
        };
        self.explain_several(&serving, explain).await
    }
}

fn not_of_rows_for_several() -> Refusal {
    Refusal::unsupported(
        "EXPLAIN of an INSERT of a query's rows for several shards is not supported",
    )
    .hint("EXPLAIN the query by itself; EXPLAIN (ROUTE) says where its rows go")
}
