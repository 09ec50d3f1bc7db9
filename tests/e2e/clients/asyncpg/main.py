"""asyncpg: binary only, prepares everything, reads the types of columns from the catalog.

Prints a line for each step. Against a router and against a plain server the lines must be the same.
Reads libpq's variables from the environment.
"""

import asyncio
import datetime
import decimal
import json
import sys
import uuid

import asyncpg

KEYS = range(1, 21)
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
COLUMNS = "k, v, n, j, a, ts, b, u, f, d, r"
INSERT = (
    f"INSERT INTO asyncpg_items ({COLUMNS}) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
SELECT = f"SELECT {COLUMNS} FROM asyncpg_items WHERE k = $1"


def step(name, *facts):
    print(f"{name}:", *map(repr, facts))


def row(key):
    document = json.dumps({"key": key, "text": 'a "b" \u00e9'})
    return (
        key, f"it's {key}", decimal.Decimal(key) / 8, document, [key, None], NOON,
        bytes([0, 255, key]), uuid.UUID(int=key), key % 2 == 0, NOON.date(), key / 3,
    )  # fmt: skip


async def sqlstate(connection, query, *parameters):
    try:
        await connection.execute(query, *parameters)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    return "no error"


async def write(connection):
    for key in KEYS:
        step("insert", await connection.fetchrow(INSERT + " RETURNING k, v", *row(key)))
    step("tag", await connection.execute("INSERT INTO asyncpg_items (k) VALUES (100)"))
    for key in KEYS:
        tag = await connection.execute("UPDATE asyncpg_items SET v = $1 WHERE k = $2", "new", key)
        step("update", tag)
    step("delete", await connection.execute("DELETE FROM asyncpg_items WHERE k = $1", 20))
    for key in ("one", "it's", "\u00e9t\u00e9"):
        await connection.execute("INSERT INTO asyncpg_names (k, v) VALUES ($1, $2)", key, key.upper())
        step("text key", await connection.fetch("SELECT v FROM asyncpg_names WHERE k = $1", key))
    for key in KEYS:
        name = uuid.UUID(int=key)
        await connection.execute("INSERT INTO asyncpg_tokens (k, v) VALUES ($1, $2)", name, str(key))
        step("uuid key", await connection.fetch("SELECT * FROM asyncpg_tokens WHERE k = $1", name))


async def read(connection):
    for key in (*KEYS, 100):
        step("read", tuple(await connection.fetchrow(SELECT, key) or ()))
    step("value", await connection.fetchval("SELECT v FROM asyncpg_items WHERE k = $1", 3))
    step("any", await connection.fetch("SELECT k FROM asyncpg_items WHERE k = ANY($1::bigint[])", [7]))
    statement = await connection.prepare(SELECT)
    step("parameters", [each.name for each in statement.get_parameters()])
    step("attributes", [(each.name, each.type.name) for each in statement.get_attributes()])
    for key in KEYS:
        step("prepared", tuple(await statement.fetchrow(key) or ()))
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
    )
    step("codec", await connection.fetchval("SELECT j FROM asyncpg_items WHERE k = $1", 5))
    await connection.reset_type_codec("jsonb", schema="pg_catalog")


async def types(connection):
    """Types that asyncpg does not know are read from the catalog, by a statement of its own."""
    for key in (1, 2, 3, 4):
        await connection.execute(
            "INSERT INTO asyncpg_moods (k, mood, moods) VALUES ($1, $2, $3)", key, "glad", ["sad", "glad"]
        )
        step("enum", await connection.fetchrow("SELECT mood, moods FROM asyncpg_moods WHERE k = $1", key))
    step("composite", await connection.fetchval("SELECT ROW(1, 'a'::text)::asyncpg_pair"))
    step("range", await connection.fetchval("SELECT int4range(1, 5)"))


async def transactions(connection):
    for key in KEYS:
        async with connection.transaction():
            await connection.execute("UPDATE asyncpg_items SET v = 'kept' WHERE k = $1", key)
        try:
            async with connection.transaction(isolation="serializable"):
                await connection.execute("DELETE FROM asyncpg_items WHERE k = $1", key)
                raise KeyError
        except KeyError:
            step("transaction", await connection.fetchval(SELECT, key))
    async with connection.transaction():
        await connection.execute("UPDATE asyncpg_items SET n = 2 WHERE k = $1", 2)
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO asyncpg_items (k) VALUES ($1)", 2)
        except asyncpg.UniqueViolationError as error:
            step("savepoint", error.sqlstate, error.constraint_name, error.detail)
        await connection.execute("UPDATE asyncpg_items SET n = n + 1 WHERE k = $1", 2)
    step("after savepoint", await connection.fetchval("SELECT n FROM asyncpg_items WHERE k = 2"))
    async with connection.transaction(readonly=True):
        step("read only", await sqlstate(connection, "DELETE FROM asyncpg_items WHERE k = $1", 3))
    # A cursor fetches its portal piece by piece.
    async with connection.transaction():
        query = "SELECT k, i FROM asyncpg_items, generate_series(1, 120) i WHERE k = $1"
        rows = [record["i"] async for record in connection.cursor(query, 4, prefetch=50)]
        step("cursor", len(rows), sum(rows))


async def batch(connection):
    rows = [(key, "many") for key in range(200, 210)]
    for key, value in rows:
        await connection.executemany(
            "INSERT INTO asyncpg_rows (k, v) VALUES ($1, $2)", [(key, f"{value} {i}") for i in range(20)]
        )
        count = await connection.fetchval("SELECT count(*) FROM asyncpg_rows WHERE k = $1", key)
        step("batch", count)


async def failures(connection):
    step("no column", await sqlstate(connection, "SELECT x FROM asyncpg_items WHERE k = 1"))
    step("syntax", await sqlstate(connection, "SELEC 1"))
    step("division", await sqlstate(connection, "SELECT 1 / $1::int", 0))
    step("still there", await connection.fetchval("SELECT 1"))
    try:
        await connection.fetch("SELECT pg_sleep(30)", timeout=0.3)
    except asyncio.TimeoutError:
        step("cancel")
    step("after cancel", await connection.fetchval("SELECT v FROM asyncpg_items WHERE k = $1", 1))


async def altered(connection):
    """A cached plan of a changed table is prepared again."""
    query = "SELECT * FROM asyncpg_altered WHERE k = $1"
    for key in KEYS:
        await connection.execute("INSERT INTO asyncpg_altered (k) VALUES ($1)", key)
        step("before", await connection.fetchrow(query, key))
    await connection.execute("ALTER TABLE asyncpg_altered ADD COLUMN extra int DEFAULT 5")
    for key in KEYS:
        step("altered", await connection.fetchrow(query, key))


async def pooled():
    settings = {"application_name": "asyncpg client", "statement_timeout": "10s"}
    async with asyncpg.create_pool(min_size=1, max_size=3, server_settings=settings) as pool:

        async def one(key):
            async with pool.acquire() as connection:
                await connection.execute("SET work_mem = '1MB'")
                return await connection.fetchval("SELECT v FROM asyncpg_items WHERE k = $1", key)

        step("pooled", await asyncio.gather(*(one(key) for key in KEYS)))
        # Given back, a connection is sent RESET ALL, UNLISTEN *, CLOSE ALL and what unlocks.
        async with pool.acquire() as connection:
            step("reset", await connection.fetchval("SHOW work_mem"))
            step("kept", await connection.fetchval("SHOW application_name"))
        await pool.expire_connections()
        step("again", await pool.fetchval("SELECT 1"))


async def scenario():
    connection = await asyncpg.connect()
    step("select", await connection.fetchrow("SELECT 1 AS a, 'a' AS b, NULL AS c"))
    step("version", connection.get_server_version()[:2], connection.get_settings().server_encoding)
    await write(connection)
    await read(connection)
    await types(connection)
    await transactions(connection)
    await batch(connection)
    await failures(connection)
    await altered(connection)
    await connection.close()
    await pooled()
    connection = await asyncpg.connect(statement_cache_size=0)
    for key in KEYS:
        step("no cache", await connection.fetchval("SELECT v FROM asyncpg_items WHERE k = $1", key))
    await connection.close()
    await two_shards()


async def two_shards():
    connection = await asyncpg.connect()
    async with connection.transaction():
        for key in KEYS:
            step("two shards", await connection.fetch(SELECT, key))
    several = "INSERT INTO asyncpg_rows (k, v) VALUES ($1, 'several')"
    await connection.executemany(several, [(key,) for key in KEYS])
    for key in KEYS:
        count = "SELECT count(*) FROM asyncpg_rows WHERE k = $1 AND v = 'several'"
        step("several", await connection.fetchval(count, key))
    await connection.close()


async def refused():
    connection = await asyncpg.connect()
    step("all shards", await sqlstate(connection, "SELECT count(*) FROM asyncpg_items a, asyncpg_items b"))
    step("after", await connection.fetchval("SELECT 1"))
    await connection.close()


asyncio.run({"scenario": scenario, "refused": refused}[sys.argv[1]]())
step("end")
