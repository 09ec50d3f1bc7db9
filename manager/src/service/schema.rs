//! Operations on the schema of the shards: compared by any manager, repaired by the leader.

use std::collections::BTreeSet;

use proto::manager::v1;
use proto::manager::v1::schema_service_client::SchemaServiceClient;
use topology::{Epoch, Placement, Shard, ShardId, Snapshot, numbers};

use super::{Duty, Service, request};
use crate::caller::Caller;
use crate::error::Error;
use crate::forward::Answer;
use crate::identifier;
use crate::schema::{self, Action, Difference, Outcome, Schemas};

impl Service {
    /// Compares the schemas of the shards that take part.
    ///
    /// # Errors
    /// When one of them cannot be asked.
    pub async fn diff_schema(&self) -> Result<v1::DiffResponse, Error> {
        let snapshot = self.snapshot()?;
        let schemas = schema::inspect_all(&self.0.shards, &snapshot).await?;
        let objects: BTreeSet<_> = schemas
            .values()
            .flat_map(|objects| objects.keys())
            .collect();
        Ok(v1::DiffResponse {
            epoch: snapshot.epoch().0,
            shard_ids: schemas.keys().map(ShardId::to_string).collect(),
            objects: u64::try_from(objects.len()).unwrap_or(u64::MAX),
            differences: schema::compare(&schemas).into_iter().map(told).collect(),
            notes: notes(&snapshot, &schemas),
        })
    }

    /// Creates on one shard what it lacks of another one's schema.
    ///
    /// # Errors
    /// When a shard cannot be asked, or nobody can do it.
    pub async fn repair_schema(
        &self,
        caller: &Caller,
        request: v1::RepairRequest,
    ) -> Result<Answer<v1::RepairResponse>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    SchemaServiceClient::new(channel).repair(request).await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                return self.forwarded(sent.await).await;
            }
        };
        let snapshot = self.snapshot()?;
        let from = shard_of(&snapshot, "from", &request.from)?;
        let to = shard_of(&snapshot, "to", &request.to)?;
        if from.id == to.id {
            return Err(Error::invalid("to", "must be another shard than from"));
        }
        let shards = &self.0.shards;
        let wanted = schema::inspect(shards, from, &snapshot).await?;
        let present = schema::inspect(shards, to, &snapshot).await?;
        let mut actions = schema::steps(&wanted, &present);
        let is_open = |action: &Action| action.outcome == Outcome::Planned;
        if !request.dry_run && actions.iter().any(is_open) {
            tracing::info!(actor = caller.author.actor, %from.id, %to.id, "repairing a schema");
            let numbers = numbers::of(self.0.store.as_ref(), &[from, to]).await?;
            let numbers = match numbers.as_slice() {
                [from, to] => (*from, *to),
                _ => return Err(Error::Internal("two shards have no two numbers")),
            };
            let (sessions, to) = (self.0.sessions.clone(), to.clone());
            // A caller that goes away does not cut it short.
            let repair = async move {
                let done = schema::repair(&sessions, &to, term, (&mut actions, numbers)).await;
                done.map(|()| actions)
            };
            let task = self.0.tasks.spawn("schema repair", repair);
            let done = task.await;
            actions = done.map_err(|_| Error::Internal("a repair panicked"))??;
        }
        Ok(Answer {
            message: v1::RepairResponse {
                actions: actions.into_iter().map(done).collect(),
            },
            epoch: Epoch(0),
        })
    }
}

fn shard_of<'a>(snapshot: &'a Snapshot, field: &'static str, id: &str) -> Result<&'a Shard, Error> {
    let id = request::shard_id(field, id)?;
    let index = snapshot.index_of(&id);
    let shard = index.and_then(|index| snapshot.shard(index));
    shard.ok_or_else(|| Error::NotFound {
        what: format!("shard {id}"),
    })
}

/// Tables of the topology that no shard has, and tables that the topology does not know.
fn notes(snapshot: &Snapshot, schemas: &Schemas) -> Vec<String> {
    let on_shards: BTreeSet<&str> = schemas
        .values()
        .flat_map(|objects| objects.keys())
        .filter(|id| id.kind == "table")
        .map(|id| id.name.as_str())
        .collect();
    let mut notes = Vec::new();
    let mut registered = BTreeSet::new();
    for table in snapshot.tables() {
        let name = identifier::shown(&table.name);
        let is_everywhere = match table.placement {
            Placement::Sharded { .. } | Placement::Reference => true,
            Placement::Unsharded { .. } | Placement::View { .. } => false,
        };
        if is_everywhere && !on_shards.contains(name.as_str()) && !schemas.is_empty() {
            notes.push(format!("table {name} is registered, and no shard has it"));
        }
        registered.insert(name);
    }
    let partitions: BTreeSet<&str> = schemas
        .values()
        .flatten()
        .filter(|(id, object)| id.kind == "table" && object.definition.contains("partition of "))
        .map(|(id, _)| id.name.as_str())
        .collect();
    for name in on_shards {
        if !registered.contains(name) && !partitions.contains(name) {
            notes.push(format!(
                "table {name} is not registered: routers neither read nor write it"
            ));
        }
    }
    notes
}

fn told(difference: Difference) -> v1::SchemaDifference {
    let versions = difference.versions.into_iter();
    v1::SchemaDifference {
        kind: difference.id.kind,
        name: difference.id.name,
        versions: versions
            .map(|version| v1::SchemaVersion {
                shard_ids: version.shards.iter().map(ShardId::to_string).collect(),
                definition: version.definition,
            })
            .collect(),
    }
}

fn done(action: Action) -> v1::SchemaAction {
    let (outcome, reason) = match action.outcome {
        Outcome::Planned => ("planned", String::new()),
        Outcome::Done => ("done", String::new()),
        Outcome::Manual(reason) => ("manual", reason),
        Outcome::Failed(reason) => ("failed", reason),
    };
    v1::SchemaAction {
        kind: action.id.kind,
        name: action.id.name,
        statement: action.statement.unwrap_or_default(),
        outcome: outcome.to_owned(),
        reason,
    }
}
