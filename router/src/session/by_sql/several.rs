//! EXECUTE of a statement that needs several shards: a query over their rows, or a write of which
//! each runs a part. It is run as if it had been bound to the arguments.

use bytes::Bytes;
use wire::Format;

use super::{Arguments as Given, not_found};
use crate::error::Error;
use crate::exec::ask::ask;
use crate::query::{self, SqlExecute, Statement, Value};
use crate::route::{Plan, Refusal, Target};
use crate::scatter;
use crate::scatter::exec::Arguments;
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::session::expect::Answer;
use crate::session::explaining::Explain;
use crate::session::prepared::Prepared;
use crate::session::pulling::Asked as Pull;
use crate::session::simple::syntax_refusal;
use crate::view::Serving;

/// An EXECUTE that was refused for one shard.
pub(super) struct Executed<'a> {
    /// What was prepared.
    pub(super) prepared: &'a Prepared,
    pub(super) inner: &'a Statement,
    /// The statement whose hints hold.
    pub(super) hinted: &'a Statement,
    pub(super) plan: &'a Plan,
    pub(super) execute: &'a SqlExecute,
}

impl Session {
    /// Runs it, if several shards can.
    pub(super) async fn execute_on_several(
        &mut self,
        serving: &Serving,
        executed: Executed<'_>,
        refusal: Refusal,
    ) -> Result<(), Stopped> {
        let Executed {
            prepared,
            inner,
            hinted,
            plan,
            execute,
        } = executed;
        let text = inner.text(prepared.sql());
        let given = Given {
            values: &execute.arguments,
            types: &prepared.parameter_types,
        };
        let is_hinted = self.is_hinted(hinted);
        let data = scatter::candidate((inner, is_hinted), plan, &refusal);
        let split = match data {
            None if !is_hinted => {
                self.split_of((inner, plan), (text, &refusal), &given, serving)?
            }
            _ => None,
        };
        let into = match (data, &split) {
            (None, None) if !is_hinted => self.pulled_into(inner, &refusal, serving),
            _ => None,
        };
        if data.is_none() && split.is_none() && into.is_none() {
            return Err(refusal.into());
        }
        let types = self.types_of(serving, prepared).await?;
        let arguments = arguments(execute, types)?;
        match (data, split) {
            (Some(data), _) => {
                let asked = (text, data, &refusal);
                self.scatter_given(serving, asked, &arguments).await
            }
            (None, Some(split)) => {
                let split = split.given(&arguments);
                let frames = self.query_in_parts(serving, &split).await?;
                self.answer_locally(&frames).await
            }
            (None, None) => {
                let asked = Pull {
                    into: &into.ok_or_else(|| refusal.clone())?,
                    sql: text,
                    arguments: &arguments,
                    refusal: &refusal,
                };
                let frames = self.pull_query(serving, asked).await?;
                self.answer_locally(&frames).await
            }
        }
    }

    /// EXPLAIN of it: that of the prepared statement, with the arguments for its parameters.
    pub(super) async fn explain_on_several(
        &mut self,
        serving: &Serving,
        executed: Executed<'_>,
        sql: &str,
    ) -> Result<(), Stopped> {
        let Executed {
            prepared,
            inner,
            execute,
            ..
        } = executed;
        let before = query::before_execute(sql).ok_or_else(not_found)?;
        let text = format!("{before}{}", inner.text(prepared.sql()));
        let types = self.types_of(serving, prepared).await?;
        let arguments = arguments(execute, types)?;
        let planned = self.front.core.cache.plan(&text, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        let plans = self.plans(&planned, serving);
        let found = planned.analysis.statements.first().zip(plans.plans.first());
        let (statement, plan) = found.ok_or_else(not_found)?;
        let Err(refusal) = self.place(statement, plan, &arguments, serving) else {
            return Err(not_found().into());
        };
        let explain = Explain {
            statement,
            plan,
            sql: &text,
            refusal: &refusal,
            arguments: &arguments,
        };
        let frames = self.explain_simply(serving, explain).await?;
        self.answer_locally(&frames).await
    }

    /// The types of a statement's parameters, as a shard has found them.
    async fn types_of(
        &mut self,
        serving: &Serving,
        prepared: &Prepared,
    ) -> Result<Vec<u32>, Stopped> {
        // Whether a shard is written to is said where it is.
        self.flight.note_writes(false);
        self.attach(serving, Target::Any).await?;
        if !self.holds(prepared.id) {
            self.prepare(prepared, true)?;
            wire::frontend::encode::sync(&mut self.outbound);
            self.expected.drop_answer(Answer::Ready);
        }
        if !self.outbound.is_empty() {
            let seen = self.exchange().await?;
            if seen.error {
                self.finish(&seen);
                return Err(Stopped::Answered);
            }
        }
        let Some(attachment) = &mut self.attachment else {
            return Err(Error::NoShard.into());
        };
        let shard = attachment.shard.clone();
        let name = wire::quote::literal(&prepared.server_name);
        let sql = format!(
            "SELECT t.oid::pg_catalog.int8 FROM pg_catalog.pg_prepared_statements s, \
             pg_catalog.unnest(s.parameter_types) WITH ORDINALITY t(oid, place) \
             WHERE s.name = {name} ORDER BY t.place"
        );
        let reply = ask(&mut attachment.lease, &sql).await;
        let Ok(reply) = reply else {
            self.close_backend();
            return Err(Error::BackendLost { shard }.into());
        };
        let oid = |row: &Vec<Option<String>>| row.first()?.as_ref()?.parse().ok();
        let types: Option<Vec<u32>> = reply.rows.iter().map(oid).collect();
        types.ok_or_else(|| Error::BackendLost { shard }.into())
    }
}

/// What an EXECUTE binds a statement's parameters to.
fn arguments(execute: &SqlExecute, types: Vec<u32>) -> Result<Arguments, Refusal> {
    if execute.arguments.len() != types.len() {
        return Err(wrong_number(execute));
    }
    let mut values = Vec::with_capacity(types.len());
    for ((at, value), oid) in execute.arguments.iter().enumerate().zip(&types) {
        let text = match value {
            Value::Null => None,
            Value::Text(text) => Some(text),
            Value::Integer(text) if takes_integers(*oid) => Some(text),
            Value::Integer(_) => return Err(not_as_it_is(at, "an integer")),
            Value::Cast(..) | Value::Parameter(..) | Value::Default | Value::Other => {
                return Err(not_as_it_is(at, "not a constant"));
            }
        };
        let bytes = text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        values.push((Format::Text, bytes));
    }
    Ok(Arguments {
        types,
        values,
        results: Vec::new(),
    })
}

pub(super) fn wrong_number(execute: &SqlExecute) -> Refusal {
    Refusal {
        sqlstate: "42601",
        message: format!(
            "wrong number of parameters for prepared statement \"{}\"",
            execute.name
        ),
        hint: None,
    }
}

/// Whether an integer constant is taken for a value of a type as its text is: int8, int2, int4,
/// text, oid, float4, float8, bpchar, varchar, numeric.
fn takes_integers(oid: u32) -> bool {
    matches!(oid, 20 | 21 | 23 | 25 | 26 | 700 | 701 | 1042 | 1043 | 1700)
}

fn not_as_it_is(at: usize, what: &str) -> Refusal {
    Refusal::unsupported(format!(
        "argument {} of an EXECUTE for several shards is {what}, which its text does not stand for",
        at + 1
    ))
    .hint("give it as a string without a cast")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execute(arguments: Vec<Value>) -> SqlExecute {
        SqlExecute {
            name: "p".to_owned(),
            arguments,
        }
    }

    #[test]
    fn constants_are_bound_by_their_texts() {
        let given = vec![
            Value::Integer("-5".to_owned()),
            Value::Text("x".to_owned()),
            Value::Null,
        ];
        let bound = arguments(&execute(given), vec![20, 25, 1082]).unwrap();
        let texts: Vec<Option<&[u8]>> = bound.values.iter().map(|it| it.1.as_deref()).collect();
        assert_eq!(texts, [Some(&b"-5"[..]), Some(b"x"), None]);
    }

    #[test]
    fn what_its_text_does_not_stand_for_is_refused() {
        let one = |value, oid| arguments(&execute(vec![value]), vec![oid]);
        let date = one(Value::Integer("20240101".to_owned()), 1082);
        assert_eq!(date.unwrap_err().sqlstate, "0A000");
        assert_eq!(one(Value::Other, 23).unwrap_err().sqlstate, "0A000");
        let few = arguments(&execute(Vec::new()), vec![23]);
        assert_eq!(few.unwrap_err().sqlstate, "42601");
    }
}
