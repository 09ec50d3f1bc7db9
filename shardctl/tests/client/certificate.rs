//! Certificates for 127.0.0.1 that openssl signs with their own keys, in a folder that goes with
//! them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::transport::Identity;

static CREATED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
pub(crate) struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    pub(crate) fn create() -> Self {
        let number = CREATED.fetch_add(1, Ordering::SeqCst);
        let name = format!("shardctl-certificate-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
        let status = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", "/CN=manager"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "key.pem", "-out", "certificate.pem"])
            .current_dir(&folder)
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("openssl is installed").success());
        Self { folder }
    }

    /// The certificate, which is its own authority.
    pub(crate) fn path(&self) -> String {
        self.folder.join("certificate.pem").display().to_string()
    }

    pub(crate) fn identity(&self) -> Identity {
        let read = |name: &str| {
            std::fs::read(self.folder.join(name)).expect("openssl has written its files")
        };
        Identity::from_pem(read("certificate.pem"), read("key.pem"))
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
