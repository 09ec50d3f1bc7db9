//! Whether a caller of the HTTP and gRPC fronts may run a statement: readers read, and whoever is
//! limited to some table groups names no tables of others.
//!
//! What a statement does beyond what it names (a function, a view, a trigger) is not seen here: that
//! readers change nothing is made sure of by PostgreSQL, in a read-only transaction.

use platform::access::Scope;
use topology::{Placement, Snapshot};

use super::Refusal;
use super::tables::Tables;
use crate::query::{Class, Data, Source, Statement, TableRef};

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Whether they may change anything.
    pub may_write: bool,
    /// Whose tables they may name.
    pub scope: Scope,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            may_write: true,
            scope: Scope::All,
        }
    }
}

impl Rights {
    /// Checks a statement.
    ///
    /// # Errors
    /// The [`Refusal`] to send to the client.
    pub fn check(
        &self,
        statement: &Statement,
        (snapshot, search_path): (&Snapshot, &[&str]),
    ) -> Result<(), Refusal> {
        if !self.may_write && !reads(&statement.class) {
            return Err(denied("role reader may only read".to_owned()));
        }
        if self.scope == Scope::All {
            return Ok(());
        }
        let data = data_of(&statement.class).filter(|data| data.opaque.is_none());
        let Some(data) = data else {
            // Nothing is read by it but what is everybody's.
            if matches!(statement.class, Class::Show(_)) {
                return Ok(());
            }
            let message = "whoever is limited to some groups may only select, insert, update, \
                           delete and merge";
            return Err(denied(message.to_owned()));
        };
        let tables = Tables::new(snapshot, search_path);
        let written: Vec<usize> = data.writes.iter().map(|write| write.scope.0).collect();
        for (index, scope) in data.scopes.iter().enumerate() {
            for (place, entry) in scope.entries.iter().enumerate() {
                if let Source::Table(table) = &entry.source {
                    // The target of a write is the first entry of its scope.
                    let is_target = place == 0 && written.contains(&index);
                    self.check_table(tables, table, is_target)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that a group may be asked about.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_group(&self, group: &str) -> Result<(), Refusal> {
        if self.scope.has(group) {
            Ok(())
        } else {
            Err(denied(format!(
                "group {group} is not among those of the caller"
            )))
        }
    }

    fn check_table(
        &self,
        tables: Tables<'_>,
        table: &TableRef,
        is_target: bool,
    ) -> Result<(), Refusal> {
        let Some(registered) = tables.registered(table) else {
            // PostgreSQL's own say much of all tables, and what is not known is nobody's.
            let name = &table.name;
            return Err(denied(format!(
                "table {name} is in none of the caller's groups"
            )));
        };
        let is_allowed = match &registered.placement {
            Placement::Sharded { group, .. } => self.scope.has(group.as_str()),
            Placement::Reference => !is_target,
            // Its query is checked in its place.
            Placement::Unsharded { .. } | Placement::View { .. } => false,
        };
        if is_allowed {
            return Ok(());
        }
        let name = super::tables::shown(&registered.name);
        Err(denied(match registered.placement {
            Placement::Reference => format!("reference table {name} is in no group"),
            Placement::Sharded { .. } | Placement::Unsharded { .. } | Placement::View { .. } => {
                format!("table {name} is in none of the caller's groups")
            }
        }))
    }
}

fn data_of(class: &Class) -> Option<&Data> {
    match class {
        Class::Select(data)
        | Class::Insert(data)
        | Class::Update(data)
        | Class::Delete(data)
        | Class::Merge(data) => Some(data),
        Class::Explain { inner, .. } | Class::ExplainRoute(inner) => data_of(inner),
        _ => None,
    }
}

/// Whether a statement reads, as far as it says itself.
fn reads(class: &Class) -> bool {
    match class {
        Class::Select(data) => data.writes.is_empty(),
        Class::Show(_) => true,
        Class::ExplainRoute(_) | Class::Explain { analyze: false, .. } => true,
        Class::Explain { inner, .. } => reads(inner),
        _ => false,
    }
}

fn denied(message: String) -> Refusal {
    Refusal {
        sqlstate: "42501",
        message,
        hint: None,
    }
}

#[cfg(test)]
mod tests;
