//! Tokens of an identity provider, whose keys are replaced while everything runs: who is let in,
//! what they are called, and that nobody of it is taken for an account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::{Cluster, wait};
use tokio::process::Command;

use super::{PASSWORD, SECRET, call, led, set_up};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: who_an_identity_provider_vouches_for_is_let_in_by_its_present_keys).into()
}

/// The issuer that is configured.
const ISSUER: &str = "https://id.example.com/";
/// How soon a replaced file of keys is in force.
const READ: Duration = Duration::from_secs(15);

/// What the scripts below have in common.
const TEXT: &str = r#"set -euo pipefail
text() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
"#;

/// Makes a key, and prints it as a JWK.
const MAKE: &str = r#"
case $KIND in
RS256)
    openssl genrsa -out "$FILE" 2048 2> /dev/null
    # The modulus, and before the end the exponent 65537.
    n=$(openssl rsa -in "$FILE" -pubout -outform DER 2> /dev/null | tail -c 261 | head -c 256 | text)
    printf '{"kty":"RSA","use":"sig","alg":"RS256","kid":"%s","n":"%s","e":"AQAB"}' "$ID" "$n" ;;
ES256)
    openssl ecparam -name prime256v1 -genkey -noout -out "$FILE"
    point=$(openssl ec -in "$FILE" -pubout -outform DER 2> /dev/null | tail -c 64 | openssl base64 -A)
    half() { printf %s "$point" | openssl base64 -A -d | "$1" -c 32 | text; }
    printf '{"kty":"EC","use":"sig","crv":"P-256","kid":"%s","x":"%s","y":"%s"}' \
        "$ID" "$(half head)" "$(half tail)" ;;
esac
"#;

/// Signs claims; the halves of a signature by a curve are written side by side, as JWTs have them.
const SIGN: &str = r#"
head=$(printf '{"alg":"%s","typ":"JWT","kid":"%s"}' "$KIND" "$ID" | text)
signed=$head.$(printf %s "$CLAIMS" | text)
sign() {
    case $KIND in
    RS256) openssl dgst -sha256 -sign "$FILE" ;;
    HS256) openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(od -An -v -tx1 "$FILE" | tr -d ' \n')" -binary ;;
    ES256)
        halves=$(openssl dgst -sha256 -sign "$FILE" | openssl asn1parse -inform DER |
            awk -F: '/INTEGER/ { printf "%64s", $4 }' | tr ' ' 0 | sed 's/../\\x&/g')
        printf %b "$halves" ;;
    esac
}
printf %s.%s "$signed" "$(printf %s "$signed" | sign | text)"
"#;

async fn run(script: &str, variables: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{TEXT}{script}")]);
    let output = command.envs(variables.iter().copied()).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A key of the provider.
struct Key {
    kind: &'static str,
    id: &'static str,
    file: PathBuf,
    public: Value,
}

impl Key {
    async fn make(kind: &'static str, id: &'static str) -> anyhow::Result<Self> {
        let file = Folder::shared()?.fresh("key");
        let name = file.to_string_lossy().into_owned();
        let public = run(MAKE, &[("KIND", kind), ("ID", id), ("FILE", &name)]).await?;
        let public = serde_json::from_str(&public).context(public)?;
        Ok(Self {
            kind,
            id,
            file,
            public,
        })
    }

    async fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        sign(self.kind, self.id, &self.file, claims).await
    }
}

async fn sign(kind: &str, id: &str, file: &Path, claims: &Value) -> anyhow::Result<String> {
    let (claims, file) = (claims.to_string(), file.to_string_lossy());
    let variables = [
        ("KIND", kind),
        ("ID", id),
        ("FILE", &*file),
        ("CLAIMS", &claims),
    ];
    run(SIGN, &variables).await
}

fn claims(roles: &[&str]) -> Value {
    json!({ "sub": "ann", "iss": ISSUER, "exp": 4_000_000_000_u64, "roles": roles })
}

/// A claim in another's place.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims(&["viewer", "writer"]);
    claims[name] = value;
    claims
}

/// Replaces the file of keys, as a Secret of Kubernetes is: at once.
fn publish(file: &Path, keys: &[&Key]) -> Outcome {
    // Keys that mean nothing here do no harm to those that do.
    let mut all = vec![
        json!({ "kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "e", "n": "AQAB", "e": "AQAB" }),
        json!({ "kty": "EC", "crv": "secp256k1", "kid": "k", "x": "AQAB", "y": "AQAB" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-65", "kid": "m", "pub": "AQAB" }),
    ];
    all.extend(keys.iter().map(|key| key.public.clone()));
    let next = file.with_extension("next");
    std::fs::write(&next, json!({ "keys": all }).to_string())?;
    Ok(std::fs::rename(next, file)?)
}

/// Waits until a token is answered so by both programs.
async fn is(cluster: &Cluster, token: &str, status: u16) -> Outcome {
    let select = json!({ "query": "SELECT 1" });
    wait::until("both programs know", READ, async || {
        let shards = cluster.manager(0)?.api("/shards");
        let rows = format!("{}/v1/execute", cluster.router(0)?.program.http());
        let answers = [
            call(Method::GET, &shards, token, None).await?,
            call(Method::POST, &rows, token, Some(&select)).await?,
        ];
        for answer in answers {
            same!(answer.status.as_u16(), status, "{}", answer.body);
        }
        Ok(())
    })
    .await
}

async fn prepare(keys: &Path) -> anyhow::Result<Cluster> {
    let config = json!({
        "security": {
            "enable_rbac": true, "jwt_secret": SECRET,
            "jwks_path": keys, "jwks_issuer": ISSUER,
        },
        "limits": { "rejections_per_second": 0 },
    });
    let mut cluster = Cluster::start(Plan {
        shards: 0,
        spares: 1,
        routers: 0,
        manager_config: config.clone(),
        ..Plan::default()
    })
    .await?;
    led(cluster.manager(0)?).await?;
    let root = set_up(cluster.manager(0)?).await?;
    let shard = json!({ "name": "one", "primary_endpoint": cluster.spares[0].endpoint() });
    let shards = cluster.manager(0)?.api("/shards");
    call(Method::POST, &shards, &root, Some(&shard))
        .await?
        .expect(201)?;
    let ann = json!({ "name": "ann", "password": PASSWORD, "roles": ["admin"] });
    let accounts = cluster.manager(0)?.api("/auth/accounts");
    call(Method::POST, &accounts, &root, Some(&ann))
        .await?
        .expect(201)?;
    cluster.add_router(&config).await?;
    // The provider's `ann` is not this one.
    let gone = cluster.manager(0)?.api("/auth/accounts/ann");
    let gone = call(Method::DELETE, &gone, &root, None).await?;
    same!(gone.status.as_u16(), 204);
    Ok(cluster)
}

async fn who_an_identity_provider_vouches_for_is_let_in_by_its_present_keys() -> Outcome {
    let (first, curve) = (
        Key::make("RS256", "2025").await?,
        Key::make("ES256", "c").await?,
    );
    let second = Key::make("RS256", "2026").await?;
    let keys = Folder::shared()?.fresh("keys");
    publish(&keys, &[&first, &curve])?;
    let cluster = prepare(&keys).await?;
    let both = claims(&["viewer", "writer"]);
    for key in [&first, &curve] {
        is(&cluster, &key.sign(&both).await?, 200).await?;
    }
    worthless(&cluster, &first).await?;
    has_a_name_of_their_own(&cluster, &curve).await?;
    // Both keys at once, then the new one alone.
    let (old, new) = (first.sign(&both).await?, second.sign(&both).await?);
    is(&cluster, &new, 401).await?;
    publish(&keys, &[&first, &second])?;
    is(&cluster, &new, 200).await?;
    is(&cluster, &old, 200).await?;
    publish(&keys, &[&second])?;
    is(&cluster, &old, 401).await?;
    is(&cluster, &new, 200).await?;
    // A file that cannot be used changes nothing.
    std::fs::write(&keys, "{}")?;
    wait::until("the complaint", READ, async || {
        let log = cluster.manager(0)?.0.log();
        anyhow::ensure!(log.contains("keeping the keys read last"), "{log}");
        Ok(())
    })
    .await?;
    is(&cluster, &new, 200).await
}

/// Tokens that the key has signed, and others with its name.
async fn worthless(cluster: &Cluster, key: &Key) -> Outcome {
    let secret = Folder::shared()?.fresh("public");
    std::fs::write(&secret, key.public["n"].as_str().context("a modulus")?)?;
    let past = with("exp", json!(1_000_000_000));
    for token in [
        key.sign(&past).await?,
        key.sign(&with("iss", json!("https://else.example.com/")))
            .await?,
        key.sign(&with("aud", json!("something else"))).await?,
        key.sign(&with("sub", json!("key:0123456789abcdef")))
            .await?,
        sign("RS256", "c", &key.file, &claims(&["admin"])).await?,
        sign("HS256", key.id, &secret, &claims(&["admin"])).await?,
    ] {
        is(cluster, &token, 401).await?;
    }
    let reader = key.sign(&claims(&["somebody", "else"])).await?;
    is(cluster, &reader, 403).await
}

async fn has_a_name_of_their_own(cluster: &Cluster, key: &Key) -> Outcome {
    let manager = cluster.manager(0)?;
    let operator = key.sign(&claims(&["operator", "writer"])).await?;
    let me = call(Method::GET, &manager.api("/auth/me"), &operator, None).await?;
    same!(me.expect(200)?["name"], json!("idp:ann"));
    let group = json!({ "name": "theirs", "key_type": "uuid" });
    let made = call(
        Method::POST,
        &manager.api("/groups"),
        &operator,
        Some(&group),
    )
    .await?;
    made.expect(201)?;
    let url = manager.api("/audit?actor=idp:ann&action=create_group");
    let audit = call(Method::GET, &url, &operator, None)
        .await?
        .expect(200)?;
    same!(
        audit["entries"].as_array().map(Vec::len),
        Some(1),
        "{audit}"
    );
    same!(audit["entries"][0]["target"], json!("theirs"));
    // An account of that name that comes back is somebody else, too.
    let url = manager.api("/auth/accounts");
    let answer = call(Method::GET, &url, &operator, None).await?;
    same!(answer.status.as_u16(), 403);
    Ok(())
}
