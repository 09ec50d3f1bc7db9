//! Statements that read.

use super::{CUSTOMERS, Made, Maker, ORDERS, Table, made};

impl Maker {
    pub(super) fn select(&mut self, table: &Table) -> Made {
        let (name, by) = self.alias(table, "t");
        let condition = self.condition(table, &by);
        let what = match self.random.below(3) {
            0 => "count(*)".to_owned(),
            1 => format!("{by}{}, {by}{}", table.number, table.key),
            _ => "*".to_owned(),
        };
        let sql = format!("SELECT {what} FROM {name} WHERE {}", condition.sql);
        made(sql, &condition)
    }

    /// A CTE or a sub-select in FROM, sifted from outside.
    pub(super) fn with(&mut self, table: &Table) -> Made {
        let inside = self.condition(table, "t.");
        let outside = self.condition(table, "x.");
        let (key, number, name) = (table.key, table.number, table.name);
        let inner = format!("SELECT {key}, {number} FROM {name} t WHERE {}", inside.sql);
        let sql = match self.random.below(3) {
            0 => format!("WITH x AS ({inner}) SELECT * FROM x WHERE {}", outside.sql),
            1 => format!(
                "WITH x AS MATERIALIZED ({inner}) SELECT count(*) FROM x WHERE {}",
                outside.sql
            ),
            _ => format!("SELECT * FROM ({inner}) AS x WHERE {}", outside.sql),
        };
        let mut both = made(sql, &inside.and(outside));
        both.2 = false;
        both
    }

    pub(super) fn union(&mut self, table: &Table) -> Made {
        let (one, two) = (self.condition(table, ""), self.condition(table, "u."));
        let (key, name) = (table.key, table.name);
        let word = *self
            .random
            .pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
        let sql = format!(
            "SELECT {key} FROM {name} WHERE {} {word} SELECT {key} FROM {name} u WHERE {}",
            one.sql, two.sql
        );
        let depends = one.depends().or(&two.depends());
        (sql, depends, false, true)
    }

    /// What is sifted from outside, but not before rows are chosen or numbered.
    pub(super) fn cut(&mut self, table: &Table) -> Made {
        let (inside, outside) = (self.condition(table, "t."), self.condition(table, "x."));
        let (key, number, name) = (table.key, table.number, table.name);
        let inner = match self.random.below(4) {
            0 => format!(
                "SELECT {key}, {number} FROM {name} t WHERE {} LIMIT 2",
                inside.sql
            ),
            1 => format!(
                "SELECT {key}, {number}, count(*) OVER () AS w FROM {name} t WHERE {}",
                inside.sql
            ),
            2 => format!(
                "SELECT DISTINCT ON ({number}) {key}, {number} FROM {name} t WHERE {}",
                inside.sql
            ),
            _ => format!(
                "SELECT max({key}) AS {key}, count(*)::int AS {number} FROM {name} t WHERE {}",
                inside.sql
            ),
        };
        let stable = !inner.contains("LIMIT") && !inner.contains("DISTINCT");
        let sql = format!("SELECT * FROM ({inner}) AS x WHERE {}", outside.sql);
        // A sub-select outside is compared with whatever the inner rows come to.
        let depends = inside.depends().or(&outside.depends_on_any());
        (sql, depends, false, stable)
    }

    pub(super) fn join(&mut self) -> Made {
        let (orders, customers) = (
            self.condition(&ORDERS, "o."),
            self.condition(&CUSTOMERS, "c."),
        );
        let from = match self.random.below(3) {
            0 => "fz_orders o JOIN fz_customers c ON o.customer_id = c.id",
            1 => "fz_customers AS c INNER JOIN fz_orders AS o ON c.id = o.customer_id AND true",
            _ => "fz_orders o, fz_customers c",
        };
        let tied = !from.contains(',');
        let sql = format!(
            "SELECT o.total, c.rank, c.id FROM {from} WHERE {} AND {}",
            orders.sql, customers.sql
        );
        let reach = if tied {
            orders.and(customers).depends()
        } else {
            orders.depends().or(&customers.depends())
        };
        (sql, reach, false, true)
    }

    /// What the ON of an outer join says holds for one side only.
    pub(super) fn outer_join(&mut self) -> Made {
        let on = self.condition(&CUSTOMERS, "c.");
        let orders = self.condition(&ORDERS, "o.");
        let sql = format!(
            "SELECT o.id, o.total, c.rank FROM fz_orders o LEFT JOIN fz_customers c \
             ON o.customer_id = c.id AND {} WHERE {}",
            on.sql, orders.sql
        );
        let depends = orders.depends();
        let joined = on.depends_within(&orders.yes);
        (sql, depends.or(&joined), false, true)
    }

    /// A sub-select that looks at the row around it.
    pub(super) fn correlated(&mut self) -> Made {
        let orders = self.condition(&ORDERS, "o.");
        let customers = self.condition(&CUSTOMERS, "c.");
        let not = if self.random.chance(40) { "NOT " } else { "" };
        let tie = if self.random.chance(70) {
            "c.id = o.customer_id"
        } else {
            "c.rank = o.total"
        };
        let sql = format!(
            "SELECT o.id, o.total FROM fz_orders o WHERE {} AND {not}EXISTS \
             (SELECT 1 FROM fz_customers c WHERE {tie} AND {})",
            orders.sql, customers.sql
        );
        if tie == "c.rank = o.total" {
            let depends = orders.depends().or(&customers.depends());
            return (sql, depends, false, true);
        }
        // Only customers with the key of an order matter, and with EXISTS only such orders.
        let outer = match not {
            "" => orders.yes.and(&customers.yes),
            _ => orders.yes.clone(),
        };
        let depends = orders.depends_within(&outer);
        let depends = depends.or(&customers.depends_within(&outer));
        (sql, outer.or(&depends), false, true)
    }
}
