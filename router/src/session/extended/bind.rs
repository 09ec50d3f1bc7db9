//! Bind: where a statement goes with its parameters.

use std::sync::Arc;

use bytes::Bytes;
use wire::backend::encode;
use wire::frontend::Bind;

use super::steps::Step;
use super::{Portal, is_routed_anew};
use crate::error::Error;
use crate::query::{Class, Statement};
use crate::replica::Permit;
use crate::route::{Parameter, Parameters, Plan, Refusal, Target};
use crate::scatter;
use crate::session::attach::Stopped;
use crate::session::client::Frame;
use crate::session::effects::Effect;
use crate::session::expect::Answer;
use crate::session::housekeeping::is_housekeeping;
use crate::session::prepared::Prepared;
use crate::session::scatter::Scattered;
use crate::session::simple::{is_neutral, may_write, neutral_target};
use crate::session::{POISON, Session, answers, control, explaining, hints, local};
use crate::view::Serving;

/// Most portals of one session.
const MAX_PORTALS: usize = 10_000;

/// The parameters of a Bind.
pub(super) struct Bound<'a> {
    pub(super) bind: Bind<'a>,
    /// As the client declared them.
    pub(super) types: &'a [u32],
}

impl Parameters for Bound<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let index = usize::from(index);
        let (format, value) = self.bind.parameter(index)?;
        let binary = format == wire::Format::Binary;
        Some(Parameter {
            value,
            binary,
            type_oid: self.types.get(index).copied().unwrap_or(0),
        })
    }
}

/// A portal that is about to be opened on a shard.
pub(super) struct Opening<'a> {
    /// The Bind.
    pub(super) frame: &'a Frame,
    /// Whether its statement has a name.
    pub(super) named: bool,
    pub(super) portal: Bytes,
    pub(super) prepared: Arc<Prepared>,
    pub(super) effect: Effect,
    /// Whether the batch may share a backend with strangers, as far as it has come.
    shares: bool,
}

/// Where a Bind goes.
enum Destination {
    /// To no shard.
    Here(Portal),
    /// To a shard; to a replica of it where there is a permit.
    Shard(Target, Option<Permit>),
}

impl Session {
    /// Waits while the keys of a Bind are being moved; then it is routed anew.
    pub(super) async fn bind_in_turn(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let mut since = None;
        loop {
            match self.on_bind(frame).await {
                Err(held) if is_routed_anew(&held) => {
                    let bytes = frame.bytes().len();
                    Box::pin(self.wait_out(held, bytes, &mut since)).await?;
                }
                // Whatever else there is concerns the batch as a whole.
                ended => return ended,
            }
        }
    }

    async fn on_bind(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let bind = Bind::decode(frame.body())?;
        let portal = Bytes::copy_from_slice(bind.portal.as_bytes());
        let name = bind.statement.as_bytes();
        let prepared = self.statement(name).await?;
        // Strangers stand behind what is alone in its batch.
        self.flight.shares = None;
        let is_first = self.flight.routed.is_none() && self.flight.effects.is_empty();
        let serving = self.front.core.view.load();
        let effect = self.effect_of(&prepared, bind)?;
        let destination = match self.ids_for(&prepared, bind).await? {
            Some(answered) => Destination::Here(answered),
            None => match self.destination_of(&prepared, bind, &serving) {
                Err(Stopped::Told(Error::Refused(own))) if own.may_be_of_a_mistake() => {
                    let asked = (&*prepared, !name.is_empty());
                    return Box::pin(self.let_shard_tell(&serving, asked, own)).await;
                }
                destination => destination?,
            },
        };
        self.may_open(&portal, &destination)?;
        let (target, permit) = match destination {
            Destination::Here(opened) => {
                if !matches!(
                    opened,
                    Portal::Answered(..)
                        | Portal::Split(_)
                        | Portal::Scattered(_)
                        | Portal::Declare(..)
                        | Portal::Pull(..)
                        | Portal::Explain(..)
                ) {
                    takes_no_parameters(&bind)?;
                }
                self.portals.insert(portal, opened);
                let complete = local::frames(encode::bind_complete);
                return self.step(Step::Local(complete, None));
            }
            Destination::Shard(target, permit) => (target, permit),
        };
        let planned = prepared.planned.as_ref();
        let shares = is_first
            && permit.is_none()
            && !self.flight.now_writes
            && planned.is_some_and(|planned| self.may_share(planned));
        let opening = Opening {
            frame,
            named: !name.is_empty(),
            portal,
            prepared,
            effect,
            shares,
        };
        if shares && Box::pin(self.open_in_lane(&serving, target, &opening)).await? {
            return Ok(());
        }
        self.open_there(&serving, (target, permit), opening).await
    }

    /// Opens a portal on a shard, or on a replica of it where there is a permit.
    async fn open_there(
        &mut self,
        serving: &Serving,
        (target, permit): (Target, Option<Permit>),
        opening: Opening<'_>,
    ) -> Result<(), Stopped> {
        let Opening {
            frame,
            named,
            portal,
            prepared,
            effect,
            shares,
        } = opening;
        if self.company.is_some() {
            self.seek_cursor_of(&prepared).await?;
        }
        let declared = match prepared.statement().map(|it| &it.class) {
            Some(Class::DeclareCursor { name, .. }) => Some(name),
            _ => None,
        };
        self.attach_reader(serving, target, permit).await?;
        if let Some(name) = declared {
            Box::pin(self.must_be_a_new_cursor(name)).await?;
            self.note_cursor(name);
        }
        if self.has_other_homes(Some(&prepared), serving) {
            Box::pin(self.run_deferred_at_homes(serving)).await?;
            self.attach_to(serving, target).await?;
        }
        self.run_deferred()?;
        if !self.is_prepared(&prepared, named) {
            Box::pin(self.prepare_alike(&prepared, named)).await?;
        }
        if named {
            let server_name = prepared.server_name.as_bytes();
            wire::frontend::bind_renamed(&mut self.outbound, frame.body(), server_name)?;
        } else {
            self.outbound.extend_from_slice(frame.bytes());
        }
        self.expected.forward(Answer::Bind);
        self.mark_unsynced();
        if !portal.is_empty() {
            self.stay();
        }
        self.portals.insert(portal, Portal::Remote(effect));
        self.flight.shares = prepared.planned.clone().filter(|_| shares);
        self.asked = Some(prepared);
        Ok(())
    }

    /// The answer to a statement that asks for ids alone; none for others.
    async fn ids_for(
        &mut self,
        prepared: &Prepared,
        bind: Bind<'_>,
    ) -> Result<Option<Portal>, Stopped> {
        let Some(statement) = prepared.statement() else {
            return Ok(None);
        };
        let Class::Sharding(_) = &statement.class else {
            return Ok(None);
        };
        let format = bind.result_formats.of(0);
        Box::pin(self.bound_ids(&statement.class, format)).await
    }

    fn effect_of(&self, prepared: &Prepared, bind: Bind<'_>) -> Result<Effect, Refusal> {
        let Some(statement) = prepared.statement() else {
            return Ok(Effect::None);
        };
        let bound = Bound {
            bind,
            types: &prepared.parameter_types,
        };
        let settings = self.settings.in_force();
        Effect::bound(statement, prepared.sql(), &bound, settings)
    }

    /// Whether a portal may get this name. Of two that are both on the backend it decides itself:
    /// it may have dropped the first one with a savepoint.
    fn may_open(&self, portal: &Bytes, destination: &Destination) -> Result<(), Refusal> {
        let is_taken = match (self.portals.get(portal), destination) {
            _ if portal.is_empty() => false,
            (None | Some(Portal::Spent), _) | (Some(Portal::Remote(_)), Destination::Shard(..)) => {
                portal == POISON
            }
            (Some(_), _) => true,
        };
        if is_taken {
            let name = String::from_utf8_lossy(portal);
            return Err(Refusal {
                sqlstate: "42P03",
                message: format!("cursor \"{name}\" already exists"),
                hint: None,
            });
        }
        if self.portals.len() >= MAX_PORTALS {
            return Err(Refusal {
                sqlstate: "54000",
                message: format!("a session cannot hold more than {MAX_PORTALS} portals"),
                hint: None,
            });
        }
        Ok(())
    }

    fn destination_of(
        &mut self,
        prepared: &Arc<Prepared>,
        bind: Bind<'_>,
        serving: &Serving,
    ) -> Result<Destination, Stopped> {
        let Some(planned) = &prepared.planned else {
            return Err(not_understood().into());
        };
        let Some(statement) = prepared.statement() else {
            self.must_not_have_failed()?;
            return Ok(Destination::Here(Portal::Local(Arc::clone(prepared))));
        };
        let class = &statement.class;
        if control::is_control(class) {
            self.client.keep_completions();
        }
        if let Class::Begin { .. } = class
            && self.is_implicit()
        {
            // No shard knows that the transaction is the router's own.
            return Ok(Destination::Here(Portal::Local(Arc::clone(prepared))));
        }
        if !control::is_exit(class) {
            self.must_not_have_failed()?;
        }
        if let Some(cursor) = self.cursor_destination(prepared, bind)? {
            return Ok(Destination::Here(cursor));
        }
        let own = match class {
            Class::DiscardAll => self.settings.is_startup(),
            Class::DiscardOther(_) | Class::Unlisten(_) if self.is_bound() => false,
            class => is_housekeeping(class),
        };
        let together = self.company.is_some() && control::ends(class);
        let here = own
            || together
            || hints::named_by(class).is_some()
            || matches!(class, Class::Sharding(_))
            || (self.attachment.is_none() && self.is_answered_here(class));
        if here {
            return Ok(Destination::Here(Portal::Local(Arc::clone(prepared))));
        }
        self.check_setting(class, prepared.sql())?;
        if is_neutral(class) {
            return Ok(Destination::Shard(neutral_target(class), None));
        }
        let plans = self.plans(planned, serving);
        let Some(plan) = plans.plans.first() else {
            return Ok(Destination::Shard(Target::Any, None));
        };
        if let Class::ExplainRoute(_) = class {
            let types = &answers::parameter_types(prepared);
            let bound = Bound { bind, types };
            let text = (statement, prepared.sql());
            let frames = self.explain_route(text, Some(plan), Some(&bound), serving)?;
            let answered = Portal::Answered(frames.unwrap_or_default(), answers::heading(class)?);
            return Ok(Destination::Here(answered));
        }
        if *plan == Plan::Everywhere {
            return Ok(Destination::Here(Portal::Everywhere(Arc::clone(prepared))));
        }
        self.flight.note_writes(may_write(plan, statement));
        self.flight.note_calls(statement);
        let bound = Bound {
            bind,
            types: &prepared.parameter_types,
        };
        let target = match self.place(statement, plan, &bound, serving) {
            Ok(target) => target,
            Err(refusal) => {
                return self.on_several((statement, plan), (prepared, bind), serving, refusal);
            }
        };
        let permit = self.permit(statement, Some(plan));
        Ok(Destination::Shard(target, permit))
    }

    /// Where a Bind goes that was refused for one shard.
    fn on_several(
        &mut self,
        (statement, plan): (&Statement, &Plan),
        (prepared, bind): (&Arc<Prepared>, Bind<'_>),
        serving: &Serving,
        refusal: Refusal,
    ) -> Result<Destination, Stopped> {
        if self.copied_into(statement, serving).is_some() {
            return Ok(Destination::Here(Portal::CopyIn(Arc::clone(prepared))));
        }
        if explaining::is_explain(&statement.class) {
            let arguments = Arc::new(Scattered::arguments(prepared, &bind));
            let portal = Portal::Explain(Arc::clone(prepared), arguments);
            return Ok(Destination::Here(portal));
        }
        let types = &prepared.parameter_types;
        let bound = Bound { bind, types };
        let text = (prepared.sql(), &refusal);
        if let Some(split) = self.split_of((statement, plan), text, &bound, serving)? {
            let split = split.bound(prepared, bind);
            return Ok(Destination::Here(Portal::Split(Arc::new(split))));
        }
        if self.pulled_into(statement, &refusal, serving).is_some() {
            let arguments = Arc::new(Scattered::arguments(prepared, &bind));
            let portal = Portal::Pull(Arc::clone(prepared), arguments);
            return Ok(Destination::Here(portal));
        }
        self.scattered((statement, plan), prepared, bind, refusal)
    }

    /// A portal of what is done with a cursor that the router keeps.
    fn cursor_destination(
        &mut self,
        prepared: &Prepared,
        bind: Bind<'_>,
    ) -> Result<Option<Portal>, Stopped> {
        let Some(class) = prepared.statement().map(|it| &it.class) else {
            return Ok(None);
        };
        self.drop_cursors(class);
        let format = Some(bind.result_formats.of(0));
        let fetching = self.fetching(class, prepared.sql(), format)?;
        Ok(fetching.map(|fetching| match fetching {
            Some(fetching) => Portal::Fetch(Arc::new(fetching)),
            None => {
                let no_data = local::frames(encode::no_data);
                Portal::Answered(self.close_cursor(class), no_data)
            }
        }))
    }

    /// A portal over all shards, of what was refused for one.
    fn scattered(
        &self,
        (statement, plan): (&Statement, &Plan),
        prepared: &Arc<Prepared>,
        bind: Bind<'_>,
        refusal: Refusal,
    ) -> Result<Destination, Stopped> {
        let asked = (statement, self.is_hinted(statement));
        // COPY is answered to simple queries only.
        let is_query = matches!(statement.class, Class::Select(_));
        if let Class::DeclareCursor { .. } = &statement.class {
            let arguments = Arc::new(Scattered::arguments(prepared, &bind));
            let declare = Portal::Declare(Arc::clone(prepared), arguments);
            return match self.could_declare(statement, plan, &refusal) {
                true => Ok(Destination::Here(declare)),
                false => Err(refusal.into()),
            };
        }
        if !is_query || scatter::candidate(asked, plan, &refusal).is_none() {
            return Err(refusal.into());
        }
        let scattered = Arc::new(Scattered::new(Arc::clone(prepared), &bind));
        Ok(Destination::Here(Portal::Scattered(scattered)))
    }
}

/// What reaches no shard, or every one, has no parameters.
fn takes_no_parameters(bind: &Bind<'_>) -> Result<(), Refusal> {
    let supplied = bind.parameters.len();
    if supplied == 0 {
        return Ok(());
    }
    let name = bind.statement.to_lossy();
    Err(Refusal {
        sqlstate: "08P01",
        message: format!(
            "bind message supplies {supplied} parameters, but prepared statement \"{name}\" \
             requires 0"
        ),
        hint: None,
    })
}

fn not_understood() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "the statement is not understood by the router and cannot be routed".to_owned(),
        hint: None,
    }
}
