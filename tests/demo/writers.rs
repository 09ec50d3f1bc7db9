//! Clients that write while rows move, and keep a ledger of what was acknowledged. They do what an
//! application has to: what is answered with 40001 has not happened, and is done again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tests::pg::Address;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use crate::load::CUSTOMERS;
use crate::system::System;

/// The writers' orders have numbers from here on.
pub(crate) const FIRST_ORDER: i32 = 1_000_000;
const WRITERS: u64 = 8;
/// How often a write is tried that is told to be tried again.
const MAX_TRIES: u32 = 50;

/// What was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Orders that were inserted.
    pub(crate) orders: HashSet<i32>,
    /// How often each customer's counter was raised.
    pub(crate) visits: HashMap<i64, i64>,
    /// When each write or transaction began, and how long it took until it was acknowledged.
    pub(crate) writes: Vec<(Instant, Duration)>,
    /// How often one was told to be tried again.
    pub(crate) repetitions: u64,
}

/// Running writers.
#[derive(Debug)]
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    set: JoinSet<anyhow::Result<Ledger>>,
}

impl Writers {
    /// Starts writers, spread over all routers.
    pub(crate) fn start(system: &System) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let orders = Arc::new(AtomicI32::new(FIRST_ORDER));
        let mut set = JoinSet::new();
        for (number, router) in (1..=WRITERS).zip(system.routers.iter().cycle()) {
            let writer = Writer {
                stop: Arc::clone(&stop),
                acknowledged: Arc::clone(&acknowledged),
                orders: Arc::clone(&orders),
                random: number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                ledger: Ledger::default(),
            };
            set.spawn(writer.run(router.address()));
        }
        Self {
            stop,
            acknowledged,
            set,
        }
    }

    /// What has been acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends them and adds up their ledgers; fails if one has read any error but 40001.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Ledger::default();
        while let Some(ledger) = self.set.join_next().await {
            let ledger = ledger??;
            sum.orders.extend(ledger.orders);
            for (customer, visits) in ledger.visits {
                *sum.visits.entry(customer).or_default() += visits;
            }
            sum.writes.extend(ledger.writes);
            sum.repetitions += ledger.repetitions;
        }
        Ok(sum)
    }
}

/// What is written at once.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Order,
    Visit,
    Both,
}

struct Session {
    client: Client,
    order: Statement,
    visit: Statement,
}

struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    orders: Arc<AtomicI32>,
    random: u64,
    ledger: Ledger,
}

impl Writer {
    async fn run(mut self, router: Address) -> anyhow::Result<Ledger> {
        let client = router.client().await?;
        let order = "INSERT INTO orders (customer_id, order_id, placed_at, amount) \
                     VALUES ($1, $2, now(), 9.99)";
        let visit = "UPDATE customers SET visits = visits + 1 WHERE customer_id = $1";
        let mut session = Session {
            order: client.prepare(order).await?,
            visit: client.prepare(visit).await?,
            client,
        };
        while !self.stop.load(Ordering::Relaxed) {
            self.write(&mut session).await?;
        }
        Ok(self.ledger)
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Writes something, until it is acknowledged.
    async fn write(&mut self, session: &mut Session) -> anyhow::Result<()> {
        let customer = i64::try_from(self.next() % CUSTOMERS.unsigned_abs())? + 1;
        let order = self.orders.fetch_add(1, Ordering::Relaxed);
        let kind = match self.next() % 3 {
            0 => Kind::Order,
            1 => Kind::Visit,
            _ => Kind::Both,
        };
        let begin = Instant::now();
        for _ in 0..MAX_TRIES {
            match session.write(kind, customer, order).await {
                Ok(()) => {
                    if matches!(kind, Kind::Order | Kind::Both) {
                        self.ledger.orders.insert(order);
                    }
                    if matches!(kind, Kind::Visit | Kind::Both) {
                        *self.ledger.visits.entry(customer).or_default() += 1;
                    }
                    self.ledger.writes.push((begin, begin.elapsed()));
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                    self.ledger.repetitions += 1;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("{kind:?} of customer {customer}"));
                }
            }
        }
        anyhow::bail!(
            "{kind:?} of customer {customer} was told {MAX_TRIES} times to be tried again"
        )
    }
}

impl Session {
    async fn write(
        &mut self,
        kind: Kind,
        customer: i64,
        order: i32,
    ) -> Result<(), tokio_postgres::Error> {
        let Self {
            client,
            order: insert,
            visit,
        } = self;
        match kind {
            Kind::Order => client.execute(insert, &[&customer, &order]).await.map(drop),
            Kind::Visit => client.execute(visit, &[&customer]).await.map(drop),
            Kind::Both => {
                let transaction = client.transaction().await?;
                transaction.execute(insert, &[&customer, &order]).await?;
                transaction.execute(visit, &[&customer]).await?;
                transaction.commit().await
            }
        }
    }
}
