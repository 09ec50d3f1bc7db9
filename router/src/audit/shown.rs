//! Pure: a client's text as the log may hold it.

/// Longest text, in characters. The names of PostgreSQL have 63 bytes at most.
const MAX_CHARS: usize = 128;

/// A text without characters that a terminal or a log would act on, cut off where it is too long.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == MAX_CHARS {
            shown.push('\u{2026}');
            break;
        }
        if character.is_control() || is_invisible(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// What turns the direction of a text, or stands between lines.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_and_says_nothing_to_a_terminal() {
        assert_eq!(shown("app é"), "app é");
        assert_eq!(shown("a\x1b[2J\nb\u{202e}"), "a\\u{1b}[2J\\u{a}b\\u{202e}");
        let long = shown(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_CHARS + 1);
        assert!(shown(&"\0".repeat(10_000)).len() <= MAX_CHARS * 8);
    }
}
