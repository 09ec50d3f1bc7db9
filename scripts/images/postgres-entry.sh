#!/usr/bin/env bash
# The entry of the postgres image that bases.sh makes: the part of the official one that the Compose
# file counts on. On an empty volume it makes a server for POSTGRES_USER with POSTGRES_PASSWORD and
# the database POSTGRES_DB; then it becomes the server.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown -R postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec gosu postgres "$0" "$@"
fi

readonly user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username "$user" --pwfile <(echo "${POSTGRES_PASSWORD:?is not set}") \
        --auth scram-sha-256 --locale C.UTF-8 --encoding UTF8 >/dev/null
    printf 'host all all all scram-sha-256\nhost replication all all scram-sha-256\n' \
        >>"$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE \"${POSTGRES_DB:-$user}\"" |
        postgres --single -D "$PGDATA" postgres >/dev/null
fi
exec "$@" -c listen_addresses='*'
