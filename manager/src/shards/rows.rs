//! Questions about tables that go to several shards, or about several tables of one.

use futures_util::StreamExt as _;
use futures_util::stream;
use topology::{Shard, ShardId, TableName};

use super::{Error, Shards};

/// Shards that are asked at a time.
const MAX_PARALLEL: usize = 16;

/// What one shard says of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The table.
    pub table: TableName,
    /// The shard.
    pub shard: ShardId,
    /// How many rows, or why that is not known.
    pub rows: Result<u64, String>,
}

/// A shard and the tables that it is asked about.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The shard.
    pub shard: Shard,
    /// The tables.
    pub tables: Vec<TableName>,
}

impl Shards {
    /// The first of some tables that has rows on a shard; a table that is not there has none.
    ///
    /// # Errors
    /// When the shard cannot say: nothing follows from that.
    pub async fn table_with_rows(&self, inquiry: &Inquiry) -> Result<Option<TableName>, Error> {
        let session = self.connect(&inquiry.shard).await?;
        for table in &inquiry.tables {
            if session.exists(table).await? && session.has_rows(table).await? {
                return Ok(Some(table.clone()));
            }
        }
        Ok(None)
    }

    /// A shard on which a table exists.
    ///
    /// # Errors
    /// When one of the shards cannot say.
    pub async fn shard_with_table(
        &self,
        shards: Vec<Shard>,
        table: &TableName,
    ) -> Result<Option<ShardId>, Error> {
        let ask = |shard: Shard| {
            let (shards, table) = (self.clone(), table.clone());
            async move {
                let found = shards.connect(&shard).await?.exists(&table).await?;
                Ok(found.then_some(shard.id))
            }
        };
        let mut answers = stream::iter(shards.into_iter().map(ask)).buffer_unordered(MAX_PARALLEL);
        let mut found = None;
        while let Some(answer) = answers.next().await {
            found = found.or(answer?);
        }
        Ok(found)
    }

    /// Counts rows on shards. What one shard cannot say does not keep the others from answering.
    pub async fn counts(&self, inquiries: Vec<Inquiry>) -> Vec<Count> {
        let ask = |inquiry: Inquiry| {
            let shards = self.clone();
            async move { shards.counts_of_one(inquiry).await }
        };
        let answers = stream::iter(inquiries.into_iter().map(ask)).buffer_unordered(MAX_PARALLEL);
        let mut counts: Vec<Count> = answers.flat_map(stream::iter).collect().await;
        counts.sort_by(|a, b| (&a.table, &a.shard).cmp(&(&b.table, &b.shard)));
        counts
    }

    async fn counts_of_one(&self, inquiry: Inquiry) -> Vec<Count> {
        let Inquiry { shard, tables } = inquiry;
        let session = self.connect(&shard).await;
        let mut counts = Vec::with_capacity(tables.len());
        for table in tables {
            let rows = match &session {
                Err(error) => Err(error.full_text()),
                Ok(session) => match session.exists(&table).await {
                    Ok(true) => session.count(&table).await.map_err(|e| e.full_text()),
                    Ok(false) => Err(format!(
                        "table {table} does not exist on shard {}",
                        shard.id
                    )),
                    Err(error) => Err(error.full_text()),
                },
            };
            counts.push(Count {
                table,
                shard: shard.id.clone(),
                rows,
            });
        }
        counts
    }
}
