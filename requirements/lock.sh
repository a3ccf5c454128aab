#!/usr/bin/env bash
# Renews the manager's locks from the .in files: requirements/lock.sh [--upgrade]
# Each lock names the .in files it was made from by their digest; a test compares.
set -euo pipefail
cd "$(dirname "$0")"
uv=../.venv/bin/uv

compile() {  # NAME, then what goes to uv
  name=$1; shift
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --no-header "$@" "$name.in" --output-file "$name.txt"
  { echo "# Made by requirements/lock.sh from $name.in. Digest of its sources: $(../.venv/bin/python digest.py "$name.in")"
    cat "$name.txt"; } >"$name.txt.new"
  mv "$name.txt.new" "$name.txt"
}

compile uv "$@"
compile verl --no-deps "$@"
compile base "$@"
compile manager -c base.txt "$@"
compile test -c manager.txt "$@"
../.venv/bin/python ../environments/versions.py >../environments/version.json
