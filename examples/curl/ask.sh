# One request to the gateway; sourced by the scripts beside it. Another gateway: set GATEWAY_URL and the keys.
set -euo pipefail

url=${GATEWAY_URL:-http://127.0.0.1:9000}
key=${GATEWAY_API_KEY:-unused}
requests=$(dirname "${BASH_SOURCE[0]}")/../requests

# ask METHOD PATH [REQUEST]: the response to a request of examples/requests; a status from 400 is a failure.
# What was asked goes to standard error, with the status.
ask() {
  local options=(--request "$1")
  [[ $1 == HEAD ]] && options=(--head)
  [[ $# -gt 2 ]] && options+=(--header 'Content-Type: application/json' --data "@$requests/$3.json")
  curl --silent --show-error --fail-with-body --no-buffer --header "Authorization: Bearer $key" "${options[@]}" \
    --write-out "\n%{stderr}$1 $2 %{http_code}\n" "$url$2"
}

# refused METHOD PATH: one that is there to say no.
refused() {
  if ask "$@"; then
    echo "$1 $2 was not refused" >&2
    exit 1
  fi
}

# administer METHOD PATH [REQUEST]: the same with an administrator's key.
administer() {
  key=${ADMIN_API_KEY:?set it to an administrator\'s key} ask "$@"
}

# id_of RESPONSE: its first id.
id_of() {
  [[ $1 =~ \"id\":\ ?\"([^\"]+)\" ]]
  echo "${BASH_REMATCH[1]}"
}
