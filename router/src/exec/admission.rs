//! Pure: which statements can run in a request that has no session around it.

use crate::query::{Analysis, Class, Statement};
use crate::route::Refusal;

/// The one statement of a request, if it can run by itself.
///
/// # Errors
/// The [`Refusal`] to send to the client.
pub fn only_statement(analysis: &Analysis) -> Result<&Statement, Refusal> {
    let statement = match analysis.statements.as_slice() {
        [] => return Err(refusal("42601", "the query holds no statement", None)),
        [statement] => statement,
        [_, _, ..] => {
            let message = "a request runs one statement, and the query holds several";
            let hint = "send each statement in a request of its own";
            return Err(refusal("42601", message, Some(hint)));
        }
    };
    match objection(&statement.class) {
        None => Ok(statement),
        Some((message, hint)) => Err(refusal("0A000", message, Some(hint))),
    }
}

fn refusal(sqlstate: &'static str, message: &str, hint: Option<&str>) -> Refusal {
    Refusal {
        sqlstate,
        message: message.to_owned(),
        hint: hint.map(ToOwned::to_owned),
    }
}

/// Why a statement makes no sense without a session, and what to do instead.
fn objection(class: &Class) -> Option<(&'static str, &'static str)> {
    const POSTGRES: &str = "use the Postgres front";
    const TRANSACTION: (&str, &str) = (
        "each request is a transaction of its own: transactions are not controlled by statements",
        "use the Postgres front for transactions of several statements",
    );
    const SETTING: (&str, &str) = (
        "a setting would end with the request",
        "use the Postgres front, or set it for the database with ALTER DATABASE",
    );
    match class {
        Class::Select(_)
        | Class::Insert(_)
        | Class::Update(_)
        | Class::Delete(_)
        | Class::Merge(_)
        | Class::Ddl(_)
        | Class::Show(_)
        | Class::Maintenance(_)
        | Class::Sharding(_)
        | Class::Call
        | Class::Do
        | Class::Notify(_)
        | Class::Other(_) => None,
        Class::Begin { .. }
        | Class::Commit { .. }
        | Class::Rollback { .. }
        | Class::Savepoint(_)
        | Class::Release(_)
        | Class::RollbackTo(_)
        | Class::PrepareTransaction
        | Class::FinishPrepared
        | Class::LockTable(_) => Some(TRANSACTION),
        Class::Set(_)
        | Class::SetConstraints
        | Class::Reset(_)
        | Class::DiscardAll
        | Class::DiscardOther(_) => Some(SETTING),
        Class::Deallocate(_) | Class::SqlPrepare(_) | Class::SqlExecute(_) => Some((
            "a prepared statement would end with the request",
            "send the statement itself with its parameters",
        )),
        Class::Copy(_) => Some(("COPY is not possible over this API", POSTGRES)),
        Class::Listen(_) | Class::Unlisten(_) => {
            Some(("notifications do not reach this API", POSTGRES))
        }
        Class::DeclareCursor { .. } | Class::Cursor(_) => Some((
            "a cursor would end with the request",
            "a result is streamed whatever its length",
        )),
        Class::Explain { inner, .. } | Class::ExplainRoute(inner) => objection(inner),
    }
}

/// Whether a statement can change anything, as far as its class says.
#[must_use]
pub fn may_write(class: &Class) -> bool {
    match class {
        Class::Select(data) => !data.writes.is_empty() || data.opaque.is_some(),
        Class::Show(_) | Class::ExplainRoute(_) => false,
        Class::Explain { analyze, inner } => *analyze && may_write(inner),
        Class::Insert(_)
        | Class::Update(_)
        | Class::Delete(_)
        | Class::Merge(_)
        | Class::Ddl(_)
        | Class::Begin { .. }
        | Class::Commit { .. }
        | Class::Rollback { .. }
        | Class::Savepoint(_)
        | Class::Release(_)
        | Class::RollbackTo(_)
        | Class::PrepareTransaction
        | Class::FinishPrepared
        | Class::Set(_)
        | Class::SetConstraints
        | Class::Reset(_)
        | Class::Deallocate(_)
        | Class::DiscardAll
        | Class::DiscardOther(_)
        | Class::SqlPrepare(_)
        | Class::SqlExecute(_)
        | Class::Copy(_)
        | Class::Listen(_)
        | Class::Unlisten(_)
        | Class::Notify(_)
        | Class::DeclareCursor { .. }
        | Class::Cursor(_)
        | Class::LockTable(_)
        | Class::Maintenance(_)
        | Class::Sharding(_)
        | Class::Call
        | Class::Do
        | Class::Other(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::SqlExecute;

    fn analysis(classes: Vec<Class>) -> Analysis {
        let statement = |class| Statement {
            class,
            location: 0..1,
            functions: Vec::new(),
            hints: crate::query::Hints::default(),
        };
        Analysis {
            statements: classes.into_iter().map(statement).collect(),
        }
    }

    #[test]
    fn a_request_holds_exactly_one_statement() {
        let select = || Class::Select(crate::query::Data::default());
        for (classes, sqlstate) in [
            (vec![], Some("42601")),
            (vec![select()], None),
            (vec![select(), select()], Some("42601")),
        ] {
            let analysis = analysis(classes);
            let refused = only_statement(&analysis)
                .err()
                .map(|refusal| refusal.sqlstate);
            assert_eq!(refused, sqlstate);
        }
    }

    #[test]
    fn what_needs_a_session_is_refused_with_a_way_out() {
        let begin = Class::Begin { read_only: false };
        let explained = Class::Explain {
            analyze: false,
            inner: Box::new(Class::SqlExecute(SqlExecute {
                name: "p".to_owned(),
                arguments: Vec::new(),
            })),
        };
        let classes = [
            begin,
            Class::SetConstraints,
            Class::Listen("a".to_owned()),
            Class::DeclareCursor {
                name: "c".to_owned(),
                hold: false,
                query: Box::new(Class::Do),
            },
            explained,
        ];
        for class in classes {
            let analysis = analysis(vec![class]);
            let refusal = only_statement(&analysis).unwrap_err();
            assert_eq!(refusal.sqlstate, "0A000");
            assert!(refusal.hint.is_some(), "{refusal}");
        }
    }
}
