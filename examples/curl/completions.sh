#!/usr/bin/env bash
# Legacy completions, whole and streamed.
source "$(dirname "$0")/ask.sh"

ask POST /custom/v1/completions completion
ask POST /custom/v1/completions completion-stream
ask POST /v1/completions completion
