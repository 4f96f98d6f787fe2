#!/usr/bin/env bash
# Start an image as locked down as it should run, ask it for a chat, and stop it: scripts/image_smoke.sh NAME:TAG
set -euo pipefail

key=sk-smoke-$RANDOM$RANDOM
container=$(docker run --detach --read-only --cap-drop ALL --security-opt no-new-privileges \
  --publish 127.0.0.1::9000 --env ALLOWED_API_KEYS="$key" "$1")
trap 'docker rm --force --volumes "$container" >/dev/null' EXIT
address=$(docker port "$container" 9000)

for _ in {1..120}; do
  if curl --silent --fail --output /dev/null "http://$address/ready"; then break; fi
  sleep 0.5
done
curl --silent --show-error --fail "http://$address/custom/v1/chat/completions" \
  -H "Authorization: Bearer $key" -H 'Content-Type: application/json' \
  -d '{"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}'
echo
docker stop --time 35 "$container" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
if [[ $code -ne 0 ]]; then
  echo "the gateway ended with $code:" >&2
  docker logs "$container" >&2
  exit 1
fi
