#!/usr/bin/env bash
# Installs what the benchmarks compare with, builds our side, runs and prints the table:
#
#     benches/peers/run.sh [--rows a,c] [--rounds N]
#
# Everything lands in target/peers/ and node_modules/ here; `make bench` calls this.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/benches/peers}
venv=$root/target/peers/venv
mkdir -p "$root/target/peers"

install_python() {
    echo "Installing PyTorch and onnxruntime (3 GB, a minute or two)"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed"
}
cmp -s "$here/requirements.txt" "$venv/installed" || install_python >&2

install_node() {
    echo "Installing onnxruntime-web, tfjs and the browser's driver"
    npm ci --prefix "$here" --ignore-scripts --no-audit --no-fund --silent
    cp "$here/package-lock.json" "$here/node_modules/.installed"
}
cmp -s "$here/package-lock.json" "$here/node_modules/.installed" || install_node >&2

cd "$root"
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" "$here/bench.py" "$@"
