"""psycopg 3: sync, async, pipelined, in both formats, prepared by the server.

Prints a line for each step. Against a router and against a plain server the lines must be the same.
Reads libpq's variables from the environment.
"""

import asyncio
import datetime
import decimal
import sys
import uuid

import psycopg
from psycopg import errors
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

KEYS = range(1, 21)
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
INSERT = (
    "INSERT INTO psycopg_items (k, v, n, j, a, ts, b, u, f, d, r) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
SELECT = "SELECT * FROM psycopg_items WHERE k = %s"


def step(name, *facts):
    print(f"{name}:", *map(repr, facts))


def row(key):
    number = decimal.Decimal(key) / 8
    document = {"key": key, "text": 'a "b" \u00e9'}
    name = uuid.UUID(int=key)
    return (
        key, f"it's {key}", number, Jsonb(document), [key, None], NOON,
        bytes([0, 255, key]), name, key % 2 == 0, NOON.date(), key / 3,
    )  # fmt: skip


def sqlstate(connection, query, parameters=None):
    try:
        with connection.transaction():
            connection.execute(query, parameters)
    except psycopg.Error as error:
        return error.sqlstate
    return "no error"


def write(connection):
    for key in KEYS:
        cursor = connection.execute(INSERT + " RETURNING k, v", row(key))
        step("insert", cursor.fetchone(), cursor.rowcount, cursor.statusmessage)
    connection.execute("INSERT INTO psycopg_items (k) VALUES (%s)", (100,))
    for key in KEYS:
        cursor = connection.execute(
            "UPDATE psycopg_items SET v = %s WHERE k = %s RETURNING v", ("new", key)
        )
        step("update", cursor.fetchall(), cursor.rowcount)
    step("delete", connection.execute("DELETE FROM psycopg_items WHERE k = 20").rowcount)
    for key in ("one", "two", "\u00e9t\u00e9", "it's"):
        connection.execute("INSERT INTO psycopg_names (k, v) VALUES (%s, %s)", (key, key.upper()))
        cursor = connection.execute("SELECT v FROM psycopg_names WHERE k = %s", (key,))
        step("text key", cursor.fetchall())
    for key in KEYS:
        name = uuid.UUID(int=key)
        connection.execute("INSERT INTO psycopg_tokens (k, v) VALUES (%s, %s)", (name, str(key)))
        cursor = connection.execute("SELECT v FROM psycopg_tokens WHERE k = %s", (name,))
        step("uuid key", cursor.fetchall())


def batch(connection):
    """All rows are one pipeline, and with it one transaction: they have one key."""
    cursor = connection.cursor()
    rows = [(7, f"row {number}") for number in range(100)]
    cursor.executemany("INSERT INTO psycopg_rows (k, v) VALUES (%s, %s)", rows)
    step("batch", cursor.rowcount)
    cursor.executemany(
        "UPDATE psycopg_rows SET v = upper(v) WHERE v = %s AND k = %s RETURNING v",
        [(value, key) for key, value in rows],
        returning=True,
    )
    found = [cursor.fetchone()]
    while cursor.nextset():
        found.append(cursor.fetchone())
    step("batch returning", found)


def read(connection):
    """From the fifth time on psycopg prepares a statement; `prepare` does at once."""
    for binary in (False, True):
        for prepare in (None, True, False):
            cursor = connection.cursor(binary=binary)
            for key in KEYS:
                cursor.execute(SELECT, (key,), prepare=prepare)
                step("read", binary, prepare, cursor.fetchall())
    step("columns", [(c.name, c.type_code) for c in cursor.description])
    step("null", connection.execute(SELECT, (100,)).fetchone())
    with connection.cursor(row_factory=dict_row) as cursor:
        step("names", cursor.execute("SELECT k, v FROM psycopg_items WHERE k = 3").fetchone())
    client = psycopg.ClientCursor(connection)
    for key in KEYS:
        client.execute("SELECT v FROM psycopg_items WHERE k = %s", (key,))
        step("client cursor", client.fetchone())
    many = connection.execute(
        "SELECT k, v FROM psycopg_items WHERE k = ANY(%s)", ([7],), binary=True
    )
    step("any", many.fetchall())
    rows = connection.cursor().stream("SELECT k, n FROM psycopg_items, generate_series(1, 5) WHERE k = 5")
    step("stream", list(rows))


def transactions(connection):
    for key in KEYS:
        with connection.transaction():
            connection.execute("UPDATE psycopg_items SET v = %s WHERE k = %s", ("kept", key))
        with connection.transaction(force_rollback=True):
            connection.execute("DELETE FROM psycopg_items WHERE k = %s", (key,))
        step("transaction", connection.execute(SELECT, (key,)).rowcount)
    with connection.transaction():
        connection.execute("UPDATE psycopg_items SET n = 2 WHERE k = %s", (2,))
        try:
            with connection.transaction():
                connection.execute("INSERT INTO psycopg_items (k) VALUES (%s)", (2,))
        except errors.UniqueViolation as error:
            step("savepoint", error.sqlstate, error.diag.constraint_name, str(error))
        connection.execute("UPDATE psycopg_items SET n = n + 1 WHERE k = %s", (2,))
    step("after savepoint", connection.execute(SELECT, (2,)).fetchone())
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    connection.read_only = True
    with connection.transaction():
        step("isolation", connection.execute("SHOW transaction_isolation").fetchone())
        step("reads", connection.execute(SELECT, (3,)).rowcount)
    step("read only", sqlstate(connection, "DELETE FROM psycopg_items WHERE k = %s", (3,)))
    connection.isolation_level = connection.read_only = None


def failures(connection):
    step("no table", sqlstate(connection, "SELECT * FROM psycopg_nothing WHERE k = 1")[:2] != "00")
    step("no column", sqlstate(connection, "SELECT x FROM psycopg_items WHERE k = 1"))
    step("syntax", sqlstate(connection, "SELEC 1"))
    step("division", sqlstate(connection, "SELECT 1 / %s", (0,)))
    step("not a number", sqlstate(connection, "SELECT %s::int", ("x",)))
    step("still there", connection.execute("SELECT 1").fetchone())


def settings(connection):
    info = connection.info
    step("info", info.encoding, info.timezone.key, info.parameter_status("server_version"))
    connection.execute("SET statement_timeout = '200ms'")
    step("timeout", sqlstate(connection, "SELECT pg_sleep(30)"))
    step("shown", connection.execute("SHOW statement_timeout").fetchone())
    connection.execute("RESET ALL")
    step("reset", connection.execute("SHOW statement_timeout").fetchone())
    connection.execute("SELECT set_config('TimeZone', 'Asia/Tokyo', false)")
    step("zone", info.timezone.key, connection.execute(SELECT, (4,)).fetchone()[5])
    connection.execute("SELECT set_config('application_name', %s, false)", ("it's me",))
    name = "SELECT current_setting('application_name'), k FROM psycopg_items WHERE k = %s"
    step("set by call", [connection.execute(name, (key,)).fetchone() for key in KEYS])
    for key in KEYS:
        with connection.transaction():
            connection.execute("SELECT set_config('app.user', %s, true)", (f"user {key}",))
            user = "SELECT current_setting('app.user') FROM psycopg_items WHERE k = %s"
            step("set locally by call", connection.execute(user, (key,)).fetchone())
    connection.execute("DISCARD ALL")
    step("discarded", info.timezone.key, connection.execute(SELECT, (4,)).fetchone()[5])


def pipelined(connection):
    """What stands between two syncs is one transaction: of one shard."""
    with connection.pipeline() as pipeline:
        cursors = []
        for key in KEYS:
            cursors.append(connection.execute(SELECT, (key,), binary=True))
            cursors.append(connection.execute(SELECT, (key,), binary=False))
            pipeline.sync()
        step("pipeline", [cursor.fetchone() for cursor in cursors])
    insert = "INSERT INTO psycopg_items (k, v) VALUES (%s, %s)"
    try:
        with connection.pipeline() as pipeline:
            connection.execute(insert, (300, "first"))
            pipeline.sync()
            connection.execute("UPDATE psycopg_items SET v = 'undone' WHERE k = %s", (300,))
            connection.execute(insert, (300, "again"))
            pipeline.sync()
    except psycopg.Error as error:
        step("pipeline error", error.sqlstate)
    step("after", connection.execute(SELECT, (300,)).fetchall())


async def concurrent():
    connection = await psycopg.AsyncConnection.connect("", autocommit=True)
    async with connection:
        for key in KEYS:
            cursor = await connection.execute(SELECT, (key,), binary=key % 2 == 0)
            step("async", await cursor.fetchall())
        async with connection.transaction():
            await connection.execute("UPDATE psycopg_items SET v = 'async' WHERE k = 1")
        async with connection.pipeline():
            first = await connection.execute("SELECT v FROM psycopg_items WHERE k = 1")
            second = await connection.execute("SELECT n FROM psycopg_items WHERE k = 1")
        step("async pipeline", await first.fetchone(), await second.fetchone())
        slow = asyncio.create_task(connection.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.3)
        connection.cancel()
        try:
            await slow
        except errors.QueryCanceled as error:
            step("cancel", error.sqlstate)
        step("async after", await (await connection.execute(SELECT, (1,))).fetchone())


def scenario():
    with psycopg.connect("", autocommit=True) as connection:
        step("select", connection.execute("SELECT 1, 'a', NULL").fetchone())
        write(connection)
        batch(connection)
        read(connection)
        transactions(connection)
        failures(connection)
        settings(connection)
        pipelined(connection)
    # Without autocommit each commit ends a transaction: one a key, since it stays on one shard.
    with psycopg.connect("") as connection:
        for key in KEYS:
            step("in a transaction", connection.execute(SELECT, (key,)).rowcount)
            connection.commit()
    asyncio.run(concurrent())
    two_shards()


def two_shards():
    with psycopg.connect("", autocommit=True) as connection:
        with connection.transaction():
            for key in KEYS:
                step("two shards", connection.execute(SELECT, (key,)).fetchall())
        several = "INSERT INTO psycopg_rows (k, v) VALUES (%s, 'several')"
        connection.cursor().executemany(several, [(key,) for key in KEYS])
        for key in KEYS:
            count = "SELECT count(*) FROM psycopg_rows WHERE k = %s AND v = 'several'"
            step("several", connection.execute(count, (key,)).fetchone())


def refused():
    with psycopg.connect("", autocommit=True) as connection:
        step("all shards", sqlstate(connection, "SELECT count(*) FROM psycopg_items a, psycopg_items b"))
        step("after", connection.execute("SELECT 1").fetchone())


{"scenario": scenario, "refused": refused}[sys.argv[1]]()
step("end")
