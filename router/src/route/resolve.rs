//! One execution of a planned statement: reads its keys and looks them up. On the path of every
//! query: a literal or a parameter is hashed where it lies.

use topology::{Key, KeyType, ShardIndex, Snapshot, Token, hash};

use super::{KeyColumn, KeySource, Parameters, Plan, Refusal, Target, parameter, unnest};

/// See [`super::resolve`].
pub(super) fn by_key(
    plan: &Plan,
    params: &dyn Parameters,
    hint: Option<&Key<'_>>,
    snapshot: &Snapshot,
) -> Result<Target, Refusal> {
    match plan {
        Plan::Key {
            key_type,
            sources,
            inserts,
            ..
        } => {
            let mut lookup = Lookup::new(snapshot, *key_type, hint)?;
            lookup.take_all(sources, params, inserts.as_ref())?;
            // Without a key every comparison was with NULL, which no row passes.
            lookup.target().map_or_else(|| any(hint, snapshot), Ok)
        }
        Plan::NeedsHint {
            key_type,
            sources,
            refusal,
            ..
        } => {
            let hint = hint.ok_or_else(|| refusal.clone())?;
            let mut lookup = Lookup::new(snapshot, *key_type, Some(hint))?;
            lookup.take_all(sources, params, None)?;
            lookup.take(hint)?;
            lookup.target().ok_or_else(Refusal::no_shard)
        }
        Plan::Any { .. } => any(hint, snapshot),
        Plan::Catalog => match any(hint, snapshot)? {
            Target::Any => Ok(Target::Catalog),
            target => Ok(target),
        },
        Plan::Home(index) | Plan::Bound(index) => Ok(Target::Shard {
            index: *index,
            token: None,
        }),
        Plan::Everywhere if snapshot.shards().is_empty() => Err(Refusal::no_shard()),
        Plan::Everywhere => Ok(Target::Everywhere),
        Plan::NeedsColumns { refusal, .. }
        | Plan::NeedsViews { refusal, .. }
        | Plan::Refused(refusal) => Err(refusal.clone()),
    }
}

/// See [`super::resolve_under`]: what was hinted at is a shard, and perhaps a key as well.
///
/// Every key that is seen must be one of that shard. What shows none is run there all the same when
/// it only reads: the client asked for that shard's rows.
pub(super) fn on_shard(
    plan: &Plan,
    params: &dyn Parameters,
    (shard, key): (ShardIndex, Option<&Key<'_>>),
    snapshot: &Snapshot,
) -> Result<Target, Refusal> {
    let found = match (plan, key) {
        (
            Plan::NeedsHint {
                key_type,
                sources,
                writes,
                ..
            },
            None,
        ) => {
            if *writes {
                return Err(Refusal::write_without_key());
            }
            let mut lookup = Lookup::new(snapshot, *key_type, None)?;
            lookup.take_all(sources, params, None)?;
            lookup.target().unwrap_or(Target::Any)
        }
        (Plan::Everywhere, _) => return Err(Refusal::change_under_shard_hint()),
        _ => by_key(plan, params, key, snapshot)?,
    };
    match found {
        Target::Shard { index, .. } if index != shard => {
            Err(Refusal::shard_differs(shard, index, snapshot))
        }
        Target::Shard { .. } => Ok(found),
        Target::Any | Target::Catalog | Target::Everywhere => Ok(Target::Shard {
            index: shard,
            token: None,
        }),
    }
}

/// Any shard will do; the hint's is as good as any, and keeps a transaction on one.
fn any(hint: Option<&Key<'_>>, snapshot: &Snapshot) -> Result<Target, Refusal> {
    match hint.and_then(|key| owner(key, snapshot)) {
        Some((index, token)) => Ok(Target::Shard {
            index,
            token: Some(token),
        }),
        None if snapshot.shards().is_empty() => Err(Refusal::no_shard()),
        None => Ok(Target::Any),
    }
}

pub(super) fn owner(key: &Key<'_>, snapshot: &Snapshot) -> Option<(ShardIndex, Token)> {
    let token = hash::token_of(key);
    snapshot
        .ring()
        .lookup(token)
        .map(|vnode| (vnode.owner, token))
}

/// The shard of the keys seen so far.
struct Lookup<'a> {
    snapshot: &'a Snapshot,
    key_type: KeyType,
    hint: Option<&'a Key<'a>>,
    found: Option<(ShardIndex, Token)>,
}

impl<'a> Lookup<'a> {
    fn new(
        snapshot: &'a Snapshot,
        key_type: KeyType,
        hint: Option<&'a Key<'a>>,
    ) -> Result<Self, Refusal> {
        match hint.map(Key::key_type) {
            Some(found) if found != key_type => Err(Refusal::hint_type(found, key_type)),
            Some(_) | None => Ok(Self {
                snapshot,
                key_type,
                hint,
                found: None,
            }),
        }
    }

    fn take_all(
        &mut self,
        sources: &[KeySource],
        params: &dyn Parameters,
        inserts: Option<&KeyColumn>,
    ) -> Result<(), Refusal> {
        for source in sources {
            match source {
                KeySource::Literal(key) => self.take(key)?,
                KeySource::Parameter(number) => {
                    let value = params
                        .get(*number)
                        .ok_or_else(|| Refusal::no_parameter(*number))?;
                    match (parameter::key(*number, &value, self.key_type)?, inserts) {
                        (Some(key), _) => self.take(&key)?,
                        (None, Some(column)) => return Err(Refusal::null_key(column)),
                        (None, None) => {}
                    }
                }
                KeySource::ArrayParameter(number) => {
                    let value = params
                        .get(*number)
                        .ok_or_else(|| Refusal::no_parameter(*number))?;
                    let key_type = self.key_type;
                    parameter::each_key(*number, &value, key_type, &mut |key| self.take(key))?;
                }
                KeySource::Unnested(unnested) => {
                    let key = (self.key_type, inserts);
                    unnest::each_key(unnested, params, key, &mut |key| self.take(key))?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &Key<'_>) -> Result<(), Refusal> {
        if self.hint.is_some_and(|hint| hint != key) {
            return Err(Refusal::hint_differs());
        }
        let found = owner(key, self.snapshot).ok_or_else(Refusal::no_shard)?;
        match self.found {
            Some((index, _)) if index != found.0 => Err(Refusal::several_shards()),
            // One key under a hold holds the whole statement.
            Some(_) if self.snapshot.hold_of(found.1).is_none() => Ok(()),
            Some(_) => {
                self.found = Some(found);
                Ok(())
            }
            None => {
                self.found = Some(found);
                Ok(())
            }
        }
    }

    fn target(&self) -> Option<Target> {
        self.found.map(|(index, token)| Target::Shard {
            index,
            token: Some(token),
        })
    }
}
