//! Remembers how each statement text is routed, so that a hit costs a hash of the text.

use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use lru::LruCache;
use topology::{Epoch, Snapshot};

use crate::pool::Pace;
use crate::query::{self, Analysis, SyntaxError};
use crate::route::{self, Plan, Temporary};

/// The schemas in which an unqualified table name is looked for, unless a session says otherwise.
pub const DEFAULT_SEARCH_PATH: [&str; 1] = ["public"];

/// A text that was analysed, and where its statements go at the newest epoch it was asked for.
#[derive(Debug)]
pub struct Planned {
    /// What the text is.
    pub analysis: Analysis,
    /// How long its requests keep a backend.
    pub pace: Pace,
    plans: ArcSwap<Plans>,
    hits: AtomicU64,
}

/// Where each statement of a text goes at one epoch.
#[derive(Debug)]
pub struct Plans {
    epoch: Epoch,
    /// In the order of the statements.
    pub plans: Vec<Plan>,
}

impl Planned {
    /// Analyses a text that is not worth remembering, or not yet known.
    ///
    /// # Errors
    /// When the text is not SQL.
    pub fn analyze(sql: &str, snapshot: &Snapshot) -> Result<Self, SyntaxError> {
        let analysis = query::analyze(sql)?;
        let plans =
            ArcSwap::from_pointee(plan_all(&analysis, snapshot, &DEFAULT_SEARCH_PATH, None));
        Ok(Self {
            analysis,
            pace: Pace::default(),
            plans,
            hits: AtomicU64::new(0),
        })
    }

    /// The plans at this snapshot's epoch, made anew when it differs from the last one's. Shard
    /// indices in them belong to this snapshot only.
    pub fn plans(&self, snapshot: &Snapshot) -> Arc<Plans> {
        let known = self.plans.load_full();
        if known.epoch == snapshot.epoch() {
            return known;
        }
        let plans = Arc::new(plan_all(
            &self.analysis,
            snapshot,
            &DEFAULT_SEARCH_PATH,
            None,
        ));
        self.plans.store(Arc::clone(&plans));
        plans
    }

    /// How often the text was found.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// The plans at the epoch at which they were asked for last.
    #[must_use]
    pub fn newest(&self) -> Arc<Plans> {
        self.plans.load_full()
    }

    /// The plans for a session with a search path or temporary tables of its own. Not remembered.
    #[must_use]
    pub fn plans_under(
        &self,
        snapshot: &Snapshot,
        search_path: &[&str],
        temporary: Option<&Temporary>,
    ) -> Arc<Plans> {
        Arc::new(plan_all(&self.analysis, snapshot, search_path, temporary))
    }
}

impl Plans {
    /// The epoch at which they hold.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

fn plan_all(
    analysis: &Analysis,
    snapshot: &Snapshot,
    search_path: &[&str],
    temporary: Option<&Temporary>,
) -> Plans {
    let plan = |statement| match temporary {
        None => route::plan(statement, snapshot, search_path),
        Some(known) => route::plan_beside(statement, snapshot, search_path, known),
    };
    Plans {
        epoch: snapshot.epoch(),
        plans: analysis.statements.iter().map(plan).collect(),
    }
}

/// None stands for a form that is not SQL.
type Texts = LruCache<Box<str>, Option<Arc<Planned>>, RandomState>;

/// Texts and their plans, least recently used out first. Sharded by hash, so that sessions on
/// different cores seldom meet at a lock.
#[derive(Debug)]
pub struct Cache {
    shards: Box<[Mutex<Texts>]>,
    hasher: RandomState,
}

impl Cache {
    /// Longer texts are analysed each time: they are bulk loads, not repeated statements.
    pub const MAX_TEXT_BYTES: usize = 8 << 10;

    const SHARDS: usize = 16;

    /// A cache of at most about `capacity` texts.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let each = usize::try_from(capacity).unwrap_or(usize::MAX) / Self::SHARDS;
        let each = NonZeroUsize::new(each).unwrap_or(NonZeroUsize::MIN);
        let shard = || Mutex::new(LruCache::with_hasher(each, RandomState::default()));
        let shards = std::iter::repeat_with(shard).take(Self::SHARDS).collect();
        Self {
            shards,
            hasher: RandomState::default(),
        }
    }

    /// The analysis of a text, remembered or made now.
    ///
    /// # Errors
    /// When the text is not SQL; errors are not remembered.
    pub fn plan(&self, sql: &str, snapshot: &Snapshot) -> Result<Arc<Planned>, SyntaxError> {
        if sql.len() > Self::MAX_TEXT_BYTES {
            return Planned::analyze(sql, snapshot).map(Arc::new);
        }
        if let Some(Some(planned)) = self.known(sql) {
            return Ok(planned);
        }
        let planned = Arc::new(Planned::analyze(sql, snapshot)?);
        self.remember(sql, Some(Arc::clone(&planned)));
        Ok(planned)
    }

    /// About so many of the texts that were found most often, in no order. Each part of the cache
    /// is locked while it is walked, so this is for operators.
    #[must_use]
    pub fn most_used(&self, count: usize) -> Vec<(Box<str>, Arc<Planned>)> {
        let each = count.div_ceil(Self::SHARDS);
        let mut found = Vec::new();
        for shard in &self.shards {
            let texts = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let known = texts.iter();
            let known = known.filter_map(|(text, planned)| Some((&**text, planned.as_ref()?)));
            let mut known: Vec<(&str, &Arc<Planned>)> = known.collect();
            known.sort_by_key(|(_, planned)| std::cmp::Reverse(planned.hits()));
            let known = known.into_iter().take(each);
            found.extend(known.map(|(text, planned)| (text.into(), Arc::clone(planned))));
        }
        found
    }

    /// As [`Self::plan`], for the form of a text; none when the form is not SQL, which is
    /// remembered, too, or too long to be remembered.
    #[must_use]
    pub fn plan_form(&self, form: &str, snapshot: &Snapshot) -> Option<Arc<Planned>> {
        if form.len() > Self::MAX_TEXT_BYTES {
            return None;
        }
        if let Some(known) = self.known(form) {
            return known;
        }
        let planned = Planned::analyze(form, snapshot).ok().map(Arc::new);
        self.remember(form, planned.clone());
        planned
    }

    fn known(&self, text: &str) -> Option<Option<Arc<Planned>>> {
        let known = self.texts(text)?.get(text).cloned()?;
        if let Some(planned) = &known {
            planned.hits.fetch_add(1, Ordering::Relaxed);
        }
        Some(known)
    }

    fn remember(&self, text: &str, planned: Option<Arc<Planned>>) {
        if let Some(mut texts) = self.texts(text) {
            texts.put(text.into(), planned);
        }
    }

    /// The part of the cache that a text belongs to.
    fn texts(&self, text: &str) -> Option<MutexGuard<'_, Texts>> {
        let at = usize::try_from(self.hasher.hash_one(text) >> 32).unwrap_or(0) % Self::SHARDS;
        let shard = self.shards.get(at)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
