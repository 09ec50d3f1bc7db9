//! Statements that are sent one after the other without waiting for the answers.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

type Answer<'a> = Pin<Box<dyn Future<Output = Result<u64, Error>> + Send + 'a>>;

enum Sent<'a> {
    Waiting(Answer<'a>),
    Done(Result<u64, Error>),
}

/// Statements on their way, in order.
pub(super) struct Pipeline<'a> {
    client: &'a Client,
    sent: Vec<Sent<'a>>,
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        let sent = Vec::new();
        Self { client, sent }
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Sends text that holds no values.
    pub(super) async fn simple(&mut self, sql: &'a str) {
        let client = self.client;
        let answer = async move { client.batch_execute(sql).await.map(|()| 0) };
        self.send(Box::pin(answer)).await;
    }

    /// Sends a prepared statement.
    pub(super) async fn execute(
        &mut self,
        statement: &'a Statement,
        parameters: &'a [&'a (dyn ToSql + Sync)],
    ) {
        let answer = self.client.execute(statement, parameters);
        self.send(Box::pin(answer)).await;
    }

    /// A statement is written to the connection when its answer is first asked for.
    async fn send(&mut self, mut answer: Answer<'a>) {
        let first = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
        self.sent.push(match first {
            Poll::Ready(result) => Sent::Done(result),
            Poll::Pending => Sent::Waiting(answer),
        });
    }

    /// The row counts of all of them.
    ///
    /// # Errors
    /// The first error and the place of its statement; what follows in a transaction is refused
    /// for that reason alone.
    pub(super) async fn finish(self) -> Result<Vec<u64>, (usize, Error)> {
        let mut counts = Vec::with_capacity(self.sent.len());
        for (at, sent) in self.sent.into_iter().enumerate() {
            let result = match sent {
                Sent::Done(result) => result,
                Sent::Waiting(answer) => answer.await,
            };
            counts.push(result.map_err(|error| (at, error))?);
        }
        Ok(counts)
    }
}
