//! Which traces are kept: by `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, and those of jobs,
//! of which there are few, unless nothing is kept at all.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use super::Error;
use super::ids;

/// The standard's samplers, and an exception.
#[derive(Debug, Clone)]
pub(super) struct Sampling {
    standard: Sampler,
}

impl Sampling {
    /// The sampler of these variables.
    pub(super) fn try_new(name: Option<&str>, argument: Option<&str>) -> Result<Self, Error> {
        let ratio = || match argument.filter(|text| !text.is_empty()) {
            None => Ok(1.0),
            Some(text) => match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
                Ok(_) | Err(_) => Err(Error::Ratio(text.to_owned())),
            },
        };
        let by_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
        let standard = match name {
            None | Some("" | "parentbased_always_on") => by_parent(Sampler::AlwaysOn),
            Some("parentbased_always_off") => by_parent(Sampler::AlwaysOff),
            Some("parentbased_traceidratio") => by_parent(Sampler::TraceIdRatioBased(ratio()?)),
            Some("always_on") => Sampler::AlwaysOn,
            Some("always_off") => Sampler::AlwaysOff,
            Some("traceidratio") => Sampler::TraceIdRatioBased(ratio()?),
            Some(other) => return Err(Error::Sampler(other.to_owned())),
        };
        Ok(Self { standard })
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let sampled = self
            .standard
            .should_sample(parent, trace, name, kind, attributes, links);
        let is_off = matches!(self.standard, Sampler::AlwaysOff);
        if !ids::is_wanted() || is_off {
            return sampled;
        }
        let state = parent.map(|parent| parent.span().span_context().trace_state().clone());
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes: Vec::new(),
            trace_state: state.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_have_the_names_of_the_standard() {
        for name in [
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
            "",
        ] {
            Sampling::try_new(Some(name), Some("0.25")).unwrap();
        }
        Sampling::try_new(None, None).unwrap();
        Sampling::try_new(Some("xray"), None).unwrap_err();
        Sampling::try_new(Some("traceidratio"), Some("2")).unwrap_err();
    }

    #[test]
    fn a_ratio_of_nothing_keeps_only_what_has_a_name() {
        let sampling = Sampling::try_new(Some("traceidratio"), Some("0")).unwrap();
        let decide = || {
            let trace = ids::of_name("a").0;
            let kind = SpanKind::Internal;
            sampling
                .should_sample(None, trace, "a", &kind, &[], &[])
                .decision
        };
        assert_eq!(decide(), SamplingDecision::Drop);
        let wanted = ids::with_next(ids::of_name("a"), decide);
        assert_eq!(wanted, SamplingDecision::RecordAndSample);
    }
}
