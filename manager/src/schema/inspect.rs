//! Reads the schema of shards out of their catalogs.

use futures_util::future::join_all;
use tokio::time::timeout;
use topology::{Placement, Shard, Snapshot};

use super::{Id, Object, Objects, Schemas};
use crate::identifier;
use crate::shards::{Error, Shards};

/// The question.
const OBJECTS: &str = include_str!("objects.sql");

/// The schemas of the shards that take part in a topology.
///
/// # Errors
/// When one of them cannot say.
pub async fn inspect_all(shards: &Shards, snapshot: &Snapshot) -> Result<Schemas, Error> {
    let members = members(snapshot);
    let asked = members.iter().map(|shard| inspect(shards, shard, snapshot));
    let mut schemas = Schemas::new();
    for (shard, objects) in members.iter().zip(join_all(asked).await) {
        schemas.insert(shard.id.clone(), objects?);
    }
    Ok(schemas)
}

/// The shards that have every table: those that own a part of the ring, all while it is empty.
fn members(snapshot: &Snapshot) -> Vec<&Shard> {
    let vnodes = snapshot.ring().vnodes();
    let owns = |shard: &&Shard| {
        let index = snapshot.index_of(&shard.id);
        vnodes.is_empty() || vnodes.iter().any(|vnode| Some(vnode.owner) == index)
    };
    snapshot.shards().iter().filter(owns).collect()
}

/// The schema of one shard, but for tables that are on their home alone.
///
/// # Errors
/// When it cannot say.
pub async fn inspect(
    shards: &Shards,
    shard: &Shard,
    snapshot: &Snapshot,
) -> Result<Objects, Error> {
    let homes: Vec<String> = snapshot
        .tables()
        .filter(|table| matches!(table.placement, Placement::Unsharded { .. }))
        .map(|table| identifier::quoted(&table.name))
        .collect();
    let client = shards.connect_client(shard).await?;
    let limit = shards.config().statement_timeout;
    let refused = |source| Error::Asked {
        shard: shard.id.clone(),
        what: "its schema",
        source,
    };
    let asked = async {
        client.batch_execute("SET search_path = ''").await?;
        client.query(OBJECTS, &[&homes]).await
    };
    let rows = timeout(limit, asked).await.map_err(|_| Error::Timeout {
        shard: shard.id.clone(),
        limit,
    })?;
    let mut objects = Objects::new();
    for row in rows.map_err(refused)? {
        let id = Id {
            kind: row.try_get(0).map_err(refused)?,
            name: row.try_get(1).map_err(refused)?,
        };
        let object = Object {
            parent: row.try_get(2).map_err(refused)?,
            definition: row
                .try_get::<_, Option<String>>(3)
                .map_err(refused)?
                .unwrap_or_default(),
            creation: row.try_get(4).map_err(refused)?,
        };
        objects.insert(id, object);
    }
    Ok(objects)
}
