#!/usr/bin/env bash
# Build the container image: scripts/image.sh NAME:TAG [OPTIONS of docker buildx build]
# Everything that the image says about itself is of the commit, so that two builds of one commit say the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image=$1
shift
metadata=$(mktemp)
trap 'rm -f "$metadata"' EXIT

docker buildx build --tag "$image" --metadata-file "$metadata" \
  --build-arg BUILD_VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
  --build-arg BUILD_COMMIT="$(git rev-parse HEAD)" \
  --build-arg BUILD_DATE="$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)" \
  --build-arg BUILD_SOURCE="${BUILD_SOURCE:-}" \
  "$@" .

# For the step of the workflow that signs what was pushed.
if [[ -n ${GITHUB_OUTPUT:-} ]]; then
  digest=$(grep -o '"containerimage.digest": *"sha256:[0-9a-f]*"' "$metadata" | grep -o 'sha256:[0-9a-f]*')
  echo "digest=$digest" >>"$GITHUB_OUTPUT"
fi
