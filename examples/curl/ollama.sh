#!/usr/bin/env bash
# Ollama's API: chat, generate, vectors and what there is.
source "$(dirname "$0")/ask.sh"

ask POST /api/chat ollama-chat
ask POST /api/chat ollama-chat-stream
ask POST /api/generate ollama-generate
ask POST /api/embed ollama-embed
ask POST /api/embeddings ollama-embeddings
ask POST /api/show ollama-show
ask GET /api/tags
ask HEAD /api/tags
ask GET /api/ps
ask GET /api/version
ask HEAD /api/version
