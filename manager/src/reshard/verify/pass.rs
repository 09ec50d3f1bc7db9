//! Reads both sides once: what is to be read is cut into ranges, workers take one after another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use topology::{KeyType, Token};
use wire::backend::tag;

use super::bucket::Buckets;
use super::{Error, Order, Side};
use crate::reshard::copy::part::{self, Part, Range};
use crate::reshard::copy::scan::{Format, Scanner};
use crate::reshard::copy::view::{View, take_rows};
use crate::reshard::copy::{Throttle, view::Taken};
use crate::reshard::link::Link;
use crate::reshard::progress::Progress;
use wire::quote::ident;

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Owner,
    Mirror,
}

impl Role {
    /// The one's part of a pair of both.
    pub(super) fn of<T>(self, [owner, mirror]: &mut [T; 2]) -> &mut T {
        match self {
            Self::Owner => owner,
            Self::Mirror => mirror,
        }
    }
}

/// A shard of one of the sides, and what its tables are.
pub(super) struct Source {
    pub(super) role: Role,
    pub(super) side: Side,
    pub(super) parts: Vec<Part>,
}

/// What the workers share.
pub(super) struct Plan {
    pub(super) order: Order,
    pub(super) sources: Vec<Source>,
    /// The expressions that are read of each table: its key and the hash of its columns, as its
    /// owner has them.
    lists: Vec<String>,
    units: Vec<(usize, Range)>,
    next: AtomicUsize,
    progress: Arc<Progress>,
    throttle: Arc<Throttle>,
}

impl Plan {
    /// Looks at the tables, and gives the sessions that keep them from being rewritten too.
    pub(super) async fn make(
        order: Order,
        progress: Arc<Progress>,
        throttle: Arc<Throttle>,
    ) -> Result<(Self, Vec<Link>), Error> {
        let owners = order.owners.iter().map(|side| (Role::Owner, side));
        let mirrors = order.mirrors.iter().map(|side| (Role::Mirror, side));
        let (mut sources, mut keepers, mut units) = (Vec::new(), Vec::new(), Vec::new());
        for (role, side) in owners.chain(mirrors) {
            let mut keeper = view(&order, side).open("verify-keeper").await?;
            part::lock(&mut keeper, &order.tables).await?;
            let parts = part::all(&mut keeper, &order.tables).await?;
            let ranges = part::ranges(&parts, order.workers);
            units.extend(ranges.into_iter().map(|range| (sources.len(), range)));
            keepers.push(keeper);
            let side = side.clone();
            sources.push(Source { role, side, parts });
        }
        let lists = order.tables.iter().map(|table| {
            let owner: Option<&Source> = sources.first();
            let parts = owner.iter().flat_map(|owner| &owner.parts);
            let columns = parts.filter(|part| part.table.name == table.name);
            let columns = columns.map(|part| part.columns.as_str()).next();
            // Whatever the databases' collations are, bytes are hashed.
            format!(
                "{}, hashtextextended(ROW({})::text COLLATE \"C\", 0)",
                ident(&table.key_column),
                columns.unwrap_or_default()
            )
        });
        let lists = lists.collect();
        let plan = Self {
            order,
            sources,
            lists,
            units,
            next: AtomicUsize::new(0),
            progress,
            throttle,
        };
        Ok((plan, keepers))
    }

    /// The place of a part's table in the order.
    pub(super) fn table(&self, part: &Part) -> usize {
        let mut tables = self.order.tables.iter();
        let place = tables.position(|table| table.name == part.table.name);
        place.unwrap_or(usize::MAX)
    }

    pub(super) fn list(&self, table: usize) -> &str {
        self.lists.get(table).map_or("", String::as_str)
    }

    pub(super) async fn open(&self, source: &Source) -> Result<Link, Error> {
        view(&self.order, &source.side).open("verify").await
    }

    fn next(&self) -> Option<(usize, &Source, &Part, Range)> {
        let (number, range) = *self.units.get(self.next.fetch_add(1, Ordering::Relaxed))?;
        let source = self.sources.get(number)?;
        Some((number, source, source.parts.get(range.part)?, range))
    }

    /// Reads expressions, the first of which is the key, in a range of a part; gives each row that
    /// belongs to the source's side.
    pub(super) async fn read(
        &self,
        link: &mut Link,
        (source, part, range): (&Source, &Part, Range),
        (list, columns): (&str, i16),
        found: &mut impl FnMut(&[u8], Token),
    ) -> Result<(), Error> {
        let sql = part.select(list, Format::Binary, &range);
        let announced = tag::COPY_OUT_RESPONSE;
        link.begin_copy("read rows to be compared", &sql, announced)
            .await?;
        let key_type: KeyType = part.table.key_type;
        let mut scanner = Scanner::new(Format::Binary, key_type, columns);
        loop {
            let mut rows = 0;
            let taken = take_rows(link, &part.table.name, &mut scanner, &mut |row, token| {
                rows += 1;
                if source.side.bounds.contains(token) {
                    found(row, token);
                }
                Ok(())
            });
            let Taken { bytes, is_done } = taken?;
            self.progress.rows_compared.add(rows);
            if is_done {
                return Ok(());
            }
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.throttle.spend(rows, bytes).await;
            let filled = link.fill().await;
            filled.map_err(|fault| link.error("read rows to be compared", fault))?;
        }
    }
}

fn view<'a>(order: &'a Order, side: &'a Side) -> View<'a> {
    View {
        config: &order.config,
        leg: &order.leg,
        shard: &side.shard,
        snapshot: &side.snapshot,
    }
}

/// The sums of each table, of its owners and of its mirrors.
pub(super) struct Sums(pub(super) Vec<[Buckets; 2]>);

impl Sums {
    pub(super) fn new(tables: usize) -> Self {
        let empty = || [Buckets::new(), Buckets::new()];
        Self((0..tables).map(|_| empty()).collect())
    }

    pub(super) fn add(&mut self, others: &Self) {
        for ([a, b], [c, d]) in self.0.iter_mut().zip(&others.0) {
            a.add(c);
            b.add(d);
        }
    }
}

/// Reads ranges until none is left.
pub(super) async fn work(plan: Arc<Plan>) -> Result<Sums, Error> {
    let mut sums = Sums::new(plan.order.tables.len());
    let mut links: BTreeMap<usize, Link> = BTreeMap::new();
    while let Some((number, source, part, range)) = plan.next() {
        let mut link = match links.remove(&number) {
            Some(link) => link,
            None => plan.open(source).await?,
        };
        let table = plan.table(part);
        let list = (plan.list(table), 2);
        if let Some(pair) = sums.0.get_mut(table) {
            let buckets = source.role.of(pair);
            let mut put = |row: &[u8], token| buckets.put(token, hash_at_end(row));
            plan.read(&mut link, (source, part, range), list, &mut put)
                .await?;
        }
        links.insert(number, link);
    }
    Ok(sums)
}

/// The hash, where it is the last column.
fn hash_at_end(row: &[u8]) -> u64 {
    row.last_chunk().map_or(0, |hash| u64::from_be_bytes(*hash))
}
