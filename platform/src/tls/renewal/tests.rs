//! Files that are replaced under a server and under what connects to it.

use std::fs;

use super::{Part, Renewable as _, Renewal};
use crate::metrics;
use crate::test_authority::Authority;
use crate::tls::client::{ClientConfig, Connector, Mode};
use crate::tls::{Acceptor, Alpn};

fn verifying(authority: &Authority) -> Connector {
    let config = ClientConfig {
        mode: Mode::VerifyFull,
        root_cert_path: Some(authority.path("ca.crt")),
        identity: None,
    };
    Connector::load(&config).unwrap().unwrap()
}

async fn gets_along(connector: &Connector, acceptor: &Acceptor) -> bool {
    let (near, far) = tokio::io::duplex(1 << 16);
    let both = tokio::join!(connector.connect("localhost", near), acceptor.accept(far));
    both.0.is_ok()
}

fn renewal() -> (Renewal, prometheus::Registry) {
    let registry = metrics::new_registry("test");
    (Renewal::register(&registry).unwrap(), registry)
}

#[tokio::test]
async fn a_replaced_authority_is_in_force_once_it_has_settled() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (connector, root) = (verifying(&ours), ours.path("ca.crt"));
    let acceptor = Acceptor::load(&ours.issue("server")).unwrap();
    let acceptor = acceptor.with_alpn(Alpn::Postgres);
    let (mut renewal, _) = renewal();
    renewal.add("shards", connector.clone());
    let good = fs::read(&root).unwrap();
    fs::copy(theirs.path("ca.crt"), &root).unwrap();
    renewal.look(false);
    assert!(gets_along(&connector, &acceptor).await, "read too early");
    renewal.look(false);
    assert!(!gets_along(&connector, &acceptor).await, "not in force");
    ours.write("ca.crt", "no certificate");
    renewal.look(false);
    renewal.look(false);
    assert!(
        !gets_along(&connector, &acceptor).await,
        "the last usable one is kept"
    );
    ours.write("ca.crt", good);
    renewal.look(true);
    assert!(
        gets_along(&connector, &acceptor).await,
        "a signal does not wait"
    );
}

#[tokio::test]
async fn a_certificate_whose_key_is_still_the_old_one_changes_nothing() {
    let authority = Authority::new();
    let (files, newer) = (authority.issue("server"), authority.issue("newer"));
    let acceptor = Acceptor::load(&files).unwrap().with_alpn(Alpn::Postgres);
    let connector = verifying(&authority);
    let (mut renewal, registry) = renewal();
    renewal.add("server", acceptor.clone());
    let expiry = || {
        let text = metrics::encode(&registry);
        let name = "tls_certificate_expiry_seconds{part=\"certificate\",used_for=\"server\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<u64>().unwrap()
    };
    let day = 24 * 60 * 60;
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now..now + 4000 * day).contains(&expiry()), "{}", expiry());
    fs::copy(&newer.cert_path, &files.cert_path).unwrap();
    for _ in 0..3 {
        renewal.look(false);
        assert!(gets_along(&connector, &acceptor).await);
    }
    assert!(acceptor.renew().is_err());
    fs::copy(&newer.key_path, &files.key_path).unwrap();
    for _ in 0..2 {
        renewal.look(false);
    }
    assert!(acceptor.renew().is_ok());
    assert!(gets_along(&connector, &acceptor).await);
    assert_eq!(acceptor.files()[1], (Part::Key, files.key_path));
}
