//! Operations that change the topology: done here by the leader, forwarded to it by the others.

use proto::manager::v1;
use proto::manager::v1::shard_service_client::ShardServiceClient;
use proto::manager::v1::table_service_client::TableServiceClient;
use topology::watch::load;
use topology::{Placement, ShardId, Snapshot, TableName, Term};

use super::{Duty, Service, answer, describe, request};
use crate::caller::Caller;
use crate::commit::{self, Written};
use crate::control::{self, Command, Rejection};
use crate::error::Error;
use crate::forward::Answer;
use crate::shards::rows::Inquiry;

/// How often the shards are asked again because the topology changed meanwhile.
const MAX_CHECKS: u32 = 20;

impl Service {
    /// Registers a shard.
    ///
    /// # Errors
    /// When a field is wrong, the shard or an endpoint of it is registered, or nobody can do it.
    pub async fn create_shard(
        &self,
        caller: &Caller,
        request: v1::CreateShardRequest,
    ) -> Result<Answer<v1::CreateShardResponse>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    ShardServiceClient::new(channel).create_shard(request).await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                return self.forwarded(sent.await).await;
            }
        };
        let key = request::idempotency_key(&request.idempotency_key)?;
        let new = request::new_shard(&request, self.0.vnode_count)?;
        let id = control::slug(&new.name);
        let command = Command::CreateShard(new);
        let written = self.write(term, caller, command, key).await?;
        let shard = id.and_then(|id| describe::shard(&written.snapshot, &id));
        // Only a repeated request finds its shard removed.
        let shard = shard.ok_or_else(|| Error::NotFound {
            what: "the shard that was created under this idempotency key".to_owned(),
        })?;
        let message = v1::CreateShardResponse { shard: Some(shard) };
        Ok(answer(&written, message))
    }

    /// Removes a shard that owns no vnodes and holds no rows.
    ///
    /// # Errors
    /// When it does, when it cannot be asked, or nobody can do it.
    pub async fn delete_shard(
        &self,
        caller: &Caller,
        request: v1::DeleteShardRequest,
    ) -> Result<Answer<v1::DeleteShardResponse>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    ShardServiceClient::new(channel).delete_shard(request).await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                return self.forwarded(sent.await).await;
            }
        };
        let id = request::shard_id("id", &request.id)?;
        let mut checks = 1;
        loop {
            let removed = self.remove_if_empty(term, caller, &id).await;
            match removed {
                Err(error) if was_checked_too_early(&error) && checks < MAX_CHECKS => checks += 1,
                removed => return Ok(answer(&removed?, v1::DeleteShardResponse {})),
            }
        }
    }

    /// Creates a table group.
    ///
    /// # Errors
    /// When a field is wrong, the group is there, or nobody can do it.
    pub async fn create_group(
        &self,
        caller: &Caller,
        request: v1::CreateGroupRequest,
    ) -> Result<Answer<v1::CreateGroupResponse>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    TableServiceClient::new(channel).create_group(request).await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                return self.forwarded(sent.await).await;
            }
        };
        let command = request::new_group(&request)?;
        let written = self.write(term, caller, command, None).await?;
        let groups = describe::groups(&written.snapshot);
        let group = groups.into_iter().find(|group| group.name == request.name);
        Ok(answer(&written, v1::CreateGroupResponse { group }))
    }

    /// Registers a table, and its group on the group's first use.
    ///
    /// # Errors
    /// When a field is wrong, the table is registered, its group has another key type, or nobody
    /// can do it.
    pub async fn create_table(
        &self,
        caller: &Caller,
        request: v1::CreateTableRequest,
    ) -> Result<Answer<v1::CreateTableResponse>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    TableServiceClient::new(channel).create_table(request).await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                return self.forwarded(sent.await).await;
            }
        };
        let name = request::table("name", &request.name)?;
        let command = request::new_table(&request)?;
        let written = self.write(term, caller, command, None).await?;
        let table = written.snapshot.table(&name);
        let table = table.map(|table| describe::table(&written.snapshot, table));
        Ok(answer(&written, v1::CreateTableResponse { table }))
    }

    /// Forgets a table that exists on no shard.
    ///
    /// # Errors
    /// When it does, when a shard cannot be asked, or nobody can do it.
    pub async fn delete_table(
        &self,
        caller: &Caller,
        request: v1::DeleteTableRequest,
    ) -> Result<Answer<v1::DeleteTableResponse>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    TableServiceClient::new(channel).delete_table(request).await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                return self.forwarded(sent.await).await;
            }
        };
        let name = request::table("name", &request.name)?;
        let mut checks = 1;
        loop {
            let removed = self.forget_if_gone(term, caller, &name).await;
            match removed {
                Err(error) if was_checked_too_early(&error) && checks < MAX_CHECKS => checks += 1,
                removed => return Ok(answer(&removed?, v1::DeleteTableResponse {})),
            }
        }
    }

    async fn remove_if_empty(
        &self,
        term: Term,
        caller: &Caller,
        id: &ShardId,
    ) -> Result<Written, Error> {
        let snapshot = self.stored().await?;
        control::may_be_removed(&snapshot, id)?;
        let shard = snapshot
            .index_of(id)
            .and_then(|index| snapshot.shard(index));
        if let Some(shard) = shard {
            let inquiry = Inquiry {
                shard: shard.clone(),
                tables: lost_with_a_shard(&snapshot),
            };
            if let Some(table) = self.0.shards.table_with_rows(&inquiry).await? {
                let reason = format!("shard {id} holds rows of table {table}");
                return Err(Error::InUse { reason });
            }
        }
        let command = Command::DeleteShard {
            id: id.clone(),
            checked_at: snapshot.epoch(),
        };
        self.write(term, caller, command, None).await
    }

    async fn forget_if_gone(
        &self,
        term: Term,
        caller: &Caller,
        name: &TableName,
    ) -> Result<Written, Error> {
        let snapshot = self.stored().await?;
        if snapshot.table(name).is_none() {
            return Err(Rejection::UnknownTable { name: name.clone() }.into());
        }
        let shards = snapshot.shards().to_vec();
        let has_rows = snapshot.table(name).is_some_and(topology::Table::has_rows);
        if has_rows && let Some(shard) = self.0.shards.shard_with_table(shards, name).await? {
            let reason = format!("table {name} exists on shard {shard}: drop it first");
            return Err(Error::InUse { reason });
        }
        let command = Command::DeleteTable {
            name: name.clone(),
            checked_at: snapshot.epoch(),
        };
        self.write(term, caller, command, None).await
    }

    /// The topology as stored at this moment: what is checked on the shards must belong to it.
    async fn stored(&self) -> Result<Snapshot, Error> {
        let loaded = load(self.0.store.as_ref()).await?;
        loaded
            .snapshot()
            .map_err(|error| Error::Commit(commit::Error::Invalid(error)))
    }
}

/// Tables whose rows would be gone with a shard: a reference table's are on every other one too.
fn lost_with_a_shard(snapshot: &Snapshot) -> Vec<TableName> {
    let is_last = snapshot.shards().len() == 1;
    let is_lost = |placement: &Placement| match placement {
        Placement::Sharded { .. } | Placement::Unsharded { .. } => true,
        Placement::Reference => is_last,
        Placement::View { .. } => false,
    };
    let tables = snapshot.tables();
    tables
        .filter(|table| is_lost(&table.placement))
        .map(|table| table.name.clone())
        .collect()
}

fn was_checked_too_early(error: &Error) -> bool {
    matches!(
        error,
        Error::Commit(commit::Error::Rejected(
            Rejection::CheckedAtOtherEpoch { .. }
        ))
    )
}
