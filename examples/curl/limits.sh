#!/usr/bin/env bash
# Limits of requests, spend limits and alerts, of the organization and of a project.
source "$(dirname "$0")/ask.sh"

project=/v1/organization/projects/$(id_of "$(administer POST /v1/organization/projects project)")

limit=$(id_of "$(administer GET "$project/rate_limits")")
administer POST "$project/rate_limits/$limit" rate-limit

for owner in /v1/organization "$project"; do
  administer POST "$owner/spend_limit" spend-limit
  administer GET "$owner/spend_limit"
  administer DELETE "$owner/spend_limit"

  alert=$owner/spend_alerts/$(id_of "$(administer POST "$owner/spend_alerts" spend-alert)")
  administer GET "$owner/spend_alerts"
  administer GET "$alert"
  administer POST "$alert" spend-alert
  administer DELETE "$alert"
done
administer POST "$project/archive"
