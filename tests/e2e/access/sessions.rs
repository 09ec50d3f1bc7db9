//! Sessions and API keys over several managers and routers: what one of them ends is over at all of
//! them, and what has run out too.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::{Cluster, Manager, http as client, wait};

use super::{PASSWORD, SECRET, call, create_key, led, set_up};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        what_is_ended_at_one_manager_is_over_at_all_managers_and_routers,
        the_secret_of_tokens_is_replaced_while_sessions_go_on,
    )
    .into()
}

/// How long the others may take to hear of it.
const HEARD: Duration = Duration::from_secs(5);

/// A configuration under which a test may ask again and again whether it is let in.
fn with(security: &Value) -> Value {
    let limits = json!({ "rejections_per_second": 0, "logins_per_second": 0 });
    json!({ "security": security, "limits": limits })
}

/// Two managers, two routers, one shard, and the token of an administrator.
async fn prepare() -> anyhow::Result<(Cluster, String)> {
    let config = with(&json!({ "enable_rbac": true, "jwt_secret": SECRET }));
    let mut cluster = Cluster::start(Plan {
        shards: 0,
        spares: 1,
        managers: 2,
        routers: 0,
        manager_config: config.clone(),
        ..Plan::default()
    })
    .await?;
    for manager in &cluster.managers {
        led(manager).await?;
    }
    let root = set_up(cluster.manager(0)?).await?;
    let shard = json!({ "name": "one", "primary_endpoint": cluster.spares[0].endpoint() });
    let shards = cluster.manager(1)?.api("/shards");
    let added = call(Method::POST, &shards, &root, Some(&shard)).await?;
    added.expect(201)?;
    for _ in 0..2 {
        cluster.add_router(&config).await?;
    }
    Ok((cluster, root))
}

/// What a credential is answered with at both managers and both routers.
async fn everywhere(cluster: &Cluster, credential: &str) -> anyhow::Result<Vec<u16>> {
    let mut statuses = Vec::new();
    for manager in &cluster.managers {
        let answer = call(Method::GET, &manager.api("/auth/me"), credential, None).await?;
        statuses.push(answer.status.as_u16());
    }
    let select = json!({ "query": "SELECT 1" });
    for router in &cluster.routers {
        let url = format!("{}/v1/execute", router.program.http());
        let answer = call(Method::POST, &url, credential, Some(&select)).await?;
        statuses.push(answer.status.as_u16());
    }
    Ok(statuses)
}

async fn is(cluster: &Cluster, credential: &str, status: u16) -> Outcome {
    wait::until("all of them know", HEARD, async || {
        same!(everywhere(cluster, credential).await?, [status; 4]);
        Ok(())
    })
    .await
}

/// Posts once somebody leads.
async fn post(manager: &Manager, path: &str, body: Value) -> anyhow::Result<client::Answer> {
    wait::until("a leader", wait::SETTLE, async || {
        let answer = client::post(&manager.api(path), &body).await?;
        anyhow::ensure!(answer.status != 503, "{}", answer.body);
        Ok(answer)
    })
    .await
}

async fn login(manager: &Manager, name: &str) -> anyhow::Result<Value> {
    let body = json!({ "name": name, "password": PASSWORD });
    post(manager, "/auth/login", body).await?.expect(200)
}

fn token<'a>(session: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    session[name].as_str().context("a token")
}

async fn refresh(manager: &Manager, session: &Value) -> anyhow::Result<client::Answer> {
    let body = json!({ "refresh_token": token(session, "refresh_token")? });
    post(manager, "/auth/refresh", body).await
}

async fn what_is_ended_at_one_manager_is_over_at_all_managers_and_routers() -> Outcome {
    let (cluster, root) = prepare().await?;
    let (first, second) = (cluster.manager(0)?, cluster.manager(1)?);
    let ann = json!({ "name": "ann", "password": PASSWORD, "roles": ["viewer", "reader"] });
    let accounts = second.api("/auth/accounts");
    let made = call(Method::POST, &accounts, &root, Some(&ann)).await?;
    made.expect(201)?;
    // A session goes from manager to manager.
    let session = login(first, "ann").await?;
    is(&cluster, token(&session, "access_token")?, 200).await?;
    let next = refresh(second, &session).await?.expect(200)?;
    let third = refresh(first, &next).await?.expect(200)?;
    is(&cluster, token(&third, "access_token")?, 200).await?;
    // A refresh token that is used again, elsewhere, ends all of it.
    same!(refresh(first, &session).await?.status.as_u16(), 401);
    for session in [&session, &next, &third] {
        is(&cluster, token(session, "access_token")?, 401).await?;
    }
    same!(refresh(second, &third).await?.status.as_u16(), 401);
    // Logged in at one, logged out at the other.
    let session = login(second, "ann").await?;
    let access = token(&session, "access_token")?;
    is(&cluster, access, 200).await?;
    let logout = call(Method::POST, &first.api("/auth/logout"), access, None).await?;
    same!(logout.status.as_u16(), 204);
    is(&cluster, access, 401).await?;
    same!(refresh(second, &session).await?.status.as_u16(), 401);
    // An account that may not log in any more.
    let session = login(first, "ann").await?;
    let off = json!({ "enabled": false });
    let url = second.api("/auth/accounts/ann");
    call(Method::PATCH, &url, &root, Some(&off))
        .await?
        .expect(200)?;
    is(&cluster, token(&session, "access_token")?, 401).await?;
    same!(refresh(first, &session).await?.status.as_u16(), 401);
    keys_end(&cluster, &root).await?;
    let found = call(Method::GET, &first.api("/audit/verify"), &root, None).await?;
    same!(found.expect(200)?["is_intact"], json!(true));
    Ok(())
}

/// By themselves, and by a revocation at another manager than the one that made them.
async fn keys_end(cluster: &Cluster, root: &str) -> Outcome {
    let make = async |manager: &Manager, expires_in: u32| {
        let wanted =
            json!({ "name": "k", "roles": ["viewer", "reader"], "expires_in": expires_in });
        let made = create_key(manager, root, &wanted).await?;
        anyhow::Ok((
            token(&made, "key")?.to_owned(),
            token(&made, "id")?.to_owned(),
        ))
    };
    let (short, _) = make(cluster.manager(0)?, 6).await?;
    let (long, id) = make(cluster.manager(1)?, 3_600).await?;
    is(cluster, &short, 200).await?;
    is(cluster, &long, 200).await?;
    wait::until("the end of a key", Duration::from_secs(20), async || {
        same!(everywhere(cluster, &short).await?, [401; 4]);
        Ok(())
    })
    .await?;
    is(cluster, &long, 200).await?;
    let url = cluster.manager(0)?.api(&format!("/auth/keys/{id}"));
    let revoked = call(Method::DELETE, &url, root, None).await?;
    same!(revoked.status.as_u16(), 204);
    is(cluster, &long, 401).await
}

/// The secret that takes the place of [`SECRET`].
const NEXT: &str = "the next secret of 32 characters or more";

/// Replaces the first manager and the first router by those of another configuration.
async fn restart_first(cluster: &mut Cluster, security: Value) -> Outcome {
    let config = with(&security);
    let (mut manager, mut router) = (cluster.managers.remove(0), cluster.routers.remove(0));
    same!(manager.0.terminate().await?.success(), true);
    same!(router.program.terminate().await?.success(), true);
    cluster.add_manager(&config).await?;
    cluster.add_router(&config).await
}

/// As docs/authentication.md has it: managers and routers one by one, first with both secrets.
async fn the_secret_of_tokens_is_replaced_while_sessions_go_on() -> Outcome {
    let (mut cluster, root) = prepare().await?;
    let ann = json!({ "name": "ann", "password": PASSWORD, "roles": ["viewer", "reader"] });
    let accounts = cluster.manager(0)?.api("/auth/accounts");
    let made = call(Method::POST, &accounts, &root, Some(&ann)).await?;
    made.expect(201)?;
    let old = login(cluster.manager(0)?, "ann").await?;
    let both = json!({ "enable_rbac": true, "jwt_secret": NEXT, "jwt_secret_previous": SECRET });
    restart_first(&mut cluster, both.clone()).await?;
    // One half has the new secret: it knows both kinds of tokens, the other half one.
    is(&cluster, token(&old, "access_token")?, 200).await?;
    let early = login(cluster.manager(1)?, "ann").await?;
    let statuses = everywhere(&cluster, token(&early, "access_token")?).await?;
    same!(statuses, [401, 200, 401, 200]);
    restart_first(&mut cluster, both).await?;
    for session in [&old, &early] {
        is(&cluster, token(session, "access_token")?, 200).await?;
    }
    let next = refresh(cluster.manager(0)?, &old).await?.expect(200)?;
    let alone = json!({ "enable_rbac": true, "jwt_secret": NEXT });
    for _ in 0..2 {
        restart_first(&mut cluster, alone.clone()).await?;
    }
    is(&cluster, token(&old, "access_token")?, 401).await?;
    for session in [&early, &next] {
        is(&cluster, token(session, "access_token")?, 200).await?;
    }
    Ok(())
}
