//! Passwords, tokens and keys of who may do what are in nothing that programs say or store: logs at
//! the level trace, etcd, the audit log, metrics, spans, answers, the console, command lines, and
//! what shardctl prints. What a caller is given by name, a token or a key, is given to that one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::program::executable;
use tests::{Cluster, Manager, Program, Router, http as client};
use tokio::process::Command;

use super::{SECRET, call, create_key, led};
use crate::observe::receiver::Receiver;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: no_password_token_or_key_is_seen_again_anywhere).into()
}

const ROOT: &str = "password-of-the-first-administrator";
const ANN: &str = "password-of-an-account";
const CHANGED: &str = "password-of-an-account-later";
const WRONG: &str = "password-that-does-not-fit";
const USER: &str = "password-of-a-postgres-user";

/// What is kept and shown, by where.
type Outputs = BTreeMap<String, String>;

async fn prepare(receiver: &Receiver, audit: &Path) -> anyhow::Result<Cluster> {
    let config = json!({
        "observability": { "log_level": "trace", "enable_tracing": true },
        "security": { "enable_rbac": true, "jwt_secret": SECRET, "audit_log_path": audit },
        "pgwire": { "admin_users": ["alice"] },
    });
    let mut of_manager = config.clone();
    of_manager
        .as_object_mut()
        .context("an object")?
        .remove("pgwire");
    let mut cluster = Cluster::start(Plan {
        shards: 0,
        spares: 1,
        managers: 2,
        routers: 0,
        manager_config: of_manager,
        manager_environment: receiver.environment("grpc"),
        ..Plan::default()
    })
    .await?;
    for manager in &cluster.managers {
        led(manager).await?;
    }
    let mut router = Router::prepare(&cluster.etcd.endpoint(), &config)?;
    for (name, value) in receiver.environment("grpc") {
        router.program.set_environment(name, &value);
    }
    router.program.launch()?;
    cluster.routers.push(router);
    Ok(cluster)
}

async fn no_password_token_or_key_is_seen_again_anywhere() -> Outcome {
    let receiver = Receiver::start().await?;
    let audit = Folder::shared()?.fresh("audit");
    let mut cluster = prepare(&receiver, &audit).await?;
    let mut secrets: Vec<String> = [SECRET, ROOT, ANN, CHANGED, WRONG, USER]
        .map(str::to_owned)
        .to_vec();
    let mut outputs = Outputs::new();
    let root = accounts(&cluster, &mut secrets, &mut outputs).await?;
    cluster.routers[0].program.ready().await?;
    let key = keys(&cluster, &root, &mut secrets, &mut outputs).await?;
    users(&cluster, &root, &mut outputs).await?;
    everything_is_read(&cluster, &key, &mut outputs).await?;
    by_shardctl(&cluster, &root, &mut outputs).await?;
    look(&cluster, &audit, &mut outputs)?;
    outputs.insert("spans".to_owned(), format!("{:?}", receiver.spans()));
    for (place, mark) in [
        ("spans", "POST"),
        ("etcd", "argon2id"),
        ("audit file", "create_api_key"),
    ] {
        let text = outputs.get(place).context("it was looked at")?;
        anyhow::ensure!(text.contains(mark), "no {mark} in {place}");
    }
    for (place, text) in &outputs {
        for secret in &secrets {
            let at = text.find(secret.as_str());
            let line = at.and_then(|at| {
                let start = text.floor_char_boundary(at.saturating_sub(300));
                text.get(start..text.ceil_char_boundary(at + 100))
            });
            anyhow::ensure!(at.is_none(), "{secret} in {place}: {line:?}");
        }
        // What passwords are checked by is in the store alone.
        let is_store = place.starts_with("etcd");
        for verifier in ["$argon2id$", "SCRAM-SHA-256$4096:"] {
            anyhow::ensure!(
                is_store || !text.contains(verifier),
                "{verifier} in {place}"
            );
        }
    }
    told!("{} outputs, {} secrets", outputs.len(), secrets.len());
    Ok(())
}

/// The parts of what a session has that nobody else may see: signatures, not what is signed.
fn remember(session: &Value, secrets: &mut Vec<String>) -> anyhow::Result<String> {
    for name in ["access_token", "refresh_token"] {
        let token = session[name].as_str().context("a token")?;
        let signature = token.rsplit('.').next().context("a signature")?;
        secrets.push(signature.to_owned());
    }
    let access = session["access_token"].as_str().context("a token")?;
    Ok(access.to_owned())
}

/// The first administrator, an account and its sessions; right and wrong.
async fn accounts(
    cluster: &Cluster,
    secrets: &mut Vec<String>,
    outputs: &mut Outputs,
) -> anyhow::Result<String> {
    let (first, second) = (cluster.manager(0)?, cluster.manager(1)?);
    let post = async |manager: &Manager, path: &str, body: Value| {
        client::post(&manager.api(path), &body).await
    };
    let setup = json!({ "name": "root", "password": ROOT });
    let root = post(second, "/auth/setup", setup.clone())
        .await?
        .expect(201)?;
    let root = remember(&root, secrets)?;
    let again = post(first, "/auth/setup", setup).await?;
    outputs.insert("second setup".to_owned(), again.body);
    let ann = json!({ "name": "ann", "password": ANN, "roles": ["viewer", "reader"] });
    let url = second.api("/auth/accounts");
    let made = call(Method::POST, &url, &root, Some(&ann)).await?;
    same!(made.status.as_u16(), 201, "{}", made.body);
    outputs.insert("new account".to_owned(), made.body);
    for (name, password) in [("ann", WRONG), ("nobody", WRONG), ("a\"b", WRONG)] {
        let body = json!({ "name": name, "password": password });
        let refused = post(first, "/auth/login", body).await?;
        same!(refused.status.as_u16(), 401);
        outputs.insert(format!("login of {name}"), refused.body);
    }
    // A body that is not what it should be is not repeated.
    for body in [
        json!({ "name": 1, "password": ANN }),
        json!({ "password": [ANN] }),
        json!(ANN),
    ] {
        let refused = post(first, "/auth/login", body).await?;
        same!(refused.status.is_client_error(), true);
        outputs.insert(format!("strange login {}", outputs.len()), refused.body);
    }
    let login = json!({ "name": "ann", "password": ANN });
    let session = post(first, "/auth/login", login).await?.expect(200)?;
    remember(&session, secrets)?;
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let next = post(second, "/auth/refresh", refresh.clone())
        .await?
        .expect(200)?;
    remember(&next, secrets)?;
    let reused = post(first, "/auth/refresh", refresh).await?;
    same!(reused.status.as_u16(), 401);
    outputs.insert("token used twice".to_owned(), reused.body);
    let change = json!({ "password": CHANGED });
    let url = first.api("/auth/accounts/ann");
    let changed = call(Method::PATCH, &url, &root, Some(&change)).await?;
    outputs.insert(
        "changed account".to_owned(),
        changed.expect(200)?.to_string(),
    );
    let shard = json!({ "name": "one", "primary_endpoint": cluster.spares[0].endpoint() });
    let added = call(Method::POST, &second.api("/shards"), &root, Some(&shard)).await?;
    outputs.insert("new shard".to_owned(), added.expect(201)?.to_string());
    Ok(root)
}

/// A key that is used, in each header and at each front, and a wrong one.
async fn keys(
    cluster: &Cluster,
    root: &str,
    secrets: &mut Vec<String>,
    outputs: &mut Outputs,
) -> anyhow::Result<String> {
    let manager = cluster.manager(0)?;
    let wanted = json!({ "name": "k", "roles": ["admin", "writer"] });
    let made = create_key(manager, root, &wanted).await?;
    let key = made["key"].as_str().context("a key")?.to_owned();
    let secret = key.rsplit('_').next().context("a secret part")?;
    secrets.push(secret.to_owned());
    let select = json!({ "query": "SELECT 1" }).to_string();
    let rows = format!("{}/v1/execute", cluster.router(0)?.program.http());
    for (header, value) in [
        ("x-api-key", key.clone()),
        ("authorization", format!("Bearer {key}")),
        ("authorization", format!("Basic {key}")),
        ("x-api-key", format!("{key}0")),
    ] {
        let headers = [(header, value.as_str())];
        for (method, url, body) in [
            (Method::GET, manager.api("/shards"), None),
            (Method::POST, rows.clone(), Some(select.clone())),
            (
                Method::GET,
                format!("{}?key={key}", manager.api("/nothing")),
                None,
            ),
        ] {
            let answer = client::send_with(method, &url, &headers, body).await?;
            let place = format!("answer {} {}", outputs.len(), answer.status);
            outputs.insert(place, answer.body);
        }
    }
    Ok(key)
}

/// A user of the Postgres port, made and guessed at.
async fn users(cluster: &Cluster, root: &str, outputs: &mut Outputs) -> Outcome {
    let url = cluster.manager(0)?.api("/users");
    let user = json!({ "name": "somebody", "password": USER });
    let made = call(Method::POST, &url, root, Some(&user)).await?;
    outputs.insert("new user".to_owned(), made.expect(201)?.to_string());
    for password in [USER, WRONG] {
        let mut address = cluster.router(0)?.address();
        address.user = "somebody".to_owned();
        address.password = Some(password.to_owned());
        let said = address.psql_output("SELECT 1").await?;
        outputs.insert(format!("psql {}", outputs.len()), format!("{said:?}"));
    }
    Ok(())
}

/// Every path of both documents that can be read without naming something, and metrics.
async fn everything_is_read(cluster: &Cluster, key: &str, outputs: &mut Outputs) -> Outcome {
    let (router, manager) = (&cluster.router(0)?.program, &cluster.manager(0)?.0);
    for (program, document) in [
        (router, "/v1/openapi.json"),
        (manager, "/api/v1/openapi.json"),
    ] {
        let origin = program.http();
        let document = client::get(&format!("{origin}{document}"))
            .await?
            .expect(200)?;
        let paths = document["paths"].as_object().context("paths")?;
        for (path, methods) in paths {
            if methods.get("get").is_some() && !path.contains('{') {
                let url = format!("{origin}{path}");
                let answer = call(Method::GET, &url, key, None).await?;
                outputs.insert(format!("GET {url}"), answer.body);
            }
        }
        outputs.insert(format!("metrics of {origin}"), program.metrics().await?);
    }
    let mut console = cluster.router(0)?.address();
    (console.user, console.database) = ("alice".to_owned(), "sharding".to_owned());
    for what in [
        "HELP", "POOLS", "CLIENTS", "SERVERS", "SHARDS", "RING", "ROUTES", "STATS", "CONFIG",
    ] {
        let shown = console.psql(&format!("SHOW {what}")).await?;
        outputs.insert(format!("SHOW {what}"), shown);
    }
    Ok(())
}

/// What shardctl prints, with a token in a file.
async fn by_shardctl(cluster: &Cluster, root: &str, outputs: &mut Outputs) -> Outcome {
    let file = Folder::shared()?.fresh("token");
    std::fs::write(&file, root)?;
    for line in [
        "status",
        "whoami",
        "accounts list",
        "keys list",
        "users list",
        "shards list",
        "routers list",
        "audit list --limit 1000",
        "audit verify",
    ] {
        let mut command = Command::new(executable("shardctl")?);
        command.args(["--manager", &cluster.manager(0)?.0.grpc(), "--token-file"]);
        command
            .arg(&file)
            .args(line.split(' '))
            .stdin(Stdio::null());
        let said = command.output().await?;
        let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        anyhow::ensure!(said.status.success(), "{line}: {text}");
        outputs.insert(format!("shardctl {line}"), text);
    }
    Ok(())
}

fn look(cluster: &Cluster, audit: &Path, outputs: &mut Outputs) -> Outcome {
    let stored = cluster.etcd.etcdctl(&["get", "--prefix", ""])?;
    outputs.insert("etcd".to_owned(), stored);
    outputs.insert("audit file".to_owned(), std::fs::read_to_string(audit)?);
    let programs: [(&str, &Program); 3] = [
        ("router", &cluster.router(0)?.program),
        ("first manager", &cluster.manager(0)?.0),
        ("second manager", &cluster.manager(1)?.0),
    ];
    for (name, program) in programs {
        let log = program.log();
        anyhow::ensure!(
            log.contains("TRACE"),
            "the log of the {name} tells too little"
        );
        outputs.insert(format!("log of the {name}"), log);
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", program.id()?))?;
        outputs.insert(format!("arguments of the {name}"), line);
    }
    Ok(())
}
