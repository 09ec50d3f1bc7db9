use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::TaskGroup;
use crate::tls::{Acceptor, ServerConfig};
use tokio::net::TcpListener;

use super::Connector;

/// A folder with certificates, made by the `openssl` command.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("manager-tls-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A certificate that nobody but itself vouches for, without a host's name in it.
    fn self_signed(&self, name: &str) -> ServerConfig {
        self.openssl(name, &["-x509", "-subj", "/CN=managers"], "crt")
    }

    /// A certificate for 127.0.0.1 that the certificate of `authority` vouches for.
    fn issued(&self, name: &str, authority: &ServerConfig) -> ServerConfig {
        let files = self.openssl(name, &["-subj", "/CN=one"], "csr");
        let extensions = self.path("extensions");
        std::fs::write(&extensions, "subjectAltName=IP:127.0.0.1\n").unwrap();
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-days", "2", "-in"]);
        command.arg(self.path(&format!("{name}.csr")));
        command.arg("-CA").arg(&authority.cert_path);
        command.arg("-CAkey").arg(&authority.key_path);
        command.arg("-extfile").arg(&extensions);
        command.arg("-out").arg(&files.cert_path);
        run(command);
        files
    }

    fn openssl(&self, name: &str, arguments: &[&str], extension: &str) -> ServerConfig {
        let files = ServerConfig {
            cert_path: self.path(&format!("{name}.crt")),
            key_path: self.path(&format!("{name}.key")),
            client_ca_path: None,
        };
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        command.arg("-nodes").args(arguments);
        command.arg("-keyout").arg(&files.key_path);
        command
            .arg("-out")
            .arg(self.path(&format!("{name}.{extension}")));
        run(command);
        files
    }
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}

/// Whether a manager with `ours` connects to one with `theirs`.
async fn connects(ours: &ServerConfig, theirs: &ServerConfig, authority: Option<&Path>) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = Acceptor::load(theirs).unwrap();
    let serve = async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.is_ok()
    };
    let server = TaskGroup::new().spawn("peer", serve);
    let connector = Connector::load(ours, authority).unwrap();
    let peer = format!("http://{address}").parse().unwrap();
    let connected = connector.connect(peer).await;
    let accepted = server.await.unwrap();
    assert_eq!(connected.is_ok(), accepted, "{:?}", connected.err());
    accepted
}

#[tokio::test]
async fn replicas_with_one_certificate_trust_each_other_whatever_it_names() {
    let folder = Folder::new();
    let shared = folder.self_signed("shared");
    assert!(connects(&shared, &shared, None).await);
}

#[tokio::test]
async fn a_peer_with_another_certificate_is_refused() {
    let folder = Folder::new();
    let (ours, theirs) = (folder.self_signed("ours"), folder.self_signed("theirs"));
    assert!(!connects(&ours, &theirs, None).await);
}

#[tokio::test]
async fn a_peer_with_a_certificate_of_the_authority_is_trusted_for_its_host() {
    let folder = Folder::new();
    let (ours, root) = (folder.self_signed("ours"), folder.self_signed("root"));
    let theirs = folder.issued("theirs", &root);
    let authority = Some(root.cert_path.as_path());
    assert!(connects(&ours, &theirs, authority).await);
    let stranger = folder.self_signed("stranger");
    assert!(!connects(&ours, &stranger, authority).await);
}
