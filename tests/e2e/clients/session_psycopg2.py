"""A session of psycopg2 as an application has it. Reads libpq's variables from the environment."""

import psycopg2
from psycopg2 import errors, extras

KEYS = range(1, 41)

session = psycopg2.connect("")

# Outside autocommit each commit ends a transaction: one a key, since it stays on one shard.
with session.cursor() as cursor:
    for key in KEYS:
        cursor.execute(
            "INSERT INTO driver_psycopg2 (k, t, j) VALUES (%s, %s, %s)",
            (key, "it's", extras.Json({"key": key})),
        )
        session.commit()
    for key in KEYS:
        cursor.execute("UPDATE driver_psycopg2 SET t = 'gone' WHERE k = %s", (key,))
        session.rollback()

with session.cursor(cursor_factory=extras.RealDictCursor) as cursor:
    for key in KEYS:
        cursor.execute("SELECT k, t, j FROM driver_psycopg2 WHERE k = %s", (key,))
        assert cursor.fetchall() == [{"k": key, "t": "it's", "j": {"key": key}}]
        session.commit()

with session.cursor() as cursor:
    try:
        cursor.execute("INSERT INTO driver_psycopg2 (k) VALUES (%s)", (1,))
    except errors.UniqueViolation as error:
        assert error.diag.table_name == "driver_psycopg2", error
    else:
        raise AssertionError("a duplicate was inserted")
    session.rollback()
    try:
        cursor.execute("SELECT count(*) FROM driver_psycopg2")
    except errors.FeatureNotSupported as error:
        assert error.pgcode == "0A000", error
    else:
        raise AssertionError("a statement over all shards was answered")
    session.rollback()
    extras.execute_values(
        cursor, "INSERT INTO driver_psycopg2_rows (k, v) VALUES %s", [(7, n) for n in range(1000)]
    )
    session.commit()
    cursor.execute("SELECT count(*) FROM driver_psycopg2_rows WHERE k = 7")
    assert cursor.fetchone() == (1000,)

session.close()
