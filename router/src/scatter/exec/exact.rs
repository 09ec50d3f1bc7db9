//! Whether values keep what they are on their way to a last query, to which they go as texts: some
//! settings of a session make texts that do not say all.

use crate::route::Refusal;

/// What a shard is asked: whether texts of floats are rounded, and of what style those of times are.
pub(crate) const QUESTIONS: [&str; 2] = [
    "pg_catalog.current_setting('extra_float_digits')::pg_catalog.int4 OPERATOR(pg_catalog.<) 1",
    "pg_catalog.current_setting('DateStyle')",
];

/// real, double precision, what is made of them, and arrays of these.
const FLOATS: [u32; 18] = [
    700, 701, 1021, 1022, 600, 601, 602, 603, 604, 628, 718, 1017, 1018, 1019, 1020, 1027, 629, 719,
];

/// timestamp with time zone, its ranges, and arrays of these.
const TIMES: [u32; 5] = [1184, 1185, 3910, 3911, 4534];

/// Refuses values of these types that would be changed, by the answers to the questions.
pub(crate) fn check(types: &[u32], answers: &[Option<String>]) -> Result<(), Refusal> {
    let [rounds, style] = answers else {
        return Ok(());
    };
    let has = |known: &[u32]| types.iter().any(|oid| known.contains(oid));
    if rounds.as_deref() == Some("t") && has(&FLOATS) {
        return Err(changed(
            "double precision",
            "extra_float_digits below 1",
            "SET extra_float_digits = 1",
        ));
    }
    let is_iso = style.as_deref().is_some_and(|it| it.starts_with("ISO"));
    if !is_iso && has(&TIMES) {
        return Err(changed(
            "timestamp with time zone",
            "a DateStyle that abbreviates time zones",
            "SET DateStyle = 'ISO'",
        ));
    }
    Ok(())
}

fn changed(values: &str, setting: &str, instead: &str) -> Refusal {
    Refusal::unsupported(format!(
        "values of type {values} of several shards can't be brought together under {setting}"
    ))
    .hint(instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_of(oid: u32, rounds: &str, style: &str) -> bool {
        check(
            &[25, oid],
            &[Some(rounds.to_owned()), Some(style.to_owned())],
        )
        .is_ok()
    }

    #[test]
    fn values_whose_texts_would_say_less_are_refused() {
        assert!(!check_of(701, "t", "ISO, MDY"));
        assert!(!check_of(1184, "f", "Postgres, MDY"));
        assert!(check_of(701, "f", "Postgres, MDY"));
        assert!(check_of(1184, "t", "ISO, DMY"));
        assert!(check_of(1114, "t", "German, DMY"));
    }
}
