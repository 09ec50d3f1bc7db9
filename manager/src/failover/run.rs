//! One promotion, from the hold of the routers to their release. Each step may be done again, since
//! the next leader begins with the first one.

use std::time::{Duration, SystemTime};

use platform::telemetry::error_chain;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use topology::records::Promotion;
use topology::{Endpoint, Epoch, Lineage, Shard, keys, routers};

use super::choice::{Choice, choose};
use super::fence::{self, Fenced, Held};
use super::{Context, Error, Outlook, Promoted, Promoter, Wish};
use crate::audit::Author;
use crate::commit::Request;
use crate::control::Command;
use crate::control::promotion::Ending;
use crate::reshard::guard::{horizon, term};

/// How long routers may take to let go of a primary that could still tell them of commits: longer
/// than the record of one that is gone lives.
const ROUTERS_LIMIT: Duration = Duration::from_secs(25);
/// The same for a primary that is fenced: then it is for clients' comfort only.
const ROUTERS_COMFORT: Duration = Duration::from_secs(2);
/// How long a replica may take to take writes.
const PROMOTE_LIMIT: Duration = Duration::from_secs(60);
/// How long the new primary may take to be made ready.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// What replicas of a primary that was fenced some time ago are given to receive the rest.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// Who acts when nobody asked for the very step.
const ACTOR: &str = "failover";

/// A promotion of which routers know.
#[derive(Debug)]
pub(super) struct Run<'a> {
    promoter: &'a Promoter,
    term: topology::Term,
    shard: Shard,
    promotion: Promotion,
    author: Author,
    outlook: Outlook,
    began: Instant,
    /// Whether an earlier attempt has fenced the old primary, which nobody can ask any more.
    was_fenced: bool,
    notes: Vec<String>,
}

impl<'a> Run<'a> {
    /// Has routers let go of the primary.
    pub(super) async fn begin(
        promoter: &'a Promoter,
        term: topology::Term,
        wish: &Wish,
        outlook: Outlook,
    ) -> Result<Self, Error> {
        let promotion = Promotion {
            id: uuid::Uuid::now_v7().to_string(),
            epoch: Epoch(0),
            to: wish.to.clone(),
            is_down: wish.is_down,
            accepts_loss: wish.accepts_loss,
            since: SystemTime::now(),
        };
        let began = Instant::now();
        let command = Command::BeginPromotion {
            id: wish.shard.clone(),
            promotion,
        };
        let written = write(&promoter.context, term, &wish.author, command).await?;
        let index = written.index_of(&wish.shard);
        let shard = index.and_then(|index| written.shard(index)).cloned();
        let shard = shard.ok_or_else(|| Error::UnknownShard(wish.shard.clone()))?;
        let promotion = shard.promotion.clone();
        let promotion = promotion.ok_or_else(|| Error::Underway(wish.shard.clone()))?;
        tracing::warn!(
            shard = %shard.id, from = %shard.primary_endpoint, to = %outlook.choice.to,
            behind = outlook.choice.behind, loss = outlook.choice.loss, epoch = %written.epoch(),
            "promotion begins"
        );
        Ok(Self {
            promoter,
            term,
            shard,
            promotion,
            author: wish.author.clone(),
            outlook,
            began,
            was_fenced: false,
            notes: Vec::new(),
        })
    }

    /// Takes up what an earlier leader has begun.
    pub(super) async fn resume(
        promoter: &'a Promoter,
        term: topology::Term,
        shard: Shard,
        promotion: Promotion,
    ) -> Result<Self, Error> {
        let servers = promoter.look(&shard).await;
        let mut candidates = servers.replicas.clone();
        // One that is promoted already is no candidate, and is what this is about.
        for candidate in &mut candidates {
            if let Ok(seen) = &mut candidate.seen {
                seen.is_primary = false;
            }
        }
        let shown = super::outlook::Servers {
            replicas: candidates,
            ..servers
        };
        let outlook = promoter.outlook_of(&shard, &shown, promotion.to.as_ref());
        let outlook = match outlook.await {
            Ok(outlook) => outlook,
            // It takes writes: nothing is gained by waiting for a replica.
            Err(error) if shown.primary.is_ok() => {
                let ending = Ending::GivenUp {
                    reason: error_chain(&error),
                };
                let command = Command::EndPromotion {
                    id: shard.id.clone(),
                    promotion: promotion.id.clone(),
                    ending,
                };
                write(&promoter.context, term, &author(), command).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        tracing::warn!(shard = %shard.id, "promotion is carried on");
        Ok(Self {
            promoter,
            term,
            shard,
            promotion,
            author: author(),
            outlook,
            began: Instant::now(),
            was_fenced: false,
            notes: Vec::new(),
        })
    }

    fn context(&self) -> &'a Context {
        &self.promoter.context
    }

    /// Does all that is left to do.
    pub(super) async fn carry_on(mut self) -> Result<Promoted, Error> {
        // Jobs are begun anew from their records: what they hold of the old primary is gone.
        self.context().jobs.renew(self.term).await;
        if let Some((to, lineage)) = self.promoted().await {
            return self.finish(to, lineage).await;
        }
        let mut held = None;
        let choice = match self.prepare(&mut held).await {
            Ok(choice) => choice,
            Err(error) => return Err(self.give_up(error, held.as_deref()).await),
        };
        let to = choice.to.clone();
        self.outlook.choice = choice;
        let lineage = self.promote(&to).await?;
        drop(held);
        self.finish(to, lineage).await
    }

    /// The replica that an earlier attempt has promoted.
    async fn promoted(&self) -> Option<(Endpoint, Lineage)> {
        let servers = self.promoter.look_at_replicas(&self.shard).await;
        let known = self.promoter.known(&self.shard, &servers).lineage;
        let known = known.or_else(|| self.outlook.before.clone())?;
        let promoted = servers.replicas.into_iter().find_map(|candidate| {
            let seen = candidate.seen.ok().filter(|seen| seen.is_primary)?;
            let is_later = known.is_succeeded_by(&seen.lineage) && known != seen.lineage;
            is_later.then_some((candidate.endpoint, seen.lineage))
        });
        // The old primary itself is on the timeline that is known of it.
        promoted
    }

    /// Everything up to the promotion itself.
    async fn prepare(&mut self, held: &mut Option<Box<Held>>) -> Result<Choice, Error> {
        let is_fenced = self.fence(held).await?;
        self.await_routers(is_fenced).await?;
        let choice = self.choose(held.as_deref()).await?;
        self.still_leads().await?;
        Ok(choice)
    }

    /// Keeps the old primary from writing; says whether that is certain of itself, and not only
    /// vouched for.
    async fn fence(&mut self, held: &mut Option<Box<Held>>) -> Result<bool, Error> {
        let (context, from) = (self.context(), self.shard.primary_endpoint.clone());
        let fenced = fence::fence(&context.shards, &self.shard.id, &from).await;
        let reason = match fenced {
            Ok(Fenced::Now(now)) => {
                tracing::info!(shard = %self.shard.id, server = %from, "old primary fenced");
                *held = Some(now);
                return Ok(true);
            }
            Ok(Fenced::Before) => {
                self.was_fenced = true;
                return Ok(true);
            }
            Err(error) => error_chain(&error),
        };
        let settings = &context.settings;
        if !settings.fence_command.is_empty() {
            let stopped = fence::by_command(
                &settings.fence_command,
                settings.fence_timeout,
                (&self.shard.id, &from),
            );
            match stopped.await {
                Ok(()) => return Ok(true),
                Err(error) if self.promotion.is_down => self.notes.push(error_chain(&error)),
                Err(error) => return Err(self.not_fenced(error_chain(&error))),
            }
        }
        if self.promotion.is_down {
            self.notes.push(format!(
                "the old primary was not fenced, by word of the operator or the configuration it \
                 is down: {reason}"
            ));
            return Ok(false);
        }
        Err(self.not_fenced(reason))
    }

    fn not_fenced(&self, reason: String) -> Error {
        Error::NotFenced {
            shard: self.shard.id.clone(),
            from: self.shard.primary_endpoint.clone(),
            reason,
        }
    }

    /// Waits until no router can be told of a commit by the old primary any more: each that lives
    /// says that it has closed its connections, and the record of each other one is gone.
    async fn await_routers(&mut self, is_fenced: bool) -> Result<(), Error> {
        let limit = if is_fenced {
            ROUTERS_COMFORT
        } else {
            ROUTERS_LIMIT
        };
        let deadline = Instant::now() + limit;
        loop {
            let listed = routers::list(self.context().store.as_ref()).await;
            let behind = match listed {
                Err(error) => error_chain(&error),
                Ok(listed) => {
                    let wanted = self.promotion.epoch;
                    let behind = listed
                        .all
                        .iter()
                        .find(|it| it.record.applied_epoch < wanted);
                    let Some(behind) = behind else { return Ok(()) };
                    let (number, address) = (behind.number, &behind.record.address);
                    format!("router {number} at {address} has not let go of the old primary")
                }
            };
            if Instant::now() < deadline {
                sleep(POLL).await;
            } else if is_fenced {
                self.notes.push(behind);
                return Ok(());
            } else {
                return Err(Error::Routers {
                    shard: self.shard.id.clone(),
                    reason: behind,
                });
            }
        }
    }

    /// Chooses anew, now that nothing is written any more; waits until the choice has all that a
    /// fenced primary has.
    async fn choose(&mut self, held: Option<&Held>) -> Result<Choice, Error> {
        let deadline = Instant::now() + self.context().settings.catch_up;
        if self.was_fenced {
            // It lets nobody in who could ask for its position, and goes on sending its log.
            sleep(SETTLE).await;
        }
        loop {
            let servers = self.promoter.look_at_replicas(&self.shard).await;
            let mut known = self.promoter.known(&self.shard, &servers);
            known.lineage = known.lineage.or_else(|| self.outlook.before.clone());
            if let Some(held) = held {
                known.position = held.position().await.ok();
                known.is_synchronous = Some(false);
            }
            let wanted = self.promotion.to.as_ref();
            let choice = choose(&known, &servers.replicas, wanted);
            let choice = choice.map_err(|reason| Error::NoChoice {
                shard: self.shard.id.clone(),
                reason,
            })?;
            let has_all = held.is_some() && choice.behind == Some(0);
            if has_all || self.was_fenced {
                return Ok(Choice {
                    loss: None,
                    ..choice
                });
            }
            let is_over = held.is_none() || Instant::now() > deadline;
            match &choice.loss {
                _ if !is_over => sleep(POLL).await,
                Some(loss) if !self.promotion.accepts_loss => {
                    return Err(Error::WouldLose {
                        shard: self.shard.id.clone(),
                        loss: loss.clone(),
                    });
                }
                Some(_) | None => return Ok(choice),
            }
        }
    }

    /// Asks the store, which the standing may be behind.
    async fn still_leads(&self) -> Result<(), Error> {
        let leader = self.context().store.read(keys::LEADER).await;
        let term = leader.ok().flatten().map(|entry| entry.create_revision.0);
        if term == Some(self.term.0) {
            Ok(())
        } else {
            Err(Error::Deposed)
        }
    }

    /// Makes the replica a primary.
    async fn promote(&self, to: &Endpoint) -> Result<Lineage, Error> {
        let (shards, id) = (&self.context().shards, &self.shard.id);
        let failed = |reason: String| Error::NotPromoted {
            shard: id.clone(),
            to: to.clone(),
            reason,
        };
        let mut settings = tokio_postgres::Config::new();
        settings
            .application_name("sharding-manager/promote")
            .options("-c statement_timeout=0");
        let client = shards.login_at(id, to, settings).await;
        let client = client.map_err(|error| failed(error.full_text()))?;
        let asked = client.query_one("SELECT pg_catalog.pg_promote(true, 60)", &[]);
        let asked = timeout(PROMOTE_LIMIT, asked).await;
        let asked = asked.map_err(|_| failed(format!("not within {PROMOTE_LIMIT:?}")))?;
        // What it answers does not matter, only what it is.
        if let Err(error) = &asked {
            tracing::warn!(shard = %id, server = %to, error = error_chain(error), "promotion");
        }
        let deadline = Instant::now() + PROMOTE_LIMIT;
        loop {
            let reason = match shards.look(id, to).await {
                Ok(seen) if seen.is_primary => return Ok(seen.lineage),
                Ok(_) => "it is still in recovery".to_owned(),
                Err(error) => error.full_text(),
            };
            if Instant::now() > deadline || asked.is_err() {
                return Err(failed(reason));
            }
            sleep(POLL).await;
        }
    }

    /// Lets only routers in that know of the promotion, whatever became of what jobs and flips have
    /// left on the old primary.
    async fn make_ready(&self, to: &Endpoint) -> Result<(), String> {
        let shard = Shard {
            primary_endpoint: to.clone(),
            promotion: None,
            lineage: None,
            ..self.shard.clone()
        };
        let ready = async {
            let session = self.context().sessions.open_for(&shard, "failover").await;
            let mut session = session.map_err(|error| error_chain(&error))?;
            let raised = term::raise(&mut session, self.term).await;
            raised.map_err(|error| error_chain(&error))?;
            let raised = horizon::raise(&mut session, self.term, self.promotion.epoch).await;
            raised.map_err(|error| error_chain(&error))
        };
        let ready = timeout(READY_LIMIT, ready).await;
        ready.unwrap_or_else(|_| {
            Err(format!(
                "it did not commit within {READY_LIMIT:?}: does it wait for a synchronous standby \
                 that it has not?"
            ))
        })
    }

    /// Points the topology at the new primary.
    async fn finish(mut self, to: Endpoint, lineage: Lineage) -> Result<Promoted, Error> {
        if let Err(reason) = self.make_ready(&to).await {
            self.notes.push(format!("{to}: {reason}"));
        }
        let choice = &self.outlook.choice;
        let detail = json!({
            "promotion": self.promotion.id, "from": self.outlook.from, "to": to,
            "before": self.outlook.before, "after": lineage,
            "received": choice.seen.position, "behind_bytes": choice.behind,
            "may_be_lost": choice.loss, "jobs": self.outlook.jobs, "notes": self.notes,
        });
        let command = Command::EndPromotion {
            id: self.shard.id.clone(),
            promotion: self.promotion.id.clone(),
            ending: Ending::Promoted {
                to: to.clone(),
                lineage: lineage.clone(),
                detail,
            },
        };
        let written = write(self.context(), self.term, &self.author, command).await?;
        let took = self.began.elapsed();
        tracing::warn!(
            shard = %self.shard.id, %to, %lineage, epoch = %written.epoch(), ?took, "promoted"
        );
        Ok(Promoted {
            outlook: self.outlook,
            after: lineage,
            epoch: written.epoch(),
            took,
            notes: self.notes,
        })
    }

    /// Takes everything back; what was promoted by nobody can go on.
    async fn give_up(&self, error: Error, held: Option<&Held>) -> Error {
        let reason = error_chain(&error);
        tracing::error!(shard = %self.shard.id, reason, "promotion given up");
        if matches!(error, Error::Deposed) {
            // The next leader decides.
            return error;
        }
        if let Some(held) = held {
            held.release().await;
        }
        let command = Command::EndPromotion {
            id: self.shard.id.clone(),
            promotion: self.promotion.id.clone(),
            ending: Ending::GivenUp { reason },
        };
        if let Err(failed) = write(self.context(), self.term, &self.author, command).await {
            let failed = error_chain(&failed);
            tracing::error!(shard = %self.shard.id, failed, "the end of a promotion is not written");
        }
        error
    }
}

pub(super) fn author() -> Author {
    Author {
        actor: ACTOR.to_owned(),
        ..Author::default()
    }
}

pub(super) async fn write(
    context: &Context,
    term: topology::Term,
    author: &Author,
    command: Command,
) -> Result<std::sync::Arc<topology::Snapshot>, Error> {
    let request = Request {
        term,
        command,
        author: author.clone(),
        idempotency_key: None,
    };
    Ok(context.writer.write(&request).await?.snapshot)
}
