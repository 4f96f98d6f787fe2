#!/usr/bin/env bash
# The path of a Python of this version on this machine, or exit code 1: scripts/find_python.sh 3.13
# A command on PATH is tried before it is named, because a version manager's may have nothing behind it; pyenv keeps
# the versions that are not active beside those that are.
set -euo pipefail

version=$1
shopt -s nullglob
for candidate in "python$version" python3 python "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
  if "$candidate" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$version" 2>/dev/null; then
    command -v "$candidate"
    exit
  fi
done
exit 1
