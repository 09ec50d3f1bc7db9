//! Decisions on real SQL: every statement of `testdata/routes.txt`, whose head says how to read it.

use std::fmt::Write as _;

use proptest::prelude::*;
use topology::{Key, Snapshot};

use super::cluster::snapshot;
use crate::query::analyze;
use crate::route::{KeySource, Plan, Unnested, plan};

const CORPUS: &str = include_str!("../../../testdata/routes.txt");

#[test]
fn every_statement_goes_where_the_corpus_says() {
    let snapshot = snapshot();
    let mut sql = String::new();
    let (mut wrong, mut count) = (String::new(), 0);
    for line in CORPUS
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let Some(expected) = line.strip_prefix("=> ") else {
            writeln!(sql, "{line}").unwrap();
            continue;
        };
        let found = decision(&sql, &snapshot);
        if !agrees(expected, &found) {
            writeln!(wrong, "{sql}  expected {expected}\n  found    {found}").unwrap();
        }
        sql.clear();
        count += 1;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(
        count > 200,
        "{count} statements are too few: the file was not read as it is meant"
    );
}

/// A refusal's message is given in part; everything else in full.
fn agrees(expected: &str, found: &str) -> bool {
    match expected
        .strip_prefix("refused ")
        .and_then(|rest| rest.split_once(' '))
    {
        Some((sqlstate, words)) => {
            found.starts_with(&format!("refused {sqlstate} ")) && found.contains(words)
        }
        None => expected == found,
    }
}

fn decision(sql: &str, snapshot: &Snapshot) -> String {
    let analysis = match analyze(sql) {
        Ok(analysis) => analysis,
        Err(error) => return format!("syntax error: {error}"),
    };
    let [statement] = analysis.statements.as_slice() else {
        return format!("{} statements", analysis.statements.len());
    };
    match plan(statement, snapshot, &["public"]) {
        Plan::Key {
            sources,
            writes,
            inserts,
            ..
        } => {
            let inserts = if inserts.is_some() { " inserts" } else { "" };
            format!("key{}{}{inserts}", shown(&sources), writing(writes))
        }
        Plan::NeedsHint {
            sources,
            writes,
            refusal,
            ..
        } => {
            assert_eq!(refusal.sqlstate, "0A000");
            format!("hint{}{}", shown(&sources), writing(writes))
        }
        Plan::Any { writes } => format!("any{}", writing(writes)),
        Plan::Catalog => "catalog".to_owned(),
        Plan::Home(index) => format!("home {}", snapshot.shard(index).unwrap().id),
        Plan::Bound(index) => format!("bound {}", snapshot.shard(index).unwrap().id),
        Plan::Everywhere => "everywhere".to_owned(),
        Plan::NeedsColumns { inserts, .. } => {
            let tables = inserts.iter().map(|insert| insert.table.name());
            format!("columns {}", tables.collect::<Vec<_>>().join(" "))
        }
        Plan::NeedsViews { .. } => "needs views".to_owned(),
        Plan::Refused(refusal) => format!("refused {} {}", refusal.sqlstate, refusal.message),
    }
}

fn writing(writes: bool) -> &'static str {
    if writes { " writes" } else { "" }
}

fn shown(sources: &[KeySource]) -> String {
    sources.iter().fold(String::new(), |mut all, source| {
        match source {
            KeySource::Literal(Key::Bigint(value)) => write!(all, " {value}"),
            KeySource::Literal(Key::Text(text)) => write!(all, " '{}'", text.replace('\'', "''")),
            KeySource::Literal(Key::Uuid(bytes)) => {
                write!(all, " {:032x}", u128::from_be_bytes(*bytes))
            }
            KeySource::Parameter(number) => write!(all, " ${}", number + 1),
            KeySource::ArrayParameter(number) => write!(all, " ${}[]", number + 1),
            KeySource::Unnested(unnested) => {
                let Unnested {
                    parameter,
                    beside,
                    longest,
                } = unnested;
                let beside: Vec<_> = beside.iter().map(|number| number + 1).collect();
                write!(all, " ${}[new, beside {beside:?} {longest}]", parameter + 1)
            }
        }
        .unwrap();
        all
    })
}

/// The words of all statements of the corpus.
fn words() -> Vec<&'static str> {
    let sql = CORPUS.lines().filter(|line| !line.starts_with(['#', '=']));
    sql.flat_map(str::split_whitespace).collect()
}

proptest! {
    #[test]
    fn no_pieces_of_statements_bring_it_down(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..24), 1..5)
    ) {
        let words = words();
        let piece = |(at, length): &(prop::sample::Index, usize)| {
            let at = at.index(words.len());
            words[at..words.len().min(at + length)].join(" ")
        };
        let sql: Vec<String> = cuts.iter().map(piece).collect();
        if let Ok(analysis) = analyze(&sql.join(" ")) {
            for statement in &analysis.statements {
                let _plan = plan(statement, &snapshot(), &["public"]);
            }
        }
    }
}
