#!/usr/bin/env bash
# Runs the test of translate.py in a Python that has Ray, which it sets up first if need be (100 MB):
#
#     examples/ray/run.sh target/debug/cyclegan
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=${here}/../../.tools/ray
if [ ! "$venv/ready" -nt "$here/requirements.txt" ]; then
    echo "Ray: setting it up in .tools/ray" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q -r "$here/requirements.txt"
    touch "$venv/ready"
fi
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" "$here/test_translate.py" "$@"
