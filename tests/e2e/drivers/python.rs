//! Drivers of Python, and the two frameworks above them.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::{Cluster, http};

use super::client::{Client, Language, create, create_tables, everywhere_else};
use crate::suite::{Outcome, Suite, Unavailable, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        psycopg_sees_no_difference,
        psycopg2_sees_no_difference,
        asyncpg_sees_no_difference,
        sqlalchemy_over_psycopg_sees_no_difference,
        sqlalchemy_over_psycopg2_sees_no_difference,
        sqlalchemy_over_asyncpg_sees_no_difference,
        django_sees_no_difference,
    )
    .into()
}

const fn client(name: &'static str, modules: &'static [&'static str]) -> Client {
    Client {
        language: Language::Python,
        name,
        modules,
        arguments: &[],
    }
}

/// What the clients of plain drivers print of what is refused.
const REFUSED: [&str; 3] = ["all shards: '0A000'", "after: (1,)", "end:"];

async fn psycopg_sees_no_difference(cluster: &Cluster) -> Outcome {
    let psycopg = client("psycopg", &["psycopg"]);
    create_tables(cluster, psycopg.name).await?;
    psycopg.sees_no_difference(cluster).await?;
    psycopg.is_refused(cluster, &REFUSED).await
}

async fn psycopg2_sees_no_difference(cluster: &Cluster) -> Outcome {
    let psycopg2 = client("psycopg2", &["psycopg2"]);
    create_tables(cluster, psycopg2.name).await?;
    psycopg2.sees_no_difference(cluster).await?;
    psycopg2.is_refused(cluster, &REFUSED).await
}

async fn asyncpg_sees_no_difference(cluster: &Cluster) -> Outcome {
    let asyncpg = client("asyncpg", &["asyncpg"]);
    create_tables(cluster, asyncpg.name).await?;
    for sql in [
        "CREATE TYPE asyncpg_mood AS ENUM ('sad', 'glad')",
        "CREATE TYPE asyncpg_pair AS (a int, b text)",
    ] {
        cluster.router(0)?.psql(sql).await?;
        everywhere_else(cluster, sql).await?;
    }
    let moods = "k bigint PRIMARY KEY, mood asyncpg_mood, moods asyncpg_mood[]";
    create(cluster, "asyncpg_moods", moods, ("k", "bigint")).await?;
    create(
        cluster,
        "asyncpg_altered",
        "k bigint PRIMARY KEY",
        ("k", "bigint"),
    )
    .await?;
    asyncpg.sees_no_difference(cluster).await?;
    let [all, _, end] = REFUSED;
    asyncpg.is_refused(cluster, &[all, "after: 1", end]).await
}

const ORM_REFUSED: [&str; 3] = ["refused: '0A000'", "after: 1", "end:"];

async fn sqlalchemy_over_psycopg_sees_no_difference(cluster: &Cluster) -> Outcome {
    let sqlalchemy = Client {
        arguments: &["psycopg"],
        ..client("sqlalchemy", &["sqlalchemy", "psycopg"])
    };
    let router = cluster.router(0)?.address();
    sqlalchemy.check_available(&router).await?;
    let newer = client("sqlalchemy", &["sqlalchemy.dialects.postgresql.psycopg"]);
    if newer.check_available(&router).await.is_err() {
        return Err(Unavailable::TooOld("the psycopg dialect of SQLAlchemy 2".to_owned()).into());
    }
    create_tables(cluster, "sqlalchemy_psycopg").await?;
    sqlalchemy.sees_no_difference(cluster).await?;
    sqlalchemy.is_refused(cluster, &ORM_REFUSED).await
}

async fn sqlalchemy_over_psycopg2_sees_no_difference(cluster: &Cluster) -> Outcome {
    let sqlalchemy = Client {
        arguments: &["psycopg2"],
        ..client("sqlalchemy", &["sqlalchemy", "psycopg2"])
    };
    create_tables(cluster, "sqlalchemy_psycopg2").await?;
    sqlalchemy.sees_no_difference(cluster).await?;
    sqlalchemy.is_refused(cluster, &ORM_REFUSED).await
}

async fn sqlalchemy_over_asyncpg_sees_no_difference(cluster: &Cluster) -> Outcome {
    let sqlalchemy = Client {
        arguments: &["asyncpg"],
        ..client("sqlalchemy", &["sqlalchemy", "greenlet", "asyncpg"])
    };
    create_tables(cluster, "sqlalchemy_asyncpg").await?;
    sqlalchemy.sees_no_difference(cluster).await?;
    sqlalchemy.is_refused(cluster, &ORM_REFUSED).await
}

/// Django numbers its migrations by a sequence, which the router does not create: the table is made
/// on the shards themselves, so that any of them tells that it exists, and used on one.
const MIGRATIONS: &str = "CREATE TABLE django_migrations (id bigserial PRIMARY KEY, \
    app varchar(255) NOT NULL, name varchar(255) NOT NULL, applied timestamptz NOT NULL)";

async fn django_sees_no_difference(cluster: &Cluster) -> Outcome {
    let django = client("django", &["django", "psycopg2"]);
    let router = cluster.router(0)?.address();
    django.check_available(&router).await?;
    for shard in &cluster.shards {
        shard.psql(MIGRATIONS).await?;
    }
    let body = json!({ "name": "django_migrations", "kind": "unsharded", "shard_id": "shard-1" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    let orders = "row uuid NOT NULL, customer_id bigint NOT NULL, amount int NOT NULL, \
        PRIMARY KEY (customer_id, row)";
    create(cluster, "django_orders", orders, ("customer_id", "bigint")).await?;
    everywhere_else(cluster, MIGRATIONS).await?;
    let direct = cluster.spares.first().map(tests::Postgres::address);
    for address in direct.iter().chain([&router]) {
        django.run(address, "migrate").await?;
    }
    let customers = json!({ "name": "django_customers", "shard_key": "id", "key_type": "bigint" });
    http::post(&cluster.manager(0)?.api("/tables"), &customers)
        .await?
        .expect(201)?;
    cluster.settle().await?;
    django.sees_no_difference(cluster).await?;
    let refused = [
        "schema in a transaction: 'taken back'",
        "after: True",
        "end:",
    ];
    django.is_refused(cluster, &refused).await
}
