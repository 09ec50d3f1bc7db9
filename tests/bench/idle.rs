//! Memory of the proxies: at rest, and with clients that have asked once and wait.

use tokio_postgres::Client;

use crate::arguments::Arguments;
use crate::subject::{Subject, Subjects};
use crate::usage::{self, Memory};
use crate::{Progress, load};

/// A proxy's memory.
#[derive(Debug, Clone)]
pub(crate) struct Idle {
    pub(crate) subject: Subject,
    pub(crate) at_rest: Memory,
    pub(crate) with_clients: Memory,
}

/// Measures each proxy.
pub(crate) async fn measure(
    subjects: &Subjects,
    arguments: &Arguments,
    progress: &Progress,
) -> anyhow::Result<Vec<Idle>> {
    let mut measured = Vec::new();
    for subject in Subject::ALL {
        let Some(proxy) = subjects.proxy(subject)? else {
            continue;
        };
        let address = subjects.address(subject)?;
        let at_rest = usage::memory(proxy)?;
        let mut clients: Vec<Client> = Vec::new();
        for number in 0..arguments.idle_clients {
            let client = address.client().await?;
            let aid = i64::try_from(number)? % load::ROWS + 1;
            let query = format!("SELECT abalance FROM pgbench_accounts WHERE aid = {aid}");
            client.simple_query(&query).await?;
            clients.push(client);
        }
        let with_clients = usage::memory(proxy)?;
        drop(clients);
        measured.push(Idle {
            subject,
            at_rest,
            with_clients,
        });
        progress.done(&format!("memory of {}", subject.name()));
    }
    Ok(measured)
}
