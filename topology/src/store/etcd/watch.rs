//! An open watch on etcd: responses cut into one batch a revision, silence taken for a dead
//! connection.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::{Client, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, sleep_until};

use super::endpoints::{Endpoints, Retry};
use super::failure::Failure;
use super::{MAX_ANSWER_BYTES, entry, header_revision, prefix_end, prefix_start, signed, unsigned};
use crate::store::{Batch, Error, Event, Revision, Watch};

/// How long a watch may be silent before it asks etcd for a sign of life.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct EtcdWatch {
    stream: WatchStream,
    ready: VecDeque<Batch>,
    heard_at: Instant,
    ask_at: Instant,
    /// How long after [`PROGRESS_INTERVAL`] the sign of life may take.
    timeout: Duration,
}

pub(super) async fn open(
    endpoints: &Endpoints,
    prefix: &str,
    from: Revision,
    timeout: Duration,
) -> Result<EtcdWatch, Error> {
    // Revision 0 would be "from now on" to etcd.
    let from = from.max(Revision(1));
    let options = WatchOptions::new()
        .with_range(prefix_end(prefix))
        .with_start_revision(signed(from))
        .with_progress_notify();
    let request = |client: Client| {
        let mut watcher = client
            .watch_client()
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let options = options.clone();
        async move {
            let mut stream = watcher.watch(prefix_start(prefix), Some(options)).await?;
            // The first response says that the watch is there.
            let first = stream.message().await?;
            Ok((stream, first))
        }
    };
    let (stream, first) = endpoints.call(Retry::Always, request).await?;
    let now = Instant::now();
    let ready = VecDeque::new();
    let mut watch = EtcdWatch {
        stream,
        ready,
        heard_at: now,
        ask_at: now + PROGRESS_INTERVAL,
        timeout,
    };
    match first {
        Some(response) if response.created() && !response.canceled() => Ok(watch),
        other => match watch.take(other) {
            Err(error) => Err(error),
            Ok(()) => Err(Error::Unreachable("etcd did not confirm the watch".into())),
        },
    }
}

impl EtcdWatch {
    fn take(&mut self, response: Option<WatchResponse>) -> Result<(), Error> {
        let Some(response) = response else {
            return Err(Error::Unreachable("etcd ended the watch".into()));
        };
        self.heard_at = Instant::now();
        self.ask_at = self.heard_at + PROGRESS_INTERVAL;
        if response.compact_revision() > 0 {
            return Err(Error::Compacted {
                oldest: unsigned(response.compact_revision()),
            });
        }
        if response.canceled() {
            let reason = format!("etcd cancelled the watch: {}", response.cancel_reason());
            return Err(Error::Unreachable(reason.into()));
        }
        if response.events().is_empty() {
            let revision = header_revision(response.header());
            self.ready.push_back(Batch {
                revision,
                events: Vec::new(),
            });
            return Ok(());
        }
        // Without fragments, which are not asked for, a revision is never spread over responses.
        for event in response.events() {
            let Some(changed) = event.kv() else { continue };
            // A deletion sets the version to zero; a put never does.
            let deleted = changed.version() == 0;
            let entry = entry(changed.clone())?;
            let revision = entry.mod_revision;
            let event = if deleted {
                Event::Delete { key: entry.key }
            } else {
                Event::Put(entry)
            };
            match self.ready.back_mut() {
                Some(batch) if batch.revision == revision && !batch.events.is_empty() => {
                    batch.events.push(event);
                }
                _ => self.ready.push_back(Batch {
                    revision,
                    events: vec![event],
                }),
            }
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let silent_at = self.heard_at + PROGRESS_INTERVAL + self.timeout;
            tokio::select! {
                // What has arrived counts, however late the caller asks for it.
                biased;
                response = self.stream.message() => {
                    let response = response.map_err(|error| match Failure::of(error) {
                        Failure::Answered(error) => error,
                        Failure::Unsent(source) | Failure::Unknown(source) => {
                            Error::Unreachable(source)
                        }
                    })?;
                    self.take(response)?;
                }
                () = sleep_until(silent_at) => {
                    return Err(Error::Unreachable("the watch has fallen silent".into()));
                }
                () = sleep_until(self.ask_at) => {
                    self.ask_at = Instant::now() + PROGRESS_INTERVAL;
                    let asked = self.stream.request_progress().await;
                    asked.map_err(|error| Error::Unreachable(error.into()))?;
                }
            }
        }
    }
}
