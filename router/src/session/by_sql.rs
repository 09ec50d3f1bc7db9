//! PREPARE and EXECUTE by SQL. The statements are the session's as those of Parse are, under the
//! same names, so that either protocol may use what the other one has prepared.
//!
//! PREPARE is sent as a Parse under the router's own name for the statement; EXECUTE goes to the
//! shard of its arguments with that name in the place of the client's.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use self::several::Executed;
use super::attach::Stopped;
use super::client::Frame;
use super::effects::Effect;
use super::expect::Answer;
use super::prepared::{Parsed, Prepared};
use super::simple::{may_write, syntax_refusal};
use super::state::Transaction;
use super::{Session, local};
use crate::error::Error;
use crate::query::{self, Class, SqlExecute, SqlPrepare, Statement, Value};
use crate::route::{self, Parameter, Parameters, Refusal, Target};
use crate::view::Serving;

mod several;

/// A statement of this file.
#[derive(Debug, Clone, Copy)]
pub(super) enum BySql<'a> {
    Prepare(&'a SqlPrepare),
    /// EXECUTE, or EXPLAIN of it.
    Execute(&'a SqlExecute),
}

impl<'a> BySql<'a> {
    /// A class, if it is one of these.
    #[must_use]
    pub(super) fn of(class: &'a Class) -> Option<Self> {
        match class {
            Class::SqlPrepare(prepare) => Some(Self::Prepare(prepare)),
            Class::SqlExecute(execute) => Some(Self::Execute(execute)),
            Class::Explain { inner, .. } => match &**inner {
                Class::SqlExecute(execute) => Some(Self::Execute(execute)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Session {
    /// Answers one of these statements, which is the whole text.
    pub(super) async fn run_by_sql(
        &mut self,
        serving: &Serving,
        statement: &Statement,
        which: BySql<'_>,
        sql: &str,
    ) -> Result<(), Stopped> {
        self.must_not_have_failed()?;
        match which {
            BySql::Prepare(prepare) => self.prepare_by_sql(serving, prepare, sql).await,
            BySql::Execute(execute) => self.execute_by_sql(serving, statement, execute, sql).await,
        }
    }

    /// A shard says whether the statement is one; the session then has it whatever becomes of the
    /// transaction, as PostgreSQL's sessions do.
    async fn prepare_by_sql(
        &mut self,
        serving: &Serving,
        prepare: &SqlPrepare,
        sql: &str,
    ) -> Result<(), Stopped> {
        let name = Bytes::copy_from_slice(prepare.name.as_bytes());
        self.may_name(&name)?;
        let parsed = self.parsed(serving, prepare, sql)?;
        let (definition, planned, written) = self
            .defined(serving, parsed.definition.clone(), parsed.planned.clone())
            .await?;
        let parsed = Parsed {
            definition,
            planned,
            written,
            ..parsed
        };
        let prepared = self.named(parsed);
        let home = self.home_of(&prepared, serving);
        self.attach(serving, home.unwrap_or(Target::Catalog))
            .await?;
        self.prepare(&prepared, true)?;
        let complete = local::complete("PREPARE");
        self.expected.local(complete, None);
        wire::frontend::encode::sync(&mut self.outbound);
        self.expect_ready();
        let seen = self.exchange_to_ready().await?;
        self.finish(&seen);
        if seen.error {
            return self.went_wrong();
        }
        self.statements.insert(name, prepared);
        Ok(())
    }

    /// What a Parse of the same statement would say.
    fn parsed(
        &self,
        serving: &Serving,
        prepare: &SqlPrepare,
        sql: &str,
    ) -> Result<Parsed, Refusal> {
        let types: Option<Vec<u32>> = prepare.types.iter().copied().collect();
        let types = types.ok_or_else(foreign_type)?;
        let body = query::prepared_body(sql).and_then(|body| sql.get(body));
        let body = body.ok_or_else(not_found)?.trim();
        let planned = self.front.core.cache.plan(body, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        let mut definition = BytesMut::from(body.as_bytes());
        definition.put_u8(0);
        definition.put_u16(u16::try_from(types.len()).map_err(|_| not_found())?);
        types.iter().for_each(|oid| definition.put_u32(*oid));
        Ok(Parsed {
            definition: definition.freeze(),
            parameter_types: types.into(),
            planned: Some(planned),
            settings: Arc::clone(self.settings.in_force()),
            promised: None,
            written: None,
        })
    }

    async fn execute_by_sql(
        &mut self,
        serving: &Serving,
        statement: &Statement,
        execute: &SqlExecute,
        sql: &str,
    ) -> Result<(), Stopped> {
        let prepared = self.statement(execute.name.as_bytes()).await?;
        let target = match self.target_of(serving, statement, execute, &prepared)? {
            Ok(target) => target,
            // An argument is missing.
            Err(refusal) if refusal.sqlstate == "42P02" => {
                return Err(several::wrong_number(execute).into());
            }
            Err(refusal) => {
                let again = ((statement, sql), execute, &*prepared);
                return self.execute_elsewhere(serving, again, refusal).await;
            }
        };
        let place = query::executed_name(sql).ok_or_else(not_found)?;
        let (before, after) = (sql.get(..place.start), sql.get(place.end..));
        let parts = [before, Some(&*prepared.server_name), after];
        let renamed: String = parts.into_iter().flatten().collect();
        self.attach(serving, target).await?;
        if !self.holds(prepared.id) {
            self.prepare(&prepared, true)?;
            wire::frontend::encode::sync(&mut self.outbound);
            self.expected.drop_answer(Answer::Ready);
            let seen = self.exchange().await?;
            if seen.error {
                self.finish(&seen);
                return Err(Stopped::Answered);
            }
            if prepared.has_changed() {
                return Err(Error::PlanChanged.into());
            }
        }
        self.flight.ends = self.transaction == Transaction::Idle;
        let inner = prepared.statement().into_iter();
        let mut effect = Effect::None;
        for each in inner.chain([statement]) {
            self.flight.note_calls(each);
            if effect == Effect::None {
                effect = Effect::of_statement(each, sql);
            }
        }
        self.note_effect(effect);
        self.forward_query(&Frame::query(&renamed)?).await
    }

    /// An EXECUTE that was refused for one shard.
    async fn execute_elsewhere(
        &mut self,
        serving: &Serving,
        ((statement, sql), execute, prepared): ((&Statement, &str), &SqlExecute, &Prepared),
        refusal: Refusal,
    ) -> Result<(), Stopped> {
        let (Some(inner), Some(planned)) = (prepared.statement(), &prepared.planned) else {
            return Err(refusal.into());
        };
        let plans = self.plans(planned, serving);
        let Some(plan) = plans.plans.first() else {
            return Err(refusal.into());
        };
        let executed = Executed {
            prepared,
            inner,
            hinted: if statement.hints.is_empty() {
                inner
            } else {
                statement
            },
            plan,
            execute,
        };
        match statement.class {
            Class::Explain { .. } => {
                Box::pin(self.explain_on_several(serving, executed, sql)).await
            }
            _ => Box::pin(self.execute_on_several(serving, executed, refusal)).await,
        }
    }

    /// Where an EXECUTE goes, or why to no shard alone; notes whether it may write.
    fn target_of(
        &mut self,
        serving: &Serving,
        statement: &Statement,
        execute: &SqlExecute,
        prepared: &Prepared,
    ) -> Result<Result<Target, Refusal>, Refusal> {
        let inner = prepared.statement().filter(|inner| is_data(&inner.class));
        let (Some(inner), Some(planned)) = (inner, &prepared.planned) else {
            return Err(not_data(&execute.name));
        };
        let plans = self.plans(planned, serving);
        let plan = plans.plans.first().ok_or_else(|| not_data(&execute.name))?;
        route::check_calls(statement, plan)?;
        let arguments = Arguments {
            values: &execute.arguments,
            types: &prepared.parameter_types,
        };
        if let Some(number) = route::parameters_of(plan).find(|it| arguments.is_computed(*it)) {
            return Err(computed(number));
        }
        let hinted = if statement.hints.is_empty() {
            inner
        } else {
            statement
        };
        self.flight.note_writes(may_write(plan, inner));
        Ok(self.place(hinted, plan, &arguments, serving))
    }
}

/// The arguments of an EXECUTE, as the parameters that they become.
struct Arguments<'a> {
    values: &'a [Value],
    types: &'a [u32],
}

impl Arguments<'_> {
    /// Whether an argument's value is only known once it is computed.
    fn is_computed(&self, number: u16) -> bool {
        match self.values.get(usize::from(number)) {
            Some(Value::Integer(_) | Value::Text(_) | Value::Null) | None => false,
            Some(Value::Cast(..) | Value::Parameter(..) | Value::Default | Value::Other) => true,
        }
    }
}

impl Parameters for Arguments<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let index = usize::from(index);
        let value = match self.values.get(index)? {
            Value::Integer(text) | Value::Text(text) => Some(text.as_bytes()),
            Value::Null => None,
            Value::Cast(..) | Value::Parameter(..) | Value::Default | Value::Other => return None,
        };
        Some(Parameter {
            value,
            binary: false,
            type_oid: self.types.get(index).copied().unwrap_or(0),
        })
    }
}

fn is_data(class: &Class) -> bool {
    matches!(
        class,
        Class::Select(_) | Class::Insert(_) | Class::Update(_) | Class::Delete(_) | Class::Merge(_)
    )
}

fn unsupported(message: String, hint: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message,
        hint: Some(hint.to_owned()),
    }
}

fn foreign_type() -> Refusal {
    let message = "PREPARE with a parameter of a type that is not one of PostgreSQL's own is not \
                   supported: its id differs between shards";
    unsupported(
        message.to_owned(),
        "name it unknown, and cast the parameter",
    )
}

fn not_found() -> Refusal {
    unsupported(
        "PREPARE or EXECUTE is written in a way that the router does not read".to_owned(),
        "name the statement without Unicode escapes",
    )
}

fn not_data(name: &str) -> Refusal {
    unsupported(
        format!("prepared statement \"{name}\" can't be run by EXECUTE"),
        "bind it, or send the statement itself",
    )
}

fn computed(number: u16) -> Refusal {
    unsupported(
        format!(
            "argument {} of EXECUTE decides which shard runs it, and is not a constant",
            u32::from(number) + 1
        ),
        "give the shard key as a string or an integer, without a cast",
    )
}
