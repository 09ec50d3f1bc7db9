"""A small TPC-C: five transactions over nine tables, with the warehouse as the shard key of all but
the items. Some order lines and payments are of other warehouses, and so of other shards. At its end
the conditions of the specification (3.3.2) are looked at."""

import os
import random
import threading
import time

import psycopg2
from psycopg2 import errorcodes, extras

WAREHOUSES = 6
DISTRICTS = 4
CUSTOMERS = 12
ITEMS = 60
CLIENTS = 4
REMOTE = 0.1
SECONDS = float(os.environ.get("TPCC_SECONDS", "4"))

TABLES = [
    "tpcc_warehouse (w_id bigint PRIMARY KEY, w_tax numeric(4,4) NOT NULL, w_ytd numeric(12,2) NOT NULL)",
    "tpcc_district (d_w_id bigint, d_id int, d_tax numeric(4,4) NOT NULL, d_ytd numeric(12,2) NOT NULL,"
    " d_next_o_id int NOT NULL, PRIMARY KEY (d_w_id, d_id))",
    "tpcc_customer (c_w_id bigint, c_d_id int, c_id int, c_last text NOT NULL, c_discount numeric(4,4) NOT NULL,"
    " c_balance numeric(12,2) NOT NULL, c_ytd_payment numeric(12,2) NOT NULL, c_payment_cnt int NOT NULL,"
    " c_delivery_cnt int NOT NULL, PRIMARY KEY (c_w_id, c_d_id, c_id))",
    "tpcc_history (h_w_id bigint NOT NULL, h_d_id int, h_c_w_id bigint, h_c_d_id int, h_c_id int,"
    " h_date timestamptz, h_amount numeric(6,2) NOT NULL)",
    "tpcc_orders (o_w_id bigint, o_d_id int, o_id int, o_c_id int NOT NULL, o_carrier_id int, o_ol_cnt int NOT NULL,"
    " o_all_local boolean NOT NULL, o_entry_d timestamptz NOT NULL, PRIMARY KEY (o_w_id, o_d_id, o_id))",
    "tpcc_new_order (no_w_id bigint, no_d_id int, no_o_id int, PRIMARY KEY (no_w_id, no_d_id, no_o_id))",
    "tpcc_order_line (ol_w_id bigint, ol_d_id int, ol_o_id int, ol_number int, ol_i_id int NOT NULL,"
    " ol_supply_w_id bigint NOT NULL, ol_delivery_d timestamptz, ol_quantity int NOT NULL,"
    " ol_amount numeric(8,2) NOT NULL, PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number))",
    "tpcc_stock (s_w_id bigint, s_i_id int, s_quantity int NOT NULL, s_ytd bigint NOT NULL,"
    " s_order_cnt int NOT NULL, s_remote_cnt int NOT NULL, PRIMARY KEY (s_w_id, s_i_id))",
    "tpcc_item (i_id int PRIMARY KEY, i_name text NOT NULL, i_price numeric(5,2) NOT NULL)",
]

KEYS = {
    "tpcc_warehouse": "w_id",
    "tpcc_district": "d_w_id",
    "tpcc_customer": "c_w_id",
    "tpcc_history": "h_w_id",
    "tpcc_orders": "o_w_id",
    "tpcc_new_order": "no_w_id",
    "tpcc_order_line": "ol_w_id",
    "tpcc_stock": "s_w_id",
}


def create():
    connection = psycopg2.connect("")
    connection.autocommit = True
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"CREATE TABLE {table}")
        for table, key in KEYS.items():
            cursor.execute("SELECT sharding.shard_table(%s, %s)", (table, key))
        cursor.execute("SELECT sharding.reference_table('tpcc_item')")
    connection.close()


def load():
    chance = random.Random(1)
    connection = psycopg2.connect("")
    with connection, connection.cursor() as cursor:

        def rows(table, values):
            extras.execute_values(cursor, f"INSERT INTO {table} VALUES %s", list(values))

        warehouses = range(1, WAREHOUSES + 1)
        districts = [(w, d) for w in warehouses for d in range(1, DISTRICTS + 1)]
        ytd = 30000 * DISTRICTS
        rows("tpcc_item", ((i, f"item {i}", chance.randint(100, 9999) / 100) for i in range(1, ITEMS + 1)))
        rows("tpcc_warehouse", ((w, 0.1, ytd) for w in warehouses))
        rows("tpcc_district", ((w, d, 0.1, 30000, 1) for w, d in districts))
        customers = [(w, d, c) for w, d in districts for c in range(1, CUSTOMERS + 1)]
        rows("tpcc_customer", ((w, d, c, f"last {c % 5}", 0.05, -10, 10, 1, 0) for w, d, c in customers))
        rows("tpcc_stock", ((w, i, 50, 0, 0, 0) for w in warehouses for i in range(1, ITEMS + 1)))
    connection.close()


class RolledBack(Exception):
    """The one new order of a hundred whose item does not exist."""


class Terminal(threading.Thread):
    def __init__(self, number, until):
        super().__init__()
        self.chance = random.Random(1000 + number)
        self.until = until
        self.done = {}
        self.again = 0
        self.failure = None

    def run(self):
        try:
            self.connection = psycopg2.connect("")
            while time.monotonic() < self.until:
                self.one()
            self.connection.close()
        except Exception as failure:
            self.failure = failure
            raise

    def one(self):
        kinds = [self.new_order] * 45 + [self.payment] * 43
        kinds += [self.order_status] * 4 + [self.delivery] * 4 + [self.stock_level] * 4
        kind = self.chance.choice(kinds)
        home = self.chance.randint(1, WAREHOUSES)
        district = self.chance.randint(1, DISTRICTS)
        customer = self.chance.randint(1, CUSTOMERS)
        try:
            with self.connection, self.connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '2s'")
                kind(cursor, home, district, customer)
            self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1
        except RolledBack:
            self.done["rolled back"] = self.done.get("rolled back", 0) + 1
        except psycopg2.Error as error:
            # Two that wait for each other, on one shard or on two.
            if error.pgcode not in (errorcodes.DEADLOCK_DETECTED, errorcodes.LOCK_NOT_AVAILABLE):
                raise
            self.again += 1

    def other(self, home):
        return self.chance.choice([w for w in range(1, WAREHOUSES + 1) if w != home])

    def new_order(self, cursor, home, district, customer):
        cursor.execute(
            "SELECT w.w_tax, c.c_discount FROM tpcc_warehouse w JOIN tpcc_customer c ON c.c_w_id = w.w_id"
            " WHERE w.w_id = %s AND c.c_d_id = %s AND c.c_id = %s",
            (home, district, customer),
        )
        tax, discount = cursor.fetchone()
        cursor.execute(
            "UPDATE tpcc_district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = %s AND d_id = %s"
            " RETURNING d_next_o_id - 1, d_tax",
            (home, district),
        )
        order, district_tax = cursor.fetchone()
        items = sorted(self.chance.sample(range(1, ITEMS + 1), self.chance.randint(5, 10)))
        if self.chance.random() < 0.01:
            items[-1] = ITEMS + 1
        suppliers = [self.other(home) if self.chance.random() < REMOTE else home for _ in items]
        local = all(supplier == home for supplier in suppliers)
        cursor.execute(
            "INSERT INTO tpcc_orders VALUES (%s, %s, %s, %s, NULL, %s, %s, now())",
            (home, district, order, customer, len(items), local),
        )
        cursor.execute("INSERT INTO tpcc_new_order VALUES (%s, %s, %s)", (home, district, order))
        lines = []
        for number, (item, supplier) in enumerate(sorted(zip(items, suppliers), key=lambda it: (it[1], it[0])), 1):
            cursor.execute("SELECT i_price FROM tpcc_item WHERE i_id = %s", (item,))
            found = cursor.fetchone()
            if found is None:
                raise RolledBack()
            quantity = self.chance.randint(1, 10)
            cursor.execute(
                "UPDATE tpcc_stock SET s_quantity = CASE WHEN s_quantity >= %s + 10 THEN s_quantity - %s"
                " ELSE s_quantity - %s + 91 END, s_ytd = s_ytd + %s, s_order_cnt = s_order_cnt + 1,"
                " s_remote_cnt = s_remote_cnt + %s WHERE s_w_id = %s AND s_i_id = %s",
                (quantity, quantity, quantity, quantity, int(supplier != home), supplier, item),
            )
            assert cursor.rowcount == 1
            amount = quantity * found[0] * (1 + tax + district_tax) * (1 - discount)
            lines.append((home, district, order, number, item, supplier, None, quantity, amount))
        extras.execute_values(cursor, "INSERT INTO tpcc_order_line VALUES %s", lines)

    def payment(self, cursor, home, district, customer):
        amount = self.chance.randint(100, 500000) / 100
        remote = self.chance.random() < REMOTE
        of = self.other(home) if remote else home
        cursor.execute("UPDATE tpcc_warehouse SET w_ytd = w_ytd + %s WHERE w_id = %s", (amount, home))
        cursor.execute(
            "UPDATE tpcc_district SET d_ytd = d_ytd + %s WHERE d_w_id = %s AND d_id = %s",
            (amount, home, district),
        )
        if self.chance.random() < 0.6:
            cursor.execute(
                "SELECT c_id FROM tpcc_customer WHERE c_w_id = %s AND c_d_id = %s AND c_last = %s ORDER BY c_id",
                (of, district, f"last {customer % 5}"),
            )
            named = cursor.fetchall()
            customer = named[len(named) // 2][0]
        cursor.execute(
            "UPDATE tpcc_customer SET c_balance = c_balance - %s, c_ytd_payment = c_ytd_payment + %s,"
            " c_payment_cnt = c_payment_cnt + 1 WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s",
            (amount, amount, of, district, customer),
        )
        assert cursor.rowcount == 1
        cursor.execute(
            "INSERT INTO tpcc_history VALUES (%s, %s, %s, %s, %s, now(), %s)",
            (home, district, of, district, customer, amount),
        )

    def order_status(self, cursor, home, district, customer):
        cursor.execute(
            "SELECT o_id, o_ol_cnt FROM tpcc_orders WHERE o_w_id = %s AND o_d_id = %s AND o_c_id = %s"
            " ORDER BY o_id DESC LIMIT 1",
            (home, district, customer),
        )
        order = cursor.fetchone()
        if order is None:
            return
        cursor.execute(
            "SELECT count(*) FROM tpcc_order_line WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s",
            (home, district, order[0]),
        )
        assert cursor.fetchone()[0] == order[1], "an order without its lines"

    def delivery(self, cursor, home, _district, _customer):
        for district in range(1, DISTRICTS + 1):
            cursor.execute(
                "DELETE FROM tpcc_new_order WHERE no_w_id = %s AND no_d_id = %s AND no_o_id ="
                " (SELECT min(no_o_id) FROM tpcc_new_order WHERE no_w_id = %s AND no_d_id = %s) RETURNING no_o_id",
                (home, district, home, district),
            )
            oldest = cursor.fetchone()
            if oldest is None:
                continue
            cursor.execute(
                "UPDATE tpcc_orders SET o_carrier_id = 1 WHERE o_w_id = %s AND o_d_id = %s AND o_id = %s"
                " RETURNING o_c_id",
                (home, district, oldest[0]),
            )
            customer = cursor.fetchone()[0]
            cursor.execute(
                "UPDATE tpcc_order_line SET ol_delivery_d = now()"
                " WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s",
                (home, district, oldest[0]),
            )
            cursor.execute(
                "UPDATE tpcc_customer SET c_delivery_cnt = c_delivery_cnt + 1, c_balance = c_balance +"
                " (SELECT sum(ol_amount) FROM tpcc_order_line WHERE ol_w_id = %s AND ol_d_id = %s AND ol_o_id = %s)"
                " WHERE c_w_id = %s AND c_d_id = %s AND c_id = %s",
                (home, district, oldest[0], home, district, customer),
            )

    def stock_level(self, cursor, home, district, _customer):
        cursor.execute(
            "SELECT count(DISTINCT s.s_i_id) FROM tpcc_district d"
            " JOIN tpcc_order_line l ON l.ol_w_id = d.d_w_id AND l.ol_d_id = d.d_id"
            " AND l.ol_o_id >= d.d_next_o_id - 20 JOIN tpcc_stock s ON s.s_w_id = l.ol_w_id AND s.s_i_id = l.ol_i_id"
            " WHERE d.d_w_id = %s AND d.d_id = %s AND s.s_quantity < 15",
            (home, district),
        )
        cursor.fetchone()


# Each gives a row for what is wrong; they are queries over all shards.
CONDITIONS = {
    "1: w_ytd is the sum of d_ytd": "SELECT w.w_id FROM tpcc_warehouse w JOIN tpcc_district d ON d.d_w_id = w.w_id"
    " GROUP BY w.w_id, w.w_ytd HAVING w.w_ytd <> sum(d.d_ytd)",
    "2: d_next_o_id follows the last order": "SELECT d.d_w_id, d.d_id FROM tpcc_district d LEFT JOIN tpcc_orders o"
    " ON o.o_w_id = d.d_w_id AND o.o_d_id = d.d_id GROUP BY d.d_w_id, d.d_id, d.d_next_o_id"
    " HAVING d.d_next_o_id - 1 <> coalesce(max(o.o_id), 0)",
    "3: new orders have no gap": "SELECT no_w_id, no_d_id FROM tpcc_new_order GROUP BY no_w_id, no_d_id"
    " HAVING max(no_o_id) - min(no_o_id) + 1 <> count(*)",
    "4: as many lines as orders say": "SELECT o.o_w_id, o.o_d_id, o.o_id FROM tpcc_orders o LEFT JOIN tpcc_order_line l"
    " ON l.ol_w_id = o.o_w_id AND l.ol_d_id = o.o_d_id AND l.ol_o_id = o.o_id"
    " GROUP BY o.o_w_id, o.o_d_id, o.o_id, o.o_ol_cnt HAVING count(l.ol_number) <> o.o_ol_cnt",
    "5: an order has a carrier when it is no new one": "SELECT o.o_w_id FROM tpcc_orders o LEFT JOIN tpcc_new_order n"
    " ON n.no_w_id = o.o_w_id AND n.no_d_id = o.o_d_id AND n.no_o_id = o.o_id"
    " WHERE (o.o_carrier_id IS NULL) <> (n.no_w_id IS NOT NULL)",
    "7: a line is delivered when its order is": "SELECT l.ol_w_id FROM tpcc_order_line l JOIN tpcc_orders o"
    " ON o.o_w_id = l.ol_w_id AND o.o_d_id = l.ol_d_id AND o.o_id = l.ol_o_id"
    " WHERE (l.ol_delivery_d IS NULL) <> (o.o_carrier_id IS NULL)",
    "8: w_ytd is what was paid": "SELECT w.w_id FROM tpcc_warehouse w LEFT JOIN tpcc_history h ON h.h_w_id = w.w_id"
    f" GROUP BY w.w_id, w.w_ytd HAVING w.w_ytd <> {30000 * DISTRICTS} + coalesce(sum(h.h_amount), 0)",
}

# Sums of both sides of what lies on several shards: stock of a supplier and lines of any warehouse,
# customers of a payment and its history.
TOTALS = [
    ("stock and lines", "SELECT sum(s_ytd) FROM tpcc_stock", "SELECT sum(ol_quantity) FROM tpcc_order_line"),
    ("orders of the stock", "SELECT sum(s_order_cnt) FROM tpcc_stock", "SELECT count(*) FROM tpcc_order_line"),
    (
        "remote lines",
        "SELECT sum(s_remote_cnt) FROM tpcc_stock",
        "SELECT count(*) FROM tpcc_order_line WHERE ol_supply_w_id <> ol_w_id",
    ),
    (
        "payments",
        f"SELECT sum(c_ytd_payment) - {10 * WAREHOUSES * DISTRICTS * CUSTOMERS} FROM tpcc_customer",
        "SELECT coalesce(sum(h_amount), 0) FROM tpcc_history",
    ),
    (
        "balances",
        "SELECT sum(c_balance + c_ytd_payment) FROM tpcc_customer",
        "SELECT coalesce(sum(ol_amount), 0) FROM tpcc_order_line WHERE ol_delivery_d IS NOT NULL",
    ),
]


def check():
    connection = psycopg2.connect("")
    with connection, connection.cursor() as cursor:
        for name, sql in CONDITIONS.items():
            cursor.execute(sql)
            wrong = cursor.fetchall()
            assert not wrong, f"{name}: {wrong[:5]}"
        for name, one, other in TOTALS:
            sums = []
            for sql in (one, other):
                cursor.execute(sql)
                sums.append(cursor.fetchone()[0])
            assert sums[0] == sums[1], f"{name}: {sums}"
        cursor.execute("SELECT count(*) FROM tpcc_order_line WHERE ol_supply_w_id <> ol_w_id")
        remote = cursor.fetchone()[0]
    connection.close()
    return remote


def main():
    create()
    load()
    until = time.monotonic() + SECONDS
    terminals = [Terminal(number, until) for number in range(CLIENTS)]
    for terminal in terminals:
        terminal.start()
    for terminal in terminals:
        terminal.join()
    for terminal in terminals:
        if terminal.failure is not None:
            raise terminal.failure
    done = {}
    for terminal in terminals:
        for kind, count in terminal.done.items():
            done[kind] = done.get(kind, 0) + count
    again = sum(terminal.again for terminal in terminals)
    remote = check()
    assert done.get("new_order", 0) > 20 and done.get("payment", 0) > 20, done
    assert remote > 0, "no line is of another warehouse"
    print(f"transactions: {done}, given up for locks: {again}, remote lines: {remote}")
    print("end:")


main()
