#!/usr/bin/env bash
# What a project may use, and what is kept of its calls.
source "$(dirname "$0")/ask.sh"

project=/v1/organization/projects/$(id_of "$(administer POST /v1/organization/projects project)")

administer POST "$project/model_permissions" model-permissions
administer GET "$project/model_permissions"
administer DELETE "$project/model_permissions"
administer POST "$project/hosted_tool_permissions" hosted-tools
administer GET "$project/hosted_tool_permissions"
administer POST "$project/data_retention" retention
administer GET "$project/data_retention"
administer POST "$project/data_retention" retention-default
administer GET /v1/organization/data_retention
administer POST /v1/organization/data_retention retention
administer POST /v1/organization/data_retention retention-modified
administer GET "/v1/gateway/memories?project_id=${project##*/}"
administer DELETE "/v1/gateway/memories?project_id=${project##*/}"
administer POST "$project/archive"
