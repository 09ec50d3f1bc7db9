//! Which shards of a transaction are written to, and whether a further one may be.

use std::time::Duration;

use topology::ShardId;
use wire::backend::TransactionStatus;

use crate::core::Core;
use crate::error::Error;
use crate::exec::ask;
use crate::pool::Pool;
use crate::route::Refusal;
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::twopc::Ability;
use crate::view::Serving;

/// How long a shard that was just registered may take to get what it decides by.
const INSTALLING: Duration = Duration::from_secs(5);

/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

impl Session {
    /// The statement that is about to be sent may write on the backend that the session works
    /// with. A second shard that is written to must be able to commit together with the first.
    pub(in crate::session) async fn note_writer(
        &mut self,
        serving: &Serving,
    ) -> Result<(), Stopped> {
        let Some(current) = &mut self.attachment else {
            return Ok(());
        };
        if !current.ties.wrote
            && let Some(company) = &self.company
        {
            let wrote = company.others.iter().map(|it| &it.attachment);
            let wrote = wrote.filter(|attachment| attachment.ties.wrote);
            let mut shards: Vec<ShardId> = wrote.map(|it| it.shard.clone()).collect();
            if let Some(first) = shards.first().cloned() {
                let own = current.shard.clone();
                shards.push(own.clone());
                Box::pin(self.may_write_on(serving, &shards, (&first, &own))).await?;
            }
        }
        if let Some(current) = &mut self.attachment {
            current.ties.wrote = true;
        }
        Ok(())
    }

    /// The same for a shard whose backend is lent out.
    pub(in crate::session) async fn may_write_lent(
        &mut self,
        serving: &Serving,
        own: &ShardId,
    ) -> Result<(), Stopped> {
        let mut writers = self.writers_lent();
        if writers.contains(own) {
            return Ok(());
        }
        if let Some(first) = writers.first().cloned() {
            writers.push(own.clone());
            Box::pin(self.may_write_on(serving, &writers, (&first, own))).await?;
        }
        self.note_lent_writer(own);
        Ok(())
    }

    pub(in crate::session) async fn may_write_on(
        &self,
        serving: &Serving,
        shards: &[ShardId],
        (first, own): (&ShardId, &ShardId),
    ) -> Result<(), Stopped> {
        if !self.may_write_across() {
            return Err(switched_off(first, own).into());
        }
        if self.settings.is_local("role") || self.settings.is_local("session_authorization") {
            return Err(local_role(first, own).into());
        }
        for shard in shards {
            self.ability(serving, shard).await?.check(shard)?;
        }
        Ok(())
    }
}

/// Asks a shard what it can do. One that was just registered is waited for.
pub(super) async fn ask_ability(core: &Core, pool: &Pool) -> Result<Ability, Error> {
    let until = tokio::time::Instant::now() + INSTALLING;
    loop {
        let ability = ask_once(pool).await?;
        if ability.decides || !ability.prepares {
            core.twopc.learn(pool.shard().clone(), ability.clone());
            return Ok(ability);
        }
        if tokio::time::Instant::now() >= until {
            return Ok(ability);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask_once(pool: &Pool) -> Result<Ability, Error> {
    let mut lease = pool.checkout().await.map_err(Error::Pool)?;
    let lost = || Error::BackendLost {
        shard: pool.shard().clone(),
    };
    let reply = ask::ask(&mut lease, &Ability::question()).await;
    let reply = reply.map_err(|_| lost())?;
    let ability = reply.rows.first().and_then(|row| Ability::read(row));
    if reply.status == TransactionStatus::Idle {
        lease.give_back();
    }
    ability.ok_or_else(lost)
}

fn switched_off(first: &ShardId, own: &ShardId) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!(
            "the transaction has written on shard {first} and may not write on shard {own}: \
             sharding.cross_shard_writes is off"
        ),
        hint: Some(
            "keep a transaction's writes to the keys of one shard, or SET \
             sharding.cross_shard_writes = on"
                .to_owned(),
        ),
    }
}

fn local_role(first: &ShardId, own: &ShardId) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!(
            "the transaction has written on shard {first} and may not write on shard {own} under \
             SET LOCAL ROLE: what it prepares could be committed by another role only"
        ),
        hint: Some("SET ROLE before the transaction begins".to_owned()),
    }
}
