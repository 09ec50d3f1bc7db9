//! How much a shard holds of some tables, by the server's own statistics: nothing is read.

use futures_util::StreamExt as _;
use futures_util::stream;
use topology::{ShardId, TableName};

use super::rows::Inquiry;
use super::{Error, Session, Shards};
use crate::identifier;
use crate::reshard::estimate::Size;

/// Shards that are asked at a time.
const MAX_PARALLEL: usize = 16;

/// A table with its partitions. Rows are those of the last ANALYZE, or of the statistics since the
/// server started, whichever are more: one of both is usually there.
const SIZE: &str = "\
    SELECT ARRAY[ \
        coalesce(sum(greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0)), 0)::bigint, \
        coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint] \
    FROM (SELECT to_regclass($1::text)::oid AS oid \
          UNION SELECT relid::oid FROM pg_partition_tree(to_regclass($1::text))) AS part \
    JOIN pg_class AS c ON c.oid = part.oid AND c.relkind <> 'p'";

impl Session {
    /// The size of a table; 0 when it does not exist.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn size(&self, table: &TableName) -> Result<Size, Error> {
        let name = identifier::quoted(table);
        let found: Vec<i64> = self
            .answer(table, self.client.query_one(SIZE, &[&name]))
            .await?;
        let number = |at: usize| {
            let number = found.get(at).copied().unwrap_or(0);
            u64::try_from(number).unwrap_or(0)
        };
        Ok(Size {
            rows: number(0),
            bytes: number(1),
        })
    }
}

impl Shards {
    /// What each shard holds of its tables, all together.
    pub async fn sizes(&self, inquiries: Vec<Inquiry>) -> Vec<(ShardId, Result<Size, Error>)> {
        let ask = |inquiry: Inquiry| {
            let shards = self.clone();
            async move { (inquiry.shard.id.clone(), shards.size_of_one(&inquiry).await) }
        };
        let answers = stream::iter(inquiries.into_iter().map(ask)).buffer_unordered(MAX_PARALLEL);
        let mut sizes: Vec<_> = answers.collect().await;
        sizes.sort_by(|(a, _), (b, _)| a.cmp(b));
        sizes
    }

    async fn size_of_one(&self, inquiry: &Inquiry) -> Result<Size, Error> {
        let session = self.connect(&inquiry.shard).await?;
        let mut sum = Size::default();
        for table in &inquiry.tables {
            let size = session.size(table).await?;
            sum.rows = sum.rows.saturating_add(size.rows);
            sum.bytes = sum.bytes.saturating_add(size.bytes);
        }
        Ok(sum)
    }
}
