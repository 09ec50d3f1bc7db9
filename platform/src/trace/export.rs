//! Where spans go: an OTLP receiver, found by the standard environment variables (`OTEL_..`), over
//! gRPC or as protobuf over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;

use super::ids::Ids;
use super::sampler::Sampling;
use super::{TRACER, Tracer};

/// Longest answer of a receiver that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How long a receiver may take over HTTP.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The variables name no receiver that spans could be sent to.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT and its like: {0}")]
    Receiver(String),
    /// A protocol that is not spoken.
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL is {0:?}, and may be \"grpc\" or \"http/protobuf\"")]
    Protocol(String),
    /// A sampler that is not known.
    #[error("OTEL_TRACES_SAMPLER is {0:?}, which is none of the standard's")]
    Sampler(String),
    /// A part of all traces that is none.
    #[error("OTEL_TRACES_SAMPLER_ARG is {0:?}, and must be between 0 and 1")]
    Ratio(String),
    /// Traces are on.
    #[error("traces are set up already")]
    AlreadySetUp,
}

/// Sends what is waiting when it is dropped.
#[derive(Debug)]
#[must_use = "spans that are waiting are sent when it is dropped"]
pub struct Unsent(());

impl Drop for Unsent {
    fn drop(&mut self) {
        super::stop(Duration::from_secs(2));
    }
}

/// As [`start`] by the environment of the process, where that is wanted. Spans that wait are sent when
/// the value is dropped.
///
/// # Errors
/// As [`start`].
pub fn start_if(
    wanted: bool,
    service: &'static str,
    version: &'static str,
) -> Result<Option<Unsent>, Error> {
    let started = wanted.then(|| start(service, version, |name| std::env::var(name).ok()));
    started.transpose()
}

/// Begins to trace as `service`, unless `OTEL_SERVICE_NAME` gives another name. To be called within
/// a runtime, which sends the spans. `variable` reads the environment.
///
/// # Errors
/// When the environment names a receiver that cannot be spoken to; one that is not there is found
/// out later, and logged.
fn start(
    service: &'static str,
    version: &'static str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Unsent, Error> {
    let is = |name: &str, value: &str| variable(name).is_some_and(|it| it == value);
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(Unsent(()));
    }
    let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
    let exporter = match protocol.as_deref() {
        None | Some("" | "grpc") => SpanExporter::builder().with_tonic().build(),
        Some("http/protobuf") => {
            let client = Http::new(Handle::current());
            SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .build()
        }
        Some(other) => return Err(Error::Protocol(other.to_owned())),
    };
    let sampler = Sampling::try_new(
        variable("OTEL_TRACES_SAMPLER").as_deref(),
        variable("OTEL_TRACES_SAMPLER_ARG").as_deref(),
    )?;
    let exporter = exporter.map_err(|error| Error::Receiver(error.to_string()))?;
    let named = variable("OTEL_SERVICE_NAME").filter(|name| !name.is_empty());
    let resource = Resource::builder()
        .with_service_name(named.unwrap_or_else(|| service.to_owned()))
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_id_generator(Ids::default())
        .with_sampler(sampler)
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer(service);
    let tracer = Tracer { provider, tracer };
    TRACER.set(tracer).map_err(|_| Error::AlreadySetUp)?;
    Ok(Unsent(()))
}

/// Speaks HTTP on a runtime, for the exporter, whose thread has none.
#[derive(Debug)]
struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

impl Http {
    fn new(runtime: Handle) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, runtime }
    }
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let asked = self
            .client
            .request(Request::from_parts(parts, Full::new(body)));
        let asked = async move {
            let answer = asked.await?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(parts, body.to_bytes()))
        };
        let tasks = crate::TaskGroup::new();
        // A clock begins on the runtime, too.
        let asked = async move { tokio::time::timeout(PATIENCE, asked).await };
        tasks.spawn_on("spans", asked, &self.runtime).await??
    }
}
