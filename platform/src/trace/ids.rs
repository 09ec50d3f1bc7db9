//! The ids of traces and spans: random, but for those of things with names.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha2::{Digest as _, Sha256};

thread_local! {
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, unless others are wanted for the next span of this thread.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let wanted = NEXT.get();
        wanted.map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        let wanted = NEXT.get();
        wanted.map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

/// Whether the next span of this thread is one of a name.
pub(super) fn is_wanted() -> bool {
    NEXT.get().is_some()
}

/// What `make` makes has these ids.
pub(super) fn with_next<T>(ids: (TraceId, SpanId), make: impl FnOnce() -> T) -> T {
    NEXT.set(Some(ids));
    let made = make();
    NEXT.set(None);
    made
}

/// The ids of the trace of this name, and of its root.
pub(super) fn of_name(name: &str) -> (TraceId, SpanId) {
    let digest = Sha256::digest(name.as_bytes());
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    for (to, from) in trace.iter_mut().chain(&mut span).zip(&digest) {
        *to = *from;
    }
    // 0 is no id.
    trace[15] |= 1;
    span[7] |= 1;
    (TraceId::from_bytes(trace), SpanId::from_bytes(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_always_has_the_same_ids_and_others_have_others() {
        assert_eq!(of_name("a"), of_name("a"));
        assert_ne!(of_name("a").0, of_name("b").0);
        assert_ne!(of_name("a").1, of_name("b").1);
    }

    #[test]
    fn wanted_ids_are_given_only_where_they_are_wanted() {
        let (ids, wanted) = (Ids::default(), of_name("a"));
        let given = with_next(wanted, || (ids.new_trace_id(), ids.new_span_id()));
        assert_eq!(given, wanted);
        assert_ne!(ids.new_trace_id(), wanted.0);
    }
}
