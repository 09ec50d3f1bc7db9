//! Statements that write.

use super::{CUSTOMERS, Made, Maker, ORDERS, Reach, Table, made};

impl Maker {
    pub(super) fn update(&mut self, table: &Table) -> Made {
        let (name, by) = self.alias(table, "t");
        let condition = self.condition(table, &by);
        let (number, key) = (table.number, table.key);
        let set = match self.random.below(8) {
            0 => format!("{key} = {key}"),
            _ => format!("{number} = {number} + 1"),
        };
        let returning = *self.random.pick(&["", " RETURNING *"]);
        let sql = format!("UPDATE {name} SET {set} WHERE {}{returning}", condition.sql);
        let mut update = made(sql, &condition);
        update.2 &= !set.starts_with(key);
        update
    }

    pub(super) fn delete(&mut self, table: &Table) -> Made {
        let (name, by) = self.alias(table, "t");
        let condition = self.condition(table, &by);
        let sql = format!("DELETE FROM {name} WHERE {}", condition.sql);
        made(sql, &condition)
    }

    /// What is done with the rows that a DELETE returns does not restrict what it deletes.
    pub(super) fn delete_in_with(&mut self, table: &Table) -> Made {
        let (inside, outside) = (self.condition(table, "t."), self.condition(table, "d."));
        let sql = format!(
            "WITH d AS (DELETE FROM {} t WHERE {} RETURNING *) SELECT * FROM d WHERE {}",
            table.name, inside.sql, outside.sql
        );
        let depends = inside.depends().or(&outside.depends_on_any());
        (sql, depends, false, true)
    }

    pub(super) fn insert(&mut self, table: &Table) -> Made {
        let count = 1 + self.random.below(3);
        let named = self.random.chance(50);
        let (mut rows, mut keys, mut plain) = (Vec::new(), Vec::new(), true);
        let mut columns: Vec<&str> = table.columns.to_vec();
        if named && self.random.chance(50) {
            columns.reverse();
        }
        for _ in 0..count {
            let key = self.key(table.kind);
            let value = self.value(table.kind, key);
            plain &= value.plain;
            let cell = |column: &&str| {
                if *column == table.key {
                    value.sql.clone()
                } else {
                    "3".to_owned()
                }
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            rows.push(format!("({})", cells.join(", ")));
            keys.push(key);
        }
        let list = if named {
            format!(" ({})", columns.join(", "))
        } else {
            String::new()
        };
        let (key, number) = (table.key, table.number);
        let conflict = match self.random.below(3) {
            _ if table.name == ORDERS.name => String::new(),
            0 => String::new(),
            1 => " ON CONFLICT DO NOTHING".to_owned(),
            _ => format!(" ON CONFLICT ({key}) DO UPDATE SET {number} = excluded.{number} + 1"),
        };
        let returning = *self.random.pick(&["", " RETURNING *"]);
        let sql = format!(
            "INSERT INTO {}{list} VALUES {}{conflict}{returning}",
            table.name,
            rows.join(", ")
        );
        (sql, Reach::keys(keys), plain, true)
    }

    /// New rows with the keys of others.
    pub(super) fn insert_select(&mut self) -> Made {
        let condition = self.condition(&CUSTOMERS, "c.");
        let list = *self.random.pick(&["", " (id, customer_id, total)"]);
        let sql = format!(
            "INSERT INTO fz_orders{list} SELECT c.rank, c.id, 9 FROM fz_customers c WHERE {}",
            condition.sql
        );
        made(sql, &condition)
    }
}
