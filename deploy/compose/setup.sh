#!/bin/sh
# The first service of compose.yaml: makes what the others need to trust each other, once, in the volume `credentials`.
# To bring a certificate of your own, put it there as tls.crt and tls.key, or mount it over them.
set -eu
umask 022
cd "${1:-/credentials}"

# Files are replaced and never written again: whoever runs this may not be allowed to write what only can be read.
put() { # file: from standard input
  cat >"$1.new" && mv -f "$1.new" "$1"
}
new() { # file, prefix: random, unless there is one
  [ -s "$1" ] || printf '%s%s' "${2:-}" "$(openssl rand -hex 32)" | put "$1"
}
new postgres-password
new valkey-password
new grafana-password
new api-key sk-compose-
new admin-key sk-compose-admin-

printf 'postgresql://gateway:%s@postgres/gateway' "$(cat postgres-password)" | put store-url
printf 'redis://:%s@valkey:6379/0' "$(cat valkey-password)" | put valkey-url
printf 'requirepass %s\nmaxmemory-policy noeviction\nappendonly yes\ndir /data\n' "$(cat valkey-password)" | put valkey.conf

if [ ! -s tls.crt ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=${SERVER_NAME:-localhost}" \
    -addext "subjectAltName=DNS:${SERVER_NAME:-localhost},IP:127.0.0.1" -keyout tls.key -out tls.crt 2>/dev/null
fi
# The services run as users of their own, and see only this volume of each other.
chmod 0444 ./*
chmod 0400 tls.key # nginx reads it as the user that made it
echo "ready: the callers' key is in api-key, the administrators' in admin-key, Grafana's in grafana-password"
