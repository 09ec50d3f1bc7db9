//! The demo's data: made up, but the same in every run, so that what is read can be checked.

use std::fmt::Write as _;

use anyhow::Context as _;

use crate::Progress;
use crate::system::System;

/// With their orders, some 210,000 rows.
pub(crate) const CUSTOMERS: i64 = 10_000;
pub(crate) const ORDERS_EACH: i64 = 20;

const SCHEMA: &str = "
    CREATE TABLE customers (
        customer_id bigint PRIMARY KEY,
        name text NOT NULL,
        country text NOT NULL,
        created_at timestamptz NOT NULL,
        visits bigint NOT NULL DEFAULT 0
    );
    CREATE TABLE orders (
        customer_id bigint NOT NULL,
        order_id int NOT NULL,
        placed_at timestamptz NOT NULL,
        amount numeric(10, 2) NOT NULL,
        status text NOT NULL DEFAULT 'open',
        PRIMARY KEY (customer_id, order_id)
    );
";

/// Creates the tables on every shard, through a router, and says how they are sharded.
pub(crate) async fn create_tables(system: &System, progress: &Progress) -> anyhow::Result<()> {
    system.router(0)?.address().psql_script(SCHEMA).await?;
    progress.done("tables are created on every shard, through a router with psql");
    for table in ["customers", "orders"] {
        let add = [
            "tables",
            "add",
            table,
            "--shard-key",
            "customer_id",
            "--key-type",
            "bigint",
        ];
        system.shardctl_when_led(&add).await?;
    }
    let status = system.shardctl_json(&["status"]).await?;
    let epoch = status["epoch"]
        .as_u64()
        .context("shardctl shows an epoch")?;
    for router in &system.routers {
        router.program.has_seen(epoch).await?;
    }
    progress.done("tables are registered with shardctl: customers and orders by customer_id");
    Ok(())
}

/// Loads half of the customers through each router: one transaction a customer, since all rows of
/// one key lie on one shard.
pub(crate) async fn fill(system: &System, progress: &Progress) -> anyhow::Result<()> {
    let half = CUSTOMERS / 2;
    let (first, second) = (script(1, half), script(half + 1, CUSTOMERS));
    let (one, two) = (system.router(0)?.address(), system.router(1)?.address());
    tokio::try_join!(one.psql_script(&first), two.psql_script(&second))?;
    let rows = CUSTOMERS * (1 + ORDERS_EACH);
    progress.done(&format!(
        "{rows} rows are loaded through both routers with psql"
    ));
    Ok(())
}

fn script(first: i64, last: i64) -> String {
    let mut script = String::new();
    for customer in first..=last {
        let country = ["IS", "NO", "SE", "DK", "FI"][usize::from(customer.to_le_bytes()[0] % 5)];
        let orders: Vec<String> = (1..=ORDERS_EACH)
            .map(|order| {
                let cents = cents(customer, order);
                let (day, whole, rest) = (order + 1, cents / 100, cents % 100);
                format!("({customer}, {order}, '2025-01-{day:02}', {whole}.{rest:02})")
            })
            .collect();
        let written = write!(
            script,
            "BEGIN;\n\
             INSERT INTO customers (customer_id, name, country, created_at) VALUES ({customer}, 'Customer {customer}', '{country}', \
             '2025-01-01');\n\
             INSERT INTO orders (customer_id, order_id, placed_at, amount) VALUES {};\n\
             COMMIT;\n",
            orders.join(", ")
        );
        written.expect("a String takes all that is written");
    }
    script
}

/// What an order costs.
fn cents(customer: i64, order: i64) -> i64 {
    (customer * 31 + order * 1_217) % 100_000
}

/// What all orders of a customer cost, as PostgreSQL shows it.
pub(crate) fn total(customer: i64) -> String {
    let total: i64 = (1..=ORDERS_EACH).map(|order| cents(customer, order)).sum();
    format!("{}.{:02}", total / 100, total % 100)
}
