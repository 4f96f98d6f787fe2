#!/usr/bin/env bash
# A project from beginning to end, and keys of administrators.
source "$(dirname "$0")/ask.sh"

administer GET /v1/organization/projects
project=/v1/organization/projects/$(id_of "$(administer POST /v1/organization/projects project)")
administer GET "$project"
administer POST "$project" project-renamed
administer POST "$project/archive"

administer GET /v1/organization/admin_api_keys
admin_key=/v1/organization/admin_api_keys/$(id_of "$(administer POST /v1/organization/admin_api_keys admin-key)")
administer GET "$admin_key"
administer DELETE "$admin_key"
