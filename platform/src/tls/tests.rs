//! Handshakes with certificates of an authority that the tests make, and what files can have
//! wrong.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::telemetry::error_chain;
use crate::test_authority::{Authority, certificate};

/// Both ends of a connection inside TLS, or what each of them has to complain of.
struct Handshake {
    client: io::Result<client::TlsStream<DuplexStream>>,
    server: io::Result<TlsStream<DuplexStream>>,
}

async fn shake(acceptor: &Acceptor, connector: &TlsConnector) -> Handshake {
    let (theirs, ours) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let (client, server) = tokio::join!(connector.connect(name, theirs), acceptor.accept(ours));
    Handshake { client, server }
}

/// The protocol that a client offering these gets, or the server's complaint.
async fn agreed(acceptor: &Acceptor, connector: &TlsConnector) -> Result<Option<String>, String> {
    let server = shake(acceptor, connector).await.server;
    let server = server.map_err(|error| error.to_string())?;
    let protocol = server.get_ref().1.alpn_protocol();
    Ok(protocol.map(|name| String::from_utf8(name.to_vec()).unwrap()))
}

/// The certificate that the server shows.
async fn shown(acceptor: &Acceptor, connector: &TlsConnector) -> CertificateDer<'static> {
    let client = shake(acceptor, connector).await.client.unwrap();
    let chain = client.get_ref().1.peer_certificates().unwrap();
    chain.first().unwrap().clone()
}

#[tokio::test]
async fn bytes_travel_both_ways() {
    let authority = Authority::new();
    let acceptor = Acceptor::load(&authority.issue("server")).unwrap();
    let Handshake { client, server } = shake(&acceptor, &authority.client(None, &[])).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    client.write_all(b"ping").await.unwrap();
    server.write_all(b"pong").await.unwrap();
    client.flush().await.unwrap();
    server.flush().await.unwrap();
    let mut buffer = [0; 4];
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"ping");
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"pong");
}

#[tokio::test]
async fn keys_of_every_usual_kind_and_form_are_taken() {
    let authority = Authority::new();
    let rsa = authority.issue_with_key("rsa", &["-newkey", "rsa:2048"]);
    let ed25519 = authority.issue_with_key("ed25519", &["-newkey", "ed25519"]);
    let ec = authority.issue("ec");
    let [sec1, pkcs1] = [("ec", "sec1"), ("rsa", "pkcs1")].map(|(name, form)| {
        let (from, to) = (format!("{name}.key"), format!("{form}.key"));
        authority.openssl(&["pkey", "-traditional", "-in", &from, "-out", &to]);
        ServerConfig {
            cert_path: authority.path(&format!("{name}.crt")),
            key_path: authority.path(&to),
            client_ca_path: None,
        }
    });
    for files in [rsa, ed25519, ec, sec1, pkcs1] {
        let acceptor = Acceptor::load(&files).unwrap();
        let connector = authority.client(None, &[]);
        shake(&acceptor, &connector).await.client.unwrap();
    }
}

#[tokio::test]
async fn each_use_offers_its_own_protocol() {
    let authority = Authority::new();
    let http = Acceptor::load(&authority.issue("server")).unwrap();
    let postgres = http.with_alpn(Alpn::Postgres);
    let plain = http.with_alpn(Alpn::None);
    let offer = |names: &[&str]| authority.client(None, names);
    let name = |name: &str| Ok(Some(name.to_owned()));
    let browser = offer(&["http/1.1", "h2"]);
    assert_eq!(agreed(&http, &browser).await, name("h2"));
    assert_eq!(agreed(&http, &offer(&["http/1.1"])).await, name("http/1.1"));
    assert_eq!(agreed(&http, &offer(&[])).await, Ok(None));
    let libpq = offer(&["postgresql"]);
    assert_eq!(agreed(&postgres, &libpq).await, name("postgresql"));
    assert_eq!(agreed(&plain, &libpq).await, Ok(None));
    let mistaken = agreed(&postgres, &browser).await.unwrap_err();
    assert_eq!(mistaken, "peer doesn't support any known protocol");
}

#[tokio::test]
async fn a_reload_reaches_every_clone_and_no_open_connection() {
    let authority = Authority::new();
    let files = authority.issue("server");
    let acceptor = Acceptor::load(&files).unwrap();
    let clone = acceptor.with_alpn(Alpn::Postgres);
    let connector = authority.client(None, &[]);
    let before = certificate(&files.cert_path);
    let open = shake(&acceptor, &connector).await;

    authority.issue("server");
    let after = certificate(&files.cert_path);
    assert_ne!(before, after);
    assert_eq!(shown(&acceptor, &connector).await, before);
    acceptor.renew().unwrap();
    assert_eq!(shown(&acceptor, &connector).await, after);
    assert_eq!(shown(&clone, &connector).await, after);
    let (mut client, mut server) = (open.client.unwrap(), open.server.unwrap());
    server.write_all(b"still here").await.unwrap();
    server.flush().await.unwrap();
    let mut buffer = [0; 10];
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"still here");
}

#[tokio::test]
async fn a_reload_of_bad_files_changes_nothing() {
    let authority = Authority::new();
    let files = authority.issue("server");
    let acceptor = Acceptor::load(&files).unwrap();
    let connector = authority.client(None, &[]);
    let before = certificate(&files.cert_path);
    authority.write("server.key", "half written");
    assert!(matches!(acceptor.renew(), Err(Error::NoKey { .. })));
    assert_eq!(shown(&acceptor, &connector).await, before);
}

#[tokio::test]
async fn a_client_authority_lets_only_its_own_clients_in() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut files = authority.issue("server");
    files.client_ca_path = Some(authority.path("ca.crt"));
    let acceptor = Acceptor::load(&files).unwrap();
    let own = authority.issue("client");
    let welcome = shake(&acceptor, &authority.client(Some(&own), &[])).await;
    welcome.server.unwrap();
    let nobody = shake(&acceptor, &authority.client(None, &[])).await;
    let refused = nobody.server.map(drop).unwrap_err().to_string();
    assert!(refused.contains("no certificates"), "{refused}");
    let stranger = other.issue("client");
    let stranger = shake(&acceptor, &authority.client(Some(&stranger), &[])).await;
    let refused = stranger.server.map(drop).unwrap_err().to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[tokio::test]
async fn what_is_not_tls_is_refused() {
    let authority = Authority::new();
    let acceptor = Acceptor::load(&authority.issue("server")).unwrap();
    let (mut theirs, ours) = tokio::io::duplex(1 << 10);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let refused = acceptor.accept(ours).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
}

/// What loading says, with the directory's name left out.
fn complaint(authority: &Authority, files: &ServerConfig) -> String {
    let error = Acceptor::load(files).unwrap_err();
    let directory = format!(
        "{}/",
        authority
            .path("")
            .display()
            .to_string()
            .trim_end_matches('/')
    );
    error_chain(&error).replace(&directory, "")
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let authority = Authority::new();
    let good = authority.issue("server");
    let with_cert = |cert_path| ServerConfig {
        cert_path,
        ..good.clone()
    };
    let with_key = |key_path| ServerConfig {
        key_path,
        ..good.clone()
    };
    let complaint = |files: ServerConfig| complaint(&authority, &files);

    let missing = complaint(with_cert(authority.path("missing.crt")));
    assert!(
        missing.starts_with("TLS file missing.crt cannot be read: "),
        "{missing}"
    );
    let large = authority.write("large.crt", vec![b'x'; 2 << 20]);
    let large = complaint(with_cert(large));
    assert_eq!(large, "TLS file large.crt is larger than 1048576 bytes");
    let empty = authority.write("empty.crt", "");
    let empty = complaint(with_cert(empty));
    assert_eq!(empty, "TLS file empty.crt holds no certificate in PEM form");
    let swapped = complaint(with_cert(good.key_path.clone()));
    assert_eq!(
        swapped,
        "TLS file server.key holds no certificate in PEM form"
    );
    let torn = "-----BEGIN CERTIFICATE-----\nMIIB\n";
    let torn = complaint(with_cert(authority.write("torn.crt", torn)));
    assert!(
        torn.starts_with("TLS file torn.crt is not valid PEM: "),
        "{torn}"
    );
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage = complaint(with_cert(authority.write("garbage.crt", garbage)));
    let expected = "TLS certificate garbage.crt with key server.key cannot be used: ";
    assert!(garbage.starts_with(expected), "{garbage}");

    let no_key = "TLS file server.crt holds no private key in PEM form \
                  (an encrypted key cannot be used)";
    assert_eq!(complaint(with_key(good.cert_path.clone())), no_key);
    let encrypt = ["pkey", "-in", "server.key", "-aes128", "-passout", "pass:x"];
    authority.openssl(&[&encrypt[..], &["-out", "encrypted.key"]].concat());
    let encrypted = complaint(with_key(authority.path("encrypted.key")));
    assert_eq!(encrypted, no_key.replace("server.crt", "encrypted.key"));
    let other = authority.issue("other");
    let mismatch = complaint(with_key(other.key_path));
    let expected = "TLS key other.key does not match the certificate server.crt";
    assert_eq!(mismatch, expected);

    let with_client_ca = |name: &str, text: &str| ServerConfig {
        client_ca_path: Some(authority.write(name, text)),
        ..good.clone()
    };
    let empty = complaint(with_client_ca("no.ca", ""));
    assert_eq!(empty, "TLS file no.ca holds no certificate in PEM form");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage = complaint(with_client_ca("bad.ca", garbage));
    let expected = "TLS file bad.ca holds no usable client authority: ";
    assert!(garbage.starts_with(expected), "{garbage}");
}

#[test]
fn a_key_is_not_shown() {
    let authority = Authority::new();
    let acceptor = Acceptor::load(&authority.issue("server")).unwrap();
    let shown = format!("{acceptor:?}");
    assert!(
        shown.starts_with("Acceptor { files: ServerConfig"),
        "{shown}"
    );
    assert!(!shown.contains("PRIVATE") && shown.len() < 400, "{shown}");
}
