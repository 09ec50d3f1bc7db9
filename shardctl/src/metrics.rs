//! Pure: what routers and managers say at `/metrics`, in Prometheus's text form.

use std::collections::BTreeMap;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric; of a histogram with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All values of one program at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Reads the text form; lines that are none are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(line).collect())
    }

    /// The values of a metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of a metric's values; none where there is none.
    #[must_use]
    pub fn sum(&self, name: &str) -> Option<f64> {
        let mut values = self.of(name).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The sum of a metric's values with this label; none where there is none.
    #[must_use]
    pub fn with(&self, name: &str, (label, value): (&str, &str)) -> Option<f64> {
        let all = self.of(name).filter(|sample| sample.label(label) == value);
        let mut values = all.map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }
}

impl Sample {
    /// A label's value; empty where it has no such label.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

fn line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest, labels) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = labels(rest)?;
            (name, rest, labels)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, rest, BTreeMap::new())
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The labels behind the opening brace, and what stands behind the closing one.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => match characters.next()? {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        labels.insert(name.to_owned(), value);
        rest = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a of what\n# TYPE a counter\na{s=\"x\",t=\"say \\\"}\\\"\"} 3\n\
                        a{s=\"y\",t=\"\"} 4.5\nb 1e3\nnonsense\n";

    #[test]
    fn values_are_read_with_their_labels() {
        let samples = Samples::parse(TEXT);
        assert_eq!(samples.sum("a"), Some(7.5));
        assert_eq!(samples.with("a", ("s", "y")), Some(4.5));
        assert_eq!(samples.with("a", ("t", "say \"}\"")), Some(3.0));
        assert_eq!(samples.sum("b"), Some(1000.0));
        assert_eq!(samples.sum("nonsense"), None);
    }
}
