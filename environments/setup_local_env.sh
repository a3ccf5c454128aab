#!/usr/bin/env bash
# Sets up an environment of this checkout on this machine. Needs Python 3.11 or newer and no special rights.
#
#   environments/setup_local_env.sh manager             what the platform itself runs in (.venv)
#   environments/setup_local_env.sh training [--cuda|--cpu]  what training runs in (.training/venv)
#   … --check                                           only compare what is there with version.json
#
# Safe to repeat: it does what is missing, takes up again what was cut short, and is quick when all is there.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
  if python=$(command -v "$name") && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    exec "$python" -P "$here/setup_env.py" "$@"
  fi
done
echo "setup_local_env.sh: Python 3.11 or newer is needed, and none was found on the PATH" >&2
exit 1
