#!/usr/bin/env bash
# Builds the images and runs docker-compose.prod.yml for real, in an engine of its own: the stack
# comes up, a query goes through, rows are moved, a router is killed and replaced, a backup is taken,
# and Prometheus reads and judges all programs.
#
# Wants root on Debian. Nothing is pulled: scripts/images/bases.sh makes what the images begin with.
# The engine has its own data, socket and network namespace, so that it neither sees nor changes
# anything else on the machine; its data stays in <target>/images for the next run.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly PROFILE=${PROFILE:-dev}
target=$(cargo metadata --no-deps --format-version 1 --offline |
    grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4)
readonly target
readonly work=${IMAGES_WORK:-$target/images}
readonly project=sharding-images-test
export PATH=/usr/sbin:/usr/bin:$PATH
export DOCKER_HOST=unix://$work/engine.sock DOCKER_BUILDKIT=1

say() { echo "images: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "must be root: it starts an engine of its own"

# Asks again until a command succeeds, for so many seconds.
eventually() {
    local limit=$1 end
    shift
    end=$((SECONDS + limit))
    until "$@" >"$work/last.log" 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            cat "$work/last.log" >&2
            fail "not within $limit s: $*"
        fi
        sleep 1
    done
}

compose() {
    docker-compose --project-name "$project" --project-directory . \
        --env-file "$work/env" -f docker-compose.prod.yml --profile shards "$@"
}

# Runs a command where the engine publishes ports.
inside() { nsenter --net="/proc/$(cat "$work/engine.pid")/ns/net" "$@"; }

start_engine() {
    mkdir -p "$work/engine" "$work/exec"
    rm -f "$work/engine.pid" "$work/engine.sock"
    unshare --net bash -c 'ip link set lo up; exec dockerd "$@"' dockerd \
        --data-root "$work/engine" --exec-root "$work/exec" --host "$DOCKER_HOST" \
        --pidfile "$work/engine.pid" --storage-driver overlay2 >"$work/engine.log" 2>&1 &
    eventually 60 docker info
}

stop_all() {
    local status=$?
    if [ "$status" -ne 0 ]; then
        compose ps >&2 || true
        compose logs --tail 30 >&2 || true
    fi
    compose --profile backup --profile monitoring down --volumes --timeout 5 >/dev/null 2>&1 || true
    if [ -s "$work/engine.pid" ]; then
        kill "$(cat "$work/engine.pid")" 2>/dev/null || true
    fi
    wait || true
}

build() {
    local program
    for program in router manager; do
        say "building sharding-$program, profile $PROFILE"
        docker build --quiet --build-arg PROFILE="$PROFILE" --build-arg CARGO_NET_OFFLINE=true \
            --build-arg POSTGRES_MAJORS=15 --build-arg REVISION="$(git rev-parse --short HEAD)" \
            -f "Dockerfile.$program" -t "sharding-$program:latest" . >/dev/null
    done
    docker image ls --filter reference='sharding-*' >&2
}

secrets() {
    local tls=$work/tls
    mkdir -p "$tls"
    printf 'subjectAltName=DNS:router,DNS:manager,DNS:localhost,IP:127.0.0.1\n' >"$tls/names"
    openssl req -new -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=test CA' \
        -keyout "$tls/ca.key" -out "$tls/ca.crt" 2>/dev/null
    openssl req -new -newkey rsa:2048 -nodes -subj '/CN=sharding' \
        -keyout "$tls/server.key" -out "$tls/server.csr" 2>/dev/null
    openssl x509 -req -days 2 -in "$tls/server.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" \
        -CAcreateserial -extfile "$tls/names" -out "$tls/server.crt" 2>/dev/null
    # The chain up to its authority, by which shardctl trusts it within a container.
    cat "$tls/ca.crt" >>"$tls/server.crt"
    # User 10001 of the containers reads it.
    chmod 644 "$tls/server.key"
    cat >"$work/env" <<END
JWT_SECRET=$(openssl rand -hex 24)
DB_USERNAME=sharding_user
DB_PASSWORD=$(openssl rand -hex 12)
TLS_CERT_FILE=$tls/server.crt
TLS_KEY_FILE=$tls/server.key
POSTGRES_TAG=15
HAPROXY_TAG=2.6
PROMETHEUS_TAG=v2.42.0
END
}

shardctl() {
    compose exec -T -e SHARDCTL_TOKEN -e SHARDCTL_MANAGER=https://manager:50052 \
        -e SHARDCTL_CA=/etc/ssl/certs/server.crt "$@"
}

ctl() { shardctl manager shardctl "$@"; }

# As docs/deploy/compose.md says: the first administrator, and a key.
set_up() {
    export SHARDCTL_TOKEN
    SHARDCTL_TOKEN=$(echo root-password | ctl setup root --password-file -) || return 1
    SHARDCTL_TOKEN=$(ctl keys create ops --role admin)
}

sql() {
    PGPASSWORD=teller-password inside psql -X -q -A -t -v ON_ERROR_STOP=1 \
        "host=127.0.0.1 port=6432 dbname=app user=teller sslmode=require" -c "$1"
}

healthy() {
    local service=$1 count=$2 found
    found=$(compose ps --quiet "$service" | xargs docker inspect \
        --format '{{if .State.Health}}{{.State.Health.Status}}{{end}}' | grep -c '^healthy$')
    echo "$found of $service are healthy"
    [ "$found" -eq "$count" ]
}

# What the images and the Compose file promise of a container.
confined() {
    local container=$1
    [ "$(docker exec "$container" id -u)" = 10001 ] || fail "$container runs as another user"
    if docker exec "$container" touch /app/file 2>/dev/null; then
        fail "$container writes its root file system"
    fi
    if docker exec "$container" sh -c 'command -v curl' >/dev/null; then
        fail "$container has curl, which nothing needs"
    fi
}

bring_up() {
    compose up --detach --quiet-pull 2>"$work/up.log" || { cat "$work/up.log" >&2; return 1; }
    eventually 120 healthy router 3
    eventually 120 healthy manager 2
    eventually 60 set_up
    eventually 60 ctl status
    local container
    for container in $(compose ps --quiet router manager); do
        confined "$container"
    done
    say "3 routers and 2 managers are healthy, as user 10001, read-only"
}

a_query_goes_through() {
    ctl shards add shard-1 postgres://shard-1:5432/app >/dev/null
    ctl shards add shard-2 postgres://shard-2:5432/app >/dev/null
    echo teller-password | ctl users create teller --password-file - >/dev/null
    eventually 30 sql "CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, v text)"
    ctl tables add orders --shard-key id --key-type bigint >/dev/null
    # One row more than shards, so that both have some; the routers learn of the table meanwhile.
    eventually 30 sql "INSERT INTO orders VALUES (0, 'first')"
    local values
    values=$(seq 1 2000 | sed "s/.*/(&, 'order &')/" | paste -sd,)
    sql "INSERT INTO orders VALUES $values"
    [ "$(sql 'SELECT count(*) FROM orders')" = 2001 ] || fail "rows are missing"
    say "2001 rows went through the load balancer"
}

rows_are_moved() {
    ctl reshard move --from shard-1 --to shard-2 --count 40 --max-pause 2s \
        --keep-reverse 0s --wait >/dev/null
    [ "$(sql 'SELECT count(*) FROM orders')" = 2001 ] || fail "rows are missing after the move"
    say "40 vnodes were moved, no row is missing"
}

a_killed_router_is_replaced() {
    local container pid before
    container=$(compose ps --quiet router | head -n 1)
    pid=$(docker inspect --format '{{.State.Pid}}' "$container")
    before=$(docker inspect --format '{{.RestartCount}}' "$container")
    kill -KILL "$pid"
    # The others serve meanwhile.
    local each
    for each in 1 2 3 4 5 6; do
        eventually 5 sql "SELECT v FROM orders WHERE id = $each"
    done
    eventually 60 healthy router 3
    [ "$(docker inspect --format '{{.RestartCount}}' "$container")" -gt "$before" ] ||
        fail "the router was not started again"
    say "a router was killed and replaced"
}

a_backup_is_taken() {
    eventually 60 compose --profile backup run --rm --no-deps -T backup
    compose --profile backup run --rm --no-deps -T --entrypoint sh backup -c \
        'for backup in /backups/*; do shardctl backup verify "$backup"; done' >&2
    say "a backup was taken and verified"
}

# What Prometheus makes of an expression that comes to one number.
asked() {
    inside curl -fsS --get http://127.0.0.1:9095/api/v1/query --data-urlencode "query=$1" |
        grep -o '"[0-9.]*"\]' | tr -dc 0-9.
}

comes_to() {
    local value
    value=$(asked "$1")
    echo "$1 is $value"
    [ "$value" = "$2" ]
}

prometheus_reads_all() {
    compose --profile monitoring up --detach --quiet-pull --no-recreate prometheus \
        2>"$work/up.log" || { cat "$work/up.log" >&2; return 1; }
    eventually 90 comes_to 'sum(up{job=~"router|manager"})' 5
    eventually 60 comes_to 'sum(manager_is_leader)' 1
    eventually 60 comes_to 'count(ALERTS{alertstate="firing"}) or vector(0)' 0
    say "Prometheus reads 3 routers and 2 managers, nothing is wrong"
}

mkdir -p "$work"
scripts/tools.sh images
PATH=$target/tools/compose:$PATH
trap stop_all EXIT
start_engine
scripts/images/bases.sh "$work/bases" "$target/tools/etcd"
build
secrets
compose down --volumes --timeout 5 >/dev/null 2>&1 || true
bring_up
a_query_goes_through
rows_are_moved
a_killed_router_is_replaced
a_backup_is_taken
prometheus_reads_all
say "all is well"
