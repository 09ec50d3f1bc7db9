//! Puts a backup into fresh servers: the shards first, then etcd, its head last, so that nothing
//! serves half of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use topology::records::{Head, decode, encode};
use topology::store::{Op, Store as _, Txn};
use topology::{Endpoint, Epoch, Shard, ShardId, Term, keys};

use super::copy::{DUMP, ROLES, folder_of};
use super::manifest::{Manifest, ShardCopy};
use super::psql::Psql;
use super::server::{LIMIT, Server};
use super::stored::{RECORDS, Stored};
use super::{Error, physical, verify, word};
use crate::args::backup::{Method, Restore};

/// Most that one transaction of etcd is given.
const MAX_OPS: usize = 100;
const MAX_BYTES: usize = 512 << 10;

/// What was put back.
#[derive(Debug)]
pub struct Restored {
    /// What the backup holds.
    pub manifest: Manifest,
    /// The shards, and where they are now.
    pub shards: BTreeMap<String, String>,
    /// The epoch that is served from now on; none while only data folders were made.
    pub epoch: Option<u64>,
}

/// Restores a backup.
///
/// # Errors
/// What keeps it from being restored. Shards that were restored before are left as they are; etcd
/// is written last.
pub async fn restore(options: &Restore) -> Result<Restored, Error> {
    let manifest = verify(&options.folder).await?.manifest;
    if !options.pgdata.is_empty() {
        return data_folders(options, manifest);
    }
    let records = Records::read(&options.folder.join(RECORDS))?;
    let places = places(&options.shards, &manifest)?;
    let stored = Stored::connect(&options.place)?;
    let listing = stored.store.list(keys::ALL).await;
    let listing = listing.map_err(Error::store("read etcd"))?;
    if let Some(entry) = listing.entries.first() {
        return Err(Error::NotFresh {
            place: "etcd".to_owned(),
            found: format!("it holds {}", entry.key),
        });
    }
    let mut servers = Vec::new();
    for shard in &manifest.shards {
        let (id, endpoint) = places.get(&shard.id).cloned().ok_or(Error::NoShards)?;
        let server = Server::ask(id, endpoint).await?;
        if manifest.method == Method::Dump {
            is_empty(&server).await?;
        }
        servers.push(server);
    }
    for (server, shard) in servers.iter().zip(&manifest.shards) {
        match manifest.method {
            Method::Dump => load(server, &folder_of(&options.folder, &shard.id)).await?,
            Method::Basebackup => forget_terms(server).await?,
        }
    }
    let epoch = records.put(&stored, &places).await?;
    let shards = places.into_iter().map(|(id, (_, at))| (id, at.to_string()));
    Ok(Restored {
        shards: shards.collect(),
        epoch: Some(epoch.0),
        manifest,
    })
}

/// The id and the endpoint of each shard: as it was, unless it is told otherwise.
fn places(
    told: &[String],
    manifest: &Manifest,
) -> Result<BTreeMap<String, (ShardId, Endpoint)>, Error> {
    let form = "SHARD=postgres://host:port/database";
    let mut places = BTreeMap::new();
    let invalid = |text: &str| Error::Mapping {
        text: text.to_owned(),
        form,
    };
    for shard in &manifest.shards {
        let id = ShardId::try_new(&shard.id).map_err(|_| invalid(&shard.id))?;
        let at = Endpoint::try_new(&shard.endpoint).map_err(|_| invalid(&shard.endpoint))?;
        places.insert(shard.id.clone(), (id, at));
    }
    for text in told {
        let (id, at) = text.split_once('=').ok_or_else(|| invalid(text))?;
        let place = places.get_mut(id).ok_or_else(|| Error::NoSuchShard {
            shard: id.to_owned(),
        })?;
        place.1 = Endpoint::try_new(at).map_err(|_| invalid(text))?;
    }
    Ok(places)
}

/// Makes data folders, for servers that are started afterwards.
fn data_folders(options: &Restore, manifest: Manifest) -> Result<Restored, Error> {
    if manifest.method != Method::Basebackup {
        return Err(Error::OtherMethod {
            method: word(manifest.method),
            reason: "it has no data folders; leave --pgdata out",
        });
    }
    let mut made = BTreeMap::new();
    for text in &options.pgdata {
        let (id, into) = text.split_once('=').ok_or_else(|| Error::Mapping {
            text: text.clone(),
            form: "SHARD=FOLDER",
        })?;
        let is_it = |shard: &&ShardCopy| shard.id == id;
        let shard = manifest
            .shards
            .iter()
            .find(is_it)
            .ok_or_else(|| Error::NoSuchShard {
                shard: id.to_owned(),
            })?;
        physical::put_back(
            &folder_of(&options.folder, &shard.id),
            &manifest.id,
            Path::new(into),
        )?;
        made.insert(shard.id.clone(), into.to_owned());
    }
    Ok(Restored {
        manifest,
        shards: made,
        epoch: None,
    })
}

/// Refuses a database with anything of its own.
async fn is_empty(server: &Server) -> Result<(), Error> {
    let sql = "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
               ORDER BY 1 LIMIT 1";
    let mut session = Psql::open(server)?;
    let answer = session.ask("look whether it is empty", sql, LIMIT).await?;
    match answer.first() {
        None => Ok(()),
        Some(found) => Err(Error::NotFresh {
            place: format!("shard {} at {}", server.shard, server.endpoint),
            found: format!("it holds {found}"),
        }),
    }
}

/// Roles that are missing, then the dump.
async fn load(server: &Server, folder: &Path) -> Result<(), Error> {
    let path = folder.join(ROLES);
    let roles = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let mut session = Psql::open(server)?;
    let sql = "SELECT quote_ident(rolname) FROM pg_catalog.pg_roles";
    let there = session.ask("list its roles", sql, LIMIT).await?;
    let missing = missing_roles(&roles, &there);
    if !missing.is_empty() {
        session.ask("create its roles", &missing, LIMIT).await?;
    }
    let mut command = server.command("pg_restore");
    command
        .args(["--exit-on-error", "--single-transaction", "--dbname"])
        .arg(server.endpoint.database())
        .arg(folder.join(DUMP));
    server.run("restore it", command).await.map(drop)
}

/// What of a dump of roles is about roles that are not there: those that are keep their passwords.
fn missing_roles(dump: &str, there: &[String]) -> String {
    let about = |line: &str| {
        let rest = line
            .strip_prefix("CREATE ROLE ")
            .or(line.strip_prefix("ALTER ROLE "))?;
        let end = rest.find([' ', ';']).unwrap_or(rest.len());
        rest.get(..end).map(str::to_owned)
    };
    let lines = dump.lines().filter(|line| match about(line) {
        Some(role) => !there.contains(&role),
        // Who is a member of whom; PostgreSQL takes it twice.
        None => line.starts_with("GRANT "),
    });
    // Without the grantor: its own grants may not be there yet.
    let lines = lines.map(|line| match line.find(" GRANTED BY ") {
        Some(at) => format!("{};", line.get(..at).unwrap_or_default()),
        None => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.trim_end_matches(';').to_owned()
}

/// A fresh etcd counts its revisions, and so the terms of managers, from the beginning: what a
/// shard knows of later terms would keep every leader out.
async fn forget_terms(server: &Server) -> Result<(), Error> {
    let sql = "SELECT setval('vg.term', 0) WHERE to_regclass('vg.term') IS NOT NULL";
    let mut session = Psql::open(server)?;
    let there = session
        .ask("look for terms", "SELECT to_regclass('vg.term')", LIMIT)
        .await?;
    if there.is_empty() {
        return Ok(());
    }
    session.ask("forget terms", sql, LIMIT).await.map(drop)
}

/// What was in etcd.
#[derive(Debug)]
struct Records(Vec<Record>);

#[derive(Debug, Deserialize)]
struct Record {
    key: String,
    value: String,
}

impl Records {
    fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let lines = text.lines().map(serde_json::from_str);
        let records = lines
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Self(records))
    }

    /// Writes all of it, with the shards where they are now. The topology gets an epoch of its own:
    /// a router that has lived through it takes it as the next one.
    async fn put(
        self,
        stored: &Stored,
        places: &BTreeMap<String, (ShardId, Endpoint)>,
    ) -> Result<Epoch, Error> {
        let mut ops = Vec::new();
        let mut head = None;
        for Record { key, value } in self.0 {
            let unusable = |error: &dyn std::error::Error| Error::Topology {
                reason: error.to_string(),
            };
            if key == keys::HEAD {
                let read: Head = decode(&key, value.as_bytes()).map_err(|e| unusable(&e))?;
                head = Some(read);
            } else if key.starts_with(keys::SHARDS) {
                let mut shard: Shard = decode(&key, value.as_bytes()).map_err(|e| unusable(&e))?;
                let moved = places.get(shard.id.as_str());
                let moved = moved.filter(|(_, at)| *at != shard.primary_endpoint);
                if let Some((_, at)) = moved {
                    shard.primary_endpoint = at.clone();
                    // They follow the server that is gone.
                    shard.replicas.clear();
                    shard.version += 1;
                }
                ops.push(Op::put(key, encode(&shard)));
            } else {
                ops.push(Op::put(key, value.into_bytes()));
            }
        }
        let head = head.ok_or_else(|| Error::Topology {
            reason: "the backup holds no head".to_owned(),
        })?;
        let epoch = head.epoch.next();
        let term = Term(0);
        ops.push(Op::put(keys::HEAD, encode(&Head { epoch, term })));
        commit(stored, ops).await?;
        Ok(epoch)
    }
}

async fn commit(stored: &Stored, ops: Vec<Op>) -> Result<(), Error> {
    let mut batch: Vec<Op> = Vec::new();
    let mut bytes = 0;
    for op in ops {
        let size = match &op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        };
        if batch.len() >= MAX_OPS || (bytes + size > MAX_BYTES && !batch.is_empty()) {
            write(stored, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
        bytes += size;
        batch.push(op);
    }
    write(stored, batch).await
}

async fn write(stored: &Stored, ops: Vec<Op>) -> Result<(), Error> {
    let compares = Vec::new();
    let written = stored.store.commit(Txn { compares, ops }).await;
    written.map_err(Error::store("write etcd")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_are_there_stay_as_they_are() {
        let dump = "--\n-- Roles\n--\n\nCREATE ROLE app;\nALTER ROLE app WITH LOGIN PASSWORD 'x';\n\
                    CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER PASSWORD 'old';\n\
                    CREATE ROLE \"a b\";\n\
                    GRANT app TO postgres WITH INHERIT TRUE GRANTED BY postgres;\n";
        let missing = missing_roles(dump, &["postgres".to_owned()]);
        assert!(missing.contains("CREATE ROLE app;"), "{missing}");
        assert!(!missing.contains("ROLE postgres"), "{missing}");
        assert!(
            missing.ends_with("GRANT app TO postgres WITH INHERIT TRUE"),
            "{missing}"
        );
    }
}
