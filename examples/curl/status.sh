#!/usr/bin/env bash
# The gateway itself: state, version, metrics, tools, and what becomes of each field of a request.
source "$(dirname "$0")/ask.sh"

for path in / /healthz /health /ready; do
  ask GET $path
  ask HEAD $path
done
ask GET /v1/version
ask GET /v1/parameters
ask GET /v1/gateway/tools
ask GET /metrics
