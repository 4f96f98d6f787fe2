#!/usr/bin/env bash
# The models of one provider, and of all.
source "$(dirname "$0")/ask.sh"

ask GET /custom/v1/models
ask GET /custom/v1/models/custom-chat
ask GET /v1/models
ask GET /v1/models/custom-chat
