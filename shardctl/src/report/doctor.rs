//! A check-up, a line for each finding.

use serde::Serialize;

use super::Report;
use crate::doctor::{Finding, Level};
use crate::grid::Grid;

/// The check-up.
#[derive(Debug, Clone, Serialize)]
pub struct Doctor {
    failures: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

impl Doctor {
    /// Of these findings.
    #[must_use]
    pub fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|it| it.level == level).count();
        Self {
            failures: count(Level::Fail),
            warnings: count(Level::Warn),
            findings,
        }
    }

    /// How many failures there are.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failures
    }
}

impl Report for Doctor {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["RESULT", "CHECK", "OF", "FINDING"]);
        for finding in &self.findings {
            let told = match &finding.advice {
                None => finding.finding.clone(),
                Some(advice) => format!("{}; {advice}", finding.finding),
            };
            grid.row([
                finding.level.word().to_owned(),
                finding.check.to_owned(),
                finding.about.clone(),
                told,
            ]);
        }
        grid.render()
    }
}
