"""A session of psycopg 3 as an application has it. Reads libpq's variables from the environment."""

import datetime
import decimal
import uuid

import psycopg
from psycopg import errors
from psycopg.types.json import Jsonb

KEYS = range(1, 41)
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)


def write(connection):
    for key in KEYS:
        cursor = connection.execute(
            "INSERT INTO driver_psycopg (k, t, n, j, a, ts, b, u) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                key,
                f"it's {key}",
                decimal.Decimal("1.50"),
                Jsonb({"key": key}),
                [key, None],
                NOON,
                bytes([0, key]),
                uuid.UUID(int=key),
            ),
        )
        assert cursor.rowcount == 1


def transactions(connection):
    """One transaction a key: a transaction stays on one shard."""
    for key in KEYS:
        with connection.transaction():
            connection.execute("UPDATE driver_psycopg SET t = %s WHERE k = %s", ("new", key))
    with connection.transaction(force_rollback=True):
        connection.execute("DELETE FROM driver_psycopg WHERE k = %s", (1,))
    with connection.transaction():
        connection.execute("UPDATE driver_psycopg SET n = 2 WHERE k = %s", (2,))
        try:
            with connection.transaction():
                connection.execute("INSERT INTO driver_psycopg (k) VALUES (%s)", (2,))
        except errors.UniqueViolation as error:
            assert error.diag.constraint_name == "driver_psycopg_pkey", error
        else:
            raise AssertionError("a duplicate was inserted")
        connection.execute("UPDATE driver_psycopg SET n = n + 1 WHERE k = %s", (2,))


def read(connection):
    """From the fifth time on psycopg prepares the statement."""
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        for key in KEYS:
            cursor.execute(
                "SELECT k, t, n, j, a, ts, b, u FROM driver_psycopg WHERE k = %s", (key,)
            )
            (row,) = cursor.fetchall()
            number = decimal.Decimal("3" if key == 2 else "1.50")
            expected = (key, "new", number, {"key": key}, [key, None], NOON)
            assert row[:6] == expected, row
            assert bytes(row[6]) == bytes([0, key]) and row[7] == uuid.UUID(int=key), row


def pipelined(connection):
    with connection.pipeline() as pipeline:
        cursors = []
        for key in KEYS:
            cursors.append(
                connection.execute("SELECT t FROM driver_psycopg WHERE k = %s", (key,))
            )
            pipeline.sync()
        for cursor in cursors:
            assert cursor.fetchone() == ("new",)


def refusals(connection):
    try:
        connection.execute("SELECT count(*) FROM driver_psycopg")
    except errors.FeatureNotSupported as error:
        assert error.sqlstate == "0A000" and str(error), error
    else:
        raise AssertionError("a statement over all shards was answered")
    assert connection.execute("SELECT 1").fetchone() == (1,)


with psycopg.connect("", autocommit=True) as session:
    write(session)
    transactions(session)
    read(session)
    pipelined(session)
    refusals(session)
