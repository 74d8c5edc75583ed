#!/usr/bin/env bash
# Writes requirements/*.txt from pyproject.toml: every version pinned, every file's hash listed.
# torch stays out: its build is chosen by constraints/cpu.txt or constraints/gpu.txt, and its hash differs with it.
set -euo pipefail
cd "$(dirname "$0")/.."
groups=$(mktemp -d)
trap 'rm -rf "$groups"' EXIT

.venv/bin/python - "$groups" <<'PYTHON'
"""Write each dependency group of pyproject.toml as a requirements file: pip-compile does not read groups."""
import pathlib, sys, tomllib

groups = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["dependency-groups"]

def flat(name):
    for entry in groups[name]:
        yield from flat(entry["include-group"]) if isinstance(entry, dict) else [entry]

for name in groups:
    pathlib.Path(sys.argv[1], f"{name}.in").write_text("\n".join(flat(name)) + "\n")
PYTHON

compile() {  # compile OUTPUT PIP-COMPILE-ARGUMENTS...
    local output="requirements/$1"
    shift
    .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
        --constraint constraints/cpu.txt --output-file "$output" "$@" pyproject.toml
    awk '/^[^ ]/ { skip = /^torch==/ } !skip' "$output" >"$output.new"
    mv "$output.new" "$output"
    echo "$output: $(grep -c '==' "$output") packages"
}

mkdir -p requirements
# dev.txt first: the others are parts of it and keep its versions.
compile dev.txt --extra worker --extra train --extra gpu --extra plan --extra embedded "$groups/dev.in"
compile worker.txt --extra worker --constraint requirements/dev.txt
compile api.txt --constraint requirements/dev.txt
compile api-test.txt --extra embedded --constraint requirements/dev.txt "$groups/test.in"
