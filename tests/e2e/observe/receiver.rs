//! A receiver of OTLP, over gRPC and as protobuf over HTTP, that keeps what it is sent.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tests::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A span, and who sent it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) span: Span,
}

impl Seen {
    /// An attribute as text.
    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        text_of(&self.span.attributes, key)
    }

    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text.clone()),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => Some(number.to_string()),
        _ => None,
    }
}

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Seen>>>);

impl Kept {
    fn take(&self, request: ExportTraceServiceRequest) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|it| it.attributes);
            let service = text_of(&attributes.unwrap_or_default(), "service.name");
            let service = service.unwrap_or_default();
            let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
            kept.extend(spans.map(|span| Seen {
                service: service.clone(),
                span,
            }));
        }
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A receiver on a port for each protocol; ends with its value.
#[derive(Debug)]
pub(crate) struct Receiver {
    kept: Kept,
    grpc: u16,
    http: u16,
    _servers: JoinSet<()>,
}

impl Receiver {
    /// Begins to receive.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let kept = Kept::default();
        let (grpc, http) = (
            TcpListener::bind("127.0.0.1:0").await?,
            TcpListener::bind("127.0.0.1:0").await?,
        );
        let ports = (grpc.local_addr()?.port(), http.local_addr()?.port());
        let mut servers = JoinSet::new();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(kept.clone()))
            .serve_with_incoming(TcpListenerStream::new(grpc));
        servers.spawn(async move { drop(server.await) });
        servers.spawn(serve_http(http, kept.clone()));
        Ok(Self {
            kept,
            grpc: ports.0,
            http: ports.1,
            _servers: servers,
        })
    }

    /// The environment of a program that is to send here.
    pub(crate) fn environment(&self, protocol: &str) -> Vec<(&'static str, String)> {
        let port = if protocol == "grpc" {
            self.grpc
        } else {
            self.http
        };
        vec![
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{port}"),
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ]
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        let kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    /// Waits until a trace has spans of all these names, and gives the trace.
    pub(crate) async fn trace(&self, id: &str, names: &[&str]) -> anyhow::Result<Vec<Seen>> {
        let what = format!("{names:?} in trace {id}");
        wait::until(&what, wait::SETTLE, async || {
            let mut spans = self.spans();
            spans.retain(|seen| seen.trace() == id);
            let has = |name: &&str| spans.iter().any(|seen| seen.span.name == **name);
            let missing: Vec<_> = names.iter().filter(|name| !has(name)).collect();
            let found: Vec<_> = spans.iter().map(|seen| &seen.span.name).collect();
            anyhow::ensure!(missing.is_empty(), "{missing:?} are missing in {found:?}");
            Ok(spans)
        })
        .await
    }
}

/// Enough of HTTP/1.1 for an exporter.
async fn serve_http(listener: TcpListener, kept: Kept) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let kept = kept.clone();
        connections.spawn(async move { drop(converse(stream, kept).await) });
    }
}

async fn converse(mut stream: TcpStream, kept: Kept) -> anyhow::Result<()> {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            anyhow::ensure!(stream.read_buf(&mut read).await? > 0, "closed");
        };
        let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
        anyhow::ensure!(text.starts_with("post /v1/traces "), "{text}");
        let length = text
            .lines()
            .find_map(|it| it.strip_prefix("content-length: "));
        let length: usize = length.context("no length")?.trim().parse()?;
        while read.len() < head + length {
            anyhow::ensure!(stream.read_buf(&mut read).await? > 0, "closed");
        }
        kept.take(ExportTraceServiceRequest::decode(
            &read[head..head + length],
        )?);
        read.drain(..head + length);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await?;
    }
}
