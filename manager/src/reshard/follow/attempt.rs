//! One connection's worth of following: everything is opened, runs until something breaks, and is
//! dropped. The next attempt finds on the mirrors how far they are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use platform::TaskGroup;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use topology::TableName;

use super::hub::{Hub, LaneObserver, Queues};
use super::{Memory, Spec, heartbeat};
use crate::reshard::apply::lane::{Lane, Target};
use crate::reshard::apply::{Error, catalog, origin};
use crate::reshard::lsn::Lsn;
use crate::reshard::replication::{Event, ReplicationConnection, Stream};
use crate::reshard::session::{self, Session, Sessions};
use crate::reshard::stream::sort::Rules;
use crate::reshard::stream::{Route, Sorter};

/// How often the owner hears how far the mirrors are.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(100);
/// How long a former reader of the slot may take to end.
const SLOT_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks.
const SLOT_POLL: Duration = Duration::from_millis(3);

const SLOT: &str = "\
SELECT confirmed_flush_lsn::text, wal_status = 'lost', active_pid, \
       pg_terminate_backend(active_pid) \
FROM pg_replication_slots WHERE slot_name = $1 AND database = current_database()";

/// A task that does not outlive its owner.
#[derive(Debug)]
pub(super) struct Owned<T>(pub(super) JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows until something breaks.
pub(super) async fn run(
    sessions: &Sessions,
    tasks: &TaskGroup,
    spec: &Spec,
    memory: &mut Memory,
    hub: &Arc<Hub>,
) -> Error {
    match open(sessions, spec, memory).await {
        Ok(opened) => follow(tasks, spec, memory, hub, opened).await,
        Err(error) => error,
    }
}

/// Everything that is connected.
struct Opened {
    owner: Session,
    lanes: Vec<Lane>,
    starts: Vec<Lsn>,
    stream: Stream,
    rules: Rules,
}

async fn open(sessions: &Sessions, spec: &Spec, memory: &mut Memory) -> Result<Opened, Error> {
    let owner = sessions.open(&spec.owner, &spec.leg, "follow").await?;
    let origin = spec.leg.origin(&spec.owner.id);
    // First of all, so that no former applier confirms or applies anything from here on.
    let mut lanes = Vec::with_capacity(spec.mirrors.len());
    for mirror in &spec.mirrors {
        let target = Target {
            shard: &mirror.shard,
            leg: &spec.leg,
            term: spec.term,
            origin: &origin,
            tables: &spec.tables,
        };
        lanes.push(Lane::open(sessions, target).await?);
    }
    let confirmed = free_slot(&owner, &spec.leg.slot()).await?;
    let mut starts = Vec::with_capacity(lanes.len());
    for lane in &mut lanes {
        starts.push(start_of(lane, confirmed).await?);
    }
    let names: Vec<TableName> = spec.tables.iter().map(|each| each.name.clone()).collect();
    let unique = catalog::unique(&owner, &names).await?;
    let name = session::application_name(&spec.leg, "stream");
    let mut connection =
        ReplicationConnection::connect(sessions.config(), &spec.owner, &name).await?;
    let system = connection.identify_system().await?;
    let now = (system.system_id, system.timeline);
    match &memory.system {
        Some(before) if *before != now => {
            let text = |system: &(String, u32)| format!("{} on timeline {}", system.0, system.1);
            return Err(Error::AnotherServer {
                shard: spec.owner.id.clone(),
                before: text(before),
                now: text(&now),
            });
        }
        Some(_) | None => memory.system = Some(now),
    }
    let start = starts.iter().min().copied().unwrap_or_default();
    let stream = connection
        .start(&spec.leg.slot(), start, &spec.leg.publication())
        .await?;
    let rules = Rules {
        owner: spec.owner.id.clone(),
        tag: spec.leg.tag(),
        own_origins: origin::prefix(&spec.leg),
        tables: spec.tables.clone(),
        unique,
    };
    Ok(Opened {
        owner,
        lanes,
        starts,
        stream,
        rules,
    })
}

/// Where a lane goes on. A mirror never has less than what the slot was told; one that is new
/// begins with what the slot was told when it was made.
async fn start_of(lane: &mut Lane, confirmed: Lsn) -> Result<Lsn, Error> {
    let progress = lane.progress();
    if progress == Lsn::INVALID {
        lane.record(confirmed).await?;
        return Ok(confirmed);
    }
    if progress < confirmed {
        return Err(Error::MirrorLost {
            shard: lane.session().shard().clone(),
            progress,
            confirmed,
        });
    }
    Ok(progress)
}

/// Ends whoever reads the slot, and tells what it was told last.
async fn free_slot(owner: &Session, slot: &str) -> Result<Lsn, Error> {
    let start = Instant::now();
    loop {
        let row = owner.query_opt(SLOT, &[&slot]).await;
        let row = row.map_err(|error| owner.error("look at a replication slot", error))?;
        let unfit = |state| Error::Slot {
            shard: owner.shard().clone(),
            slot: slot.to_owned(),
            state,
        };
        let row = row.ok_or_else(|| unfit("missing"))?;
        if row.get::<_, Option<bool>>(1) == Some(true) {
            return Err(unfit("lost"));
        }
        let Some(pid) = row.get::<_, Option<i32>>(2) else {
            let confirmed: Option<String> = row.get(0);
            let confirmed = confirmed.and_then(|text| text.parse().ok());
            return confirmed.ok_or_else(|| unfit("not a logical one"));
        };
        if start.elapsed() > SLOT_LIMIT {
            return Err(Error::Session(session::Error::StillThere {
                shard: owner.shard().clone(),
                pids: vec![pid],
                limit: SLOT_LIMIT,
            }));
        }
        sleep(SLOT_POLL).await;
    }
}

async fn follow(
    tasks: &TaskGroup,
    spec: &Spec,
    memory: &mut Memory,
    hub: &Arc<Hub>,
    opened: Opened,
) -> Error {
    let queues = hub.connect(&opened.starts);
    let mut running = Vec::with_capacity(opened.lanes.len());
    for (at, (lane, queue)) in opened.lanes.into_iter().zip(&queues).enumerate() {
        let (queue, hub) = (Arc::clone(queue), Arc::clone(hub));
        let task = async move {
            let observer = LaneObserver { hub, lane: at };
            lane.run(&queue, &observer).await
        };
        running.push(Owned(tasks.spawn("reshard lane", task)));
    }
    let mirrors = spec.mirrors.iter().zip(&opened.starts);
    let routes = mirrors.map(|(mirror, start)| Route {
        bounds: mirror.ranges.bounds(),
        start: *start,
    });
    let shapes = std::mem::take(&mut memory.shapes);
    let mut sorter = Sorter::new(opened.rules, shapes, routes.collect());
    let outlet = Queues {
        hub: Arc::clone(hub),
        queues,
    };
    let lanes = select_all(running.iter_mut().map(|lane| &mut lane.0));
    let tag = spec.leg.tag();
    let error = tokio::select! {
        // A lane's error says more than that of a stream which nobody reads any more.
        biased;
        (ended, _, _) = lanes => ended.unwrap_or(Error::Ended("reshard lane")),
        error = heartbeat::run(&opened.owner, &tag, hub) => error,
        error = read(opened.stream, &mut sorter, &outlet) => error,
    };
    memory.shapes = sorter.into_shapes();
    error
}

/// Reads the stream as fast as the lanes take it.
async fn read(mut stream: Stream, sorter: &mut Sorter, outlet: &Queues) -> Error {
    let mut changed = outlet.hub.subscribe();
    let mut tick = interval(CONFIRM_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Err(error) = take_arrived(&mut stream, sorter, outlet) {
            return error;
        }
        outlet.hub.look();
        let step = tokio::select! {
            biased;
            _ = tick.tick() => {
                stream.confirm(outlet.hub.confirmed());
                stream.flush().await.map_err(Error::from)
            }
            _ = changed.changed() => Ok(()),
            event = stream.next(), if !outlet.is_full() => {
                event.map_err(Error::from).and_then(|event| take(event, sorter, outlet))
            }
        };
        if let Err(error) = step {
            return error;
        }
    }
}

fn take_arrived(stream: &mut Stream, sorter: &mut Sorter, outlet: &Queues) -> Result<(), Error> {
    while !outlet.is_full() {
        match stream.next_arrived()? {
            Some(event) => take(event, sorter, outlet)?,
            None => break,
        }
    }
    Ok(())
}

fn take(event: Event, sorter: &mut Sorter, outlet: &Queues) -> Result<(), Error> {
    match event {
        Event::Data(data) => {
            outlet.hub.owner_end(data.end);
            sorter.message(&data.bytes, outlet)
        }
        Event::Keepalive { wal_end, .. } => {
            outlet.hub.owner_end(wal_end);
            sorter.keepalive(wal_end, outlet);
            Ok(())
        }
    }
}
