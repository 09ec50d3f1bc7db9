//! Tests of the analysis. Scopes and values are compared in a short written form.

use super::{
    Analysis, ArrayColumn, ArrayValue, Class, ColumnRef, Data, Elements, Entry, Fact, Family,
    NewRows, Output, Outputs, Scope, Source, Statement, TableRef, Test, Value, WriteKind, analyze,
};

mod classes;
mod completeness;
mod facts;
mod outputs;
mod robustness;
mod schema;
mod scopes;
mod unsafe_calls;
mod values;
mod writes;

fn analysis(sql: &str) -> Analysis {
    analyze(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn statement(sql: &str) -> Statement {
    let mut statements = analysis(sql).statements;
    assert_eq!(statements.len(), 1, "{sql}");
    statements.remove(0)
}

fn class(sql: &str) -> Class {
    statement(sql).class
}

fn data(sql: &str) -> Data {
    match class(sql) {
        Class::Select(data)
        | Class::Insert(data)
        | Class::Update(data)
        | Class::Delete(data)
        | Class::Merge(data) => data,
        other => panic!("{sql}: {other:?}"),
    }
}

/// The facts of all scopes, each after its scope's number, separated by semicolons.
fn facts(sql: &str) -> String {
    let data = data(sql);
    let mut lines = Vec::new();
    for (number, scope) in data.scopes.iter().enumerate() {
        for fact in &scope.facts {
            lines.push(format!("{number}: {}", written_fact(fact, scope)));
        }
    }
    lines.join("; ")
}

fn written_fact(fact: &Fact, scope: &Scope) -> String {
    let test = match &fact.test {
        Test::Among(column, values) => {
            format!("{} in ({})", written_column(column), written_values(values))
        }
        Test::AmongArray(column, ArrayValue::Parameter(index, family)) => format!(
            "{} in array ${}{}",
            written_column(column),
            u32::from(*index) + 1,
            written_cast(*family)
        ),
        Test::AmongArray(column, ArrayValue::Text(text, family)) => format!(
            "{} in array '{text}'{}",
            written_column(column),
            written_cast(*family)
        ),
        Test::Same(left, right) => {
            format!("{} = {}", written_column(left), written_column(right))
        }
        Test::AmongRows(column, rows) => format!("{} in #{}", written_column(column), rows.0),
    };
    if fact.restricts == (0..scope.entries.len()) {
        test
    } else {
        format!("{test} for {:?}", fact.restricts)
    }
}

fn written_column(column: &ColumnRef) -> String {
    match &column.qualifier {
        None => column.name.clone(),
        Some(qualifier) => match &qualifier.schema {
            None => format!("{}.{}", qualifier.name, column.name),
            Some(schema) => format!("{schema}.{}.{}", qualifier.name, column.name),
        },
    }
}

fn written_values(values: &[Value]) -> String {
    let values: Vec<_> = values.iter().map(written_value).collect();
    values.join(", ")
}

fn written_value(value: &Value) -> String {
    match value {
        Value::Integer(digits) => digits.clone(),
        Value::Text(text) => format!("'{text}'"),
        Value::Cast(family, text) => format!("'{text}'{}", written_cast(Some(*family))),
        Value::Null => "NULL".to_owned(),
        Value::Parameter(index, family) => {
            format!("${}{}", u32::from(*index) + 1, written_cast(*family))
        }
        Value::Default => "DEFAULT".to_owned(),
        Value::Other => "?".to_owned(),
    }
}

fn written_cast(family: Option<Family>) -> &'static str {
    match family {
        None => "",
        Some(Family::Integer) => "::integer",
        Some(Family::Text) => "::text",
        Some(Family::Uuid) => "::uuid",
    }
}

fn written_table(table: &TableRef) -> String {
    match &table.schema {
        None => table.name.clone(),
        Some(schema) => format!("{schema}.{}", table.name),
    }
}

/// The entries of all scopes; scopes are separated by bars.
fn entries(sql: &str) -> String {
    let data = data(sql);
    let scopes: Vec<_> = data.scopes.iter().map(written_entries).collect();
    scopes.join(" | ")
}

fn written_entries(scope: &Scope) -> String {
    let entries: Vec<_> = scope.entries.iter().map(written_entry).collect();
    entries.join(", ")
}

fn written_entry(entry: &Entry) -> String {
    let mut text = match &entry.source {
        Source::Table(table) => written_table(table),
        Source::Rows(rows) => format!("#{}", rows.0),
        Source::Opaque => "?".to_owned(),
    };
    match &entry.name {
        Some(name) if entry.aliased => text += &format!(" as {name}"),
        Some(_) => {}
        None => text += " unnamed",
    }
    if entry.renamed {
        text += "(..)";
    }
    if entry.nullable {
        text += " or null";
    }
    if let Some(position) = entry.hidden_by {
        text += &format!(" hidden by {position}");
    }
    text
}

/// The parents of all scopes, as number and visible entries.
fn parents(sql: &str) -> Vec<Option<(usize, std::ops::Range<usize>)>> {
    let scopes = data(sql).scopes;
    scopes
        .into_iter()
        .map(|scope| scope.parent.map(|(parent, range)| (parent.0, range)))
        .collect()
}

fn written_outputs(outputs: &Outputs) -> String {
    match outputs {
        Outputs::Unknown => "unknown".to_owned(),
        Outputs::List(outputs) => {
            let outputs: Vec<_> = outputs.iter().map(written_output).collect();
            outputs.join(", ")
        }
        Outputs::Branches(scopes) => {
            format!("{:?}", scopes.iter().map(|it| it.0).collect::<Vec<_>>())
        }
        Outputs::Values(rows) => written_rows(rows),
        Outputs::Arrays(columns) => {
            let columns: Vec<_> = columns.iter().map(written_array).collect();
            format!("arrays {}", columns.join(", "))
        }
    }
}

fn written_output(output: &Output) -> String {
    match output {
        Output::Column { name, column } if *name == column.name => written_column(column),
        Output::Column { name, column } => format!("{} as {name}", written_column(column)),
        Output::Star(None) => "*".to_owned(),
        Output::Star(Some(qualifier)) => format!("{}.*", qualifier.name),
        Output::Value(value) => written_value(value),
        Output::Cast(column, family) => format!("{}::{family:?}", written_column(column)),
        Output::Array(column) => format!("array {}", written_array(column)),
    }
}

fn written_array(column: &ArrayColumn) -> String {
    let elements = match &column.elements {
        None => "?".to_owned(),
        Some(Elements::Values(values)) => format!("[{}]", written_values(values)),
        Some(Elements::Array(array)) => format!("{array:?}"),
    };
    match &column.length {
        None => elements,
        Some(length) => format!("{elements} of {length:?}"),
    }
}

fn written_rows(rows: &[Vec<Value>]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| format!("({})", written_values(row)))
        .collect();
    rows.join(", ")
}

fn written_write(kind: &WriteKind) -> String {
    match kind {
        WriteKind::Insert(insert) => {
            let columns = match &insert.columns {
                Some(columns) => format!("({}) ", columns.join(", ")),
                None => String::new(),
            };
            let rows = match &insert.rows {
                NewRows::Defaults => "defaults".to_owned(),
                NewRows::Values(rows) => written_rows(rows),
                NewRows::Query(scope) => format!("#{}", scope.0),
            };
            let updates = if insert.updates.is_empty() {
                String::new()
            } else {
                format!(" or set {}", insert.updates.join(", "))
            };
            format!("insert {columns}{rows}{updates}")
        }
        WriteKind::Update(columns) => format!("update {}", columns.join(", ")),
        WriteKind::Delete => "delete".to_owned(),
        WriteKind::Merge => "merge".to_owned(),
    }
}

/// The writes of a statement, as scope, target and kind.
fn writes(sql: &str) -> String {
    let data = data(sql);
    let writes: Vec<_> = data
        .writes
        .iter()
        .map(|write| {
            let scope = &data.scopes[write.scope.0];
            let target = written_entry(&scope.entries[0]);
            format!("{}: {target} {}", write.scope.0, written_write(&write.kind))
        })
        .collect();
    writes.join("; ")
}
