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
            Placement::Unsharded { .. } => false,
        };
        if is_allowed {
            return Ok(());
        }
        let name = super::tables::shown(&registered.name);
        Err(denied(match registered.placement {
            Placement::Reference => format!("reference table {name} is in no group"),
            Placement::Sharded { .. } | Placement::Unsharded { .. } => {
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
mod tests {
    use super::super::tests::cluster::snapshot;
    use super::*;
    use crate::query::analyze;

    fn check(rights: &Rights, sql: &str) -> Result<(), String> {
        let analysis = analyze(sql).unwrap();
        let snapshot = snapshot();
        let checked = rights.check(&analysis.statements[0], (&snapshot, &["public"]));
        checked.map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_reader_reads_only() {
        let reader = Rights {
            may_write: false,
            scope: Scope::All,
        };
        for sql in [
            "SELECT * FROM orders",
            "SHOW search_path",
            "EXPLAIN DELETE FROM orders",
            "EXPLAIN ANALYZE SELECT 1",
        ] {
            assert_eq!(check(&reader, sql), Ok(()), "{sql}");
        }
        for sql in [
            "INSERT INTO orders VALUES (1)",
            "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
            "EXPLAIN ANALYZE DELETE FROM orders",
            "CREATE TABLE x (id int)",
            "CALL p()",
            "DO $$BEGIN END$$",
            "TRUNCATE orders",
        ] {
            assert!(check(&reader, sql).is_err(), "{sql}");
            assert_eq!(check(&Rights::default(), sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn whoever_is_limited_to_groups_names_no_other_tables() {
        let writer = Rights {
            may_write: true,
            scope: Scope::Only(["texts".to_owned()].into()),
        };
        for sql in [
            "SELECT * FROM docs",
            "SELECT * FROM docs JOIN countries ON true",
            "UPDATE pages SET body = '' WHERE slug = 'a'",
            "INSERT INTO docs SELECT * FROM pages",
            "SELECT 1",
            "SHOW search_path",
        ] {
            assert_eq!(check(&writer, sql), Ok(()), "{sql}");
        }
        for sql in [
            "SELECT * FROM orders",
            "SELECT * FROM docs WHERE slug IN (SELECT note FROM orders)",
            "WITH o AS (SELECT * FROM orders) SELECT * FROM docs",
            "SELECT (SELECT count(*) FROM orders) FROM docs",
            "INSERT INTO docs SELECT * FROM orders",
            "DELETE FROM docs USING orders",
            "UPDATE countries SET name = ''",
            "SELECT * FROM settings",
            "SELECT * FROM pg_class",
            "SELECT * FROM unknown",
            "DROP TABLE docs",
            "CALL p()",
            "EXPLAIN SELECT * FROM orders",
            "EXPLAIN ANALYZE DELETE FROM orders",
            "TABLE orders",
            "SELECT slug FROM docs UNION ALL SELECT note FROM orders",
            "SELECT slug FROM docs EXCEPT (SELECT note FROM orders LIMIT 1)",
            "SELECT * FROM docs JOIN pages ON (SELECT true FROM orders LIMIT 1)",
            "SELECT * FROM docs, LATERAL (SELECT * FROM orders) AS o",
            "SELECT * FROM docs ORDER BY (SELECT max(id) FROM orders)",
            "SELECT * FROM docs LIMIT (SELECT count(*) FROM orders)",
            "SELECT * FROM docs OFFSET (SELECT count(*) FROM orders)",
            "SELECT slug FROM docs GROUP BY slug, (SELECT 1 FROM orders)",
            "SELECT slug FROM docs GROUP BY slug HAVING EXISTS (TABLE orders)",
            "SELECT count(*) FILTER (WHERE EXISTS (TABLE orders)) FROM docs",
            "SELECT row_number() OVER (ORDER BY (SELECT 1 FROM orders)) FROM docs",
            "SELECT count(*) OVER w FROM docs WINDOW w AS (ORDER BY (SELECT 1 FROM orders))",
            "SELECT DISTINCT ON ((SELECT 1 FROM orders)) slug FROM docs",
            "SELECT ARRAY(SELECT note FROM orders) FROM docs",
            "SELECT CASE WHEN EXISTS (TABLE orders) THEN 1 END FROM docs",
            "SELECT coalesce((SELECT note FROM orders LIMIT 1), '') FROM docs",
            "SELECT upper((SELECT note FROM orders LIMIT 1))",
            "SELECT * FROM generate_series(1, (SELECT count(*) FROM orders))",
            "SELECT * FROM docs TABLESAMPLE system ((SELECT 1 FROM orders))",
            "SELECT ((SELECT o FROM orders AS o LIMIT 1)).note",
            "VALUES ((SELECT note FROM orders LIMIT 1))",
            "INSERT INTO docs (slug) VALUES ((SELECT note FROM orders LIMIT 1))",
            "INSERT INTO docs (slug) VALUES ('a') ON CONFLICT (slug) DO UPDATE \
             SET slug = (SELECT note FROM orders LIMIT 1)",
            "INSERT INTO docs (slug) VALUES ('a') RETURNING (SELECT note FROM orders LIMIT 1)",
            "INSERT INTO orders SELECT 1",
            "UPDATE docs SET slug = (SELECT note FROM orders LIMIT 1) WHERE slug = 'a'",
            "UPDATE docs SET (slug) = (SELECT note FROM orders LIMIT 1) WHERE slug = 'a'",
            "UPDATE docs SET slug = 'b' FROM orders WHERE docs.slug = 'a'",
            "DELETE FROM docs WHERE slug = 'a' RETURNING (SELECT note FROM orders LIMIT 1)",
            "MERGE INTO docs USING orders ON false WHEN NOT MATCHED THEN DO NOTHING",
            "MERGE INTO docs USING pages ON docs.slug = pages.slug \
             WHEN MATCHED AND EXISTS (TABLE orders) THEN DELETE",
            "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r, orders) SELECT * FROM r",
            "WITH x AS (INSERT INTO orders VALUES (1) RETURNING *) SELECT 1",
            "WITH docs AS (TABLE orders) SELECT * FROM docs",
            "SELECT * FROM other.docs",
            "SELECT * FROM pg_catalog.docs",
            "SELECT * INTO copied FROM docs",
            "CREATE TABLE copied AS SELECT * FROM docs",
            "COPY docs TO STDOUT",
            "COPY (SELECT * FROM orders) TO STDOUT",
            "DECLARE c CURSOR FOR SELECT * FROM orders",
            "PREPARE p AS SELECT * FROM orders",
            "EXECUTE p",
            "LOCK TABLE docs",
            "VACUUM docs",
            "SET search_path TO other",
            "GRANT SELECT ON docs TO public",
        ] {
            assert!(check(&writer, sql).is_err(), "{sql}");
        }
        assert_eq!(writer.check_group("texts"), Ok(()));
        assert!(writer.check_group("default").is_err());
    }
}
