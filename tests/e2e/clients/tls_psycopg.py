"""psycopg 3 and psycopg2 under TLS. Read libpq's variables from the environment."""

import psycopg
import psycopg2


with psycopg.connect() as connection:
    assert connection.pgconn.ssl_in_use
    connection.execute("BEGIN")
    row = connection.execute("SELECT %s::text", ("x" * (4 << 20),)).fetchone()
    assert row[0] == "x" * (4 << 20)

connection = psycopg2.connect("")
assert connection.info.ssl_in_use
cursor = connection.cursor()
cursor.execute("SELECT repeat('y', 1000) FROM generate_series(1, 5000)")
assert len(cursor.fetchall()) == 5000
connection.close()
