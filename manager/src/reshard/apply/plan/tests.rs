//! A plan's statements leave a table as the single changes would, whatever the order within one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Group, Planner, one_by_one};
use crate::reshard::apply::chunk::{Chunk, Content, Op};
use crate::reshard::apply::fake::{Step, add, shape};

/// The table: `(k, id)` to `(u, v)`.
type Table = BTreeMap<(String, String), (String, String)>;

fn text(content: Content<'_>) -> String {
    match content {
        Content::Text(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Content::Null | Content::Unchanged => panic!("{content:?}"),
    }
}

/// A statement as PostgreSQL runs it, the rows in some order; false when a row is missing or a
/// value is taken.
fn run(table: &mut Table, chunk: &Chunk, group: &Group, is_backwards: bool) -> bool {
    let mut rows = group.rows.clone();
    if is_backwards {
        rows.reverse();
    }
    rows.iter().all(|at| {
        let row = &chunk.rows()[*at];
        if row.op != Op::Insert {
            let old = (text(chunk.old(row, 0)), text(chunk.old(row, 1)));
            if table.remove(&old).is_none() {
                return false;
            }
        }
        if row.op == Op::Delete {
            return true;
        }
        let [k, id, u, v] = [0, 1, 2, 3].map(|at| text(chunk.new_value(row, at)));
        let is_taken = table.keys().any(|key| *key == (k.clone(), id.clone()))
            || table.iter().any(|(key, value)| key.0 == k && value.0 == u);
        !is_taken && table.insert((k, id), (u, v)).is_none()
    })
}

/// What an owner does: of some wishes those that it allows, told as its log tells them.
fn history(wishes: &[(u8, u8, u8, u8, u8)]) -> Vec<Step> {
    let (mut table, mut steps) = (Table::new(), Vec::new());
    for (what, k, id, u, v) in wishes {
        let [k, id, u, v] = [k, id, u, v].map(u8::to_string);
        let key = (k.clone(), id.clone());
        let step = match (what % 4, table.contains_key(&key)) {
            (0, true) => Step::Delete([k, id]),
            (1, true) => {
                let to = (v.clone() + "x").chars().take(1).collect::<String>();
                Step::Update(Some([k.clone(), id]), [k, to, u, v])
            }
            (_, true) => Step::Update(None, [k, id, u, v]),
            (_, false) => Step::Insert([k, id, u, v]),
        };
        let shape = shape();
        let mut chunk = Chunk::default();
        add(&mut chunk, &shape, &step);
        let mut next = table.clone();
        if run(&mut next, &chunk, &one_by_one(&chunk)[0], false) {
            table = next;
            steps.push(step);
        }
    }
    steps
}

fn outcome(chunk: &Chunk, groups: &[Group], is_backwards: bool) -> Option<Table> {
    let mut table = Table::new();
    let mut run = |group: &Group| run(&mut table, chunk, group, is_backwards);
    groups.iter().all(&mut run).then_some(table)
}

fn chunk(steps: &[Step]) -> Chunk {
    let (shape, mut chunk) = (shape(), Chunk::default());
    for step in steps {
        add(&mut chunk, &shape, step);
    }
    chunk
}

proptest! {
    #[test]
    fn a_plan_comes_to_the_same_or_is_refused(
        wishes in prop::collection::vec((0..4_u8, 0..2_u8, 0..4_u8, 0..6_u8, 0..4_u8), 0..40),
        is_backwards in any::<bool>(),
    ) {
        let chunk = chunk(&history(&wishes));
        let wanted = outcome(&chunk, &one_by_one(&chunk), false);
        prop_assert!(wanted.is_some());
        let groups = Planner::default().plan(&chunk);
        let mut planned: Vec<_> = groups.iter().flat_map(|group| group.rows.clone()).collect();
        planned.sort_unstable();
        prop_assert!(planned.into_iter().eq(0..chunk.rows().len()));
        if let Some(found) = outcome(&chunk, &groups, is_backwards) {
            prop_assert_eq!(Some(found), wanted);
        }
    }

    #[test]
    fn a_plan_is_never_refused_where_unique_values_stay_with_their_rows(
        wishes in prop::collection::vec((0..4_u8, 0..3_u8, 0..5_u8, 0..9_u8), 0..60),
        is_backwards in any::<bool>(),
    ) {
        let own = |(what, k, id, v): &(u8, u8, u8, u8)| (*what & 2, *k, *id, *id, *v);
        let wishes: Vec<_> = wishes.iter().map(own).collect();
        let chunk = chunk(&history(&wishes));
        let groups = Planner::default().plan(&chunk);
        let wanted = outcome(&chunk, &one_by_one(&chunk), false);
        prop_assert_eq!(outcome(&chunk, &groups, is_backwards), wanted);
    }
}

fn row(id: usize, v: &str) -> [String; 4] {
    [
        "1".to_owned(),
        id.to_string(),
        format!("u{id}"),
        v.to_owned(),
    ]
}

#[test]
fn independent_changes_are_one_statement_a_kind() {
    let mut steps: Vec<Step> = (0..100).map(|id| Step::Insert(row(id, "a"))).collect();
    steps.extend((100..200).map(|id| Step::Update(None, row(id, "b"))));
    steps.extend((200..300).map(|id| Step::Delete(["1".to_owned(), id.to_string()])));
    let groups = Planner::default().plan(&chunk(&steps));
    let sizes: Vec<_> = groups
        .iter()
        .map(|group| (group.kind.op, group.rows.len()))
        .collect();
    assert_eq!(
        sizes,
        [(Op::Delete, 100), (Op::Update, 100), (Op::Insert, 100)]
    );
}

#[test]
fn rows_that_change_often_take_as_many_statements_as_the_one_that_changes_most() {
    let steps: Vec<_> = (0..1000)
        .map(|at| Step::Update(None, row(at % 100, "c")))
        .collect();
    assert_eq!(Planner::default().plan(&chunk(&steps)).len(), 10);
}
