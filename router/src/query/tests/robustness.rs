//! No text makes the analysis panic, overflow or slow.

use proptest::prelude::*;
use tokio::time::Duration;

use super::*;
use crate::query::{MAX_STATEMENT_BYTES, SyntaxError, analyze_within};

const SEEDS: &[&str] = &[
    "select a.k, count(*) from s.a join b using (k) left join c on b.x = c.x where a.k in (1, $2) \
     and b.v = any('{1,2}'::int[]) group by 1 having count(*) > 1 order by 1 limit 5 for update",
    "with recursive c(a) as (select 1 union all select a + 1 from c) select * from c, t as \"T\"",
    "insert into t (k, v) values (1, 'a'), ($1::bigint, default) on conflict (k) do update set v = \
     excluded.v returning *",
    "update t set (a, b) = (1, 2) from u where t.k = u.k and t.k = -5",
    "create table t (a bigserial primary key, b varchar(5) references u, unique (a, b))",
    "alter table t add column a int, drop b; set time zone 'UTC'; begin read only; select 1",
    "merge into t using u on t.k = u.k when matched then delete when not matched then do nothing",
    "copy t (a) from stdin; explain analyze select 1; prepare p as select $1",
    "select json_table.a from json_table('{}', '$' columns (a int path '$'))",
];

proptest! {
    #[test]
    fn mutated_statements_do_no_harm(
        seed in 0..SEEDS.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..6_usize, "\\PC{0,6}"), 0..6),
    ) {
        let mut text: Vec<char> = SEEDS[seed].chars().collect();
        for (at, removed, inserted) in cuts {
            let start = at.index(text.len() + 1);
            let end = (start + removed).min(text.len());
            text.splice(start..end, inserted.chars());
        }
        let sql: String = text.into_iter().collect();
        if let Ok(analysis) = analyze(&sql) {
            for statement in analysis.statements {
                prop_assert!(sql.get(statement.location).is_some());
            }
        }
    }

    #[test]
    fn shuffled_words_do_no_harm(words in prop::collection::vec(any::<prop::sample::Index>(), 1..30)) {
        let all: Vec<&str> = SEEDS.iter().flat_map(|seed| seed.split(' ')).collect();
        let sql: Vec<&str> = words.iter().map(|word| *word.get(&all)).collect();
        drop(analyze(&sql.join(" ")));
    }

    #[test]
    fn any_text_does_no_harm(sql in "\\PC{0,60}") {
        drop(analyze(&sql));
    }
}

#[test]
fn deep_nesting_is_refused_and_never_overflows() {
    for depth in [120, 1_000, 100_000] {
        for sql in [
            format!("select 1{}", "+1".repeat(depth)),
            format!("select {}true", "not ".repeat(depth)),
            format!("select 1{}", " union select 1".repeat(depth)),
            format!("select {}1{}", "(select ".repeat(depth), ")".repeat(depth)),
            format!("select 1{}", "::int".repeat(depth)),
            format!("select * from a{}", " join a on true".repeat(depth)),
            format!("select {}1{}", "array[".repeat(depth), "]".repeat(depth)),
            format!("select {}1{}", "f(".repeat(depth), ")".repeat(depth)),
            format!(
                "select * from {}a{}",
                "(select * from ".repeat(depth),
                ") s".repeat(depth)
            ),
            format!(
                "select {}1{}",
                "case when true then ".repeat(depth),
                " end".repeat(depth)
            ),
        ] {
            let result = analyze_within(&sql, usize::MAX);
            let start = sql.get(..30).unwrap_or_default();
            assert_eq!(result, Err(SyntaxError::TooDeep), "{depth}: {start}");
        }
    }
}

/// The runtime's own default. Without optimisation the tree's decoder takes most of it.
const WORKER_STACK_BYTES: usize = 2 << 20;

#[test]
fn the_deepest_tree_fits_the_stack_of_a_worker() {
    let deepest = |around: fn(usize) -> String| {
        let depth = (1..100)
            .rev()
            .find(|depth| analyze(&around(*depth)).is_ok());
        around(depth.expect("some depth is fine"))
    };
    let statements = [
        deepest(|depth| format!("select 1{}", "+1".repeat(depth))),
        deepest(|depth| format!("select {}1{}", "(select ".repeat(depth), ")".repeat(depth))),
        deepest(|depth| {
            format!(
                "select * from {}a{}",
                "(select * from ".repeat(depth),
                ") s".repeat(depth)
            )
        }),
        deepest(|depth| format!("select * from a{}", " join a on true".repeat(depth))),
    ];
    let thread = std::thread::Builder::new()
        .stack_size(WORKER_STACK_BYTES)
        .spawn(move || {
            for sql in statements {
                assert!(analyze(&sql).is_ok(), "{sql}");
            }
        });
    assert!(thread.expect("a thread can start").join().is_ok());
}

#[test]
fn bad_texts_have_their_sqlstate() {
    for (sql, state) in [
        ("selec 1".to_owned(), "42601"),
        ("select 'a".to_owned(), "42601"),
        ("select 1 from".to_owned(), "42601"),
        ("select \0".to_owned(), "22021"),
        ("select E'\\xff'".to_owned(), "42601"),
        (" ".repeat(MAX_STATEMENT_BYTES + 1), "54000"),
        (format!("select {}1", "-+".repeat(500)), "54001"),
    ] {
        let error = analyze(&sql).expect_err("the text is bad");
        assert_eq!(error.sqlstate(), state, "{error}");
    }
    assert_eq!(
        analyze("selec 1").map_err(|error| error.to_string()),
        Err("syntax error at or near \"selec\"".to_owned())
    );
}

/// The time that this thread has had a processor for: a busy machine does not lengthen it.
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap())
}

/// Twice the text must not take much more than twice the time.
#[test]
fn long_lists_take_linear_time() {
    let shapes: [fn(usize) -> String; 6] = [
        |n| format!("select * from t where k in (1{})", ", 1".repeat(n)),
        |n| format!("insert into t values (1, 'a'){}", ", (1, 'a')".repeat(n)),
        |n| format!("select * from t where k = 1{}", " or k = 1".repeat(n)),
        |n| format!("select * from t where k = 1{}", " and k = 1".repeat(n)),
        |n| {
            format!(
                "with a0 as (select 1){} select 1",
                (0..n)
                    .map(|i| format!(", b{i} as (select 1)"))
                    .collect::<String>()
            )
        },
        |n| format!("select 1 from a{}", ", a".repeat(n)),
    ];
    for shape in shapes {
        let time = |n: usize| {
            let sql = shape(n);
            let best = (0..3).map(|_| {
                let start = busy();
                assert!(analyze(&sql).is_ok());
                busy() - start
            });
            best.min().unwrap_or_default()
        };
        let (small, large) = (time(500), time(4_000));
        let limit = small * 40 + Duration::from_millis(50);
        assert!(large < limit, "{small:?} and {large:?}: {}", shape(1));
    }
}
