#!/usr/bin/env bash
# Chat completions: whole, streamed, tools and their result, a search that the gateway runs, structured output, an image, log probabilities.
source "$(dirname "$0")/ask.sh"

for request in chat chat-stream chat-tools chat-tool-result chat-web-search chat-structured chat-image chat-logprobs; do
  ask POST /custom/v1/chat/completions $request
done
ask POST /v1/chat/completions chat
