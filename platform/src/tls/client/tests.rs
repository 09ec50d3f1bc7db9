//! Each mode against a server whose certificate is good, of another authority, or for another
//! host.

use std::path::PathBuf;

use super::{ClientConfig, Connector, Identity, Mode};
use crate::test_authority::Authority;
use crate::tls::{Acceptor, Alpn, ServerConfig};

fn wanting(mode: Mode, root: Option<PathBuf>) -> ClientConfig {
    ClientConfig {
        mode,
        root_cert_path: root,
        identity: None,
    }
}

/// Whether client and server get along, and who the server says the client is.
async fn shake(client: &ClientConfig, host: &str, server: &ServerConfig) -> (bool, Option<String>) {
    let connector = Connector::load(client).unwrap().unwrap();
    let acceptor = Acceptor::load(server).unwrap().with_alpn(Alpn::Postgres);
    let (near, far) = tokio::io::duplex(1 << 16);
    let (connected, accepted) = tokio::join!(connector.connect(host, near), acceptor.accept(far));
    let name = accepted.ok().and_then(|stream| {
        let leaf = stream.get_ref().1.peer_certificates()?.first()?.clone();
        crate::tls::subject::common_name(&leaf)
    });
    (connected.is_ok(), name)
}

#[tokio::test]
async fn a_mode_checks_what_its_name_says() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ours.issue("server");
    let (root, other) = (Some(ours.path("ca.crt")), Some(theirs.path("ca.crt")));
    for (mode, root, host, passes) in [
        (Mode::Prefer, None, "elsewhere.test", true),
        (Mode::Require, None, "elsewhere.test", true),
        (Mode::Require, root.clone(), "elsewhere.test", true),
        (Mode::Require, other.clone(), "localhost", false),
        (Mode::VerifyCa, root.clone(), "elsewhere.test", true),
        (Mode::VerifyCa, other.clone(), "localhost", false),
        (Mode::VerifyFull, root.clone(), "localhost", true),
        (Mode::VerifyFull, root.clone(), "127.0.0.1", true),
        (Mode::VerifyFull, root.clone(), "elsewhere.test", false),
        (Mode::VerifyFull, root, "127.0.0.2", false),
        (Mode::VerifyFull, other, "localhost", false),
    ] {
        let config = wanting(mode, root);
        let (connected, _) = shake(&config, host, &server).await;
        assert_eq!(connected, passes, "{config:?} to {host}");
    }
}

#[tokio::test]
async fn a_server_that_asks_is_shown_the_certificate() {
    let authority = Authority::new();
    let mut server = authority.issue("server");
    server.client_ca_path = Some(authority.path("ca.crt"));
    let router = authority.issue("router");
    let config = ClientConfig {
        mode: Mode::VerifyFull,
        root_cert_path: Some(authority.path("ca.crt")),
        identity: Some(Identity {
            cert_path: router.cert_path,
            key_path: router.key_path,
        }),
    };
    let (connected, name) = shake(&config, "localhost", &server).await;
    assert!(connected);
    assert_eq!(name.as_deref(), Some("router"));
}

#[test]
fn no_files_are_read_where_no_encryption_is_wanted() {
    let config = wanting(Mode::Disable, Some(PathBuf::from("/nowhere")));
    assert!(Connector::load(&config).unwrap().is_none());
    let config = wanting(Mode::VerifyCa, Some(PathBuf::from("/nowhere")));
    let error = Connector::load(&config).unwrap_err().to_string();
    assert_eq!(error, "TLS file /nowhere cannot be read");
}

#[test]
fn files_that_do_not_go_together_are_violations() {
    let read = |text: &str| {
        let env = std::collections::BTreeMap::new();
        let read = crate::config::parse(text, "TEST", &env, |root| {
            ClientConfig::read(root.section("tls"))
        });
        read.map_err(|violations| violations.to_string())
    };
    let default = read("{}").unwrap();
    assert_eq!(default, wanting(Mode::Prefer, None));
    let full = read(r#"{"tls":{"sslmode":"verify-full","root_cert_path":"ca"}}"#).unwrap();
    assert_eq!(full, wanting(Mode::VerifyFull, Some(PathBuf::from("ca"))));
    for (text, wanted) in [
        (r#"{"tls":{"sslmode":"verify-ca"}}"#, "tls.root_cert_path"),
        (r#"{"tls":{"root_cert_path":"ca"}}"#, "tls.root_cert_path"),
        (r#"{"tls":{"cert_path":"crt"}}"#, "tls.cert_path"),
        (r#"{"tls":{"sslmode":"allow"}}"#, "tls.sslmode"),
    ] {
        let violations = read(text).unwrap_err();
        assert!(violations.contains(wanted), "{text}: {violations}");
    }
}
