#!/usr/bin/env python3
"""Runs translate.py on this machine with two workers, kills one in the middle of its batch, and looks at what is left;
then from bucket to bucket on a stand-in for S3.

    test_translate.py PROGRAM
"""

import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pyarrow import fs

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


def pictures(folder):
    """Twelve pictures, some in a folder of their own, and something else. The names of their results."""
    (folder / "deep").mkdir(parents=True)
    names = []
    for index in range(PICTURES):
        place = "deep/" if index % 3 == 0 else ""
        # Widths of whole 4-byte lines.
        (folder / f"{place}{index:02}.bmp").write_bytes(bmp(40 + 4 * index, 32, 20 * index))
        names.append(f"{place}{index:02}.png")
    (folder / "notes.txt").write_text("no picture")
    return sorted(names)


def directly(program, source, folder):
    """What the program itself makes of the pictures, by the names of their files."""
    files = sorted(str(file) for file in source.rglob("*.bmp"))
    command = [program, "translate", "--model", MODEL, "--out", folder, *files]
    subprocess.run(command, check=True, env={**os.environ, "RAYON_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def translate(program, source, out, env=None):
    """Exit status, the last line of results, and all that was said."""
    command = [sys.executable, HERE / "translate.py", "--model", MODEL, "--out", out, "--batch", "3", "--workers", "2"]
    run = subprocess.run([*command, "--cyclegan", program, source], capture_output=True, text=True, env=env)
    return run.returncode, run.stdout.strip().split("\n")[-1], run.stdout + run.stderr


def folders(program, folder):
    source, results = folder / "source", folder / "results"
    expected = pictures(source)
    standin = folder / "standin"
    standin.write_text(STANDIN.format(folder=folder, program=program))
    standin.chmod(standin.stat().st_mode | stat.S_IXUSR)

    status, said, log = translate(standin, source, results)
    assert status == 0, log
    assert (folder / "second").is_dir(), "a worker was to be killed"
    before = len((folder / "before").read_text().split())
    print(f"a worker was killed when {before} pictures were in their places; at the end: {said}")
    files = sorted(str(file.relative_to(results)) for file in results.rglob("*") if file.is_file())
    assert files == expected, f"each once, and nothing else: {files}"
    counts = dict(reversed(part.split(" ", 1)) for part in said.split(", "))
    counts = {state: int(count) for state, count in counts.items()}
    assert sum(counts.values()) == PICTURES and "failed" not in counts, said
    assert counts.get("there already", 0) >= 1, f"the killed worker's picture was not written again: {said}"

    direct = directly(program, source, folder / "direct")
    for name in expected:
        assert (results / name).read_bytes() == direct[Path(name).name], f"{name} differs from a direct run"

    times = {name: (results / name).stat().st_mtime_ns for name in expected}
    status, said, log = translate(program, source, results)
    assert status == 0 and "12 of them done already" in log, log
    (source / "broken.bmp").write_bytes(b"nothing")
    (source / "13.bmp").write_bytes(bmp(40, 32, 3))
    status, said, log = translate(program, source, results)
    assert status == 1 and said == "1 failed, 1 written" and "broken.bmp" in log, (status, said, log)
    assert times == {name: (results / name).stat().st_mtime_ns for name in expected}, "what was done stays"
    print(f"folders: {PICTURES} pictures, each written once and equal to a direct run; a second run does only what is new")
    return direct


def buckets(program, folder, direct):
    expected = pictures(folder / "source")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(keys)
    server = [Path(sys.executable).with_name("moto_server"), "-p", str(port)]
    server = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        store = fs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True)
        for attempt in range(100):
            try:
                store.create_dir("pictures")
                break
            except OSError:
                time.sleep(0.2)
        fs.copy_files(str(folder / "source"), "pictures/in", destination_filesystem=store)
        place = lambda name: f"s3://pictures/{name}?endpoint_override=127.0.0.1:{port}&scheme=http"
        status, said, log = translate(program, place("in"), place("out"))
        assert status == 0 and said == f"{PICTURES} written", log
        found = store.get_file_info(fs.FileSelector("pictures/out", recursive=True))
        found = sorted(file.path.removeprefix("pictures/out/") for file in found if file.is_file)
        assert found == expected, f"each once, and nothing else: {found}"
        for name in expected:
            with store.open_input_stream(f"pictures/out/{name}") as stream:
                assert stream.read() == direct[Path(name).name], f"{name} differs from a direct run"
        status, said, log = translate(program, place("in"), place("out"))
        assert status == 0 and "12 of them done already" in log, log
        print(f"buckets: {PICTURES} pictures, each equal to a direct run; a second run does nothing")
    finally:
        server.terminate()
        server.wait()


def main():
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for part in ("folders", "buckets"):
            (folder / part).mkdir()
        direct = folders(program, folder / "folders")
        buckets(program, folder / "buckets", direct)


if __name__ == "__main__":
    main()
