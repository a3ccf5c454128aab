# Sourced: run_python MODULE ARGUMENTS runs platform_site.up.MODULE with the first Python that is new enough.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

run_python() {
  module=$1; shift
  for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if python=$(command -v "$name") && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      # -P: neither the caller's folder nor ours gets onto the path of what is started from here.
      exec "$python" -P -c '
import importlib, sys
root, module = sys.argv.pop(1), sys.argv.pop(1)
sys.path.insert(0, root)
sys.exit(importlib.import_module(f"platform_site.up.{module}").main(sys.argv[1:]))' "$root" "$module" "$@"
    fi
  done
  echo "anneal: Python 3.11 or newer is needed, and none was found on the PATH" >&2
  exit 1
}
