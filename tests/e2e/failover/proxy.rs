//! A TCP relay that can be cut: then connections stay, and nothing comes through, as when a network
//! is partitioned.

use anyhow::Context as _;
use tests::port::Port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay to one server; ends with its value.
#[derive(Debug)]
pub(super) struct Proxy {
    port: Port,
    open: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    pub(super) async fn to(server: u16) -> anyhow::Result<Self> {
        let port = Port::take()?;
        let listener = TcpListener::bind(("127.0.0.1", port.number())).await;
        let listener = listener.context("listen for the relay")?;
        let open = watch::Sender::new(true);
        let gate = open.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, gate.clone()));
            }
        });
        Ok(Self {
            port,
            open,
            accepting,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(super) fn endpoint(&self) -> String {
        format!("postgres://127.0.0.1:{}/app", self.port())
    }

    pub(super) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(super) fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn relay(client: TcpStream, server: u16, mut gate: watch::Receiver<bool>) {
    if gate.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        carry(from_client, to_server, gate.clone()),
        carry(from_server, to_client, gate)
    );
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if gate.wait_for(|open| *open).await.is_err() {
            return;
        }
        let Some(bytes) = buffer.get(..count) else {
            return;
        };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    // An end does not come through a cut either.
    let _open = gate.wait_for(|open| *open).await;
}
