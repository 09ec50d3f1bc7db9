//! A worker: its session on the owner, which reads in the snapshot, and those on the mirrors. It
//! takes range after range; where a connection breaks it opens new ones and tries the range again,
//! which the mirrors that have it already tell it.

use std::sync::Arc;
use std::time::Duration;

use topology::Shard;
use wire::backend::tag;

use super::part::{Part, Range};
use super::pump::{self, Tally};
use super::{Error, Order, Shared, book};
use crate::reshard::link::{self, Link};
use crate::reshard::session::{self, Class, application_name};

/// A range is tried so many times more when connections break.
const MAX_RETRIES: u32 = 5;
/// Before the first of them; doubled for each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A session on a mirror, whose rows the leg's guard lets through.
pub(super) async fn writer(order: &Order, shard: &Shard) -> Result<Link, link::Error> {
    let options = session::writer_options(&order.leg);
    let name = application_name(&order.leg, "copy");
    let parameters = [
        ("application_name", name.as_str()),
        ("options", options.as_str()),
    ];
    Link::connect(&order.config, shard, &parameters).await
}

/// Copies ranges until none is left.
pub(super) async fn work(shared: Arc<Shared>) -> Result<Tally, Error> {
    let mut total = Tally::default();
    let mut lane = None;
    while let Some((range, part)) = shared.next() {
        let (mut retries, mut pause) = (0, FIRST_PAUSE);
        loop {
            // What is not put back after an error is closed.
            let attempt = async {
                let mut open = match lane.take() {
                    Some(open) => open,
                    None => Lane::open(&shared.order).await?,
                };
                let tally = open.copy(&shared, range, part).await?;
                lane = Some(open);
                Ok(tally)
            };
            match attempt.await {
                Ok(tally) => {
                    total.add(tally);
                    platform::failpoint::pass("after", "copy_range");
                    break;
                }
                Err(error) if retries < MAX_RETRIES && is_passing(&error) => {
                    tracing::warn!(
                        error = platform::telemetry::error_chain(&error),
                        relation = part.relation,
                        range = range.number,
                        "range is tried again"
                    );
                    tokio::time::sleep(pause).await;
                    (retries, pause) = (retries + 1, pause * 2);
                }
                Err(error) => return Err(error),
            }
        }
        shared.progress.blocks_copied.add(range.blocks);
    }
    Ok(total)
}

/// Whether the snapshot may have outlived it.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Link(error) => error.class() == Class::Retryable,
        Error::SnapshotGone(_)
        | Error::Unfit { .. }
        | Error::Rows { .. }
        | Error::Stored { .. }
        | Error::Panicked => false,
    }
}

/// The sessions of a worker.
struct Lane {
    source: Link,
    targets: Vec<Link>,
}

impl Lane {
    async fn open(order: &Order) -> Result<Self, Error> {
        let source = order.view().open("copy").await?;
        let mut targets = Vec::with_capacity(order.targets.len());
        for target in &order.targets {
            targets.push(writer(order, &target.shard).await?);
        }
        Ok(Self { source, targets })
    }

    async fn copy(&mut self, shared: &Shared, range: Range, part: &Part) -> Result<Tally, Error> {
        let mut sinks = Vec::with_capacity(self.targets.len());
        for (link, target) in self.targets.iter_mut().zip(&shared.order.targets) {
            if begin(link, shared, range, part).await? {
                sinks.push(pump::Sink::new(link, &target.bounds, part.format));
            }
        }
        if sinks.is_empty() {
            return Ok(Tally::default());
        }
        let sql = part.read(&range);
        let what = "read rows to be copied";
        let announced = tag::COPY_OUT_RESPONSE;
        self.source.begin_copy(what, &sql, announced).await?;
        let tally = pump::run(&mut self.source, &mut sinks, part, shared).await?;
        for sink in sinks {
            let sent = (sink.rows, sink.bytes);
            let link = sink.close().await?;
            end(link, shared, (range, part), sent).await?;
        }
        Ok(tally)
    }
}

/// Begins a range's transaction on a mirror, unless it is there already.
async fn begin(link: &mut Link, shared: &Shared, range: Range, part: &Part) -> Result<bool, Error> {
    if !book::claim(link, &shared.order, (range, part)).await? {
        link.query("leave a range that is stored", "ROLLBACK")
            .await?;
        return Ok(false);
    }
    let announced = tag::COPY_IN_RESPONSE;
    link.begin_copy("store copied rows", &part.store(), announced)
        .await?;
    Ok(true)
}

async fn end(
    link: &mut Link,
    shared: &Shared,
    place: (Range, &Part),
    (sent, bytes): (u64, u64),
) -> Result<(), Error> {
    let stored = link.finish("store copied rows").await?.unwrap_or_default();
    if stored != sent {
        return Err(Error::Stored {
            shard: link.shard().clone(),
            table: place.1.table.name.clone(),
            sent,
            stored,
        });
    }
    Ok(book::commit(link, &shared.order, place, (sent, bytes)).await?)
}
