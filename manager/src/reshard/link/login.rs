//! Logs in to a shard: start-up packet, password in clear, by md5 or by SCRAM, and whatever comes
//! before the server is ready.

use bytes::{Bytes, BytesMut};
use platform::Secret;
use postgres_protocol::authentication::{md5_hash, sasl};
use tokio::time::timeout;
use topology::{Endpoint, Shard};
use wire::backend::{Authentication, Message, tag};
use wire::frontend::encode;

use super::{Fault, Link, dial};
use crate::shards::Config;

const SCRAM: &str = "SCRAM-SHA-256";

pub(super) async fn run(
    config: &Config,
    shard: &Shard,
    parameters: &[(&str, &str)],
) -> Result<Link, Fault> {
    if shard.promotion.is_some() {
        return Err(Fault::Unsupported(
            "a replica of the shard is being promoted",
        ));
    }
    let mut last = Fault::Unsupported("the shard's address names no server");
    for server in shard.primary_endpoint.servers() {
        let limit = config.connect_timeout;
        let login = timeout(limit, log_in(config, (shard, &server), parameters)).await;
        match login.unwrap_or(Err(Fault::Timeout(limit))) {
            Ok(link) => return Ok(link),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

async fn log_in(
    config: &Config,
    (shard, endpoint): (&Shard, &Endpoint),
    parameters: &[(&str, &str)],
) -> Result<Link, Fault> {
    let socket = dial::dial(config.tls.connector(), endpoint.host(), endpoint.port()).await?;
    let mut link = Link {
        shard: shard.id.clone(),
        socket,
        inbound: BytesMut::new(),
        outbound: BytesMut::new(),
    };
    let mut all = vec![
        ("user", config.user.as_str()),
        ("database", endpoint.database()),
        ("client_encoding", "UTF8"),
    ];
    all.extend_from_slice(parameters);
    encode::startup(&mut link.outbound, &all)?;
    authenticate(config, &mut link).await?;
    loop {
        match link.receive().await? {
            (tag::READY_FOR_QUERY, _) => break,
            (tag::BACKEND_KEY_DATA | tag::NEGOTIATE_PROTOCOL_VERSION, _) => {}
            (tag, _) => return Err(Fault::unexpected(tag)),
        }
    }
    if shard.primary_endpoint.is_list() {
        refuse_replica(&mut link).await?;
    }
    Ok(link)
}

/// Of several servers the one is meant that takes writes.
async fn refuse_replica(link: &mut Link) -> Result<(), Fault> {
    // Understood by walsenders, too.
    encode::query(&mut link.outbound, b"SHOW in_hot_standby")?;
    let mut is_replica = false;
    loop {
        match link.receive().await? {
            (tag::READY_FOR_QUERY, _) if is_replica => {
                return Err(Fault::Unsupported("the server is a replica"));
            }
            (tag::READY_FOR_QUERY, _) => return Ok(()),
            (tag::DATA_ROW, body) => is_replica = body.ends_with(b"on"),
            (tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE, _) => {}
            (tag, _) => return Err(Fault::unexpected(tag)),
        }
    }
}

async fn authenticate(config: &Config, link: &mut Link) -> Result<(), Fault> {
    loop {
        let body = step(link).await?;
        match request(&body)? {
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => {
                let password = password(config)?.expose().as_bytes();
                encode::password(&mut link.outbound, password)?;
            }
            Authentication::Md5Password { salt } => {
                let password = password(config)?.expose().as_bytes();
                let hash = md5_hash(config.user.as_bytes(), password, salt);
                encode::password(&mut link.outbound, hash.as_bytes())?;
            }
            Authentication::Sasl(mechanisms) => {
                if !mechanisms.contains(SCRAM) {
                    return Err(Fault::Unsupported("the shard offers no SCRAM-SHA-256"));
                }
                scram(password(config)?, link).await?;
            }
            Authentication::SaslContinue(_)
            | Authentication::SaslFinal(_)
            | Authentication::Other { .. } => {
                return Err(Fault::Unsupported(
                    "the shard asks for an authentication that is neither trust, password, md5 \
                     nor scram-sha-256",
                ));
            }
        }
    }
}

async fn scram(password: &Secret, link: &mut Link) -> Result<(), Fault> {
    let password = password.expose().as_bytes();
    let mut client = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
    let first = Some(client.message());
    encode::sasl_initial_response(&mut link.outbound, SCRAM, first)?;
    let body = step(link).await?;
    let Authentication::SaslContinue(data) = request(&body)? else {
        return Err(Fault::Protocol("no SASL challenge".to_owned()));
    };
    client.update(data)?;
    encode::sasl_response(&mut link.outbound, client.message())?;
    let body = step(link).await?;
    let Authentication::SaslFinal(data) = request(&body)? else {
        return Err(Fault::Protocol("no SASL outcome".to_owned()));
    };
    client.finish(data)?;
    Ok(())
}

async fn step(link: &mut Link) -> Result<Bytes, Fault> {
    match link.receive().await? {
        (tag::AUTHENTICATION, body) => Ok(body),
        (tag, _) => Err(Fault::unexpected(tag)),
    }
}

fn request(body: &[u8]) -> Result<Authentication<'_>, Fault> {
    match Message::decode(tag::AUTHENTICATION, body)? {
        Message::Authentication(request) => Ok(request),
        _ => Err(Fault::unexpected(tag::AUTHENTICATION)),
    }
}

fn password(config: &Config) -> Result<&Secret, Fault> {
    config.password.as_ref().ok_or(Fault::Unsupported(
        "the shard asks for a password and DB_PASSWORD is not set",
    ))
}
