//! Traces: spans of requests and jobs, sent to a receiver by OTLP.
//!
//! They are off until [`start`] is called. Then [`begin`] gives a span for what is sampled, and
//! spans within it are begun from its [`Here`]. Whatever is not sampled has no span at all, so that
//! code which is not traced pays for a branch. No span ever holds a statement, a parameter or a row.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

mod export;
mod ids;
mod parent;
mod sampler;
mod serving;

pub use export::{Error, Unsent, start_if};
pub use parent::{Parent, commented, without_comment};
pub use serving::{answered, of_request};

/// Set once traces are on.
static TRACER: OnceLock<Tracer> = OnceLock::new();

#[derive(Debug)]
struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

tokio::task_local! {
    /// Where the present task is in a trace.
    static PRESENT: Here;
}

/// A span within the present one of this task; none where there is none.
#[must_use]
pub fn child(name: &'static str, role: Role) -> Option<Span> {
    TRACER.get()?;
    present()?.begin(name, role)
}

/// Where this task is.
#[must_use]
pub fn present() -> Option<Here> {
    TRACER.get()?;
    PRESENT.try_with(Clone::clone).ok()
}

/// What part of a conversation a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It answers a request.
    Server,
    /// It asks another server.
    Client,
    /// Neither.
    Internal,
}

impl From<Role> for SpanKind {
    fn from(role: Role) -> Self {
        match role {
            Role::Server => Self::Server,
            Role::Client => Self::Client,
            Role::Internal => Self::Internal,
        }
    }
}

/// Whether anything is traced.
#[must_use]
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// A span for a request, within its caller's if there is one; none when traces are off or this one
/// is not sampled.
#[must_use]
pub fn begin(
    name: impl Into<Cow<'static, str>>,
    role: Role,
    parent: Option<Parent>,
) -> Option<Span> {
    let tracer = TRACER.get()?;
    let parent = parent.map_or_else(Context::new, |parent| within(parent.0));
    Span::of(
        tracer,
        SpanBuilder::from_name(name).with_kind(role.into()),
        &parent,
    )
}

fn within(context: SpanContext) -> Context {
    Context::new().with_remote_span_context(context)
}

/// A span, which ends when it is dropped.
#[derive(Debug)]
pub struct Span(opentelemetry_sdk::trace::Span);

impl Span {
    fn of(tracer: &Tracer, builder: SpanBuilder, parent: &Context) -> Option<Self> {
        let span = tracer.tracer.build_with_context(builder, parent);
        span.is_recording().then_some(Self(span))
    }

    /// Says something of it: never text of a client's.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(key, value));
    }

    /// It went wrong, of this kind.
    pub fn fail(&mut self, kind: impl Into<Cow<'static, str>>) {
        let kind = kind.into();
        self.0
            .set_attribute(KeyValue::new("error.type", kind.clone()));
        self.0.set_status(Status::error(kind));
    }

    /// Where spans within it are begun.
    #[must_use]
    pub fn here(&self) -> Here {
        Here(self.0.span_context().clone())
    }
}

/// A span that others are begun within. Clones are cheap, and it may be left behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Here(SpanContext);

impl Here {
    /// A span within it.
    #[must_use]
    pub fn begin(&self, name: impl Into<Cow<'static, str>>, role: Role) -> Option<Span> {
        let builder = SpanBuilder::from_name(name).with_kind(role.into());
        Span::of(TRACER.get()?, builder, &within(self.0.clone()))
    }

    /// What the future does is done here.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        PRESENT.scope(self, future).await
    }

    /// The trace's id, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// As the header `traceparent`, for whoever is asked within it.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = self.0.trace_flags() & TraceFlags::SAMPLED;
        format!(
            "00-{}-{}-{:02x}",
            self.0.trace_id(),
            self.0.span_id(),
            flags.to_u8()
        )
    }
}

/// The trace of something that outlives processes, such as a job: whoever knows its name knows its
/// trace, and the spans that several processes make are all within one root.
#[derive(Debug, Clone)]
pub struct Named(SpanContext);

impl Named {
    /// The trace of this name; none when traces are off.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        TRACER.get()?;
        let (trace, root) = ids::of_name(name);
        let context = SpanContext::new(
            trace,
            root,
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        Some(Self(context))
    }

    /// Where its spans are begun.
    #[must_use]
    pub fn here(&self) -> Here {
        Here(self.0.clone())
    }

    /// Its root, told once it is over: it began at `since` and ends when it is dropped.
    #[must_use]
    pub fn root(&self, name: &'static str, since: SystemTime) -> Option<Span> {
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(since);
        let tracer = TRACER.get()?;
        ids::with_next((self.0.trace_id(), self.0.span_id()), || {
            Span::of(tracer, builder, &Context::new())
        })
    }
}

/// Sends what is waiting, for as long as `patience`; to be called before a process ends, from a
/// thread that may wait.
pub fn stop(patience: Duration) {
    if let Some(tracer) = TRACER.get()
        && let Err(error) = tracer.provider.shutdown_with_timeout(patience)
    {
        tracing::warn!(%error, "spans not sent");
    }
}

/// A context that another process gave.
fn remote(trace: TraceId, span: SpanId, flags: TraceFlags) -> Option<SpanContext> {
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}
