#!/usr/bin/env bash
# Sets up the training environment of a registered SSH host, and follows the log. The platform has to be running.
#
#   environments/setup_remote_env.sh HOST [--cuda|--cpu] [--wheelhouse]
#   environments/setup_remote_env.sh HOST --check            only compare what is there with version.json
#
# Safe to repeat: it does what is missing, takes up again what was cut short, and is quick when all is there.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
python="$here/../.venv/bin/python"
if [ ! -x "$python" ]; then
  echo "setup_remote_env.sh: the platform's own environment is missing: run bin/up first" >&2
  exit 1
fi
if [ $# -lt 1 ]; then
  echo "usage: setup_remote_env.sh HOST [--cuda|--cpu] [--wheelhouse] [--check]" >&2
  exit 2
fi
if [ "${2:-}" = "--check" ]; then
  exec "$python" "$here/../manage.py" verify_env --host "$1"
fi
exec "$python" "$here/../manage.py" set_up_host "$@"
