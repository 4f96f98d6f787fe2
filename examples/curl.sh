#!/usr/bin/env bash
# The gateway from a shell: models, an answer, a stream, vectors. Another gateway: set GATEWAY_BASE_URL and GATEWAY_API_KEY.
set -euo pipefail

url=${GATEWAY_BASE_URL:-http://127.0.0.1:9000/custom/v1}
key=${GATEWAY_API_KEY:-unused}

ask() {
  curl --silent --show-error --fail-with-body --no-buffer \
    -H "Authorization: Bearer $key" -H 'Content-Type: application/json' "$@"
  echo
}

ask "$url/models"
ask "$url/chat/completions" -d '{"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}'
ask "$url/chat/completions" -d '{"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}], "stream": true}'
ask "$url/embeddings" -d '{"model": "custom-embedding", "input": "Hello", "dimensions": 8}'
