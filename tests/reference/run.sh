#!/usr/bin/env bash
# Runs a script of this folder in a Python that has PyTorch, which it sets up first if need be:
#
#     tests/reference/run.sh golden.py --check
#     tests/reference/run.sh --setup
#
# PyPI's PyTorch for Linux brings 2.5 GB of CUDA libraries; Debian's is for CPUs, 150 MB, a minute.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=${here}/../../.tools/venv
python=${venv}/bin/python
ready=${venv}/ready

install_packages() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 python3-torch python3-venv
}

has_packages() {
    command -v apt-get && [ "$(id -u)" = 0 ] || return 1
    # The lists of packages may be missing or old.
    install_packages || { apt-get update -qq && install_packages; }
}

set_up() {
    echo "PyTorch: setting it up in .tools/venv"
    rm -rf "$venv"
    if has_packages >/dev/null 2>&1; then
        /usr/bin/python3 -m venv --system-site-packages "$venv"
        # Debian has all that these need.
        "$venv/bin/pip" install -q --no-deps -r "$here/requirements.txt"
    else
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q torch numpy -r "$here/requirements.txt"
    fi
    if ! "$python" -c 'import torch, safetensors.torch, onnxruntime'; then
        echo "PyTorch could not be set up: make .tools/venv a Python with torch, safetensors and onnxruntime, then touch .tools/venv/ready."
        exit 1
    fi
    touch "$ready"
}

if [ ! -x "$python" ] || [ ! "$ready" -nt "$here/requirements.txt" ]; then
    set_up >&2
fi
[ "${1:-}" = --setup ] && exit 0
script=$1
shift
PYTHONDONTWRITEBYTECODE=1 exec "$python" "$here/$script" "$@"
