//! From the first byte to the first ReadyForQuery.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::program::ROUTER_USER;
use tests::raw::{GSSENC_REQUEST, Raw, SSL_REQUEST, message, startup, tags};
use tests::{http, wait};
use tokio_postgres::error::SqlState;

use super::{column, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(shared!(suite:
        requests_for_encryption_are_declined_and_login_goes_on,
        a_trusted_user_gets_a_session_with_the_parameters_of_a_shard,
        a_newer_minor_version_of_the_protocol_is_negotiated,
        an_unknown_version_of_the_protocol_is_refused,
        scram_lets_the_right_password_in,
        scram_refuses_a_wrong_password_and_an_unknown_user_alike,
        a_client_that_sends_no_password_message_is_refused,
        an_unknown_database_is_refused,
        a_startup_without_a_user_is_refused,
        startup_parameters_are_in_force,
        a_disabled_user_is_not_trusted_either,
    ));
    trials.extend(alone!(suite: other_names_of_the_database_are_served_where_they_are_listed));
    trials
}

fn scram_address(cluster: &Cluster, user: &str, password: &str) -> anyhow::Result<Address> {
    let mut address = cluster.router(1)?.address();
    address.user = user.to_owned();
    address.password = Some(password.to_owned());
    Ok(address)
}

async fn requests_for_encryption_are_declined_and_login_goes_on(cluster: &Cluster) -> Outcome {
    let address = cluster.router(0)?.address();
    let mut raw = Raw::open(address.port).await?;
    raw.send(&SSL_REQUEST).await?;
    same!(raw.byte().await?, Some(b'N'));
    raw.send(&GSSENC_REQUEST).await?;
    same!(raw.byte().await?, Some(b'N'));
    let user = [
        ("user", address.user.as_str()),
        ("database", &address.database),
    ];
    let answer = raw.exchange(&startup(&user)).await?;
    same!(status(&answer)?, 'I');
    Ok(())
}

async fn a_trusted_user_gets_a_session_with_the_parameters_of_a_shard(
    cluster: &Cluster,
) -> Outcome {
    let routed = Raw::connect(&cluster.router(0)?.address()).await?;
    let direct = Raw::connect(&cluster.shard("shard-1")?.address()).await?;
    same!(routed.parameters, direct.parameters);
    same!(routed.cancel_key.len(), 8);
    Ok(())
}

async fn a_newer_minor_version_of_the_protocol_is_negotiated(cluster: &Cluster) -> Outcome {
    let address = cluster.router(0)?.address();
    let mut packet = startup(&[("user", &address.user), ("database", &address.database)]);
    packet[7] = 2;
    let answer = Raw::open(address.port).await?.exchange(&packet).await?;
    anyhow::ensure!(
        tags(&answer).contains('v'),
        "no NegotiateProtocolVersion: {answer:?}"
    );
    same!(status(&answer)?, 'I');
    Ok(())
}

async fn an_unknown_version_of_the_protocol_is_refused(cluster: &Cluster) -> Outcome {
    let address = cluster.router(0)?.address();
    let mut packet = startup(&[("user", &address.user)]);
    packet[5] = 2;
    let mut raw = Raw::open(address.port).await?;
    raw.send(&packet).await?;
    let answer = raw.closed().await?;
    same!(tags(&answer), "E");
    same!(sqlstate(&answer).as_deref(), Some("0A000"));
    Ok(())
}

async fn scram_lets_the_right_password_in(cluster: &Cluster) -> Outcome {
    let (user, password) = ROUTER_USER;
    let address = scram_address(cluster, user, password)?;
    same!(address.psql("SELECT 1").await?, "1");
    let row = address.client().await?.query_one("SELECT 2", &[]).await?;
    same!(row.get::<_, i32>(0), 2);
    Ok(())
}

async fn scram_refuses_a_wrong_password_and_an_unknown_user_alike(cluster: &Cluster) -> Outcome {
    for (user, password) in [(ROUTER_USER.0, "wrong"), ("nobody", ROUTER_USER.1)] {
        let address = scram_address(cluster, user, password)?;
        let text = address.psql_output("SELECT 1").await?.stderr;
        let text = String::from_utf8_lossy(&text).into_owned();
        let wanted = format!("password authentication failed for user \"{user}\"");
        anyhow::ensure!(text.contains(&wanted), "{text}");
        let error = address
            .client()
            .await
            .err()
            .context("the client was let in")?;
        let error = error.downcast::<tokio_postgres::Error>()?;
        same!(error.code().map(SqlState::code), Some("28P01"), "{error:?}");
    }
    Ok(())
}

async fn a_client_that_sends_no_password_message_is_refused(cluster: &Cluster) -> Outcome {
    let address = scram_address(cluster, ROUTER_USER.0, "")?;
    let mut raw = Raw::open(address.port).await?;
    raw.send(&startup(&[
        ("user", &address.user),
        ("database", &address.database),
    ]))
    .await?;
    let asked = raw.receive().await?;
    same!(asked.map(|message| message.tag), Some(b'R'));
    // A query in the place of an answer must not be run.
    raw.send(&message(b'Q', b"SELECT 1\0")).await?;
    let answer = raw.closed().await?;
    same!(tags(&answer), "E");
    same!(sqlstate(&answer).as_deref(), Some("08P01"));
    Ok(())
}

async fn an_unknown_database_is_refused(cluster: &Cluster) -> Outcome {
    let mut address = cluster.router(0)?.address();
    address.database = "nowhere".to_owned();
    let mut raw = Raw::open(address.port).await?;
    raw.send(&startup(&[
        ("user", &address.user),
        ("database", &address.database),
    ]))
    .await?;
    let answer = raw.closed().await?;
    same!(
        sqlstate(&answer).as_deref(),
        Some("3D000"),
        "answer {answer:?}"
    );
    Ok(())
}

async fn other_names_of_the_database_are_served_where_they_are_listed() -> Outcome {
    let plan = Plan {
        router_config: json!({ "pgwire": { "databases": ["postgres"] } }),
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    let router = cluster.router(0)?;
    let mut address = router.address();
    let served = address.database.clone();
    address.database = "postgres".to_owned();
    let mut raw = Raw::connect(&address).await?;
    let answer = raw.query("SELECT current_database()").await?;
    same!(column(&answer)?, [served]);
    address.database = "template1".to_owned();
    let refused = Raw::connect(&address).await.err().context("it is served")?;
    anyhow::ensure!(refused.to_string().contains("3D000"), "{refused:?}");
    Ok(())
}

async fn a_startup_without_a_user_is_refused(cluster: &Cluster) -> Outcome {
    let mut raw = Raw::open(cluster.router(0)?.address().port).await?;
    raw.send(&startup(&[("database", "app")])).await?;
    let answer = raw.closed().await?;
    same!(tags(&answer), "E");
    same!(sqlstate(&answer).as_deref(), Some("28000"));
    Ok(())
}

async fn startup_parameters_are_in_force(cluster: &Cluster) -> Outcome {
    let address = cluster.router(0)?.address();
    let parameters = [
        ("application_name", "a test"),
        ("options", "-c statement_timeout=12345"),
        ("DateStyle", "German"),
    ];
    let mut raw = Raw::connect_with(&address, &parameters).await?;
    same!(
        raw.parameters.get("application_name").map(String::as_str),
        Some("a test")
    );
    for (setting, value) in [
        ("application_name", "a test"),
        ("statement_timeout", "12345ms"),
        ("DateStyle", "German, DMY"),
    ] {
        let shown = column(&raw.query(&format!("SHOW {setting}")).await?)?;
        same!(shown, [value], "{setting}");
    }
    Ok(())
}

async fn a_disabled_user_is_not_trusted_either(cluster: &Cluster) -> Outcome {
    let mut address = cluster.router(0)?.address();
    address.user = "dormant".to_owned();
    let connected = async |address: &Address| Raw::connect(address).await.map(drop);
    connected(&address).await?;
    let users = cluster.manager(0)?.api("/users");
    let body = json!({ "name": "dormant", "password": "long-enough-for-it", "enabled": false });
    http::post(&users, &body).await?.expect(201)?;
    wait::until("a refused login", wait::SETTLE, async || {
        let error = connected(&address).await.err().context("let in")?;
        anyhow::ensure!(error.to_string().contains("28000"), "{error}");
        Ok(())
    })
    .await?;
    let enabled = json!({ "enabled": true });
    http::patch(&format!("{users}/dormant"), &enabled)
        .await?
        .expect(200)?;
    wait::until("a login", wait::SETTLE, async || connected(&address).await).await
}
