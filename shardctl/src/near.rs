//! Pure: which of the names that exist was meant by one that does not.

/// The nearest of `names`, if it is near enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    let near = names.into_iter().map(|name| (distance(wrong, name), name));
    let nearest = near.min_by_key(|(distance, _)| *distance)?;
    Some(nearest.1).filter(|_| nearest.0 <= limit)
}

/// Characters to be changed, added or removed, two neighbours in the wrong order being two.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, of_left) in left.chars().enumerate() {
        let mut next = vec![line + 1];
        for ((pair, of_right), before) in row.windows(2).zip(&right).zip(0..) {
            let [diagonal, above] = pair else { continue };
            let beside: usize = next.get(before).copied().unwrap_or_default();
            let replaced = diagonal + usize::from(of_left != *of_right);
            next.push(replaced.min(above + 1).min(beside + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let names = ["shard-1", "shard-2", "archive"];
        assert_eq!(nearest("shrad-1", names), Some("shard-1"));
        assert_eq!(nearest("achive", names), Some("archive"));
        assert_eq!(nearest("billing", names), None);
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn equal_texts_have_no_distance() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
