//! Pure: which replica takes a primary's place, and what may be lost by it.

use topology::{Endpoint, Lineage};

use crate::reshard::lsn::Lsn;
use crate::shards::server::Seen;

/// A replica, as it answered just now.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What it said, or why it said nothing.
    pub seen: Result<Seen, String>,
}

/// What is known of the primary.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its cluster and timeline.
    pub lineage: Option<Lineage>,
    /// How far its log was when it last answered.
    pub position: Option<Lsn>,
    /// Whether it told clients of commits only once a standby had them.
    pub is_synchronous: Option<bool>,
    /// Whether it answers now, so that it can be fenced and waited for.
    pub answers: bool,
}

/// The replica that is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Where it is.
    pub to: Endpoint,
    /// What it said.
    pub seen: Seen,
    /// Bytes of the primary's log, as last heard of, that it had not received.
    pub behind: Option<u64>,
    /// What may be lost; none where nothing can be.
    pub loss: Option<String>,
}

/// Why no replica is chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The shard has none.
    #[error("the shard has no replica")]
    NoReplica,
    /// The one that was asked for is not one of them.
    #[error("{0} is not a replica of the shard")]
    Unknown(Endpoint),
    /// None of them can be it.
    #[error("no replica can be promoted: {}", .0.join("; "))]
    NoneFits(Vec<String>),
    /// Nobody knows which of two clusters is meant.
    #[error("the replicas are of several clusters, and it is not known which was the primary's")]
    Ambiguous,
}

/// Chooses the most advanced replica, or the one that is wanted.
///
/// # Errors
/// [`Refusal`] says of each replica what is wrong with it.
pub fn choose(
    known: &Known,
    candidates: &[Candidate],
    wanted: Option<&Endpoint>,
) -> Result<Choice, Refusal> {
    if candidates.is_empty() {
        return Err(Refusal::NoReplica);
    }
    if let Some(wanted) = wanted
        && !candidates.iter().any(|it| it.endpoint == *wanted)
    {
        return Err(Refusal::Unknown(wanted.clone()));
    }
    let lineage = match &known.lineage {
        Some(lineage) => lineage.clone(),
        None => common(candidates)?,
    };
    let mut faults = Vec::new();
    let mut fit: Vec<(&Endpoint, &Seen)> = Vec::new();
    for candidate in candidates {
        match fault(candidate, &lineage) {
            Ok(seen) => fit.push((&candidate.endpoint, seen)),
            Err(fault) => faults.push(fault),
        }
    }
    fit.sort_by_key(|(_, seen)| (seen.lineage.timeline, seen.position));
    let most = fit.last().map(|(_, seen)| seen.position);
    let chosen = match wanted {
        Some(wanted) => fit.into_iter().find(|(endpoint, _)| *endpoint == wanted),
        None => fit.pop(),
    };
    let Some((to, seen)) = chosen else {
        return Err(Refusal::NoneFits(faults));
    };
    let is_most = Some(seen.position) == most;
    Ok(Choice {
        to: to.clone(),
        seen: seen.clone(),
        behind: known
            .position
            .map(|position| position.bytes_since(seen.position)),
        loss: loss(known, seen, (is_most, faults)),
    })
}

/// The lineage that all replicas share.
fn common(candidates: &[Candidate]) -> Result<Lineage, Refusal> {
    let seen = candidates.iter().filter_map(|it| it.seen.as_ref().ok());
    let lineages: Vec<&Lineage> = seen.map(|seen| &seen.lineage).collect();
    let newest = lineages.iter().max_by_key(|lineage| lineage.timeline);
    let Some(newest) = newest else {
        let faults = candidates.iter().filter_map(|it| it.seen.clone().err());
        return Err(Refusal::NoneFits(faults.collect()));
    };
    if lineages.iter().any(|other| other.system != newest.system) {
        return Err(Refusal::Ambiguous);
    }
    Ok((*newest).clone())
}

fn fault<'a>(candidate: &'a Candidate, lineage: &Lineage) -> Result<&'a Seen, String> {
    let endpoint = &candidate.endpoint;
    let seen = candidate.seen.as_ref().map_err(Clone::clone)?;
    if seen.is_primary {
        return Err(format!("{endpoint} is no replica: it takes writes"));
    }
    if !lineage.is_succeeded_by(&seen.lineage) {
        return Err(format!(
            "{endpoint} is a replica of {}, the primary was {lineage}",
            seen.lineage
        ));
    }
    Ok(seen)
}

fn loss(known: &Known, seen: &Seen, (is_most, faults): (bool, Vec<String>)) -> Option<String> {
    if known.answers {
        // It is fenced, and the replica is waited for until it has everything.
        return None;
    }
    let received = seen.position;
    let heard = match known.position {
        None => "how far the primary's log was is not known".to_owned(),
        Some(position) => format!(
            "the primary's log was at {position} when it last answered, {} bytes ahead",
            position.bytes_since(received)
        ),
    };
    let why = match known.is_synchronous {
        Some(true) if is_most && faults.is_empty() => return None,
        Some(true) if is_most => format!(
            "the primary was synchronous, but not all replicas could be asked which has its last \
             commits ({})",
            faults.join("; ")
        ),
        Some(true) => "another replica has received more".to_owned(),
        Some(false) => {
            "the primary was asynchronous: commits that it told of and had not sent are lost"
                .to_owned()
        }
        None => "it is not known whether the primary was synchronous".to_owned(),
    };
    Some(format!(
        "{why}; the replica has received up to {received}, {heard}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Endpoint {
        Endpoint::try_new(&format!("postgres://h:{port}/app")).unwrap()
    }

    fn lineage(timeline: u32) -> Lineage {
        Lineage {
            system: "77".to_owned(),
            timeline,
        }
    }

    fn replica(port: u16, timeline: u32, position: u64) -> Candidate {
        Candidate {
            endpoint: at(port),
            seen: Ok(Seen {
                is_primary: false,
                lineage: lineage(timeline),
                position: Lsn(position),
                replayed: Some(Lsn(position)),
                lag: None,
                is_synchronous: false,
            }),
        }
    }

    fn silent(port: u16) -> Candidate {
        Candidate {
            endpoint: at(port),
            seen: Err("no answer".to_owned()),
        }
    }

    fn known(is_synchronous: bool) -> Known {
        Known {
            lineage: Some(lineage(3)),
            position: Some(Lsn(100)),
            is_synchronous: Some(is_synchronous),
            answers: false,
        }
    }

    #[test]
    fn the_most_advanced_replica_is_chosen_and_what_may_be_lost_is_said() {
        let all = [replica(1, 3, 80), replica(2, 3, 90), replica(3, 3, 70)];
        let choice = choose(&known(false), &all, None).unwrap();
        assert_eq!((choice.to, choice.behind), (at(2), Some(10)));
        let loss = choice.loss.unwrap();
        assert!(
            loss.contains("asynchronous") && loss.contains("10 bytes"),
            "{loss}"
        );
        let choice = choose(&known(true), &all, None).unwrap();
        assert_eq!(choice.loss, None);
        let choice = choose(&known(true), &all, Some(&at(1))).unwrap();
        assert_eq!(choice.to, at(1));
        assert!(choice.loss.unwrap().contains("another replica"));
        // Nobody knows whether the silent one is the standby that has the last commits.
        let some = [replica(1, 3, 80), silent(2)];
        let choice = choose(&known(true), &some, None).unwrap();
        assert!(choice.loss.unwrap().contains("not all replicas"));
        let answering = Known {
            answers: true,
            ..known(false)
        };
        assert_eq!(choose(&answering, &some, None).unwrap().loss, None);
    }

    #[test]
    fn a_server_that_is_none_of_the_primary_s_replicas_is_not_chosen() {
        let mut stranger = replica(1, 3, 500);
        stranger.seen.as_mut().unwrap().lineage.system = "78".to_owned();
        let mut writing = replica(2, 4, 500);
        writing.seen.as_mut().unwrap().is_primary = true;
        let behind = replica(3, 2, 500);
        let all = [stranger.clone(), writing, behind, silent(4)];
        let Err(Refusal::NoneFits(faults)) = choose(&known(true), &all, None) else {
            panic!("none of them fits");
        };
        assert_eq!(faults.len(), 4, "{faults:?}");
        let refused = choose(&known(true), &all, Some(&at(9)));
        assert_eq!(refused, Err(Refusal::Unknown(at(9))));
        assert_eq!(choose(&known(true), &[], None), Err(Refusal::NoReplica));
        let unknown = Known::default();
        let both = [stranger, replica(5, 3, 1)];
        assert_eq!(choose(&unknown, &both, None), Err(Refusal::Ambiguous));
        let choice = choose(&unknown, &[replica(5, 3, 1)], None).unwrap();
        assert!(choice.loss.unwrap().contains("not known"));
    }
}
