//! A TCP proxy that can stop forwarding, as a network does that loses every packet: connections
//! stay open, new ones are accepted, and nothing arrives. Once mended, what was sent arrives.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy; its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    is_open: watch::Sender<bool>,
    listener: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections end when the sender is gone.
        self.listener.abort();
    }
}

impl Proxy {
    /// A proxy that forwards to `host:port`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(to: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (is_open, seen) = watch::channel(true);
        let to = to.to_owned();
        let listener = spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                drop(spawn(connection(near, to.clone(), seen.clone())));
            }
        });
        Ok(Self {
            address,
            is_open,
            listener,
        })
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.clone()
    }

    /// Forwards nothing from now on.
    pub fn cut(&self) {
        self.is_open.send_replace(false);
    }

    /// Forwards again.
    pub fn mend(&self) {
        self.is_open.send_replace(true);
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the proxy; the harness has no shutdown to wait for"
    )]
    tokio::spawn(task)
}

async fn connection(near: TcpStream, to: String, mut is_open: watch::Receiver<bool>) {
    if is_open.wait_for(|is_open| *is_open).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(to).await else {
        return;
    };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = forward(near_in, far_out, is_open.clone());
    let back = forward(far_in, near_out, is_open);
    tokio::join!(there, back);
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut is_open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = gone(is_open.clone()) => 0,
        };
        if is_open.wait_for(|is_open| *is_open).await.is_err() || count == 0 {
            return;
        }
        let read = buffer.get(..count).unwrap_or_default();
        if to.write_all(read).await.is_err() {
            return;
        }
    }
}

/// Returns when the proxy is dropped.
async fn gone(mut is_open: watch::Receiver<bool>) {
    while is_open.changed().await.is_ok() {}
}
