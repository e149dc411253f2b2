#!/bin/bash
# One would guess that saving the same tensors with the same metadata twice gives the same file.
# True: safetensors 0.7 keeps metadata in a Rust HashMap, whose order is drawn anew in each process, and writes it in that order.
# Tensors are sorted, so a file without metadata, or with one entry, is the same each time.
# Why it matters here: a training's checkpoints and exports are compared byte for byte (exact resume, many workers, page against native),
# and a checksum of a weight file has to name one file. Our writer sorts the keys.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check safetensors==0.7.0 numpy==2.3.5
cat >save.py <<'PY'
import hashlib, json, sys
import numpy
import safetensors
from safetensors.numpy import save

entries = int(sys.argv[1])
metadata = {f"key{number}": str(number) for number in range(entries)}
file = save({"weight": numpy.zeros((2, 2), numpy.float32)}, metadata)
header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
print(safetensors.__version__, hashlib.sha256(file).hexdigest()[:12], " ".join(header["__metadata__"]))
PY
kinds() { for _ in 1 2 3 4 5 6; do venv/bin/python save.py "$1"; done | tee /dev/stderr | sort -u | wc -l; }
echo "six processes, eight entries of metadata:"
several=$(kinds 8)
echo "six processes, one entry:"
one=$(kinds 1)
echo "different files: $several with eight entries, $one with one"
[ "$several" -gt 1 ] && [ "$one" -eq 1 ]
