#!/usr/bin/env bash
# Installs what building, testing and the demo need on a Debian machine that has Rust, and says
# nothing when all of it is there. Nothing that is installed already is upgraded.
#
#   PostgreSQL 15, its client tools and pgbench   from Debian's packages
#   clang, libclang and protoc                    for the build scripts of pg_query and etcd-client
#   curl, openssl, python3 with psycopg           for end-to-end tests and the demo
#   iproute2                                      makes networks that tests can cut
#   etcd 3.5 or newer                             unpacked below <target>/tools, where PATH has none
#
# With the argument `drivers` also the drivers that docs/drivers.md lists: from Debian's packages, and
# node-postgres by npm, below <target>/tools; and what the tests of the deployment need:
#
#   HAProxy, nginx                                from Debian's packages; neither is started
#   Prometheus                                    checks rules and dashboards; not started either
#   kustomize                                     unpacked below <target>/tools
#   kubernetes-validate                           the API schemas of Kubernetes, from PyPI, as well
#
# With the argument `images` also what scripts/images/test.sh needs: Debian's engine, debootstrap, and
# Compose, unpacked below <target>/tools.
#
# With the argument `bench` also what only benchmarks need:
#
#   PgBouncer                                     the proxy that the router is compared with
#   valgrind                                      counts instructions
#
# With the argument `http` schemathesis, from PyPI, below <target>/tools: requests for `make fuzz-http`.
set -euo pipefail
cd "$(dirname "$0")/.."

with_drivers=no
with_bench=no
with_http=no
with_images=no
case "${1-}" in
drivers) with_drivers=yes ;;
bench) with_bench=yes ;;
http) with_http=yes ;;
images) with_images=yes ;;
"") ;;
*)
    echo "usage: $0 [drivers|bench|http|images]" >&2
    exit 64
    ;;
esac

readonly ETCD_WANTED=3.5
readonly NEWER_SUITE=trixie
readonly SCHEMAS_WANTED=1.37.0
readonly with_drivers with_bench with_http with_images

say() { echo "tools: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Runs a command quietly; its output appears only when it ends badly.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        fail "command ended with an error: $*"
    fi
    rm -f "$log"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "must be root, or have sudo, to run: $*"
    fi
}

has() { command -v "$1" >/dev/null; }

postgres_bin() {
    local candidate
    for candidate in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ -x "$candidate/initdb" ] && [ -x "$candidate/pgbench" ]; then
            echo "$candidate"
        fi
    done | sort -V | tail -n 1
}

has_libclang() {
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || [ -n "${LIBCLANG_PATH:-}" ]
}

# The drivers are those of Debian's own Python, whichever python3 comes first on PATH.
has_python_module() { /usr/bin/python3 -c "import $1" 2>/dev/null; }

# What the clients below tests/e2e/clients run with. Java and Node.js of any source will do.
missing_drivers() {
    has_python_module asyncpg || echo python3-asyncpg
    has_python_module greenlet || echo python3-greenlet
    has_python_module sqlalchemy || echo python3-sqlalchemy
    has_python_module django || echo python3-django
    /usr/bin/ruby -e 'require "pg"' 2>/dev/null || echo ruby-pg
    has php || echo php-cli
    { has php && php -r 'exit(extension_loaded("pdo_pgsql") ? 0 : 1);'; } || echo php-pgsql
    { has java && java --describe-module jdk.compiler >/dev/null 2>&1; } || echo default-jdk-headless
    [ -e /usr/share/java/postgresql.jar ] || echo libpostgresql-jdbc-java
    has node || echo nodejs
    has npm || echo npm
    has haproxy || [ -x /usr/sbin/haproxy ] || echo haproxy
    has nginx || [ -x /usr/sbin/nginx ] || echo nginx-light
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || echo libnginx-mod-stream
    has systemd-analyze || echo systemd
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    { has promtool && has prometheus; } || echo prometheus
}

missing_packages() {
    [ -n "$(postgres_bin)" ] || echo postgresql-15
    has psql || echo postgresql-client-15
    has clang || echo clang
    has_libclang || echo libclang-dev
    has protoc || echo protobuf-compiler
    # What etcd's files import; the package of protoc only recommends it.
    [ -e /usr/include/google/protobuf/descriptor.proto ] || echo libprotobuf-dev
    has cc || echo build-essential
    has openssl || echo openssl
    has curl || echo curl
    has ip || [ -x /usr/sbin/ip ] || echo iproute2
    has_python_module psycopg || echo python3-psycopg
    has_python_module psycopg2 || echo python3-psycopg2
    if [ "$with_drivers" = yes ]; then
        missing_drivers
    fi
    if [ "$with_bench" = yes ]; then
        has valgrind || echo valgrind
    fi
    if [ "$with_images" = yes ]; then
        [ -x /usr/sbin/dockerd ] || echo docker.io
        [ -x /usr/sbin/debootstrap ] || echo debootstrap
        [ -x /usr/sbin/iptables ] || echo iptables
    fi
}

# Debian's server package creates and starts a cluster on port 5432, which nobody asked for here.
forbid_main_cluster() {
    local folder=/etc/postgresql-common/createcluster.d
    as_root mkdir -p "$folder"
    echo "create_main_cluster = false" | as_root tee "$folder/no-main-cluster.conf" >/dev/null
}

# Packages of servers start a service, on ports that are others'.
forbid_service() {
    as_root mkdir -p /etc/systemd/system
    [ -e "/etc/systemd/system/$1.service" ] ||
        as_root ln -s /dev/null "/etc/systemd/system/$1.service"
}

install_packages() {
    local packages=("$@")
    say "installing ${packages[*]}"
    if [[ " ${packages[*]} " == *" postgresql-15 "* ]]; then
        forbid_main_cluster
    fi
    local server
    for server in haproxy nginx docker prometheus; do
        if [[ " ${packages[*]} " == *" $server"* ]]; then
            forbid_service "$server"
        fi
    done
    quietly as_root apt-get -o DPkg::Lock::Timeout=300 update
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install --yes --no-install-recommends "${packages[@]}"
}

is_wanted_etcd() {
    local version
    version=$("$1" --version 2>/dev/null | awk '/^etcd Version:/ { print $3 }')
    [ -n "$version" ] || return 1
    [ "$(printf '%s\n%s\n' "$ETCD_WANTED" "$version" | sort -V | head -n 1)" = "$ETCD_WANTED" ]
}

# The mirror that this machine uses for its own release also has the newer one.
debian_mirror() {
    local site
    site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null |
        grep -E '/debian/?$' | head -n 1 || true)
    echo "${site:-http://deb.debian.org/debian}"
}

# apt works on lists and a cache of its own here, so that the machine's release stays as it is.
# Unpacks packages of the newer release into a folder.
unpack_newer() {
    local root=$1 work
    shift
    work=$(mktemp -d)
    mkdir -p "$work"/{lists/partial,cache/archives/partial,debs}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "$(debian_mirror) $NEWER_SUITE main" >"$work/sources.list"
    local apt=(apt-get -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=-
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    quietly "${apt[@]}" update
    (cd "$work/debs" && quietly "${apt[@]}" download "$@")
    local package
    for package in "$work"/debs/*.deb; do
        dpkg -x "$package" "$root"
    done
    rm -rf "$work"
}

unpack_etcd() {
    local destination=$1 root
    say "fetching etcd from Debian $NEWER_SUITE into $destination"
    root=$(mktemp -d)
    unpack_newer "$root" etcd-server etcd-client
    is_wanted_etcd "$root/usr/bin/etcd" || fail "the etcd that was fetched does not run here"
    rm -rf "$destination"
    mkdir -p "$destination"
    cp "$root"/usr/bin/etcd* "$destination/"
    rm -rf "$root"
}

# PgBouncer from 1.21 on follows prepared statements across transactions. It runs with the C library
# that it was built for.
unpack_bouncer() {
    local destination=$1 root library
    say "fetching PgBouncer from Debian $NEWER_SUITE into $destination"
    root=$(mktemp -d)
    unpack_newer "$root" pgbouncer libc6 libevent-2.1-7t64 libcares2 libssl3t64
    library=$(dirname "$(find "$root/usr/lib" -name libevent-2.1.so.7)")
    rm -rf "$destination"
    mkdir -p "$destination/lib"
    cp -P "$library"/*.so* "$destination/lib/"
    cp "$root/usr/sbin/pgbouncer" "$destination/program"
    cat >"$destination/pgbouncer" <<-'END'
	#!/bin/sh
	here=$(dirname "$0")
	system=$(dirname "$(find /usr/lib -name libsystemd.so.0 | head -n 1)")
	exec "$here"/lib/ld-linux* --library-path "$here/lib:$system" "$here/program" "$@"
	END
    chmod +x "$destination/pgbouncer"
    rm -rf "$root"
}

# What renders the Kubernetes manifests, and the schemas that they are held against.
fetch_manifest_tools() {
    local destination=$1 root
    say "fetching kustomize and kubernetes-validate into $destination"
    rm -rf "$destination"
    mkdir -p "$destination"
    root=$(mktemp -d)
    unpack_newer "$root" kustomize
    quietly python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
        --target "$destination/python" "kubernetes-validate==$SCHEMAS_WANTED"
    cp "$root/usr/bin/kustomize" "$destination/"
    rm -rf "$root"
}

has cargo || fail "needs Rust: cargo is not on PATH"
has apt-get || fail "needs Debian, or the tools that $0 lists installed by hand"

mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
    install_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" -eq 0 ] || fail "still missing after the installation: ${missing[*]}"
fi

target=$(cargo metadata --no-deps --format-version 1 --offline |
    grep -o '"target_directory":"[^"]*"' | cut -d '"' -f 4)
if ! is_wanted_etcd etcd && ! is_wanted_etcd "$target/tools/etcd/etcd"; then
    unpack_etcd "$target/tools/etcd"
fi

readonly BOUNCER=$target/tools/pgbouncer
if [ "$with_bench" = yes ] && ! "$BOUNCER/pgbouncer" --version >/dev/null 2>&1; then
    unpack_bouncer "$BOUNCER"
fi

# node-postgres has no current package in Debian. The lock file names versions and checksums, and no
# registry: the one that npm is configured with serves them.
readonly NODE_CLIENT=tests/e2e/clients/node
readonly NODE_MODULES=$target/tools/node
if [ "$with_drivers" = yes ] &&
    ! cmp --silent "$NODE_CLIENT/package-lock.json" "$NODE_MODULES/installed.json"; then
    say "fetching node-postgres into $NODE_MODULES"
    mkdir -p "$NODE_MODULES"
    cp "$NODE_CLIENT"/package.json "$NODE_CLIENT"/package-lock.json "$NODE_MODULES/"
    quietly npm --prefix "$NODE_MODULES" ci --ignore-scripts --no-audit --no-fund
    cp "$NODE_CLIENT/package-lock.json" "$NODE_MODULES/installed.json"
fi

readonly SCHEMATHESIS_WANTED=4.32.5
readonly SCHEMATHESIS=$target/tools/schemathesis
if [ "$with_http" = yes ] &&
    ! "$SCHEMATHESIS/bin/st" --version 2>/dev/null | grep -qF "$SCHEMATHESIS_WANTED"; then
    say "fetching schemathesis into $SCHEMATHESIS"
    quietly python3 -m venv "$SCHEMATHESIS"
    quietly "$SCHEMATHESIS/bin/pip" install --quiet "schemathesis==$SCHEMATHESIS_WANTED"
fi

readonly MANIFESTS=$target/tools/manifests
if [ "$with_drivers" = yes ] && ! { [ -x "$MANIFESTS/kustomize" ] &&
    [ -d "$MANIFESTS/python/kubernetes_validate-$SCHEMAS_WANTED.dist-info" ]; }; then
    fetch_manifest_tools "$MANIFESTS"
fi

readonly COMPOSE=$target/tools/compose
if [ "$with_images" = yes ] && ! [ -x "$COMPOSE/docker-compose" ]; then
    say "fetching docker-compose from Debian $NEWER_SUITE into $COMPOSE"
    unpacked=$(mktemp -d)
    unpack_newer "$unpacked" docker-compose
    mkdir -p "$COMPOSE"
    find "$unpacked" -type f -name docker-compose -perm -u+x -exec cp {} "$COMPOSE/" ';'
    rm -rf "$unpacked"
fi
