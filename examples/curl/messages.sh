#!/usr/bin/env bash
# Anthropic's Messages API: whole, streamed, with tools and their results; counting; whether anything answers.
source "$(dirname "$0")/ask.sh"

for base in /custom/v1 /v1; do
  ask POST "$base/messages" message
  ask POST "$base/messages" message-stream
  ask POST "$base/messages" message-tools
  ask POST "$base/messages/count_tokens" message-tokens
done
ask HEAD /api/hello
