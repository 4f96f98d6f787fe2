#!/usr/bin/env bash
# Embeddings of two texts.
source "$(dirname "$0")/ask.sh"

ask POST /custom/v1/embeddings embedding
ask POST /v1/embeddings embedding
