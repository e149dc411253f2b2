#!/usr/bin/env python3
"""Runs translate.py on this machine with two workers, kills one in the middle of its batch, and looks at what is left.

    test_translate.py PROGRAM
"""

import os
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MODEL = HERE / "../../static/models/flat-to-3d.safetensors"
PICTURES = 12

# Stands for the program: its second run tells of its first picture, waits until that has been put in its place, and
# kills the worker that it belongs to.
STANDIN = """#!/bin/sh
if mkdir "{folder}/first" 2>/dev/null || ! mkdir "{folder}/second" 2>/dev/null; then exec "{program}" "$@"; fi
"{program}" "$@" | {{ read -r line; echo "$line"; sleep 2; find "{folder}/results" -name "*.png" > "{folder}/before"; kill -9 $PPID; }}
"""


def bmp(width, height, shade):
    """A picture: a gradient with a shade of its own."""
    line = lambda y: b"".join(bytes([shade, x * 5 % 256, y * 6 % 256]) for x in range(width))
    pixels = b"".join(line(y) for y in range(height))
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + len(pixels), 0, 0, 54, 40, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return header + pixels


def main():
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        source, results, direct = folder / "source", folder / "results", folder / "direct"
        (source / "deep").mkdir(parents=True)
        for index in range(PICTURES):
            # Widths of whole 4-byte lines.
            place = source / "deep" if index % 3 == 0 else source
            (place / f"{index:02}.bmp").write_bytes(bmp(40 + 4 * index, 32, 20 * index))
        (source / "notes.txt").write_text("no picture")
        standin = folder / "standin"
        standin.write_text(STANDIN.format(folder=folder, program=program))
        standin.chmod(standin.stat().st_mode | stat.S_IXUSR)

        def translate(cyclegan, pictures=source):
            command = [sys.executable, HERE / "translate.py", "--model", MODEL, "--out", results, "--batch", "3"]
            command += ["--workers", "2", "--cyclegan", cyclegan, pictures]
            run = subprocess.run(command, capture_output=True, text=True)
            return run.returncode, run.stdout.strip().split("\n")[-1], run.stdout + run.stderr

        status, said, log = translate(standin)
        assert status == 0, log
        assert (folder / "second").is_dir(), "a worker was to be killed"
        before = len((folder / "before").read_text().split())
        print(f"a worker was killed when {before} pictures were in their places; at the end: {said}")

        files = sorted(str(file.relative_to(results)) for file in results.rglob("*") if file.is_file())
        expected = [f"{'deep/' if index % 3 == 0 else ''}{index:02}.png" for index in range(PICTURES)]
        assert files == sorted(expected), f"each once, and nothing else: {files}"
        counts = dict(reversed(part.split(" ", 1)) for part in said.split(", "))
        counts = {state: int(count) for state, count in counts.items()}
        assert sum(counts.values()) == PICTURES and "failed" not in counts, said
        assert counts.get("there already", 0) >= 1, f"the killed worker's picture was not written again: {said}"

        env = {**os.environ, "RAYON_NUM_THREADS": "1"}
        pictures = [str(file) for file in sorted(source.rglob("*.bmp"))]
        subprocess.run([program, "translate", "--model", MODEL, "--out", direct, *pictures], check=True, env=env, stdout=subprocess.DEVNULL)
        for name in expected:
            assert (results / name).read_bytes() == (direct / Path(name).name).read_bytes(), f"{name} differs from a direct run"

        times = {name: (results / name).stat().st_mtime_ns for name in expected}
        status, said, log = translate(program)
        assert status == 0 and "12 of them done already" in log, log
        (source / "broken.bmp").write_bytes(b"nothing")
        (source / "13.bmp").write_bytes(bmp(40, 32, 3))
        status, said, log = translate(program)
        assert status == 1 and said == "1 failed, 1 written" and "broken.bmp" in log, (status, said, log)
        assert times == {name: (results / name).stat().st_mtime_ns for name in expected}, "what was done stays"
        print(f"{PICTURES} pictures, each written once and equal to a direct run; a second run does only what is new")


if __name__ == "__main__":
    main()
