//! Secrets are in nothing that a system says or stores: its logs at the level trace, etcd, metrics,
//! the console, answers and refusals of its APIs, the audit log, errors, command lines.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::authority::{Access, Authority};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::program::executable;
use tests::{Cluster, Program, http, wait};
use tokio::process::Command;

use super::{access, shardctl};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        no_secret_is_in_anything_that_is_said_or_stored,
        a_configuration_that_is_wrong_is_refused_without_its_secrets,
    )
    .into()
}

const JWT_SECRET: &str = "jwt-secret-that-nobody-may-ever-see";
const FILE_PASSWORD: &str = "password-of-the-file";
const STORED_PASSWORD: &str = "password-of-a-stored-user";
const WRONG_PASSWORD: &str = "password-that-is-wrong";
const ROLE_PASSWORD: &str = "password-of-a-role";
const ENDPOINT_PASSWORD: &str = "password-of-an-endpoint";
const ROW: &str = "value-of-a-row";
const PARAMETER: &str = "value-of-a-parameter";

/// All that was said and stored, by where.
type Outputs = BTreeMap<String, String>;

async fn no_secret_is_in_anything_that_is_said_or_stored() -> Outcome {
    let folder = Folder::shared()?;
    let audit = folder.fresh("audit");
    let users = json!([{ "name": "filed", "password": FILE_PASSWORD }]);
    let trace = json!({ "log_level": "trace" });
    let mut cluster = Cluster::start(Plan {
        shards: 1,
        authority: Some(Arc::new(Authority::new()?)),
        manager_config: json!({
            "observability": trace, "security": { "audit_log_path": audit },
        }),
        router_config: json!({ "observability": trace }),
        ..Plan::default()
    })
    .await?;
    let guarded = json!({ "enable_rbac": true, "jwt_secret": JWT_SECRET });
    let asking = json!({
        "observability": trace, "security": guarded,
        "pgwire": {
            "auth": { "method": "scram-sha-256", "users": users }, "admin_users": ["filed"],
        },
    });
    cluster.add_router(&asking).await?;
    cluster
        .add_manager(&json!({ "observability": trace, "security": guarded }))
        .await?;
    let mut outputs = Outputs::new();
    work(&cluster, &mut outputs).await?;
    logins(&cluster, &mut outputs).await?;
    tokens(&cluster, &mut outputs).await?;
    look(&cluster, &audit, &mut outputs).await?;
    let own = &cluster.secured.as_ref().context("secured")?.program;
    let key = std::fs::read_to_string(&own.key)?;
    let key = key.lines().nth(1).context("a key has lines")?;
    for secret in [
        JWT_SECRET,
        FILE_PASSWORD,
        STORED_PASSWORD,
        WRONG_PASSWORD,
        ROLE_PASSWORD,
        ENDPOINT_PASSWORD,
        ROW,
        PARAMETER,
        tests::postgres::PASSWORD,
        tests::etcd::LOGIN.1,
        key,
        &token(JWT_SECRET).await?,
    ] {
        for (place, text) in &outputs {
            let at = text.find(secret);
            let around = at.map(|at| {
                let start = text.floor_char_boundary(at.saturating_sub(400));
                let end = text.ceil_char_boundary((at + 400).min(text.len()));
                text.get(start..end).unwrap_or_default()
            });
            anyhow::ensure!(
                around.is_none(),
                "{secret} in {place}: {}",
                around.unwrap_or("")
            );
        }
    }
    Ok(())
}

/// Statements, with rows and parameters and a role's password, and shards with passwords.
async fn work(cluster: &Cluster, outputs: &mut Outputs) -> Outcome {
    cluster
        .create("t", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?;
    let insert = format!("INSERT INTO t (k, v) VALUES (1, '{ROW}')");
    router.psql(&insert).await?;
    for sql in [
        format!("CREATE ROLE somebody PASSWORD '{ROLE_PASSWORD}'"),
        format!("ALTER ROLE postgres SET x.y = '{ROLE_PASSWORD}'"),
        format!("SELECT '{ROW}' FROM nowhere WHERE k = 1 AND"),
    ] {
        // psql repeats the statement; what the router says of it is in its log.
        router.address().psql_output(&sql).await?;
    }
    for (query, params) in [
        (
            "INSERT INTO t (k, v) VALUES ($1, $2)",
            json!([2, PARAMETER]),
        ),
        (
            "INSERT INTO t (k, v) VALUES ($1, $2)",
            json!([2, PARAMETER]),
        ),
        ("SELECT k FROM t WHERE k = $1", json!([PARAMETER])),
        (
            "SELECT k FROM t WHERE v = $1 AND nothing",
            json!([PARAMETER]),
        ),
    ] {
        let body = json!({ "query": query, "params": params });
        let answer = router.execute(&body).await?;
        if answer.status != 400 {
            // PostgreSQL's own words about a value are the client's to see.
            outputs.insert(format!("answer to {query} {params}"), answer.body);
        }
    }
    let endpoint = cluster.shards[0].endpoint();
    let endpoint = endpoint.replace("postgres://", &format!("postgres://a:{ENDPOINT_PASSWORD}@"));
    for endpoint in [endpoint.clone(), endpoint.replace("/app", "")] {
        let body = json!({ "name": "other", "primary_endpoint": endpoint });
        let answer = http::post(&cluster.manager(0)?.api("/shards"), &body).await?;
        outputs.insert(format!("answer to a shard {}", answer.status), answer.body);
    }
    Ok(())
}

/// Users of the file and of etcd, with right and wrong passwords.
async fn logins(cluster: &Cluster, outputs: &mut Outputs) -> Outcome {
    let folder = Folder::shared()?;
    let file = folder.fresh("password");
    std::fs::write(&file, STORED_PASSWORD)?;
    let create = format!("users create stored --password-file {}", file.display());
    let (went_well, said) = shardctl(cluster.manager(0)?, access(cluster)?, &create).await?;
    anyhow::ensure!(went_well, "{said}");
    outputs.insert("shardctl users create".to_owned(), said);
    for (user, password, may) in [
        ("filed", FILE_PASSWORD, true),
        ("filed", WRONG_PASSWORD, false),
        ("stored", STORED_PASSWORD, true),
        ("stored", WRONG_PASSWORD, false),
        ("nobody", WRONG_PASSWORD, false),
    ] {
        let mut address = cluster.router(1)?.address();
        address.user = user.to_owned();
        address.password = Some(password.to_owned());
        let said = wait::until("a login", wait::SETTLE, async || {
            let output = address.psql_output("SELECT 1").await?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            same!(output.status.success(), may, "{user}: {said}");
            Ok(said)
        });
        outputs.insert(format!("login of {user}, {may}"), said.await?);
    }
    Ok(())
}

/// Calls with a good token, one that somebody else signed, and a password in a URL.
async fn tokens(cluster: &Cluster, outputs: &mut Outputs) -> Outcome {
    let access = access(cluster)?;
    let (router, manager) = (cluster.router(1)?, cluster.manager(1)?);
    let (good, bad) = (token(JWT_SECRET).await?, token(WRONG_PASSWORD).await?);
    for token in [&good, &bad] {
        for url in [
            manager.api("/shards"),
            manager.api("/audit"),
            format!("{}/v1/execute", router.program.http()),
        ] {
            let answer = with_token(access, token, &url).await?;
            outputs.insert(format!("{url} with a token, {}", token == &good), answer);
        }
    }
    let arguments = format!("--token {good} status");
    let (_, said) = shardctl(manager, access, &arguments).await?;
    outputs.insert("shardctl status".to_owned(), said);
    Ok(())
}

/// Everything that is kept and shown.
async fn look(cluster: &Cluster, audit: &PathBuf, outputs: &mut Outputs) -> Outcome {
    let mut add = |place: &str, text: String, mark: &str| {
        anyhow::ensure!(text.contains(mark), "no {mark} in {place}: {text}");
        outputs.insert(place.to_owned(), text);
        anyhow::Ok(())
    };
    let stored = cluster.etcd.etcdctl(&["get", "--prefix", ""])?;
    add("etcd", stored, "/sharding/v1/users/stored")?;
    let stored = cluster
        .etcd
        .etcdctl(&["get", "--prefix", "", "-w", "json"])?;
    add("etcd, encoded", stored, "kvs")?;
    add("audit file", std::fs::read_to_string(audit)?, "stored")?;
    let programs: [(&str, &Program); 4] = [
        ("first router", &cluster.router(0)?.program),
        ("second router", &cluster.router(1)?.program),
        ("first manager", &cluster.manager(0)?.0),
        ("second manager", &cluster.manager(1)?.0),
    ];
    for (name, program) in programs {
        add(&format!("log of the {name}"), program.log(), "TRACE")?;
        add(
            &format!("metrics of the {name}"),
            program.metrics().await?,
            "tls_certificate",
        )?;
        let path = format!("/proc/{}/cmdline", program.id()?);
        add(
            &format!("arguments of the {name}"),
            std::fs::read_to_string(path)?,
            "",
        )?;
    }
    for path in [
        "/shards",
        "/topology",
        "/users",
        "/audit",
        "/ring",
        "/tables",
        "/schema/diff",
    ] {
        let shown = http::get(&cluster.manager(0)?.api(path)).await?;
        add(path, shown.expect(200)?.to_string(), "")?;
    }
    let mut console = cluster.router(1)?.address();
    console.database = "sharding".to_owned();
    (console.user, console.password) = ("filed".to_owned(), Some(FILE_PASSWORD.to_owned()));
    let shows = ["CONFIG", "CLIENTS", "SERVERS", "POOLS", "SHARDS", "STATS"];
    for what in shows {
        let shown = console.psql(&format!("SHOW {what}")).await?;
        add(&format!("SHOW {what}"), shown, "")?;
    }
    let reloaded = console.psql_output("RELOAD").await?;
    add("RELOAD", format!("{reloaded:?}"), "")
}

async fn with_token(access: &Access, token: &str, url: &str) -> anyhow::Result<String> {
    let identity = access.identity.as_ref().context("a certificate")?;
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--cacert"]).arg(&access.root);
    command
        .arg("--cert")
        .arg(&identity.certificate)
        .arg("--key")
        .arg(&identity.key);
    command.args(["-H", &format!("authorization: Bearer {token}"), url]);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A token that holds for a while, made by openssl.
async fn token(secret: &str) -> anyhow::Result<String> {
    let script = r#"
        text() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
        head=$(printf '{"alg":"HS256","typ":"JWT"}' | text)
        body=$(printf '{"sub":"somebody","roles":["admin","writer"],"exp":4000000000}' | text)
        sign=$(printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -hmac "$SECRET" -binary | text)
        printf '%s.%s.%s' "$head" "$body" "$sign""#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("SECRET", secret);
    let output = command.output().await?;
    Ok(String::from_utf8(output.stdout)?)
}

/// Starts a program that cannot use its configuration; gives what it says.
async fn refused(name: &str, config: &Value, env: &[(&str, &str)]) -> anyhow::Result<String> {
    let file = Folder::shared()?.fresh("wrong");
    std::fs::write(&file, config.to_string())?;
    let mut command = Command::new(executable(name)?);
    command
        .arg("--config")
        .arg(&file)
        .env_clear()
        .stdin(Stdio::null());
    command.envs(env.iter().copied());
    let output = command.output().await?;
    same!(output.status.code(), Some(78), "{output:?}");
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

async fn a_configuration_that_is_wrong_is_refused_without_its_secrets() -> Outcome {
    for name in ["router", "manager"] {
        let config = json!({
            "security": { "enable_rbac": true, "jwt_secret": "too short", "tls": JWT_SECRET },
            "metadata": { "password": STORED_PASSWORD, "timeout": FILE_PASSWORD },
            "shards_tls": { "sslmode": ROLE_PASSWORD },
        });
        let env = [
            ("DB_PASSWORD", WRONG_PASSWORD),
            ("DB_PASSWORD_FILE", "/nowhere"),
        ];
        let said = refused(name, &config, &env).await?;
        for wanted in [
            "DB_PASSWORD_FILE",
            "metadata.username",
            "security.jwt_secret",
        ] {
            anyhow::ensure!(said.contains(wanted), "no {wanted}: {said}");
        }
        for secret in [
            "too short",
            JWT_SECRET,
            STORED_PASSWORD,
            FILE_PASSWORD,
            ROLE_PASSWORD,
            WRONG_PASSWORD,
        ] {
            anyhow::ensure!(!said.contains(secret), "{secret} in {said}");
        }
        let said = refused(name, &json!({}), &[("JWT_SECRET_FILE", "/nowhere")]).await?;
        anyhow::ensure!(
            said.contains("JWT_SECRET_FILE: names \"/nowhere\""),
            "{said}"
        );
    }
    Ok(())
}
