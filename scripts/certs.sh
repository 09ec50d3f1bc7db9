#!/usr/bin/env bash
# Certificates for trying TLS out and for tests: an authority of their own, and what it signs.
#
#   scripts/certs.sh FOLDER                  makes FOLDER/ca.crt and ca.key, unless they are there
#   scripts/certs.sh FOLDER NAME [HOST...]   makes FOLDER/NAME.crt and NAME.key, for servers under
#                                            these hosts (localhost, 127.0.0.1 and ::1 without any)
#                                            and for a client whose user is NAME
#
# A second call with the same NAME makes a new certificate and puts it in the place of the old one;
# the programs notice. DAYS says how long certificates hold (365; below zero they have ended).
# The authority's key lies beside them in clear: what it signs is for your own machine.
set -euo pipefail

if [ $# -eq 0 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 64
fi
folder=$1
name=${2:-}
days=${DAYS:-365}
mkdir -p "$folder"
cd "$folder"
umask 077
scratch=$(mktemp -d ./.certs.XXXXXX)
trap 'rm -rf "$scratch"' EXIT

cat > "$scratch/openssl.cnf" <<'END'
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
END

# Arguments: the common name, where the key goes, further arguments.
request() {
    openssl req -config "$scratch/openssl.cnf" -subj "/CN=$1" -nodes -keyout "$2" \
        -newkey ec -pkeyopt ec_paramgen_curve:P-256 "${@:3}" 2> "$scratch/said" ||
        { cat "$scratch/said" >&2; exit 1; }
}

if [ ! -e ca.crt ]; then
    request "sharding test authority" "$scratch/ca.key" -x509 -days 3650 -extensions ca \
        -out "$scratch/ca.crt"
    mv "$scratch/ca.key" "$scratch/ca.crt" .
    chmod 644 ca.crt
fi
[ -n "$name" ] || exit 0

shift 2
[ $# -gt 0 ] || set -- localhost 127.0.0.1 ::1
alternatives=
for host in "$@"; do
    case $host in
        *:* | *[0-9].[0-9]*.[0-9]*.[0-9]*) kind=IP ;;
        *) kind=DNS ;;
    esac
    alternatives+="${alternatives:+,}$kind:$host"
done
echo "subjectAltName = $alternatives" >> "$scratch/openssl.cnf"
request "$name" "$scratch/key" -new -out "$scratch/request"
openssl x509 -req -in "$scratch/request" -CA ca.crt -CAkey ca.key -days "$days" \
    -set_serial "0x$(openssl rand -hex 16)" -extfile "$scratch/openssl.cnf" -extensions leaf \
    -out "$scratch/crt" 2> "$scratch/said" || { cat "$scratch/said" >&2; exit 1; }
chmod 644 "$scratch/crt"
mv "$scratch/key" "$name.key"
mv "$scratch/crt" "$name.crt"
