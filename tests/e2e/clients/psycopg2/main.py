"""psycopg2: what it sends is text only, and simple queries only.

Prints a line for each step. Against a router and against a plain server the lines must be the same.
Reads libpq's variables from the environment.
"""

import datetime
import decimal
import sys
import threading
import uuid

import psycopg2
from psycopg2 import errors, extensions, extras, pool, sql

KEYS = range(1, 21)
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
SELECT = "SELECT * FROM psycopg2_items WHERE k = %s"

extras.register_uuid()


def step(name, *facts):
    print(f"{name}:", *map(repr, facts))


def row(key):
    number = decimal.Decimal(key) / 8
    document = extras.Json({"key": key, "text": 'a "b" \u00e9'})
    return (
        key, f"it's {key}", number, document, [key, None], NOON,
        bytes([0, 255, key]), uuid.UUID(int=key), key % 2 == 0, NOON.date(), key / 3,
    )  # fmt: skip


def shown(values):
    return [bytes(value) if isinstance(value, memoryview) else value for value in values]


def sqlstate(connection, query, parameters=None):
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
    except psycopg2.Error as error:
        return error.pgcode
    return "no error"


def write(connection):
    cursor = connection.cursor()
    for key in KEYS:
        cursor.execute(
            "INSERT INTO psycopg2_items (k, v, n, j, a, ts, b, u, f, d, r) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING k, v",
            row(key),
        )
        step("insert", cursor.fetchone(), cursor.rowcount, cursor.statusmessage)
        connection.commit()
    cursor.execute("INSERT INTO psycopg2_items (k) VALUES (100)")
    connection.commit()
    for key in ("one", "it's", "\u00e9t\u00e9"):
        cursor.execute("INSERT INTO psycopg2_names (k, v) VALUES (%s, %s)", (key, key.upper()))
        connection.commit()
        cursor.execute("SELECT v FROM psycopg2_names WHERE k = %s", (key,))
        step("text key", cursor.fetchall())
        connection.commit()
    for key in KEYS:
        name = uuid.UUID(int=key)
        cursor.execute("INSERT INTO psycopg2_tokens (k, v) VALUES (%s, %s)", (name, str(key)))
        connection.commit()
        cursor.execute("SELECT k, v FROM psycopg2_tokens WHERE k = %s", (name,))
        step("uuid key", cursor.fetchall())
        connection.commit()


def read(connection):
    with connection.cursor() as cursor:
        for key in (*KEYS, 100):
            cursor.execute(SELECT, (key,))
            step("read", [shown(each) for each in cursor.fetchall()])
            connection.commit()
        step("columns", [(c.name, c.type_code) for c in cursor.description])
    query = sql.SQL("SELECT {} FROM {} WHERE k = %s").format(
        sql.Identifier("v"), sql.Identifier("public", "psycopg2_items")
    )
    with connection, connection.cursor(cursor_factory=extras.RealDictCursor) as cursor:
        cursor.execute(query, (3,))
        step("names", cursor.fetchall())


def transactions(connection):
    cursor = connection.cursor()
    for key in KEYS:
        cursor.execute("UPDATE psycopg2_items SET v = 'new' WHERE k = %s", (key,))
        step("update", cursor.rowcount, connection.get_transaction_status())
        connection.rollback() if key % 2 else connection.commit()
        cursor.execute("SELECT v FROM psycopg2_items WHERE k = %s", (key,))
        step("then", cursor.fetchone())
        connection.commit()
    with connection:
        cursor.execute("DELETE FROM psycopg2_items WHERE k = 20")
        step("delete", cursor.rowcount)
    try:
        cursor.execute("INSERT INTO psycopg2_items (k) VALUES (%s)", (1,))
    except errors.UniqueViolation as error:
        step("duplicate", error.pgcode, error.diag.table_name, error.diag.message_detail)
    step("failed", connection.get_transaction_status())
    step("aborted", sqlstate(connection, "SELECT 1"))
    connection.rollback()
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
    step("read only", sqlstate(connection, "DELETE FROM psycopg2_items WHERE k = 2"))
    connection.set_session(isolation_level="DEFAULT", readonly=False)
    connection.autocommit = True
    cursor.execute("SHOW transaction_isolation")
    step("isolation", cursor.fetchone())
    connection.autocommit = False


def batch(connection):
    """Rows in one statement, and statements joined by `;`, of one key and of several."""
    with connection, connection.cursor() as cursor:
        rows = [(7, f"row {number}") for number in range(1000)]
        extras.execute_values(cursor, "INSERT INTO psycopg2_rows (k, v) VALUES %s", rows)
    with connection, connection.cursor() as cursor:
        extras.execute_batch(cursor, "UPDATE psycopg2_rows SET v = %s WHERE k = %s", [("v", 7)] * 10)
    several = [(key, f"several {key}") for key in range(100, 130)]
    with connection, connection.cursor() as cursor:
        extras.execute_batch(cursor, "INSERT INTO psycopg2_rows (k, v) VALUES (%s, %s)", several)
        extras.execute_batch(cursor, "UPDATE psycopg2_rows SET v = v || '!' WHERE k = %s", [(key,) for key, _ in several])
        cursor.execute("SELECT count(*), min(v), max(v) FROM psycopg2_rows WHERE k >= 100")
        step("batch of several keys", cursor.fetchone())
    with connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO psycopg2_rows (k, v) VALUES (%s, %s)", rows[:5])
        cursor.execute("SELECT count(*), max(v) FROM psycopg2_rows WHERE k = 7")
        step("batch", cursor.fetchone())


def settings(connection):
    step("server", connection.server_version, connection.encoding, connection.dsn != "")
    with connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '200ms'")
        try:
            cursor.execute("SELECT pg_sleep(30)")
        except errors.QueryCanceled as error:
            step("timeout", error.pgcode)
    timer = threading.Timer(0.3, connection.cancel)
    timer.start()
    step("cancel", sqlstate(connection, "SELECT pg_sleep(30)"))
    timer.join()
    for encoding, text in [("LATIN1", "café"), ("EUC_JP", "表ソ"), ("SJIS", "表ソ\\'")]:
        connection.set_client_encoding(encoding)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT %s, length(%s)", (text, text))
            step("encoding", connection.encoding, cursor.fetchone())
        step("no such character", sqlstate(connection, "SELECT chr(9731)"))
    connection.set_client_encoding("UNICODE")
    step("encoding", connection.encoding)
    # Sends ABORT, RESET ALL and SET SESSION AUTHORIZATION DEFAULT.
    connection.reset()
    step("reset", connection.get_transaction_status() == extensions.TRANSACTION_STATUS_IDLE)


def pooled():
    """A pool rolls back what it is given back in a transaction."""
    connections = pool.SimpleConnectionPool(1, 2, "")
    for key in KEYS:
        connection = connections.getconn()
        cursor = connection.cursor()
        cursor.execute("UPDATE psycopg2_items SET v = 'lost' WHERE k = %s", (key,))
        connections.putconn(connection)
    connection = connections.getconn()
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT v FROM psycopg2_items WHERE k = 1")
        step("pooled", cursor.fetchone())
    connections.closeall()


def two_shards(connection):
    with connection, connection.cursor() as cursor:
        for key in KEYS:
            cursor.execute(SELECT, (key,))
            step("two shards", len(cursor.fetchall()))


def scenario():
    connection = psycopg2.connect("")
    write(connection)
    read(connection)
    transactions(connection)
    batch(connection)
    settings(connection)
    two_shards(connection)
    connection.close()
    pooled()


def refused():
    connection = psycopg2.connect("")
    step("all shards", sqlstate(connection, "SELECT count(*) FROM psycopg2_items a, psycopg2_items b"))
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        step("after", cursor.fetchone())
    connection.close()


{"scenario": scenario, "refused": refused}[sys.argv[1]]()
step("end")
