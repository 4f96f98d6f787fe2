#!/usr/bin/env bash
# What Ollama's API offers for models of one's own: the gateway keeps none, and says so.
source "$(dirname "$0")/ask.sh"

digest=sha256:$(printf '0%.0s' {1..64})

for operation in pull push create copy; do
  refused POST /api/$operation ollama-show
done
refused DELETE /api/delete ollama-show
refused POST "/api/blobs/$digest"
refused HEAD "/api/blobs/$digest"
