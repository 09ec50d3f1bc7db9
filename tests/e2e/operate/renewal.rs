//! The token of a context is renewed by itself, for as long as its session lasts.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::{Cluster, http, wait};

use super::{well, within};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: a_context_renews_its_token_until_its_session_ends).into()
}

async fn a_context_renews_its_token_until_its_session_ends() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 0,
        routers: 0,
        manager_config: json!({
            "security": {
                "enable_rbac": true, "jwt_secret": "a secret of at least 32 characters",
                "jwt_leeway": "0s", "access_token_ttl": "2s",
            },
        }),
        ..Plan::default()
    })
    .await?;
    let folder = Folder::shared()?;
    let file = folder.fresh("renewed");
    let manager = cluster.manager(0)?;
    well(
        &file,
        &["context", "set", "here", "--manager", &manager.0.grpc()],
    )
    .await?;
    wait::until("a leader", wait::SETTLE, async || {
        well(&file, &["setup", "root"]).await.map(drop)
    })
    .await?;
    let first = kept(&file)?;
    wait::until("the end of the token", wait::SETTLE, async || {
        same!(status(&manager.api("/shards"), &first.0).await?, 401);
        Ok(())
    })
    .await?;
    // All at once, of whom each would end the session if it used what another one has used.
    let list = ["shards", "list"];
    let (a, b, c) = tokio::join!(well(&file, &list), well(&file, &list), well(&file, &list));
    for listed in [a, b, c] {
        listed?;
    }
    let second = kept(&file)?;
    anyhow::ensure!(first.0 != second.0 && first.1 != second.1, "nothing is new");
    well(&file, &["whoami"]).await?;
    let shown = well(&file, &["context", "show", "-o", "json"]).await?;
    anyhow::ensure!(!shown.contains(&second.1), "a secret is shown: {shown}");
    // A stolen refresh token, used again, ends the session.
    let body = json!({ "refresh_token": first.1 });
    let again = http::post(&manager.api("/auth/refresh"), &body).await?;
    same!(again.status.as_u16(), 401, "{}", again.body);
    let ended = within(&file, &list).await?;
    same!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    anyhow::ensure!(said.contains("cannot renew the session"), "{said}");
    anyhow::ensure!(said.contains("shardctl login"), "{said}");
    well(&file, &["login", "root"]).await?;
    well(&file, &list).await?;
    well(&file, &["logout"]).await?;
    anyhow::ensure!(kept(&file).is_err(), "tokens are there after a logout");
    Ok(())
}

/// The access token and the refresh token in the file.
fn kept(file: &Path) -> anyhow::Result<(String, String)> {
    let all: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let context = &all["contexts"]["here"];
    let text = |name: &str| context[name].as_str().map(str::to_owned);
    let tokens = text("token").zip(text("refresh_token"));
    tokens.context("no tokens are kept")
}

async fn status(url: &str, token: &str) -> anyhow::Result<u16> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let answer = http::send_with(::http::Method::GET, url, &headers, None).await?;
    Ok(answer.status.as_u16())
}
