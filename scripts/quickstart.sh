#!/usr/bin/env bash
# From a clean clone to the first streamed reply, timed: scripts/quickstart.sh [REPOSITORY]
# The clone, its environment and the gateway are gone at the end. Packages come from wherever uv and pip are set to.
set -euo pipefail

source=${1:-$(cd "$(dirname "$0")/.." && pwd)}
place=$(mktemp -d)
trap '[[ -z ${gateway:-} ]] || kill "$gateway"; wait; rm -rf "$place"' EXIT
began=$(date +%s%N)

step() {
  echo "$(((($(date +%s%N) - began) / 1000000)))ms $1"
}

git clone --quiet "$source" "$place/clone"
step "cloned"
cd "$place/clone"
if [[ -n ${QUICKSTART_PYTHON:-} ]]; then # an environment that is there already, for a quick check of all but this step
  python=$QUICKSTART_PYTHON
  export PYTHONPATH=$place/clone/src:$place/clone/generated
else
  make install >"$place/install.log"
  python=$place/clone/.venv/bin/python
fi
step "installed"

SERVICE_PORT=0 GATEWAY_DATA_DIR=$place/data "$python" -m ai_gateway serve >"$place/gateway.log" 2>&1 &
gateway=$!
until url=$(grep -m1 -oE 'http://127\.0\.0\.1:[0-9]+' "$place/gateway.log"); do
  kill -0 "$gateway" || { cat "$place/gateway.log" >&2; exit 1; }
  sleep 0.05
done
step "started"

question='{"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}], "stream": true}'
curl --silent --show-error --fail-with-body --no-buffer --header 'Content-Type: application/json' \
  --data "$question" "$url/custom/v1/chat/completions" >"$place/reply"
step "first streamed reply"
tail -n 2 "$place/reply" | grep -q '^data: \[DONE\]'
