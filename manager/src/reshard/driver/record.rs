//! Writes a leg's record, with what its phase means for the topology.

use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::time::Instant;
use topology::records::{Hold as HoldRecord, encode};
use topology::store::Op;
use topology::{Epoch, keys};

use super::hands::{Hands, Hold};
use super::{Trouble, TroubleKind, is_flip};
use crate::audit::Author;
use crate::commit::{self, Applied, ReshardWrite};
use crate::control::moves::{Effect, Handover};
use crate::reshard::leg::{Cutover, Leg};
use crate::reshard::machine::{Phase, Side};

/// How long routers hold at least before they go on at the present owner, if nobody ends the hold.
const MIN_HOLD: Duration = Duration::from_secs(1);
/// Who acts when nobody asked for the very step.
const ACTOR: &str = "reshard";

impl Hands {
    /// Makes a phase the recorded one.
    pub(super) async fn record(&mut self, phase: Phase) -> Result<(), Trouble> {
        let was = self.leg.phase;
        if matches!(phase, Phase::Cleaning(_)) {
            // Nothing is removed before it is known whether all of it arrived.
            if was == Phase::Following(Side::To) {
                self.run_streams().await?;
                self.certify().await?;
                if self.leg.is_unequal() {
                    return Err(Trouble::passing("the two sides differ: nothing is removed"));
                }
            } else {
                self.settle_exact().await?;
            }
        }
        let owners: Vec<_> = self.owners().into_iter().collect();
        let mut leg = self.leg.clone();
        leg.phase = phase;
        match phase {
            Phase::Copying => leg.started_at = leg.started_at.or(Some(SystemTime::now())),
            Phase::Holding(owner) => {
                leg.attempts += 1;
                self.reason = None;
                self.frozen.clear();
                self.hold = Some(Hold {
                    since: Instant::now(),
                    at: SystemTime::now(),
                    to: owner.other(),
                    write: Duration::ZERO,
                });
            }
            Phase::Planned
            | Phase::Following(_)
            | Phase::Aborting(_)
            | Phase::Opening(_)
            | Phase::Severed
            | Phase::Cleaning(_)
            | Phase::Done(_) => {}
        }
        let effect = self.effect(phase);
        let applied = self.write(leg, effect, action(was, phase)).await?;
        tracing::info!(leg = %self.leg.id, ?phase, epoch = %applied.epoch, "leg recorded");
        if let (Phase::Holding(_), Some(hold)) = (phase, &mut self.hold) {
            hold.write = hold.since.elapsed();
        }
        if is_flip(was, phase) {
            self.begin_exact(&owners);
        }
        if was.is_held() && !phase.is_held() {
            self.note_cutover(was, phase).await?;
        }
        Ok(())
    }

    /// What a phase means for the topology, coming from the present one.
    fn effect(&self, phase: Phase) -> Effect {
        let was = self.leg.phase;
        let hold = self.leg.id.tag();
        if is_flip(was, phase) {
            let handover = |flow: crate::reshard::flow::Flow| Handover {
                from: flow.from,
                to: flow.to,
                vnodes: flow.vnodes,
            };
            let tables = self.leg.tables.iter().map(|table| table.name.clone());
            return Effect::Flip {
                handovers: self.flows().into_iter().map(handover).collect(),
                tables: tables.collect(),
                release: (!phase.is_held()).then_some(hold),
            };
        }
        match (was.is_held(), phase.is_held()) {
            (false, true) => {
                let longest = (self.options.max_pause() * 3).max(MIN_HOLD);
                Effect::Hold(HoldRecord {
                    id: hold,
                    ranges: self.ranges().iter().copied().collect(),
                    deadline_ms: u32::try_from(longest.as_millis()).unwrap_or(u32::MAX),
                })
            }
            (true, false) => Effect::Release { hold },
            (true, true) | (false, false) => Effect::None,
        }
    }

    /// Keeps how the cutover that has just ended went.
    async fn note_cutover(&mut self, was: Phase, phase: Phase) -> Result<(), Trouble> {
        let Some(hold) = self.hold.take() else {
            return Ok(()); // An earlier leader's.
        };
        let pause = hold.since.elapsed();
        let is_aborted = matches!(was, Phase::Aborting(_));
        self.context.metrics.cutover(pause, is_aborted);
        let error = is_aborted.then(|| self.reason.take().unwrap_or_default());
        tracing::info!(leg = %self.leg.id, ?phase, pause_ms = pause.as_secs_f64() * 1e3,
            error, "cutover ended");
        let mut leg = self.leg.clone();
        leg.keep_cutover(Cutover {
            at: hold.at,
            pause_us: u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
            to: hold.to,
            error,
        });
        self.write(leg, Effect::None, "note_cutover").await?;
        Ok(())
    }

    /// Writes the leg, and what it means for the topology.
    pub(super) async fn write(
        &mut self,
        leg: Leg,
        effect: Effect,
        action: &'static str,
    ) -> Result<Applied, Trouble> {
        let key = keys::leg(leg.id.job.as_str(), leg.id.number);
        let (to_hold, to_flip) = match &effect {
            Effect::Hold(_) => (true, false),
            Effect::Flip { .. } => (false, true),
            Effect::None | Effect::Release { .. } | Effect::State { .. } => (false, false),
        };
        let with_epochs = move |mut leg: Leg, epoch: Epoch| {
            leg.hold_epoch = if to_hold { Some(epoch) } else { leg.hold_epoch };
            leg.flip_epoch = if to_flip { Some(epoch) } else { leg.flip_epoch };
            leg
        };
        let (record, place) = (leg.clone(), key.clone());
        let write = ReshardWrite {
            term: self.term,
            author: Author {
                actor: ACTOR.to_owned(),
                ..Author::default()
            },
            unchanged: vec![(key, self.seen)],
            records: Box::new(move |epoch| {
                let leg = with_epochs(record.clone(), epoch);
                vec![Op::put(place.clone(), encode(&leg))]
            }),
            effect,
            action,
            target: leg.id.to_string(),
            detail: json!({ "phase": leg.phase, "attempts": leg.attempts }),
        };
        let applied = self.context.writer.write_reshard(&write).await?;
        self.leg = with_epochs(leg, applied.epoch);
        self.seen = applied.revision;
        self.tell(|_| {});
        Ok(applied)
    }
}

impl From<commit::Error> for Trouble {
    fn from(error: commit::Error) -> Self {
        let kind = match &error {
            commit::Error::Deposed { .. } => TroubleKind::Deposed,
            // Somebody else has written the record, or may have.
            commit::Error::OutcomeUnknown(_) | commit::Error::Contended { .. } => {
                TroubleKind::Unknown
            }
            commit::Error::Rejected(_)
            | commit::Error::Access(_)
            | commit::Error::Load(_)
            | commit::Error::Invalid(_)
            | commit::Error::Audit(_)
            | commit::Error::Store(_)
            | commit::Error::Record(_)
            | commit::Error::KeyReused { .. } => TroubleKind::Passing,
        };
        Self::new(kind, platform::telemetry::error_chain(&error))
    }
}

/// What the audit log says of a step from one phase to another.
fn action(was: Phase, phase: Phase) -> &'static str {
    match phase {
        Phase::Planned => "plan_leg",
        Phase::Copying => "copy_leg",
        Phase::Following(Side::From) if was == Phase::Copying => "follow_leg",
        Phase::Following(_) if is_flip(was, phase) => "flip_leg",
        Phase::Following(_) => "release_leg",
        Phase::Holding(_) => "hold_leg",
        Phase::Aborting(_) => "abort_leg",
        Phase::Opening(_) => "flip_leg",
        Phase::Severed => "sever_leg",
        Phase::Cleaning(_) => "clean_leg",
        Phase::Done(_) => "end_leg",
    }
}
