#!/usr/bin/env bash
# Makes what the Dockerfiles and the Compose file begin with, where no registry of images can be
# reached, and imports it under its usual name:
#
#   debian:bookworm-slim             Debian, with what the manager's image installs
#   rust:1.95-slim-bookworm          the same with this machine's Rust, compilers and crates
#   quay.io/coreos/etcd:v3.5.9       the etcd that scripts/tools.sh has fetched
#   postgres:15                      PostgreSQL with an entry that knows the usual variables
#   haproxy:2.6                      Debian's
#   prom/prometheus:v2.42.0          Debian's
#
# Their packages are in them already, so that the `apt-get install` of a Dockerfile finds all of it
# there without a network. Wants root, debootstrap, and DOCKER_HOST naming an engine.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly work=$1 etcd=$2
readonly mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

say() { echo "images: $*" >&2; }

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Runs a command in a root folder.
inside() {
    local root=$1
    shift
    chroot "$root" /usr/bin/env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive "$@"
}

install_into() {
    local root=$1
    shift
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    echo "deb $mirror bookworm main" >"$root/etc/apt/sources.list"
    inside "$root" apt-get -qq update
    inside "$root" apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
    # From here on apt knows what is installed, and asks nobody.
    : >"$root/etc/apt/sources.list"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb
}

# Imports a root folder as an image; the other arguments are for `docker import`.
import() {
    local root=$1 name=$2
    shift 2
    tar -C "$root" --one-file-system --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* -c . |
        docker import "$@" - "$name" >/dev/null
    say "made $name"
}

debian() {
    local root=$work/debian
    if [ ! -e "$work/debian.done" ]; then
        rm -rf --one-file-system "$root"
        say "debootstrap of bookworm"
        # In a mount namespace of its own: what it mounts goes with it.
        unshare --mount debootstrap --variant=minbase bookworm "$root" "$mirror" >"$work/debootstrap.log"
        # No service is started in an image.
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
        chmod +x "$root/usr/sbin/policy-rc.d"
        install_into "$root" ca-certificates postgresql-common postgresql-client-15
        touch "$work/debian.done"
    fi
    has_image debian:bookworm-slim ||
        import "$root" debian:bookworm-slim --change 'CMD ["/bin/bash"]'
}

# A copy of the Debian folder with further packages.
variant() {
    local name=$1 root=$work/$1
    shift
    if [ ! -e "$work/$name.done" ]; then
        rm -rf --one-file-system "$root"
        cp -a "$work/debian" "$root"
        install_into "$root" "$@"
        touch "$work/$name.done"
    fi
}

rust() {
    has_image rust:1.95-slim-bookworm && return
    local root=$work/rust home
    variant rust build-essential clang libclang-dev libprotobuf-dev protobuf-compiler
    home=$root/usr/local/cargo
    mkdir -p "$home/registry" "$root/usr/local/rust"
    cp -a "$(rustc --print sysroot)"/{bin,lib,libexec} "$root/usr/local/rust/" 2>/dev/null || true
    cargo fetch --locked --quiet
    cp -a "${CARGO_HOME:-$HOME/.cargo}"/registry/{index,cache} "$home/registry/"
    import "$root" rust:1.95-slim-bookworm \
        --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_HOME=/usr/local/cargo' --change 'CMD ["/bin/bash"]'
    rm -rf --one-file-system "$root" "$work/rust.done"
}

etcd() {
    has_image quay.io/coreos/etcd:v3.5.9 && return
    local root=$work/etcd
    rm -rf "$root"
    cp -a "$work/debian" "$root"
    cp "$etcd"/etcd "$etcd"/etcdctl "$etcd"/etcdutl "$root/usr/local/bin/"
    import "$root" quay.io/coreos/etcd:v3.5.9 --change 'CMD ["/usr/local/bin/etcd"]'
    rm -rf "$root"
}

postgres() {
    has_image postgres:15 && return
    mkdir -p "$work/debian/etc/postgresql-common"
    variant postgres postgresql-15 gosu
    local root=$work/postgres
    install -m 755 scripts/images/postgres-entry.sh "$root/usr/local/bin/docker-entrypoint.sh"
    import "$root" postgres:15 \
        --change 'ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV PGDATA=/var/lib/postgresql/data' \
        --change 'ENTRYPOINT ["docker-entrypoint.sh"]' --change 'CMD ["postgres"]' \
        --change 'VOLUME /var/lib/postgresql/data'
}

haproxy() {
    has_image haproxy:2.6 && return
    variant haproxy haproxy
    import "$work/haproxy" haproxy:2.6 --change 'USER haproxy' \
        --change 'CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]'
}

prometheus() {
    has_image prom/prometheus:v2.42.0 && return
    variant prometheus prometheus
    local root=$work/prometheus
    install -d -o nobody -g nogroup "$root/prometheus"
    import "$root" prom/prometheus:v2.42.0 --change 'USER nobody' \
        --change 'ENTRYPOINT ["prometheus"]' --change 'VOLUME /prometheus' \
        --change 'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]'
}

mkdir -p "$work"
debian
rust
etcd
postgres
haproxy
prometheus
