#!/usr/bin/env bash
# The Responses API: whole, streamed, with tools; stored responses, one in the background, counting and compaction.
source "$(dirname "$0")/ask.sh"

for base in /custom/v1 /v1; do
  stored=$(ask POST "$base/responses" response)
  id=$(id_of "$stored")
  ask GET "$base/responses/$id"
  ask GET "$base/responses/$id/input_items?limit=10"
  ask DELETE "$base/responses/$id"
  ask POST "$base/responses" response-stream
  ask POST "$base/responses" response-tools
  started=$(ask POST "$base/responses" response-background)
  ask POST "$base/responses/$(id_of "$started")/cancel"
  followed=$(ask POST "$base/responses" response-background-stream)
  ask GET "$base/responses/$(id_of "$followed")?stream=true&starting_after=3"
  ask POST "$base/responses/input_tokens" response-tokens
  ask POST "$base/responses/compact" response-compact
done
