//! SQL with holes that are filled in when more is known: what a shard owns, types, limits.

use std::fmt;

/// What the names of holes begin with. No statement that has it in its text is planned.
pub const MARK: &str = "__vg_";

/// What a hole stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    /// A condition: rows that belong to the shard, by the key of this leaf.
    Own(usize),
    /// How many rows are wanted at most.
    Limit,
    /// The output column at this place, counted from 1.
    Output(usize),
    /// The partial rows.
    Partial,
    /// The type of this partial column.
    Type(usize),
    /// The average, by the partial columns of sums and of counts.
    Average(usize, usize),
    /// Nothing, or a conversion to double precision, of what this partial column sums up.
    Widen(usize),
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(leaf) => write!(f, "{MARK}own_{leaf}__"),
            Self::Limit => write!(f, "{MARK}limit__"),
            Self::Output(at) => write!(f, "{MARK}output_{at}__"),
            Self::Partial => write!(f, "{MARK}partial__"),
            Self::Type(column) => write!(f, "{MARK}type_{column}__"),
            Self::Average(sum, count) => write!(f, "{MARK}average_{sum}_{count}__"),
            Self::Widen(column) => write!(f, "{MARK}widen_{column}__"),
        }
    }
}

impl Hole {
    fn read(name: &str) -> Option<Self> {
        let mut parts = name.split('_');
        let word = parts.next()?;
        let mut number = || parts.next()?.parse::<usize>().ok();
        Some(match word {
            "own" => Self::Own(number()?),
            "limit" => Self::Limit,
            "output" => Self::Output(number()?),
            "partial" => Self::Partial,
            "type" => Self::Type(number()?),
            "average" => Self::Average(number()?, number()?),
            "widen" => Self::Widen(number()?),
            _ => return None,
        })
    }
}

/// SQL with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql(pub String);

impl Sql {
    /// The text with every hole filled.
    #[must_use]
    pub fn fill(&self, mut fill: impl FnMut(Hole) -> String) -> String {
        let mut out = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once(MARK) {
            out.push_str(before);
            let Some((name, behind)) = after.split_once("__") else {
                break;
            };
            if let Some(hole) = Hole::read(name) {
                out.push_str(&fill(hole));
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// Whether there is a hole of this kind.
    #[must_use]
    pub fn holes(&self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let _filled = self.fill(|hole| {
            holes.push(hole);
            String::new()
        });
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_found_by_the_names_they_print() {
        let holes = [
            Hole::Own(0),
            Hole::Limit,
            Hole::Output(12),
            Hole::Partial,
            Hole::Type(3),
            Hole::Average(1, 22),
            Hole::Widen(4),
        ];
        let text: String = holes.iter().map(|hole| format!("a {hole} b ")).collect();
        let sql = Sql(text);
        assert_eq!(sql.holes(), holes);
        assert_eq!(sql.fill(|_| "x".to_owned()), "a x b ".repeat(holes.len()));
    }
}
