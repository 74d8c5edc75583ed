#!/usr/bin/env bash
# Finds a Python that Darkroom runs on and hands over to setup.py.
# Usage: scripts/setup.sh [--api]     PYTHON=/path/to/python3.11 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

found=""
for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    version=$("$path" -c 'import sys; print(".".join(map(str, sys.version_info[:3])))' 2>/dev/null) || continue
    if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$path" scripts/setup.py "$@"
    fi
    found="$version at $path"
done

if [ -n "$found" ]; then
    echo "Darkroom needs Python 3.11 or newer; found $found. Install a newer one, or set PYTHON=/path/to/python3.11." >&2
else
    echo "Darkroom needs Python 3.11 or newer; found no Python${PYTHON:+ at $PYTHON}. Install one, or set PYTHON=/path/to/python3.11." >&2
fi
exit 2
