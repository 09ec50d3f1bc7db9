//! What a run is asked to measure.

use anyhow::Context as _;

use crate::pgbench::Mode;

pub(crate) const USAGE: &str =
    "usage: bench [--quick] [--seconds N] [--rounds N] [--modes M,..] [--clients N,..]
             [--idle-clients N] [--bulk-mib N] [--cutovers N] [--parts P,..]

Measures PostgreSQL, PgBouncer and the router, and writes <target>/bench/report.md.

  --quick           a few seconds in all: that it works, not how fast it is
  --seconds N       of each pgbench run; default 5
  --rounds N        of which the medians are reported; default 3
  --modes M,..      of simple, extended, prepared; default all
  --clients N,..    default 1,8,32,128
  --idle-clients N  whose memory is measured; default 1000
  --bulk-mib N      size of the large result; default 1024
  --cutovers N      whose pauses are measured; default 40
  --parts P,..      of memory, points, bulk, pauses, many; default all";

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Memory of the proxies.
    Memory,
    /// Point reads.
    Points,
    /// A large result.
    Bulk,
    /// Cutovers.
    Pauses,
    /// Queries and commits over several shards.
    Many,
}

impl Part {
    const ALL: [Self; 5] = [
        Self::Memory,
        Self::Points,
        Self::Bulk,
        Self::Pauses,
        Self::Many,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Points => "points",
            Self::Bulk => "bulk",
            Self::Pauses => "pauses",
            Self::Many => "many",
        }
    }

    fn read(word: &str) -> anyhow::Result<Self> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|part| part.name() == word);
        found.with_context(|| format!("{word} is not a part"))
    }
}

/// The arguments.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    pub(crate) modes: Vec<Mode>,
    pub(crate) clients: Vec<usize>,
    pub(crate) idle_clients: usize,
    pub(crate) bulk_mib: u64,
    pub(crate) cutovers: usize,
    pub(crate) parts: Vec<Part>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            seconds: 5,
            rounds: 3,
            modes: Mode::ALL.to_vec(),
            clients: vec![1, 8, 32, 128],
            idle_clients: 1000,
            bulk_mib: 1024,
            cutovers: 40,
            parts: Part::ALL.to_vec(),
        }
    }
}

impl Arguments {
    /// Reads the words after the program's name; none when only help is asked for.
    pub(crate) fn read(words: &[String]) -> anyhow::Result<Option<Self>> {
        let mut arguments = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word {
                "--help" | "-h" => return Ok(None),
                "--quick" => arguments.be_quick(),
                "--seconds" => arguments.seconds = number(value()?)?,
                "--rounds" => arguments.rounds = number(value()?)?,
                "--idle-clients" => arguments.idle_clients = number(value()?)?,
                "--bulk-mib" => arguments.bulk_mib = number(value()?)?,
                "--cutovers" => arguments.cutovers = number(value()?)?,
                "--parts" => {
                    arguments.parts = value()?
                        .split(',')
                        .map(Part::read)
                        .collect::<Result<_, _>>()?;
                }
                "--clients" => {
                    arguments.clients =
                        value()?.split(',').map(number).collect::<Result<_, _>>()?;
                }
                "--modes" => {
                    arguments.modes = value()?
                        .split(',')
                        .map(Mode::read)
                        .collect::<Result<_, _>>()?;
                }
                other => anyhow::bail!("{other} is not an argument"),
            }
        }
        Ok(Some(arguments))
    }

    /// Whether a part is to be measured.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn be_quick(&mut self) {
        *self = Self {
            seconds: 1,
            rounds: 1,
            clients: vec![4],
            idle_clients: 50,
            bulk_mib: 32,
            modes: Mode::ALL.to_vec(),
            cutovers: 2,
            parts: Part::ALL.to_vec(),
        };
    }
}

fn number<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> anyhow::Result<T> {
    let number = text.parse().ok().filter(|number| *number >= T::from(1));
    number.with_context(|| format!("{text} is not a number above 0"))
}
