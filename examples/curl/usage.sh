#!/usr/bin/env bash
# What was used and what it cost, who changed what, and single calls.
source "$(dirname "$0")/ask.sh"

since=start_time=$(($(date +%s) - 3600))

for kind in completions embeddings moderations images audio_speeches audio_transcriptions web_search_calls \
  code_interpreter_sessions; do
  administer GET "/v1/organization/usage/$kind?$since"
done
administer GET "/v1/organization/costs?$since"
administer GET /v1/organization/audit_logs

ask POST /custom/v1/chat/completions chat
for _ in {1..100}; do # a call is recorded a moment after its end
  calls=$(administer GET /v1/gateway/requests)
  [[ $calls == *'"id"'* ]] && break
  sleep 0.1
done
administer GET "/v1/gateway/requests/$(id_of "$calls")"
administer GET /v1/gateway/requests.csv
administer GET "/v1/gateway/usage?$since"
administer GET "/v1/gateway/usage.csv?$since"
