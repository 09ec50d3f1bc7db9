//! Table groups: one, or all of them.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::Grid;

/// A table group.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    name: String,
    key_type: String,
}

impl From<pb::Group> for Group {
    fn from(group: pb::Group) -> Self {
        Self {
            name: group.name,
            key_type: group.key_type,
        }
    }
}

/// All table groups.
#[derive(Debug, Clone, Serialize)]
pub struct Groups {
    groups: Vec<Group>,
}

impl From<Vec<pb::Group>> for Groups {
    fn from(groups: Vec<pb::Group>) -> Self {
        Self {
            groups: groups.into_iter().map(Group::from).collect(),
        }
    }
}

impl Report for Group {
    fn table(&self) -> String {
        grid([self])
    }
}

impl Report for Groups {
    fn table(&self) -> String {
        grid(&self.groups)
    }
}

fn grid<'a>(groups: impl IntoIterator<Item = &'a Group>) -> String {
    let mut grid = Grid::new(&["NAME", "KEY-TYPE"]);
    for group in groups {
        grid.row([group.name.clone(), group.key_type.clone()]);
    }
    grid.render()
}
