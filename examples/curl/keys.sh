#!/usr/bin/env bash
# A service account and its keys: made, changed, replaced and deleted.
source "$(dirname "$0")/ask.sh"

project=/v1/organization/projects/$(id_of "$(administer POST /v1/organization/projects project)")

account=$project/service_accounts/$(id_of "$(administer POST "$project/service_accounts" service-account)")
administer GET "$project/service_accounts"
administer GET "$account"
administer POST "$account" service-account-renamed
administer POST "$account/api_keys" service-account-key

api_key=$project/api_keys/$(id_of "$(administer GET "$project/api_keys")")
administer GET "$api_key"
administer GET "/v1/gateway/keys?name=${api_key##*/}"
administer POST "$api_key" key-changed
administer DELETE "$api_key"
administer DELETE "$account"
administer POST "$project/archive"
