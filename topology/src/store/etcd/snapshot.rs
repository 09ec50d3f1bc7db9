//! A snapshot of all of etcd, as its maintenance API sends it: the file that `etcdutl snapshot
//! restore` takes.

use etcd_client::Client;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Duration, timeout};

use super::EtcdStore;
use super::endpoints::Retry;
use crate::store::Error;

/// Between two parts of a snapshot: a member that says nothing for so long has gone.
const PART_LIMIT: Duration = Duration::from_secs(30);

impl EtcdStore {
    /// Writes a snapshot of all of etcd, whoever's keys they are; gives its size.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when it breaks off, [`Error::Denied`] when it cannot be written or
    /// etcd refuses it.
    pub async fn save(&self, file: &mut (impl AsyncWrite + Unpin + Send)) -> Result<u64, Error> {
        let request = |client: Client| async move { client.maintenance_client().snapshot().await };
        let mut parts = self.endpoints.call(Retry::Always, request).await?;
        let mut bytes = 0;
        loop {
            let part = timeout(PART_LIMIT, parts.message()).await;
            let part = part.map_err(|late| Error::Unreachable(late.into()))?;
            let Some(part) = part.map_err(|broken| Error::Unreachable(broken.into()))? else {
                break;
            };
            let written = file.write_all(part.blob()).await;
            written.map_err(|error| Error::Denied(format!("snapshot is not written: {error}")))?;
            bytes += u64::try_from(part.blob().len()).unwrap_or(u64::MAX);
        }
        let flushed = file.flush().await;
        flushed.map_err(|error| Error::Denied(format!("snapshot is not written: {error}")))?;
        Ok(bytes)
    }
}
