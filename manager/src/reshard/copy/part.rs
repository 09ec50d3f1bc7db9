//! What the owner's catalog says of the tables: their columns, the relations that their rows are
//! in, and how many blocks these have; and how the blocks are cut into ranges.

use std::num::NonZeroUsize;

use super::scan::Format;
use super::{Error, Target};
use crate::identifier::quoted;
use crate::reshard::flow::MovedTable;
use crate::reshard::link::{Fault, Link};

/// Blocks of a range: 128 MiB where blocks have 8 KiB.
const RANGE_BLOCKS: u64 = 16_384;
/// Fewer are not worth a transaction.
const MIN_RANGE_BLOCKS: u64 = 1_024;
/// So many ranges a worker make the last of them all end at about the same time.
const RANGES_PER_WORKER: u64 = 4;

/// A relation with rows of a table: the table, or one of its partitions.
#[derive(Debug, Clone)]
pub(in crate::reshard) struct Part {
    /// The table.
    pub(in crate::reshard) table: MovedTable,
    /// The relation on the owner, as SQL names it.
    pub(in crate::reshard) relation: String,
    /// The table's columns as SQL lists them, the key first.
    pub(in crate::reshard) columns: String,
    /// How many there are.
    pub(in crate::reshard) column_count: i16,
    /// How its rows travel.
    pub(in crate::reshard) format: Format,
    /// Its blocks.
    pub(in crate::reshard) blocks: u64,
    /// About how many rows it has.
    pub(in crate::reshard) rows: u64,
}

impl Part {
    /// The statement that reads a range of it.
    pub(super) fn read(&self, range: &Range) -> String {
        self.select(&self.columns, self.format, range)
    }

    /// The statement that reads other expressions in a range of it.
    pub(in crate::reshard) fn select(&self, list: &str, format: Format, range: &Range) -> String {
        let relation = &self.relation;
        let end = range
            .end
            .map_or_else(String::new, |end| format!(" AND ctid < '({end},0)'::tid"));
        format!(
            "COPY (SELECT {list} FROM ONLY {relation} WHERE ctid >= '({},0)'::tid{end}) \
             TO STDOUT (FORMAT {})",
            range.begin,
            format.word()
        )
    }

    /// The statement that stores rows of it.
    pub(super) fn store(&self) -> String {
        format!(
            "COPY {} ({}) FROM STDIN (FORMAT {})",
            quoted(&self.table.name),
            self.columns,
            self.format.word()
        )
    }
}

/// Some blocks of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reshard) struct Range {
    /// Which part.
    pub(in crate::reshard) part: usize,
    /// Its number there.
    pub(in crate::reshard) number: usize,
    /// The first block.
    pub(in crate::reshard) begin: u64,
    /// The block after the last; none takes in all that come, since a relation may have grown.
    pub(in crate::reshard) end: Option<u64>,
    /// How many blocks it counts for.
    pub(in crate::reshard) blocks: u64,
}

/// Cuts all parts into ranges.
pub(in crate::reshard) fn ranges(parts: &[Part], workers: NonZeroUsize) -> Vec<Range> {
    let mut all = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let size = range_blocks(part.blocks, workers);
        let mut pieces = Pieces::new(index, part.blocks, size);
        pieces.cut(0, None);
        all.extend(pieces.into_ranges());
    }
    all
}

/// How many blocks of a part make a range.
pub(super) fn range_blocks(blocks: u64, workers: NonZeroUsize) -> u64 {
    let workers = u64::try_from(workers.get()).unwrap_or(u64::MAX);
    let even = blocks / workers.saturating_mul(RANGES_PER_WORKER);
    even.clamp(MIN_RANGE_BLOCKS, RANGE_BLOCKS)
}

/// Ranges of one part.
#[derive(Debug)]
pub(super) struct Pieces {
    part: usize,
    /// The blocks of the part.
    blocks: u64,
    /// The blocks of a range.
    size: u64,
    ranges: Vec<Range>,
}

impl Pieces {
    pub(super) fn new(part: usize, blocks: u64, size: u64) -> Self {
        Self {
            part,
            blocks,
            size,
            ranges: Vec::new(),
        }
    }

    /// Blocks as one range.
    pub(super) fn whole(&self, begin: u64, end: Option<u64>) -> Range {
        Range {
            part: self.part,
            number: self.ranges.len(),
            begin,
            end,
            blocks: end.unwrap_or(self.blocks).saturating_sub(begin),
        }
    }

    /// Adds a range.
    pub(super) fn push(&mut self, range: Range) {
        self.ranges.push(range);
    }

    /// Cuts blocks into ranges; there is one at least.
    pub(super) fn cut(&mut self, begin: u64, end: Option<u64>) {
        let blocks = end.unwrap_or(self.blocks).saturating_sub(begin);
        let count = blocks.div_ceil(self.size).max(1);
        for number in 0..count {
            let from = begin + number * self.size;
            let is_last = number + 1 == count;
            let to = if is_last { end } else { Some(from + self.size) };
            self.push(self.whole(from, to));
        }
    }

    pub(super) fn into_ranges(self) -> Vec<Range> {
        self.ranges
    }
}

/// Which files the relations are in: a table that was rewritten has its rows at other places.
pub(in crate::reshard) async fn layout(link: &mut Link, parts: &[Part]) -> Result<String, Error> {
    if parts.is_empty() {
        return Ok(String::new());
    }
    let names = parts.iter().map(|part| part.relation.replace('\'', "''"));
    let names: Vec<String> = names.map(|name| format!("('{name}')")).collect();
    let sql = format!(
        "SELECT md5(string_agg(format('%s %s', r, pg_relation_filenode(r::regclass)), ',' \
         ORDER BY r)) FROM (VALUES {}) AS v (r)",
        names.join(", ")
    );
    let mut rows = link.query("ask which files rows are in", &sql).await?;
    let row = rows.pop().ok_or_else(|| unreadable(link))?;
    let [layout] = fields(link, row)?;
    Ok(layout)
}

/// How many rows will probably move: tokens are spread evenly.
pub(in crate::reshard) fn rows_expected(parts: &[Part], targets: &[Target]) -> u64 {
    let bounds = targets
        .iter()
        .flat_map(|target| target.bounds.as_slice().chunks(2));
    let tokens = bounds.map(|pair| match pair {
        [start, end] => u128::from(end.abs_diff(*start)),
        _ => 0,
    });
    let rows: u128 = parts.iter().map(|part| u128::from(part.rows)).sum();
    u64::try_from((rows * tokens.sum::<u128>()) >> 32).unwrap_or(u64::MAX)
}

/// Keeps everybody from rewriting the tables until the transaction ends.
pub(in crate::reshard) async fn lock(link: &mut Link, tables: &[MovedTable]) -> Result<(), Error> {
    let names: Vec<String> = tables.iter().map(|table| quoted(&table.name)).collect();
    if !names.is_empty() {
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        link.query("lock the tables of a copy", &sql).await?;
    }
    Ok(())
}

/// The parts of all tables, largest first within each.
pub(in crate::reshard) async fn all(
    link: &mut Link,
    tables: &[MovedTable],
) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    for table in tables {
        let (columns, column_count, format) = columns(link, table).await?;
        let name = quoted(&table.name).replace('\'', "''");
        let sql = relations_sql(&name);
        let what = "list the relations of a table";
        for row in link.query(what, &sql).await? {
            let [schema, relation, kind, blocks, rows] = fields(link, row)?;
            if kind != "r" {
                let reason = format!("has partition {relation}, which is no ordinary table");
                return Err(unfit(link, table, reason));
            }
            parts.push(Part {
                table: table.clone(),
                relation: wire::quote::qualified(&schema, &relation),
                columns: columns.clone(),
                column_count,
                format,
                blocks: number(link, &blocks)?,
                rows: number(link, &rows)?,
            });
        }
    }
    Ok(parts)
}

/// The columns that are copied, the key first, and how they can travel.
async fn columns(link: &mut Link, table: &MovedTable) -> Result<(String, i16, Format), Error> {
    let name = quoted(&table.name).replace('\'', "''");
    let mut names = Vec::new();
    let mut format = Format::Binary;
    let sql = columns_sql(&name);
    for row in link.query("list the columns of a table", &sql).await? {
        let [column, is_portable] = fields(link, row)?;
        if is_portable != "t" {
            format = Format::Text;
        }
        names.push(column);
    }
    let Some(key) = names.iter().position(|name| *name == table.key_column) else {
        let reason = format!("has no column {:?} that could be copied", table.key_column);
        return Err(unfit(link, table, reason));
    };
    let key = names.remove(key);
    names.insert(0, key);
    let count = i16::try_from(names.len());
    let count = count.map_err(|_| unfit(link, table, "has too many columns".to_owned()))?;
    let quoted: Vec<String> = names.iter().map(|name| wire::quote::ident(name)).collect();
    Ok((quoted.join(", "), count, format))
}

/// A type is portable in the binary format unless that names objects by numbers, which differ from
/// server to server: composite types, arrays of what was defined here, and names of objects.
fn columns_sql(name: &str) -> String {
    format!(
        "WITH RECURSIVE kind(number, id) AS ( \
           SELECT attnum, atttypid FROM pg_attribute WHERE attrelid = '{name}'::regclass \
         UNION \
           SELECT k.number, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END \
           FROM kind k JOIN pg_type t ON t.oid = k.id \
           WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typelem <> 0)) \
         SELECT a.attname, NOT EXISTS (SELECT FROM kind k JOIN pg_type t ON t.oid = k.id \
           WHERE k.number = a.attnum AND (t.typsend = 0 OR t.typreceive = 0 OR t.typtype = 'c' \
             OR (t.typcategory = 'A' AND t.typelem >= 16384) \
             OR (t.typname LIKE 'reg%' AND t.oid < 16384))) \
         FROM pg_attribute a WHERE a.attrelid = '{name}'::regclass AND a.attnum > 0 \
           AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum"
    )
}

/// The table itself unless it is partitioned, and all partitions that are not partitioned again.
fn relations_sql(name: &str) -> String {
    format!(
        "SELECT n.nspname, c.relname, c.relkind, b.blocks, \
           CASE WHEN c.reltuples < 0 THEN b.blocks * 50 ELSE c.reltuples::bigint END \
         FROM (SELECT '{name}'::regclass AS id \
               UNION SELECT relid FROM pg_partition_tree('{name}'::regclass) WHERE isleaf) r \
         JOIN pg_class c ON c.oid = r.id JOIN pg_namespace n ON n.oid = c.relnamespace, \
         LATERAL (SELECT CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) \
           / current_setting('block_size')::bigint ELSE 0 END AS blocks) b \
         WHERE c.relkind <> 'p' ORDER BY b.blocks DESC, n.nspname, c.relname"
    )
}

fn unfit(link: &Link, table: &MovedTable, reason: String) -> Error {
    Error::Unfit {
        shard: link.shard().clone(),
        table: table.name.clone(),
        reason,
    }
}

fn fields<const N: usize>(link: &Link, row: Vec<Option<String>>) -> Result<[String; N], Error> {
    let fields: Option<Vec<String>> = row.into_iter().collect();
    let fields = fields.and_then(|fields| fields.try_into().ok());
    fields.ok_or_else(|| unreadable(link))
}

fn number(link: &Link, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| unreadable(link))
}

pub(super) fn unreadable(link: &Link) -> Error {
    let fault = Fault::Protocol("the catalog answered in another shape than asked for".to_owned());
    link.error("read the catalog", fault).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reshard::flow::Ranges;
    use topology::records::TokenRange;
    use topology::{KeyType, TableName, Token};

    fn part(blocks: u64) -> Part {
        Part {
            table: MovedTable {
                name: TableName::try_from_parts("public", "o'rders").unwrap(),
                key_column: "Id".to_owned(),
                key_type: KeyType::Bigint,
            },
            relation: "public.orders_1".to_owned(),
            columns: "\"Id\", note".to_owned(),
            column_count: 2,
            format: Format::Binary,
            blocks,
            rows: blocks * 10,
        }
    }

    #[test]
    fn ranges_cover_every_block_once_and_the_last_is_open() {
        let workers = NonZeroUsize::new(2).unwrap();
        for blocks in [0, 1, 1_023, 1_024, 1_025, 9_000, 200_000, 10_000_000] {
            let ranges = ranges(&[part(3), part(blocks)], workers);
            let mut next = 0;
            let of_second: Vec<&Range> = ranges.iter().filter(|range| range.part == 1).collect();
            for (index, range) in of_second.iter().enumerate() {
                assert_eq!((range.number, range.begin), (index, next));
                assert_eq!(range.end.is_none(), index + 1 == of_second.len());
                next = range.end.unwrap_or(blocks);
                assert_eq!(range.blocks, next - range.begin);
                assert!(range.blocks <= RANGE_BLOCKS);
            }
            assert_eq!(next, blocks);
        }
    }

    #[test]
    fn an_open_range_has_no_upper_bound_in_sql() {
        let mut range = Range {
            part: 0,
            number: 1,
            begin: 5,
            end: Some(9),
            blocks: 4,
        };
        let part = part(9);
        assert_eq!(
            part.read(&range),
            "COPY (SELECT \"Id\", note FROM ONLY public.orders_1 WHERE ctid >= '(5,0)'::tid AND \
             ctid < '(9,0)'::tid) TO STDOUT (FORMAT binary)"
        );
        range.end = None;
        assert!(part.read(&range).contains("'(5,0)'::tid) TO"));
        assert_eq!(
            part.store(),
            "COPY \"public\".\"o'rders\" (\"Id\", note) FROM STDIN (FORMAT binary)"
        );
    }

    #[test]
    fn the_share_of_rows_that_move_is_that_of_their_tokens() {
        let quarter = Ranges::new(vec![TokenRange {
            after: Token(u32::MAX),
            last: Token(u32::MAX / 4),
        }]);
        let shard = crate::reshard::copy::tests::shard("b");
        let target = Target {
            shard,
            bounds: quarter.bounds(),
        };
        assert_eq!(rows_expected(&[part(400), part(400)], &[target]), 2_000);
    }
}
