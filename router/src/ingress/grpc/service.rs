//! The three calls of `RouterService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use prost::Message as _;
use proto::router::v1::execute_stream_response::Part;
use proto::router::v1::router_service_server::RouterService;
use proto::router::v1::{
    Column, ExecuteRequest, ExecuteResponse, ExecuteStreamRequest, ExecuteStreamResponse,
    ResultHeader, ResultSummary, Row, RowBatch, ShardForKeyRequest, ShardForKeyResponse,
};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::failure::status;
use super::{deadline, value};
use crate::exec::types::Shape;
use crate::exec::{self, Executor, Rows, locate};
use crate::ingress::rights_of;
use crate::route::Rights;

/// A part of a streamed result is sent once it is this long, or when the shard takes its time.
const BATCH_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Service {
    executor: Arc<Executor>,
    max_result_bytes: usize,
}

impl Service {
    pub(super) fn new(executor: Arc<Executor>, max_result_bytes: usize) -> Self {
        Self {
            executor,
            max_result_bytes,
        }
    }

    async fn begin(
        &self,
        request: ExecuteRequest,
        (deadline, rights): (Option<Duration>, Rights),
    ) -> Result<Reading, Status> {
        let started = Instant::now();
        let mut request = statement(request, deadline)?;
        request.rights = rights;
        let rows = self.executor.execute(request).await.map_err(status)?;
        let shape = |column: &exec::Column| Shape::or_text(column.type_oid);
        let shapes = rows.columns().iter().map(shape).collect();
        Ok(Reading {
            rows,
            shapes,
            started,
        })
    }

    /// The result does not fit one message. What a statement has changed stays changed, so that
    /// one that writes is brought to its end before the client is told.
    async fn too_long(&self, mut reading: Reading) -> Status {
        let limit = self.max_result_bytes;
        let advice = format!("the result is longer than {limit} bytes; call ExecuteStream instead");
        if !reading.rows.may_write() {
            return Status::new(Code::ResourceExhausted, advice);
        }
        match reading.rows.discard().await {
            Ok(()) => {
                let message = format!("the statement took effect, but {advice}");
                Status::new(Code::ResourceExhausted, message)
            }
            Err(error) => status(error),
        }
    }
}

#[tonic::async_trait]
impl RouterService for Service {
    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<ExecuteResponse>, Status> {
        let terms = (deadline_of(&request), rights_of(request.extensions().get()));
        let mut reading = self.begin(request.into_inner(), terms).await?;
        let (mut rows, mut bytes) = (Vec::new(), 0_usize);
        while let Some(row) = reading.next().await? {
            // The row, its field number and its length.
            bytes += row.encoded_len() + 1 + prost::length_delimiter_len(row.encoded_len());
            if bytes > self.max_result_bytes {
                return Err(self.too_long(reading).await);
            }
            rows.push(row);
        }
        let summary = reading.summary();
        Ok(Response::new(ExecuteResponse {
            shard_id: reading.rows.shard().to_owned(),
            columns: reading.columns(),
            rows,
            row_count: summary.row_count,
            latency_ms: summary.latency_ms,
            command_tag: summary.command_tag,
        }))
    }

    type ExecuteStreamStream =
        Pin<Box<dyn Stream<Item = Result<ExecuteStreamResponse, Status>> + Send>>;

    async fn execute_stream(
        &self,
        request: Request<ExecuteStreamRequest>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        let terms = (deadline_of(&request), rights_of(request.extensions().get()));
        let Some(inner) = request.into_inner().request else {
            return Err(Status::invalid_argument("request is missing"));
        };
        let reading = self.begin(inner, terms).await?;
        let parts = stream::unfold(Streaming::Head(reading), Streaming::step);
        Ok(Response::new(Box::pin(parts)))
    }

    async fn shard_for_key(
        &self,
        request: Request<ShardForKeyRequest>,
    ) -> Result<Response<ShardForKeyResponse>, Status> {
        let rights = rights_of(request.extensions().get());
        let ShardForKeyRequest { key, group } = request.into_inner();
        let key = key.and_then(value::key_text);
        let key = key.ok_or_else(|| Status::invalid_argument("key is missing"))?;
        let group = Some(group.as_str()).filter(|group| !group.is_empty());
        let checked = rights.check_group(group.unwrap_or(locate::DEFAULT_GROUP));
        checked.map_err(|refusal| status(refusal.into()))?;
        let serving = self.executor.core().view.load();
        let located = locate::locate(&serving.snapshot, group, &key).map_err(status)?;
        Ok(Response::new(ShardForKeyResponse {
            shard_id: located.shard.as_str().to_owned(),
            token: located.token.0,
            vnode: located.vnode.0,
            epoch: located.epoch.0,
        }))
    }
}

fn deadline_of<T>(request: &Request<T>) -> Option<Duration> {
    let header = request.metadata().get("grpc-timeout")?;
    deadline::parse(header.to_str().ok()?)
}

/// The statement of a request; the shorter of its two time-outs applies.
fn statement(request: ExecuteRequest, deadline: Option<Duration>) -> Result<exec::Request, Status> {
    let consistency = match request.consistency() {
        proto::router::v1::Consistency::Unspecified | proto::router::v1::Consistency::Strong => {
            topology::Consistency::Strong
        }
        proto::router::v1::Consistency::Eventual => topology::Consistency::Eventual,
    };
    let mut params = Vec::with_capacity(request.params.len());
    for (index, param) in request.params.into_iter().enumerate() {
        let unset = || Status::invalid_argument(format!("parameter ${} is not set", index + 1));
        params.push(value::to_param(param).ok_or_else(unset)?);
    }
    let shard_key = match request.shard_key {
        None => None,
        Some(key) => {
            let unset = || Status::invalid_argument("shard_key is not set");
            Some(value::key_text(key).ok_or_else(unset)?)
        }
    };
    let timeout_ms = u64::from(request.timeout_ms);
    let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
    Ok(exec::Request {
        sql: request.query,
        params,
        shard_key,
        group: Some(request.group).filter(|group| !group.is_empty()),
        timeout: timeout.into_iter().chain(deadline).min(),
        consistency,
        rights: Rights::default(),
    })
}

/// A result that is being read.
#[derive(Debug)]
struct Reading {
    rows: Rows,
    shapes: Vec<Shape>,
    started: Instant,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Row>, Status> {
        let Some(row) = self.rows.next().await.map_err(status)? else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(self.shapes.len());
        for (shape, bytes) in self.shapes.iter().zip(row.values()) {
            let text = bytes.map(std::str::from_utf8).transpose();
            let text = text.map_err(|_| Status::data_loss("a value is not valid UTF-8"))?;
            values.push(value::from_text(*shape, text));
        }
        Ok(Some(Row { values }))
    }

    fn columns(&self) -> Vec<Column> {
        let column = |column: &exec::Column| Column {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_name: column.type_name().into_owned(),
        };
        self.rows.columns().iter().map(column).collect()
    }

    fn summary(&self) -> ResultSummary {
        let summary = self.rows.summary().cloned().unwrap_or_default();
        ResultSummary {
            row_count: summary.row_count,
            latency_ms: self.started.elapsed().as_secs_f64() * 1_000.0,
            command_tag: summary.command_tag,
        }
    }

    /// The rows that are there, up to a batch's length; none at the end.
    async fn batch(&mut self) -> Result<Option<RowBatch>, Status> {
        let (mut rows, mut bytes) = (Vec::new(), 0_usize);
        loop {
            let Some(row) = self.next().await? else {
                let batch = RowBatch { rows };
                return Ok(Some(batch).filter(|batch| !batch.rows.is_empty()));
            };
            bytes += row.encoded_len();
            rows.push(row);
            if bytes >= BATCH_BYTES || !self.rows.has_buffered() {
                return Ok(Some(RowBatch { rows }));
            }
        }
    }
}

/// Where a streamed answer stands.
#[derive(Debug)]
enum Streaming {
    Head(Reading),
    Rows(Reading),
    End,
}

impl Streaming {
    async fn step(self) -> Option<(Result<ExecuteStreamResponse, Status>, Self)> {
        let (part, next) = match self {
            Self::Head(reading) => {
                let header = ResultHeader {
                    shard_id: reading.rows.shard().to_owned(),
                    columns: reading.columns(),
                };
                (Part::Header(header), Self::Rows(reading))
            }
            Self::Rows(mut reading) => match reading.batch().await {
                Ok(Some(batch)) => (Part::Rows(batch), Self::Rows(reading)),
                Ok(None) => (Part::Summary(reading.summary()), Self::End),
                Err(status) => return Some((Err(status), Self::End)),
            },
            Self::End => return None,
        };
        Some((Ok(ExecuteStreamResponse { part: Some(part) }), next))
    }
}
