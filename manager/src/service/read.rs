//! Operations that change nothing: answered here, whoever leads.

use proto::manager::v1;
use topology::{Key, Placement, Shard, Snapshot, TableName};

use super::{Service, describe, request};
use crate::error::Error;
use crate::shards::rows::Inquiry;

impl Service {
    /// All shards, sorted by id.
    ///
    /// # Errors
    /// While the store was never read.
    pub fn list_shards(&self) -> Result<v1::ListShardsResponse, Error> {
        let shards = describe::shards(self.snapshot()?.as_ref());
        Ok(v1::ListShardsResponse { shards })
    }

    /// One shard.
    ///
    /// # Errors
    /// When there is none of this id.
    pub fn find_shard(&self, request: &v1::GetShardRequest) -> Result<v1::GetShardResponse, Error> {
        let id = request::shard_id("id", &request.id)?;
        let found = describe::shard(self.snapshot()?.as_ref(), &id);
        let mut shard = found.ok_or_else(|| Error::NotFound {
            what: format!("shard {id}"),
        })?;
        let observed = self.0.health.of(&id);
        shard.servers = observed
            .map(|it| super::failover::servers(&it))
            .unwrap_or_default();
        Ok(v1::GetShardResponse { shard: Some(shard) })
    }

    /// All groups, sorted by name.
    ///
    /// # Errors
    /// While the store was never read.
    pub fn list_groups(&self) -> Result<v1::ListGroupsResponse, Error> {
        let groups = describe::groups(self.snapshot()?.as_ref());
        Ok(v1::ListGroupsResponse { groups })
    }

    /// All registered tables, sorted by name.
    ///
    /// # Errors
    /// While the store was never read.
    pub fn list_tables(&self) -> Result<v1::ListTablesResponse, Error> {
        let tables = describe::tables(self.snapshot()?.as_ref());
        Ok(v1::ListTablesResponse { tables })
    }

    /// One registered table.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn find_table(&self, name: &str) -> Result<v1::Table, Error> {
        let name = request::table("name", name)?;
        let snapshot = self.snapshot()?;
        let found = snapshot.table(&name);
        let table = found.ok_or_else(|| Error::NotFound {
            what: format!("table {name}"),
        })?;
        Ok(describe::table(&snapshot, table))
    }

    /// The ring.
    ///
    /// # Errors
    /// While the store was never read.
    pub fn ring(&self) -> Result<v1::GetRingResponse, Error> {
        Ok(describe::ring(self.snapshot()?.as_ref()))
    }

    /// Everything at one epoch.
    ///
    /// # Errors
    /// While the store was never read.
    pub fn topology(&self) -> Result<v1::GetTopologyResponse, Error> {
        let snapshot = self.snapshot()?;
        Ok(v1::GetTopologyResponse {
            epoch: snapshot.epoch().0,
            shards: describe::shards(&snapshot),
            groups: describe::groups(&snapshot),
            tables: describe::tables(&snapshot),
        })
    }

    /// Where a key lives.
    ///
    /// # Errors
    /// For a group that is not there, a key that is none of its type, and an empty ring.
    pub fn shard_for_key(
        &self,
        request: &v1::ShardForKeyRequest,
    ) -> Result<v1::ShardForKeyResponse, Error> {
        let snapshot = self.snapshot()?;
        let name = request::group_or_default(&request.group)?;
        let group = snapshot.group(&name).ok_or_else(|| Error::NotFound {
            what: format!("group {name}"),
        })?;
        let key = Key::from_text(group.key_type, request.key.as_bytes())
            .map_err(|invalid| Error::invalid("key", invalid.to_string()))?;
        let vnode = snapshot.owner_of(&key).ok_or(Error::RingEmpty)?;
        let shard = snapshot.shard(vnode.owner);
        let shard = shard.ok_or(Error::Internal("a vnode's owner is not in its snapshot"))?;
        Ok(v1::ShardForKeyResponse {
            shard_id: shard.id.to_string(),
            token: topology::hash::token_of(&key).0,
            vnode: vnode.token.0,
            epoch: snapshot.epoch().0,
        })
    }

    /// Who leads, what this manager has seen, and how the shards are.
    #[must_use]
    pub fn status(&self) -> v1::GetStatusResponse {
        let findings = self.0.health.findings();
        v1::GetStatusResponse {
            manager_id: self.0.identity.id.clone(),
            epoch: self.0.topology.snapshot().epoch().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            shards: findings.into_iter().map(describe::health).collect(),
            ..describe::standing(&self.0.leader.standing())
        }
    }

    /// Whether the store is followed at this moment.
    #[must_use]
    pub fn is_store_connected(&self) -> bool {
        self.0.topology.freshness().connected
    }

    /// Counts rows on the shards, exactly.
    ///
    /// # Errors
    /// For a table that is not registered; what one shard cannot say is in its place in the
    /// answer.
    pub async fn count_rows(
        &self,
        request: v1::CountRowsRequest,
    ) -> Result<v1::CountRowsResponse, Error> {
        let snapshot = self.snapshot()?;
        let only = if request.table.is_empty() {
            None
        } else {
            Some(request::table("table", &request.table)?)
        };
        if let Some(name) = only.as_ref().filter(|name| snapshot.table(name).is_none()) {
            let what = format!("table {name}");
            return Err(Error::NotFound { what });
        }
        let inquiries = inquiries(&snapshot, only.as_ref());
        let counts = self.0.shards.counts(inquiries).await;
        let counts = counts.into_iter().map(describe::count).collect();
        Ok(v1::CountRowsResponse { counts })
    }
}

/// Each shard with the tables whose rows may be on it.
fn inquiries(snapshot: &Snapshot, only: Option<&TableName>) -> Vec<Inquiry> {
    let is_wanted = |name: &TableName| only.is_none_or(|only| only == name);
    let of = |shard: &Shard| {
        let may_hold = |placement: &Placement| match placement {
            Placement::Sharded { .. } | Placement::Reference => true,
            Placement::Unsharded { shard_id } => *shard_id == shard.id,
            Placement::View { .. } => false,
        };
        let tables = snapshot.tables();
        tables
            .filter(|table| is_wanted(&table.name) && may_hold(&table.placement))
            .map(|table| table.name.clone())
            .collect::<Vec<_>>()
    };
    let shards = snapshot.shards().iter();
    shards
        .map(|shard| Inquiry {
            shard: shard.clone(),
            tables: of(shard),
        })
        .filter(|inquiry| !inquiry.tables.is_empty())
        .collect()
}
