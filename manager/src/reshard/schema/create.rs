//! Creates tables on a shard that lacks them: before the copy without keys and indexes, which are
//! built faster afterwards, and then these.

use topology::{TableName, Term, strides};
use wire::quote::literal;

use super::dump::{Section, Tools};
use super::unfinished::{EVERYTHING, Unfinished, unfinished};
use super::{Error, Pair, describe};
use crate::identifier;
use crate::reshard::guard::install::pass_ddl_triggers;
use crate::reshard::guard::sql::array;
use crate::reshard::ids::LegId;
use crate::reshard::session::{self, Session, Sessions};

/// Creates the tables of a source on a target.
#[derive(Debug, Clone, Copy)]
pub struct Creation<'a> {
    /// How both are reached.
    pub sessions: &'a Sessions,
    /// What dumps.
    pub tools: &'a Tools,
    /// The leg.
    pub leg: &'a LegId,
    /// The leader's term.
    pub term: Term,
    /// Both shards.
    pub pair: Pair<'a>,
}

impl Creation<'_> {
    /// Creates those of some tables that the target lacks, without keys, indexes and triggers;
    /// all of the source's database if the target's is empty. Says what is to be finished after
    /// the copy, also of earlier attempts. Sharded and reference tables go in one call. `numbers`
    /// are those of both shards, by which their sequences differ.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn create(
        &self,
        tables: &[TableName],
        numbers: (u16, u16),
    ) -> Result<Unfinished, Error> {
        let mut target = self.open(self.pair.target).await?;
        let present = describe(&mut target, tables).await?;
        let missing: Vec<&TableName> = tables.iter().filter(|t| !present.has(t)).collect();
        if missing.is_empty() {
            return Ok(unfinished(&target).await?);
        }
        let is_empty = is_empty(&target).await?;
        let source = self.open(self.pair.source).await?;
        let (patterns, entries) = if is_empty {
            (Vec::new(), vec![EVERYTHING.to_owned()])
        } else {
            let names: Vec<String> = missing.iter().map(|t| identifier::quoted(t)).collect();
            (with_partitions(&source, &names).await?, names)
        };
        let major = major(&source).await?;
        let dump = (self.pair.source, self.leg);
        let text = self.tools.dump(dump, major, Section::PreData, &patterns);
        let mut text = text.await?;
        if !is_empty {
            let schemas: String = missing.iter().map(|table| create_schema(table)).collect();
            text.insert_str(0, &schemas);
        }
        text += &format!(
            "\nINSERT INTO vg.unfinished SELECT pg_catalog.unnest({}) ON CONFLICT (name) DO NOTHING;",
            array(&entries)
        );
        // The dump has the source's values.
        let (from, to) = numbers;
        text += &format!("\n{};", strides::shift(from, to));
        self.run(&mut target, "create tables", &text).await?;
        Ok(unfinished(&target).await?)
    }

    /// Creates keys, indexes and triggers of what is unfinished on the target, all or nothing.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn finish(&self) -> Result<(), Error> {
        let mut target = self.open(self.pair.target).await?;
        let unfinished = unfinished(&target).await?;
        if unfinished.is_empty() {
            return Ok(());
        }
        let source = self.open(self.pair.source).await?;
        let patterns = if unfinished.is_everything() {
            Vec::new()
        } else {
            let names: Vec<String> = unfinished.0.iter().cloned().collect();
            with_partitions(&source, &names).await?
        };
        let major = major(&source).await?;
        let dump = (self.pair.source, self.leg);
        let text = self.tools.dump(dump, major, Section::PostData, &patterns);
        let mut text = text.await?;
        let names: Vec<String> = unfinished.0.iter().map(|name| literal(name)).collect();
        text += &format!(
            "\nDELETE FROM vg.unfinished WHERE name IN ({});",
            names.join(", ")
        );
        self.run(&mut target, "create keys and indexes", &text)
            .await
    }

    async fn open(&self, shard: &topology::Shard) -> Result<Session, session::Error> {
        self.sessions.open_writer(shard, self.leg, "schema").await
    }

    async fn run(&self, target: &mut Session, what: &'static str, text: &str) -> Result<(), Error> {
        let work = target.begin(self.term).await?;
        pass_ddl_triggers(&work, &self.leg.tag()).await?;
        work.run(what, text).await?;
        work.commit(what).await?;
        Ok(())
    }
}

/// Looks whether tables are the same on both shards.
///
/// # Errors
/// [`Error::Differs`] for the first that is not.
pub async fn differences(
    source: &mut Session,
    target: &mut Session,
    tables: &[TableName],
) -> Result<(), Error> {
    let mine = describe(source, tables).await?;
    let theirs = describe(target, tables).await?;
    for table in tables {
        let differences = mine.differences(&theirs, table);
        if !differences.is_empty() {
            return Err(Error::Differs {
                table: table.clone(),
                source_shard: source.shard().clone(),
                target: target.shard().clone(),
                what: differences.join("; "),
            });
        }
    }
    Ok(())
}

fn create_schema(table: &TableName) -> String {
    let schema = wire::quote::ident(table.schema());
    format!("CREATE SCHEMA IF NOT EXISTS {schema};\n")
}

/// Whether a database has nothing but what every one has, and ours.
async fn is_empty(session: &Session) -> Result<bool, Error> {
    let question = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'vg') \
           AND NOT pg_catalog.starts_with(n.nspname::text, 'pg_temp') \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid \
             AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'))";
    let row = session.query_one(question, &[]).await;
    let row = row.map_err(|e| session.error("look whether the database is empty", e))?;
    Ok(row.get(0))
}

/// The names of tables and of all their partitions, which pg_dump takes as patterns.
async fn with_partitions(session: &Session, names: &[String]) -> Result<Vec<String>, Error> {
    let question = "SELECT DISTINCT '\"' || pg_catalog.replace(n.nspname, '\"', '\"\"') || '\".\"' \
           || pg_catalog.replace(c.relname, '\"', '\"\"') || '\"' \
         FROM pg_catalog.unnest($1::text[]) name \
         CROSS JOIN LATERAL (SELECT pg_catalog.to_regclass(name)::oid AS oid UNION \
           SELECT relid::oid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(name))) t \
         JOIN pg_catalog.pg_class c ON c.oid = t.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";
    let rows = session.query(question, &[&names]).await;
    let rows = rows.map_err(|e| session.error("look for partitions", e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn major(session: &Session) -> Result<u32, Error> {
    let question = "SELECT pg_catalog.current_setting('server_version_num')::int / 10000";
    let row = session.query_one(question, &[]).await;
    let row = row.map_err(|e| session.error("ask for the version", e))?;
    Ok(u32::try_from(row.get::<_, i32>(0)).unwrap_or(0))
}
