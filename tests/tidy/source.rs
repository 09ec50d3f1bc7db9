//! Rust source taken apart just enough: which characters are code, comment or literal.

/// A Rust file in three views. Each has the file's lines, with blanks for what it leaves out.
#[derive(Debug)]
pub(crate) struct Source {
    /// Without comments and without the contents of literals.
    pub(crate) code: String,
    /// Without comments.
    pub(crate) uncommented: String,
    /// Comments only, their slashes included.
    pub(crate) comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Code,
    Comment,
    Literal,
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let classes = classify(&characters);
        let view = |keep: fn(Class) -> bool| -> String {
            let kept = characters.iter().zip(&classes).map(|(&character, &class)| {
                if keep(class) || character == '\n' {
                    character
                } else {
                    ' '
                }
            });
            kept.collect()
        };
        Self {
            code: view(|class| class == Class::Code),
            uncommented: view(|class| class != Class::Comment),
            comments: view(|class| class == Class::Comment),
        }
    }

    /// The line from which on everything is an inline test module, counted from 1.
    pub(crate) fn first_test_line(&self) -> usize {
        let lines: Vec<&str> = self.code.lines().collect();
        let is_start = |pair: &[&str]| {
            pair[0].trim() == "#[cfg(test)]" && pair[1].trim().starts_with("mod tests {")
        };
        let position = lines.windows(2).position(is_start);
        position.map_or(usize::MAX, |index| index + 1)
    }
}

fn classify(characters: &[char]) -> Vec<Class> {
    let mut classes = Vec::with_capacity(characters.len());
    while classes.len() < characters.len() {
        let start = classes.len();
        let rest = &characters[start..];
        let (length, class) = next_piece(rest, characters[..start].last().copied());
        // Quotes stay in the code view, so that it shows where a literal stands.
        for index in 0..length {
            let is_edge = index == 0 || index + 1 == length;
            let is_quote = class == Class::Literal && is_edge;
            classes.push(if is_quote { Class::Code } else { class });
        }
    }
    classes
}

/// How long the piece is that begins here, and what it is.
fn next_piece(rest: &[char], before: Option<char>) -> (usize, Class) {
    match rest {
        ['/', '/', ..] => (until(rest, |tail| tail[0] == '\n'), Class::Comment),
        ['/', '*', ..] => (block_comment(rest), Class::Comment),
        ['"', ..] => (string(rest), Class::Literal),
        ['r', ..] if !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_') => {
            raw_string(rest).map_or((1, Class::Code), |length| (length, Class::Literal))
        }
        ['\'', '\\', ..] => {
            let close = rest.iter().skip(3).position(|&c| c == '\'');
            (close.map_or(1, |index| index + 4), Class::Literal)
        }
        ['\'', _, '\'', ..] => (3, Class::Literal),
        _ => (1, Class::Code),
    }
}

fn until(rest: &[char], is_end: impl Fn(&[char]) -> bool) -> usize {
    (0..rest.len())
        .find(|&index| is_end(&rest[index..]))
        .unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut index) = (0_usize, 0);
    while index < rest.len() {
        match &rest[index..] {
            ['/', '*', ..] => (depth, index) = (depth + 1, index + 2),
            ['*', '/', ..] => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
        if depth == 0 {
            break;
        }
    }
    index
}

fn string(rest: &[char]) -> usize {
    let mut index = 1;
    while index < rest.len() {
        match rest[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    rest.len()
}

/// The length of a raw string, if one begins here.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let body = 2 + hashes;
    let is_end = |tail: &[char]| {
        tail[0] == '"' && tail[1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    Some((body + until(&rest[body..], is_end) + 1 + hashes).min(rest.len()))
}

/// The line of a byte offset, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

/// Every place of `needle` that is not the tail of a longer word, as byte offsets.
pub(crate) fn words<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_whole = move |offset: &usize| {
        let before = text.as_bytes()[..*offset].last();
        !before.is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.match_indices(needle)
        .map(|(offset, _)| offset)
        .filter(is_whole)
}

#[test]
fn comments_and_literals_are_told_from_code() {
    let text = "let a = \"// no // dbg!(\"; // yes\nlet b = '\"'; /* x /* y */ z */ c\n";
    let source = Source::new(text);
    assert_eq!(
        source.code.lines().next().unwrap().trim_end(),
        format!("let a = \"{}\";", " ".repeat(14))
    );
    assert_eq!(
        source.code.lines().nth(1).unwrap(),
        format!("let b = ' ';{} c", " ".repeat(18))
    );
    assert!(source.uncommented.contains("// no // dbg!("));
    assert!(!source.uncommented.contains("yes"));
    assert!(source.comments.contains("// yes") && source.comments.contains("z */"));
}

#[test]
fn raw_strings_characters_and_lifetimes_are_known() {
    let text =
        r####"fn f<'a>(x: &'a str) { g(r#"a " // b"#, '\'', b'"', br"\", for_r"x") } // end"####;
    let source = Source::new(text);
    assert!(
        source.code.contains("fn f<'a>(x: &'a str) { g(r"),
        "{}",
        source.code
    );
    assert!(!source.code.contains('b') || !source.code.contains("// b"));
    assert!(
        source.comments.trim().starts_with("// end"),
        "{:?}",
        source.comments
    );
}

#[test]
fn an_inline_test_module_is_found() {
    let source = Source::new("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n");
    assert_eq!(source.first_test_line(), 2);
    assert_eq!(
        Source::new("#[cfg(test)]\nmod tests;\n").first_test_line(),
        usize::MAX
    );
}
