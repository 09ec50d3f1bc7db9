//! Versions of shardctl and of the managers.

use serde::Serialize;

use super::Report;
use crate::grid::Grid;

/// The versions.
#[derive(Debug, Clone, Serialize)]
pub struct Version {
    client: &'static str,
    managers: Vec<Manager>,
}

#[derive(Debug, Clone, Serialize)]
struct Manager {
    address: String,
    version: Option<String>,
    error: Option<String>,
}

impl Version {
    /// The client's version, and for each manager's address its version or why it is not known.
    #[must_use]
    pub fn new(client: &'static str, managers: Vec<(String, Result<String, String>)>) -> Self {
        let managers = managers
            .into_iter()
            .map(|(address, version)| match version {
                Ok(version) => Manager {
                    address,
                    version: Some(version),
                    error: None,
                },
                Err(error) => Manager {
                    address,
                    version: None,
                    error: Some(error),
                },
            });
        Self {
            client,
            managers: managers.collect(),
        }
    }
}

impl Report for Version {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["PROGRAM", "VERSION"]);
        grid.row(["shardctl".to_owned(), self.client.to_owned()]);
        for manager in &self.managers {
            let version = manager.version.as_deref().unwrap_or("unreachable");
            grid.row([
                format!("manager at {}", manager.address),
                version.to_owned(),
            ]);
        }
        grid.render()
    }
}
